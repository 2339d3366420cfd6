//! Asking a replica's port for a small document.

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(1);
const MAX_ANSWER: u64 = 64 << 10;

/// `host:port` of a member's URL.
pub(super) fn address_of(url: &str) -> anyhow::Result<&str> {
    url.strip_prefix("ws://")
        .and_then(|rest| rest.split('/').next())
        .with_context(|| format!("{url:?} is not of the form ws://HOST:PORT/ws"))
}

/// The body of a document that is there (status 200). HTTP/1.0, so that it comes in one piece.
pub(super) async fn get(address: &str, path: &str) -> io::Result<Vec<u8>> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer =
        timeout(PATIENCE, ask).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    body(&answer).map(<[u8]>::to_vec).ok_or_else(|| io::Error::other("no answer with status 200"))
}

fn body(answer: &[u8]) -> Option<&[u8]> {
    let status = answer.get(..13)?;
    if !status.starts_with(b"HTTP/1.") || !status.ends_with(b" 200 ") {
        return None;
    }
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(&answer[end + 4..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_answers_of_status_200() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\nok\n"), Some(&b"ok\n"[..]));
        assert_eq!(body(b"HTTP/1.0 503 No\r\n\r\nok\n"), None);
        assert_eq!(body(b"HTTP/1.0 200 OK\r\nA: b"), None);
        assert_eq!(body(b""), None);
    }

    #[test]
    fn addresses() {
        assert_eq!(address_of("ws://127.0.0.1:7100/ws").unwrap(), "127.0.0.1:7100");
        assert!(address_of("wss://a/ws").is_err());
    }
}
