//! The port that pages and clients connect to: static files, status, and the WebSocket upgrade.
//!
//! This runs on a thread of its own. An upgraded stream goes to the core once, as it is.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    REFERRER_POLICY, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_http::services::{ServeDir, ServeFile};
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::{debug, warn};
use webbft_protocol::membership::View;

use crate::admission::{Admission, Permit};
use crate::core::{ToCore, ToCoreSender};
use crate::status::Shared;

/// How long a shutdown waits for answers that are under way.
const SHUTDOWN: Duration = Duration::from_secs(2);
/// How long an upgrade may take once it is promised.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pages may run their own scripts and Wasm and talk to any replica, and nothing else.
const CONTENT_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; \
    worker-src 'self' blob:; connect-src 'self' ws: wss: http: https:; \
    style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
    object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

/// A client's stream after the WebSocket upgrade.
#[derive(Debug)]
pub(crate) struct Upgraded {
    /// Nonblocking.
    pub(crate) stream: std::net::TcpStream,
    pub(crate) address: SocketAddr,
    /// Bytes that came with the upgrade.
    pub(crate) early: Bytes,
    pub(crate) permit: Arc<Permit>,
}

/// What the port serves.
pub(crate) struct Site {
    pub(crate) view: Arc<View>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) core: ToCoreSender,
    pub(crate) static_dir: Option<PathBuf>,
    pub(crate) admission: Arc<Admission>,
    /// How long a client may take to send the headers of a request.
    pub(crate) header_timeout: Duration,
}

/// What the handlers share.
#[derive(Clone)]
struct Context {
    view_json: Bytes,
    shared: Arc<Shared>,
    core: ToCoreSender,
}

/// Whose connection a request came on.
#[derive(Clone)]
struct Peer {
    address: SocketAddr,
    permit: Arc<Permit>,
}

/// Serves until `stop` changes.
pub(crate) async fn serve(
    listener: TcpListener,
    site: Site,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let admission = Arc::clone(&site.admission);
    let header_timeout = site.header_timeout;
    let router = router(site)?;
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to be closed.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(permit) = admission.admit(address.ip()) else {
            debug!(%address, "too many connections; closed");
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%address, %error, "cannot turn Nagle's algorithm off");
        }
        let peer = Peer { address, permit: Arc::new(permit) };
        connections.spawn(connection(stream, peer, router.clone(), header_timeout, stop.clone()));
    }
    // Answers that are under way are finished, within reason.
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN, finished).await.is_err() {
        debug!("HTTP connections are cut off");
    }
    Ok(())
}

async fn connection(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    header_timeout: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let address = peer.address;
    let router = router.layer(axum::Extension(peer));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = stop.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(%address, %error, "HTTP connection");
    }
}

fn router(site: Site) -> io::Result<Router> {
    let context = Context {
        view_json: serde_json::to_vec_pretty(&*site.view)?.into(),
        shared: site.shared,
        core: site.core,
    };
    let router = Router::new()
        .route("/ws", get(web_socket))
        .route("/view.json", get(view))
        .route("/healthz", get(health))
        .route("/status.json", get(status))
        .route("/metrics", get(metrics))
        .with_state(context);
    let router = match site.static_dir {
        Some(dir) => {
            let page = ServeFile::new(dir.join("index.html"));
            // A path that looks like a page's gets the page; a file that is missing is missing.
            let fallback = tower::service_fn(move |request: Request| {
                let page = page.clone();
                async move {
                    let last = request.uri().path().rsplit('/').next().unwrap_or_default();
                    if last.contains('.') {
                        return Ok(StatusCode::NOT_FOUND.into_response());
                    }
                    tower::ServiceExt::oneshot(page, request).await.map(IntoResponse::into_response)
                }
            });
            router.fallback_service(ServeDir::new(dir).fallback(fallback))
        }
        None => router.route("/", get(nothing_here)),
    };
    Ok(router
        .layer(header(CONTENT_SECURITY_POLICY, CONTENT_POLICY))
        .layer(header(X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(REFERRER_POLICY, "no-referrer"))
        // Always ask whether a file has changed: pages and replicas are updated together.
        .layer(header(CACHE_CONTROL, "no-cache")))
}

fn header(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

const JSON: (HeaderName, &str) = (CONTENT_TYPE, "application/json");
/// What a page of another origin may read: it votes on what replicas say, wherever it came from.
const ANYONE: (HeaderName, &str) = (ACCESS_CONTROL_ALLOW_ORIGIN, "*");

async fn view(State(context): State<Context>) -> impl IntoResponse {
    ([JSON, ANYONE], context.view_json)
}

async fn health(State(context): State<Context>) -> impl IntoResponse {
    if context.shared.is_running() && context.shared.status().is_some() {
        (StatusCode::OK, [ANYONE], "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, [ANYONE], "the replica is not running\n")
    }
}

async fn status(State(context): State<Context>) -> Response {
    match context.shared.status().map(|status| serde_json::to_vec_pretty(&status)) {
        Some(Ok(status)) => ([JSON, ANYONE], status).into_response(),
        Some(Err(_)) | None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn metrics(State(context): State<Context>) -> Response {
    match context.shared.status().map(|status| crate::metrics::encode(&status)) {
        Some(Ok(text)) => ([(CONTENT_TYPE, crate::metrics::CONTENT_TYPE)], text).into_response(),
        Some(Err(_)) | None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn nothing_here() -> &'static str {
    "This is a WebBFT replica. It serves no page: start it with --static DIR to make it serve one.\n\
     /view.json  /status.json  /healthz  /metrics\n"
}

/// Answers the WebSocket handshake (RFC 6455, 4.2) and hands the stream to the core.
///
/// The Origin header is not looked at: clients authenticate replicas and are authenticated by
/// the Noise handshake inside the WebSocket, no cookie or address grants anything here.
async fn web_socket(
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
                Ok(upgraded) => context.core.send(ToCore::Client(upgraded)),
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

fn hand_over(upgraded: hyper::upgrade::Upgraded, peer: Peer) -> io::Result<Upgraded> {
    let parts = upgraded
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| io::Error::other("not a TCP stream"))?;
    Ok(Upgraded {
        stream: parts.io.into_inner().into_std()?,
        address: peer.address,
        early: parts.read_buf,
        permit: peer.permit,
    })
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
