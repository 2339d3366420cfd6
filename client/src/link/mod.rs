//! The way to one replica: a reliable, ordered stream of binary messages, over a WebSocket or HTTP.

mod choice;
mod dial;
mod http;
mod sse;
mod websocket;

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::config::Transport;
use choice::Choice;
pub use choice::LinkTransport;
pub(crate) use dial::Target;
use http::HttpLink;
use websocket::WebSocketLink;

/// Bytes that wait for a replica that does not read. Beyond it the link is closed; the endpoint
/// sends anew what matters when it is open again.
const MAX_QUEUED: usize = 16 << 20;

/// Why a link ended, for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error(transparent)]
    WebSocket(#[from] tokio_tungstenite::tungstenite::Error),
    #[error("the WebSocket has not opened in time")]
    Slow,
    #[error(transparent)]
    Connection(#[from] io::Error),
    #[error(transparent)]
    Hyper(#[from] hyper::Error),
    #[error(transparent)]
    Request(#[from] hyper::http::Error),
    #[error("{0}")]
    Http(String),
    #[error("more than {MAX_QUEUED} bytes wait to be sent")]
    Overfull,
}

/// What happened on a link.
pub(crate) enum Input {
    Opened,
    Message(Bytes),
    /// Closed by the other side, or by an error, which is named where there is one.
    Closed(Option<LinkError>),
}

/// The way to one replica, open or not.
pub(crate) struct Link {
    target: Target,
    choice: Choice,
    state: State,
    /// The present link has been open.
    opened: bool,
}

enum State {
    Closed,
    WebSocket(WebSocketLink),
    Http(HttpLink),
}

impl Link {
    pub(crate) const fn new(target: Target, transport: Transport) -> Self {
        Self { target, choice: Choice::new(transport), state: State::Closed, opened: false }
    }

    /// Where it leads.
    pub(crate) fn url(&self) -> &str {
        &self.target.url
    }

    /// What carries it, where it is open.
    pub(crate) const fn transport(&self) -> Option<LinkTransport> {
        match self.state {
            State::WebSocket(_) if self.opened => Some(LinkTransport::WebSocket),
            State::Http(_) if self.opened => Some(LinkTransport::Http),
            _ => None,
        }
    }

    /// Begins to open it.
    pub(crate) fn dial(&mut self) {
        self.opened = false;
        let target = self.target.clone();
        self.state = match self.choice.next() {
            LinkTransport::WebSocket => {
                State::WebSocket(WebSocketLink::dial(target, self.choice.impatient()))
            }
            LinkTransport::Http => State::Http(HttpLink::dial(target)),
        };
    }

    /// The next attempt prefers what `transport` says first, whatever failed before.
    pub(crate) const fn forget_failures(&mut self) {
        self.choice.reset();
    }

    /// The next thing that happened; after `Closed` it is closed.
    pub(crate) fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        let polled = match &mut self.state {
            State::Closed => return Poll::Pending,
            State::WebSocket(link) => link.poll_input(cx),
            State::Http(link) => link.poll_input(cx),
        };
        match &polled {
            Poll::Ready(Input::Opened) => {
                self.opened = true;
                if let Some(transport) = self.transport() {
                    self.choice.opened(transport);
                }
            }
            Poll::Ready(Input::Closed(error)) => self.end(matches!(error, Some(LinkError::Slow))),
            _ => {}
        }
        polled
    }

    /// Appends a message to what is to be written. A link that is not open loses it.
    pub(crate) fn send(&mut self, bytes: Bytes) {
        match &mut self.state {
            State::WebSocket(link) => link.send(bytes),
            State::Http(link) if self.opened => link.send(bytes),
            _ => {}
        }
    }

    /// Writes as much as the other side takes. `Ready` only with the reason why it is closed now.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<LinkError> {
        let polled = match &mut self.state {
            State::WebSocket(link) => link.poll_flush(cx),
            State::Http(link) if link.is_overfull() => Poll::Ready(LinkError::Overfull),
            _ => Poll::Pending,
        };
        if polled.is_ready() {
            self.end(false);
        }
        polled
    }

    /// Writes what it can without waiting, and lets go.
    pub(crate) fn close(&mut self, cx: &mut Context<'_>) {
        if let State::WebSocket(link) = &mut self.state {
            link.close(cx);
        }
        // An attempt that the endpoint gives up was too slow.
        self.end(true);
    }

    fn end(&mut self, slow: bool) {
        let transport = match self.state {
            State::Closed => return,
            State::WebSocket(_) => LinkTransport::WebSocket,
            State::Http(_) => LinkTransport::Http,
        };
        if !self.opened {
            self.choice.failed(transport, slow);
        }
        self.state = State::Closed;
        self.opened = false;
    }
}
