//! A link over HTTP: frames come as server-sent events of one long response, and go by POST, one at
//! a time, each of which may carry many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use data_encoding::BASE64;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use webbft_protocol::wire::limits::MAX_CLIENT_FRAME;

use super::dial::Target;
use super::sse::{Parser, ServerEvent};
use super::{Input, LinkError, MAX_QUEUED};

/// Messages that wait for the driver; beyond it the replica waits.
const BUFFER: usize = 64;
/// The body of one POST grows up to this, except for one frame that is larger.
const POST_BYTES: usize = 1 << 20;
/// A line is `data: ` and a frame in Base64.
const MAX_LINE: usize = MAX_CLIENT_FRAME.div_ceil(3) * 4 + 64;
/// How much of an error's explanation is read.
const MAX_EXPLANATION: usize = 1024;

/// A link, being opened or open.
pub(super) struct HttpLink {
    input: mpsc::Receiver<Input>,
    frames: mpsc::UnboundedSender<Bytes>,
    queued: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl HttpLink {
    /// Begins to open a link, in a task of its own.
    pub(super) fn dial(target: Target) -> Self {
        let (sender, input) = mpsc::channel(BUFFER);
        let (frames, receiver) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let outgoing = Outgoing { frames: receiver, queued: Arc::clone(&queued), left: None };
        let task = tokio::spawn(async move {
            let ended = carry(&target, &sender, outgoing).await;
            // Nobody waits for it where the driver has closed the link.
            let _ = sender.send(Input::Closed(ended.err())).await;
        });
        Self { input, frames, queued, task: task.abort_handle() }
    }

    pub(super) fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        Poll::Ready(ready!(self.input.poll_recv(cx)).unwrap_or(Input::Closed(None)))
    }

    pub(super) fn send(&self, bytes: Bytes) {
        self.queued.fetch_add(bytes.len(), Ordering::Relaxed);
        // The task ended: its last input says so.
        let _ = self.frames.send(bytes);
    }

    pub(super) fn is_overfull(&self) -> bool {
        self.queued.load(Ordering::Relaxed) > MAX_QUEUED
    }
}

impl Drop for HttpLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries frames both ways until the link ends.
async fn carry(
    target: &Target,
    input: &mpsc::Sender<Input>,
    outgoing: Outgoing,
) -> Result<(), LinkError> {
    let mut connections = JoinSet::new();
    let mut down = connect(target, &mut connections).await?;
    let request = request(target, Method::GET, &target.http_path)
        .header(ACCEPT, HeaderValue::from_static("text/event-stream"))
        .body(Full::default())?;
    let response = expect(StatusCode::OK, down.send_request(request).await?).await?;
    let content = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content.is_some_and(|content| content.starts_with("text/event-stream")) {
        let content = content.unwrap_or("nothing").to_owned();
        return Err(LinkError::Http(format!("answers with {content}, not with events")));
    }
    let mut events = Events { body: response.into_body(), parser: Parser::new(MAX_LINE) };
    let link = match events.next().await? {
        Some(ServerEvent { name, data }) if name == "link" => data,
        _ => return Err(LinkError::Http("the events do not begin with the link's name".into())),
    };
    if link.len() != 32 || !link.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(LinkError::Http("the link's name is not 32 hexadecimal digits".into()));
    }
    let path = format!("{}/{link}", target.http_path);
    if input.send(Input::Opened).await.is_err() {
        return Ok(());
    }
    tokio::select! {
        ended = take_in(events, input) => ended,
        failed = send_out(target, &path, outgoing) => failed,
    }
}

