//! A nonblocking byte stream, with TLS or without, in the hands of the core thread.

use std::io::{self, BufRead as _, Read as _, Write as _};

use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::Connection;

/// How much plaintext rustls may hold on its way out; the rest waits in our own buffer.
const TLS_BUFFER: usize = 1 << 20;

/// What one read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    /// The buffer was filled: there may be more.
    More,
    /// Everything that had arrived has been read.
    Drained,
    /// The other end has closed the stream.
    Closed,
}

/// Bytes on their way out.
#[derive(Debug, Default)]
pub(crate) struct OutBuffer {
    bytes: Vec<u8>,
    sent: usize,
}

impl OutBuffer {
    /// Bytes not yet written.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The bytes themselves.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Notes that the first `count` were written.
    pub(crate) fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.bytes.len() {
            self.sent = 0;
            self.bytes.clear();
            // One large burst does not hold its memory for ever.
            self.bytes.shrink_to(256 << 10);
        } else if self.sent > (1 << 20) {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

impl io::Write for OutBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A TCP stream, perhaps with TLS on it.
#[derive(Debug)]
pub(crate) struct Transport {
    socket: TcpStream,
    tls: Option<Box<Connection>>,
}

impl Transport {
    pub(crate) const fn plain(socket: TcpStream) -> Self {
        Self { socket, tls: None }
    }

    pub(crate) fn tls(socket: TcpStream, mut connection: Connection) -> Self {
        connection.set_buffer_limit(Some(TLS_BUFFER));
        Self { socket, tls: Some(Box::new(connection)) }
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.socket.register(registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Turns Nagle's algorithm off. A socket that does not allow it is only slower.
    pub(crate) fn set_nodelay(&self) {
        drop(self.socket.set_nodelay(true));
    }

    pub(crate) fn deregister(&mut self, registry: &Registry) {
        // Fails only where it was never registered.
        drop(self.socket.deregister(registry));
    }

    /// The TLS end, for what it knows about its peer.
    pub(crate) fn connection(&self) -> Option<&Connection> {
        self.tls.as_deref()
    }

    /// Is the TLS handshake still going on?
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Has TLS something to send of its own accord?
    pub(crate) fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Reads once, at most `scratch.len()` bytes, and appends the plaintext to `into`.
    pub(crate) fn read(
        &mut self,
        scratch: &mut [u8],
        into: &mut Vec<u8>,
    ) -> io::Result<ReadOutcome> {
        let count = match self.socket.read(scratch) {
            Ok(0) => return Ok(ReadOutcome::Closed),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(ReadOutcome::Drained);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Ok(ReadOutcome::More);
            }
            Err(error) => return Err(error),
        };
        let outcome = if count == scratch.len() { ReadOutcome::More } else { ReadOutcome::Drained };
        let Some(tls) = &mut self.tls else {
            into.extend_from_slice(&scratch[..count]);
            return Ok(outcome);
        };
        let mut arrived = &scratch[..count];
        while !arrived.is_empty() {
            tls.read_tls(&mut arrived)?;
            let state = tls
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let mut left = state.plaintext_bytes_to_read();
            let mut reader = tls.reader();
            while left > 0 {
                let chunk = reader.fill_buf()?;
                let count = chunk.len();
                into.extend_from_slice(chunk);
                reader.consume(count);
                left = left.saturating_sub(count);
            }
            if state.peer_has_closed() {
                return Ok(ReadOutcome::Closed);
            }
        }
        Ok(outcome)
    }

    /// Writes as much of `out` as the socket takes. True where nothing is left.
    pub(crate) fn write(&mut self, out: &mut OutBuffer) -> io::Result<bool> {
        loop {
            let Some(tls) = &mut self.tls else {
                if out.is_empty() {
                    return Ok(true);
                }
                match self.socket.write(out.pending()) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => out.advance(count),
                    Err(error) => return blocked(error),
                }
                continue;
            };
            if !out.is_empty() && !tls.is_handshaking() {
                let count = tls.writer().write(out.pending())?;
                out.advance(count);
            }
            if !tls.wants_write() {
                return Ok(out.is_empty() || tls.is_handshaking());
            }
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(_) => {}
                    Err(error) => return blocked(error),
                }
            }
        }
    }

    /// Tells the other end that nothing follows.
    pub(crate) fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            // The last word; where it does not fit, the closed socket says the same.
            drop(tls.write_tls(&mut self.socket));
        }
        drop(self.socket.shutdown(std::net::Shutdown::Write));
    }
}

fn blocked(error: io::Error) -> io::Result<bool> {
    match error.kind() {
        io::ErrorKind::WouldBlock => Ok(false),
        // Not tried again at once: the next readiness or turn will.
        io::ErrorKind::Interrupted | io::ErrorKind::NotConnected => Ok(false),
        _ => Err(error),
    }
}
