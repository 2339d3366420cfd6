//! The port that pages and clients connect to: static files, status, and clients' links.
//!
//! This runs on a thread of its own. An upgraded stream goes to the core once, as it is; what HTTP
//! links carry goes through their pipes.

mod links;
mod upgrade;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tower_http::services::{ServeDir, ServeFile};
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::{debug, warn};
use webbft_protocol::membership::View;

use crate::admission::{Admission, Permit};
use crate::core::ToCoreSender;
use crate::link::pipe::{Connected, Pipes};
use crate::status::Shared;

/// How long a shutdown waits for answers that are under way.
const SHUTDOWN: Duration = Duration::from_secs(2);
/// Pages may run their own scripts and Wasm and talk to any replica, and nothing else.
const CONTENT_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; \
    worker-src 'self' blob:; connect-src 'self' ws: wss: http: https:; \
    style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
    object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

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
    pipes: Pipes,
    header_timeout: Duration,
}

/// Whose connection a request came on.
#[derive(Clone)]
struct Peer {
    address: SocketAddr,
    permit: Arc<Permit>,
    /// Ends the connection.
    cut: Arc<Notify>,
    /// The link whose response this connection carries; it ends with the connection.
    link: Arc<OnceLock<Connected>>,
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
        let peer =
            Peer { address, permit: Arc::new(permit), cut: Arc::default(), link: Arc::default() };
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
    let cut = Arc::clone(&peer.cut);
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
        () = cut.notified() => return,
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
        pipes: Pipes::new(site.core.clone()),
        core: site.core,
        header_timeout: site.header_timeout,
    };
    let links = links::router(context.clone());
    let router = Router::new()
        .route("/ws", get(upgrade::web_socket))
        .route("/view.json", get(view))
        .route("/healthz", get(health))
        .route("/status.json", get(status))
        .route("/metrics", get(metrics))
        .with_state(context)
        .merge(links);
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