async fn take_in(mut events: Events, input: &mpsc::Sender<Input>) -> Result<(), LinkError> {
    while let Some(event) = events.next().await? {
        let Some(frame) = frame(&event) else { continue };
        if input.send(Input::Message(frame)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// The frame in an event; an empty one, which the endpoint takes for no message of the protocol,
/// where its data is not Base64. Kinds that are not known are passed over, as everywhere in
/// server-sent events.
fn frame(ServerEvent { name, data }: &ServerEvent) -> Option<Bytes> {
    name.is_empty().then(|| BASE64.decode(data.as_bytes()).map(Bytes::from).unwrap_or_default())
}

async fn send_out(target: &Target, path: &str, mut outgoing: Outgoing) -> Result<(), LinkError> {
    let mut connections = JoinSet::new();
    let mut connection: Option<(SendRequest<Full<Bytes>>, Option<Instant>)> = None;
    while let Some(body) = outgoing.next().await {
        // A replica lets go of a connection that was idle for as long as it has said.
        let idle = match connection.take() {
            Some((_, Some(until))) if Instant::now() >= until => None,
            Some((mut idle, _)) => idle.ready().await.ok().map(|()| idle),
            None => None,
        };
        let mut open = match idle {
            Some(open) => open,
            None => connect(target, &mut connections).await?,
        };
        let request = request(target, Method::POST, path).body(Full::new(body))?;
        let response = expect(StatusCode::NO_CONTENT, open.send_request(request).await?).await?;
        let idle = kept_alive(&response);
        connection = Some((open, idle.and_then(|idle| Instant::now().checked_add(idle))));
        // Those that have ended.
        while connections.try_join_next().is_some() {}
    }
    Ok(())
}

/// How long a connection may be idle and still be used: a second less than the replica says, for the
/// way of a request.
fn kept_alive<T>(response: &Response<T>) -> Option<Duration> {
    let header = response.headers().get("keep-alive")?.to_str().ok()?;
    let seconds = header.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    Some(Duration::from_secs(seconds.parse::<u64>().ok()?.saturating_sub(1)))
}

async fn connect(
    target: &Target,
    connections: &mut JoinSet<()>,
) -> Result<SendRequest<Full<Bytes>>, LinkError> {
    let (sender, connection) = handshake(TokioIo::new(target.connect().await?)).await?;
    // What ends a connection is told to whoever waits for an answer on it.
    connections.spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn request(target: &Target, method: Method, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(path).header(HOST, target.authority.as_str())
}

/// An answer with this status, or what the replica says instead.
async fn expect(
    status: StatusCode,
    response: Response<Incoming>,
) -> Result<Response<Incoming>, LinkError> {
    if response.status() == status {
        return Ok(response);
    }
    let answered = response.status();
    let explanation = Limited::new(response.into_body(), MAX_EXPLANATION).collect().await;
    let explanation = explanation.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let explanation = String::from_utf8_lossy(&explanation);
    Err(LinkError::Http(format!("answers {answered}: {}", explanation.trim())))
}

/// The events of the long response.
struct Events {
    body: Incoming,
    parser: Parser,
}

impl Events {
    async fn next(&mut self) -> Result<Option<ServerEvent>, LinkError> {
        loop {
            let event = self.parser.next().map_err(|error| LinkError::Http(error.to_string()))?;
            if event.is_some() {
                return Ok(event);
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.parser.feed(&data);
                    }
                }
            }
        }
    }
}

/// What waits to be sent.
struct Outgoing {
    frames: mpsc::UnboundedReceiver<Bytes>,
    queued: Arc<AtomicUsize>,
    /// Did not fit into the last body.
    left: Option<Bytes>,
}

impl Outgoing {
    /// A body with all that is ready, each frame preceded by its length; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let first = match self.left.take() {
            Some(frame) => frame,
            None => self.frames.recv().await?,
        };
        let mut body = BytesMut::new();
        let mut next = Some(first);
        while let Some(frame) = next {
            if !body.is_empty() && body.len() + 4 + frame.len() > POST_BYTES {
                self.left = Some(frame);
                break;
            }
            self.queued.fetch_sub(frame.len(), Ordering::Relaxed);
            body.put_u32(u32::try_from(frame.len()).unwrap_or(u32::MAX));
            body.put_slice(&frame);
            next = self.frames.try_recv().ok();
        }
        Some(body.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_used_no_longer_than_it_is_kept() {
        let response =
            |keep: &str| Response::builder().header("keep-alive", keep).body(()).unwrap();
        assert_eq!(kept_alive(&response("timeout=10")), Some(Duration::from_secs(9)));
        assert_eq!(kept_alive(&response("max=5, timeout=0")), Some(Duration::ZERO));
        assert_eq!(kept_alive(&response("timeout=soon")), None);
        assert_eq!(kept_alive(&Response::new(())), None);
    }

    #[test]
    fn frames_are_the_events_without_a_kind() {
        let event =
            |name: &str, data: &str| frame(&ServerEvent { name: name.into(), data: data.into() });
        assert_eq!(event("", "AP8=").unwrap(), [0, 255][..]);
        assert_eq!(event("", "AP8").unwrap(), [][..]);
        assert_eq!(event("later", "AP8="), None);
        assert_eq!(event("link", "00ff"), None);
    }

    #[tokio::test]
    async fn a_post_carries_what_is_ready_and_fits() {
        let (sender, frames) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let mut outgoing = Outgoing { frames, queued: Arc::clone(&queued), left: None };
        for frame in ["ab", "c"].map(|text| Bytes::from_static(text.as_bytes())) {
            queued.fetch_add(frame.len(), Ordering::Relaxed);
            sender.send(frame).unwrap();
        }
        assert_eq!(outgoing.next().await.unwrap(), b"\0\0\0\x02ab\0\0\0\x01c"[..]);
        assert_eq!(queued.load(Ordering::Relaxed), 0);
        let large = Bytes::from(vec![7; POST_BYTES]);
        for frame in [Bytes::from_static(b"d"), large] {
            queued.fetch_add(frame.len(), Ordering::Relaxed);
            sender.send(frame).unwrap();
        }
        drop(sender);
        assert_eq!(outgoing.next().await.unwrap(), b"\0\0\0\x01d"[..]);
        let body = outgoing.next().await.unwrap();
        assert_eq!((&body[..5], body.len()), (&[0, 0x10, 0, 0, 7][..], POST_BYTES + 4));
        assert_eq!(outgoing.next().await, None);
        assert_eq!(queued.load(Ordering::Relaxed), 0);
    }
}
