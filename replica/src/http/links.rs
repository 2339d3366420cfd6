//! Clients' links on HTTP: one response that goes on, and POSTs. docs/http-transport.md.
//!
//! The Origin header is not looked at, for the reasons given at the WebSocket handshake.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Path, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tracing::{debug, error};

use super::{Context, Peer, header};
use crate::core::{Newcomer, ToCore};
use crate::link::Link;
use crate::link::body::{Frames, MAX_BODY, MalformedBody};
use crate::link::pipe::{LinkName, NotTaken};

/// How long the body of a POST may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The paths of links.
pub(super) fn router(context: Context) -> Router {
    Router::new()
        .route("/http", any(link))
        .route("/http/{link}", any(post))
        .layer(header(ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        // Nothing on the way may keep, pack or rewrite the events.
        .layer(header(CACHE_CONTROL, "no-store, no-transform"))
        .with_state(context)
}

/// Opens a link, whose events are the response.
async fn link(
    State(context): State<Context>,
    axum::Extension(peer): axum::Extension<Peer>,
    method: Method,
) -> Result<Response, Refusal> {
    let headers = [
        (CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        // For nginx, which otherwise waits for more before it passes anything on.
        (HeaderName::from_static("x-accel-buffering"), "no"),
        // The connection is the link's, and ends with it.
        (CONNECTION, "close"),
    ];
    match method {
        Method::GET => {}
        Method::HEAD => return Ok((headers, Body::empty()).into_response()),
        Method::OPTIONS => return Ok(preflight("GET, HEAD, OPTIONS")),
        _ => return Err(Refusal::Method("GET, HEAD, OPTIONS")),
    }
    if !context.shared.is_running() {
        return Err(Refusal::NotRunning);
    }
    let opened = context.pipes.open(peer.cut);
    let (end, connected, body) = opened.map_err(|error| {
        error!(%error, "no randomness for the name of a link");
        Refusal::NotRunning
    })?;
    if peer.link.set(connected).is_err() {
        return Err(Refusal::OneLink);
    }
    let newcomer = Newcomer { link: Link::Http(end), address: peer.address, permit: peer.permit };
    context.core.send(ToCore::Client(newcomer));
    Ok((headers, Body::new(body)).into_response())
}

/// Takes frames for a link.
async fn post(
    State(context): State<Context>,
    axum::Extension(peer): axum::Extension<Peer>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    match *request.method() {
        Method::POST => {}
        Method::OPTIONS => return Ok(preflight("POST, OPTIONS")),
        _ => return Err(Refusal::Method("POST, OPTIONS")),
    }
    let name = LinkName::parse(&name).ok_or(Refusal::NotTaken(NotTaken::NoLink))?;
    // Before the body is read: a link holds one at a time.
    let post = context.pipes.post(name)?;
    let frames = Frames::parse(body(request.into_body()).await?)?;
    if let Err(fault) = post.deliver(frames).await {
        debug!(address = %peer.address, "a link ended during a POST");
        return Err(fault.into());
    }
    // So that a client does not send the next one on a connection that is being closed.
    let keep = format!("timeout={}", context.header_timeout.as_secs());
    let mut headers = HeaderMap::new();
    if let Ok(keep) = HeaderValue::try_from(keep) {
        headers.insert(KEEP_ALIVE, keep);
    }
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

/// The whole body, if it is not too long and comes in time.
async fn body(body: Body) -> Result<Bytes, Refusal> {
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(Refusal::TooLarge);
    }
    let arrived = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect());
    match arrived.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge),
        // The connection was lost, and nobody reads the answer.
        Ok(Err(_)) => Err(Refusal::Lost),
        Err(_) => Err(Refusal::TooSlow),
    }
}

/// For clients that ask first, though nothing here needs it.
fn preflight(methods: &'static str) -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, methods),
        (ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
        (ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Why a request is not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the method must be one of: {0}")]
    Method(&'static str),
    #[error("the replica is not running")]
    NotRunning,
    #[error("this connection carries a link already; open another connection")]
    OneLink,
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error(transparent)]
    Malformed(#[from] MalformedBody),
    #[error("the body is longer than {MAX_BODY} bytes")]
    TooLarge,
    #[error("the body did not arrive within {} seconds", BODY_TIMEOUT.as_secs())]
    TooSlow,
    #[error("the body was cut off")]
    Lost,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotRunning => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotTaken(NotTaken::NoLink) => StatusCode::NOT_FOUND,
            Self::NotTaken(NotTaken::Busy) | Self::OneLink => StatusCode::CONFLICT,
            Self::Malformed(MalformedBody::TooLong { .. }) | Self::TooLarge => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::Malformed(_) | Self::Lost => StatusCode::BAD_REQUEST,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        };
        let mut response = (status, format!("{self}\n")).into_response();
        if let Self::Method(methods) = self {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
        }
        response
    }
}
