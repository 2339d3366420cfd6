//! The WebSocket handshake (RFC 6455, 4.2), after which the stream is the core's.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tracing::{debug, warn};

use super::{Context, Peer};
use crate::core::{Newcomer, ToCore};
use crate::link::Link;

/// How long an upgrade may take once it is promised.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers the handshake and hands the stream to the core.
///
/// The Origin header is not looked at: clients authenticate replicas and are authenticated by
/// the Noise handshake inside the WebSocket, no cookie or address grants anything here.
pub(super) async fn web_socket(
    State(context): State<Context>,
    axum::Extension(peer): axum::Extension<Peer>,
    mut request: Request,
) -> Response {
    let accept = match handshake(request.headers()) {
        Ok(accept) => accept,
        Err(refusal) => return refusal.into_response(),
    };
    if !context.shared.is_running() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let address = peer.address;
        match tokio::time::timeout(UPGRADE_TIMEOUT, upgrade).await {
            Ok(Ok(upgraded)) => match hand_over(upgraded, peer) {
                Ok(newcomer) => context.core.send(ToCore::Client(newcomer)),
                Err(error) => warn!(%address, %error, "cannot take over an upgraded stream"),
            },
            Ok(Err(error)) => debug!(%address, %error, "WebSocket upgrade"),
            Err(_) => debug!(%address, "WebSocket upgrade took too long"),
        }
    });
    (
        StatusCode::SWITCHING_PROTOCOLS,
        [
            (UPGRADE, HeaderValue::from_static("websocket")),
            (CONNECTION, HeaderValue::from_static("Upgrade")),
            (SEC_WEBSOCKET_ACCEPT, accept),
        ],
        Body::empty(),
    )
        .into_response()
}

fn hand_over(upgraded: hyper::upgrade::Upgraded, peer: Peer) -> io::Result<Newcomer> {
    let parts = upgraded
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| io::Error::other("not a TCP stream"))?;
    let link = Link::web_socket(parts.io.into_inner().into_std()?, &parts.read_buf);
    Ok(Newcomer { link, address: peer.address, permit: peer.permit })
}

/// What is wrong with a WebSocket handshake: the peer is no WebBFT client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoHandshake {
    Upgrade,
    Version,
    Key,
}

impl IntoResponse for NoHandshake {
    fn into_response(self) -> Response {
        match self {
            Self::Upgrade => (
                StatusCode::UPGRADE_REQUIRED,
                [(UPGRADE, "websocket")],
                "This is a WebSocket endpoint: connect with a WebBFT client.\n",
            )
                .into_response(),
            Self::Version => (
                StatusCode::BAD_REQUEST,
                [(SEC_WEBSOCKET_VERSION, "13")],
                "Only WebSocket version 13 is spoken here.\n",
            )
                .into_response(),
            Self::Key => (StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing or malformed.\n")
                .into_response(),
        }
    }
}

/// The value of Sec-WebSocket-Accept.
fn handshake(headers: &HeaderMap) -> Result<HeaderValue, NoHandshake> {
    if !has_token(headers, &UPGRADE, "websocket") || !has_token(headers, &CONNECTION, "upgrade") {
        return Err(NoHandshake::Upgrade);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(NoHandshake::Version);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let accept = tungstenite::handshake::derive_accept_key(key.ok_or(NoHandshake::Key)?.as_bytes());
    HeaderValue::try_from(accept).map_err(|_| NoHandshake::Key)
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_handshake_of_the_standard() {
        let mut request = vec![
            (UPGRADE, "WebSocket"),
            (CONNECTION, "keep-alive, Upgrade"),
            (SEC_WEBSOCKET_VERSION, "13"),
            (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        // The example of RFC 6455, 1.3.
        assert_eq!(handshake(&headers(&request)).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        request[2].1 = "8";
        assert_eq!(handshake(&headers(&request)), Err(NoHandshake::Version));
        request[2].1 = "13";
        request[3].1 = "short";
        assert_eq!(handshake(&headers(&request)), Err(NoHandshake::Key));
        assert_eq!(handshake(&headers(&request[1..])), Err(NoHandshake::Upgrade));
    }
}
