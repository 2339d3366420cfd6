//! One replica's socket: dialling, reading, buffered writing.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use webbft_protocol::wire::limits::MAX_CLIENT_FRAME;

type WebSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Dial = Pin<Box<dyn Future<Output = Result<WebSocket, Error>> + Send>>;

/// tungstenite clears its read buffer on every read: keep it small.
const READ_BUFFER: usize = 16 << 10;
/// Bytes that wait for a replica that does not read. Beyond it the link is closed; the endpoint
/// sends anew what matters when it is open again.
const MAX_QUEUED: usize = 16 << 20;
/// Bodies up to this size are copied out of the read buffer, which they would keep alive.
const SMALL: usize = 4 << 10;

/// The way to one replica.
#[derive(Default)]
pub(crate) enum Socket {
    /// Neither open nor being opened.
    #[default]
    Closed,
    /// Being opened.
    Dialling(Dial),
    /// Open.
    Open(Open),
}

pub(crate) struct Open {
    socket: WebSocket,
    /// What the socket did not take yet.
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Something was written since the last complete flush.
    unflushed: bool,
}

/// What happened on a socket.
pub(crate) enum Input {
    Opened,
    Message(Bytes),
    /// Closed by the other side, or by an error, which is named where there is one.
    Closed(Option<Error>),
}

impl Socket {
    /// Begins to open a socket.
    pub(crate) fn dial(url: String) -> Self {
        Self::Dialling(Box::pin(async move {
            let config = WebSocketConfig::default()
                .read_buffer_size(READ_BUFFER)
                .max_message_size(Some(MAX_CLIENT_FRAME))
                .max_frame_size(Some(MAX_CLIENT_FRAME));
            let no_delay = true;
            let (socket, _) = connect_async_with_config(url, Some(config), no_delay).await?;
            Ok(socket)
        }))
    }

    /// The next thing that happened; after `Closed` the socket is closed.
    pub(crate) fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        let closed = match self {
            Self::Closed => return Poll::Pending,
            Self::Dialling(dial) => match ready!(dial.as_mut().poll(cx)) {
                Ok(socket) => {
                    *self = Self::Open(Open {
                        socket,
                        queue: VecDeque::new(),
                        queued: 0,
                        unflushed: false,
                    });
                    return Poll::Ready(Input::Opened);
                }
                Err(error) => Some(error),
            },
            Self::Open(open) => match ready!(open.poll_message(cx)) {
                Ok(bytes) => return Poll::Ready(Input::Message(bytes)),
                Err(error) => error,
            },
        };
        *self = Self::Closed;
        Poll::Ready(Input::Closed(closed))
    }

    /// Appends a message to what is to be written. A socket that is not open loses it.
    pub(crate) fn send(&mut self, bytes: Bytes) {
        if let Self::Open(open) = self {
            open.queued += bytes.len();
            open.queue.push_back(bytes);
        }
    }

    /// Writes as much as the socket takes. `Ready` only with the reason why it is closed now.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Option<Error>> {
        let Self::Open(open) = self else { return Poll::Pending };
        let failed = match open.poll_flush(cx) {
            Poll::Ready(Err(error)) => Some(error),
            _ if open.queued > MAX_QUEUED => None,
            _ => return Poll::Pending,
        };
        *self = Self::Closed;
        Poll::Ready(failed)
    }

    /// Writes what it can without waiting, with a close frame, and lets go of the socket.
    pub(crate) fn close(&mut self, cx: &mut Context<'_>) {
        if let Self::Open(open) = self
            && open.poll_flush(cx).is_ready()
        {
            let _ = Pin::new(&mut open.socket).poll_close(cx);
        }
        *self = Self::Closed;
    }
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
