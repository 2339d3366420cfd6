//! A link that is a WebSocket: dialling, reading, buffered writing.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use webbft_protocol::wire::limits::MAX_CLIENT_FRAME;

use super::dial::{Io, Target};
use super::{Input, LinkError, MAX_QUEUED};

type WebSocket = WebSocketStream<Box<dyn Io>>;
type Dial = Pin<Box<dyn Future<Output = Result<WebSocket, LinkError>> + Send>>;

/// tungstenite clears its read buffer on every read: keep it small.
const READ_BUFFER: usize = 16 << 10;
/// Bodies up to this size are copied out of the read buffer, which they would keep alive.
const SMALL: usize = 4 << 10;
/// How long opening one may take where HTTP is the alternative. Less than the endpoint's own
/// `connect_timeout`.
const PATIENCE: Duration = Duration::from_secs(4);

/// A WebSocket.
pub(super) enum WebSocketLink {
    /// Being opened.
    Dialling(Dial),
    /// Open.
    Open(Open),
}

pub(super) struct Open {
    socket: WebSocket,
    /// What the socket did not take yet.
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Something was written since the last complete flush.
    unflushed: bool,
}

impl WebSocketLink {
    /// Begins to open one; `impatient`: gives up before the endpoint does.
    pub(super) fn dial(target: Target, impatient: bool) -> Self {
        Self::Dialling(Box::pin(async move {
            let opening = open(target);
            if !impatient {
                return opening.await;
            }
            tokio::time::timeout(PATIENCE, opening).await.unwrap_or(Err(LinkError::Slow))
        }))
    }

    /// The next thing that happened; after `Closed` it is of no more use.
    pub(super) fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        match self {
            Self::Dialling(dial) => Poll::Ready(match ready!(dial.as_mut().poll(cx)) {
                Ok(socket) => {
                    let (queue, queued, unflushed) = (VecDeque::new(), 0, false);
                    *self = Self::Open(Open { socket, queue, queued, unflushed });
                    Input::Opened
                }
                Err(error) => Input::Closed(Some(error)),
            }),
            Self::Open(open) => Poll::Ready(match ready!(open.poll_message(cx)) {
                Ok(bytes) => Input::Message(bytes),
                Err(error) => Input::Closed(error.map(LinkError::from)),
            }),
        }
    }

    /// Appends a message to what is to be written. One that is not open loses it.
    pub(super) fn send(&mut self, bytes: Bytes) {
        if let Self::Open(open) = self {
            open.queued += bytes.len();
            open.queue.push_back(bytes);
        }
    }

    /// Writes as much as the socket takes. `Ready` only with the reason why it cannot go on.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<LinkError> {
        let Self::Open(open) = self else { return Poll::Pending };
        match open.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(error.into()),
            _ if open.queued > MAX_QUEUED => Poll::Ready(LinkError::Overfull),
            _ => Poll::Pending,
        }
    }

    /// Writes what it can without waiting, with a close frame.
    pub(super) fn close(&mut self, cx: &mut Context<'_>) {
        if let Self::Open(open) = self
            && open.poll_flush(cx).is_ready()
        {
            let _ = Pin::new(&mut open.socket).poll_close(cx);
        }
    }
}

async fn open(target: Target) -> Result<WebSocket, LinkError> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(MAX_CLIENT_FRAME))
        .max_frame_size(Some(MAX_CLIENT_FRAME));
    let stream = target.connect().await?;
    let (socket, _) = client_async_with_config(target.url, stream, Some(config)).await?;
    Ok(socket)
}

impl Open {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Option<Error>>> {
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) if bytes.len() <= SMALL => {
                    Ok(Bytes::copy_from_slice(&bytes))
                }
                Some(Ok(Message::Binary(bytes))) => Ok(bytes),
                // tungstenite answers pings when it is flushed next.
                Some(Ok(Message::Ping(_))) => {
                    self.unflushed = true;
                    continue;
                }
                Some(Ok(Message::Pong(_) | Message::Frame(_))) => continue,
                // The endpoint wants an empty message for what is no message of the protocol.
                Some(Ok(Message::Text(_)) | Err(Error::Capacity(_))) => Ok(Bytes::new()),
                Some(Ok(Message::Close(_))) | None => Err(None),
                Some(Err(error)) => Err(Some(error)),
            });
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.queue.is_empty() {
            ready!(Pin::new(&mut self.socket).poll_ready(cx))?;
            if let Some(bytes) = self.queue.pop_front() {
                self.queued -= bytes.len();
                self.unflushed = true;
                Pin::new(&mut self.socket).start_send(Message::Binary(bytes))?;
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
