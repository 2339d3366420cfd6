//! A client's link as the core sees it: whole messages in and out, over a WebSocket or over HTTP.
//!
//! What a link means (sessions, bounds, the idle policy, who is cut off) is in `core/clients.rs`,
//! once for both.

pub(crate) mod body;
mod events;
pub(crate) mod pipe;
mod websocket;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use mio::{Registry, Token};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::transport::{ReadOutcome, Transport};
use pipe::CoreEnd;
use websocket::Framing;
pub(crate) use websocket::FramingError;

/// A WebSocket that was silent for this long is pinged.
const PING_AFTER: Duration = Duration::from_secs(30);
/// How often an HTTP link gets a comment, since proxies end silent responses. With the time until
/// it is looked at, the 15 seconds of the format are kept.
const KEEP_ALIVE: Duration = Duration::from_secs(13);

/// Why the replica ends a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goodbye {
    /// The client broke a rule.
    Policy,
    /// The replica shuts down.
    Away,
}

impl Goodbye {
    /// What a person who looks at the bytes is told.
    const fn reason(self) -> &'static str {
        match self {
            // No help for whoever probes.
            Self::Policy => "",
            Self::Away => "the replica is shutting down",
        }
    }
}

/// One client's link.
#[derive(Debug)]
pub(crate) enum Link {
    /// A socket whose WebSocket upgrade is done.
    WebSocket { transport: Transport, framing: Framing },
    /// One response and many requests, which the HTTP thread serves.
    Http(CoreEnd),
}

impl Link {
    /// A WebSocket on `stream`, after which `early` bytes have arrived already.
    pub(crate) fn web_socket(stream: std::net::TcpStream, early: &[u8]) -> Self {
        let transport = Transport::plain(mio::net::TcpStream::from_std(stream));
        let mut framing = Framing::new();
        framing.inbox().extend_from_slice(early);
        Self::WebSocket { transport, framing }
    }

    pub(crate) const fn is_http(&self) -> bool {
        matches!(self, Self::Http(_))
    }

    /// Makes readiness of the link known under `token`: by the poll, or by
    /// [`ToCore::LinkReady`](crate::core::ToCore).
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::WebSocket { transport, .. } => transport.register(registry, token),
            Self::Http(end) => {
                end.register(token.0);
                Ok(())
            }
        }
    }

    /// The core looks at an HTTP link, as it was told.
    pub(crate) fn acknowledge(&self) {
        if let Self::Http(end) = self {
            end.acknowledge();
        }
    }

    /// Lets go of the connection, whatever is still to be sent.
    pub(crate) fn cut(&mut self, registry: &Registry) {
        match self {
            Self::WebSocket { transport, .. } => transport.deregister(registry),
            Self::Http(end) => end.cut(),
        }
    }

    /// Reads once what has arrived, a fair share of it; [`next`](Self::next) gives the messages.
    pub(crate) fn read(&mut self, scratch: &mut [u8]) -> io::Result<ReadOutcome> {
        match self {
            Self::WebSocket { transport, framing } => transport.read(scratch, framing.inbox()),
            Self::Http(end) => Ok(end.read(scratch.len())),
        }
    }

    /// The next message, `None` where none is complete or this turn's share is used up.
    ///
    /// # Errors
    /// Where what arrived is no message.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, FramingError> {
        match self {
            Self::WebSocket { framing, .. } => framing.next(),
            Self::Http(end) => Ok(end.next()),
        }
    }

    /// Throws away what was read.
    pub(crate) fn discard(&mut self) {
        match self {
            Self::WebSocket { framing, .. } => framing.inbox().clear(),
            Self::Http(end) => end.discard(),
        }
    }

    /// Appends a message to what is to be written.
    pub(crate) fn send(&mut self, message: Vec<u8>) {
        match self {
            Self::WebSocket { framing, .. } => framing.send(message),
            Self::Http(end) => end.send(&message),
        }
    }

    /// Appends a sign of life. A WebSocket client answers it; one on HTTP cannot, and does by the
    /// protocol's own pings.
    pub(crate) fn ping(&mut self) {
        match self {
            Self::WebSocket { framing, .. } => framing.ping(),
            Self::Http(end) => end.comment("keep-alive"),
        }
    }

    /// Is it time for [`ping`](Self::ping)? It was `heard` and last `pinged` that long ago.
    pub(crate) fn wants_ping(&self, heard: Duration, pinged: Duration) -> bool {
        match self {
            Self::WebSocket { .. } => heard.min(pinged) >= PING_AFTER,
            Self::Http(_) => pinged >= KEEP_ALIVE,
        }
    }

    /// Appends the goodbye; nothing can be sent after it.
    pub(crate) fn close(&mut self, goodbye: Goodbye) {
        match self {
            Self::WebSocket { framing, .. } => {
                let code = match goodbye {
                    Goodbye::Policy => CloseCode::Policy,
                    Goodbye::Away => CloseCode::Away,
                };
                framing.close(CloseFrame { code, reason: goodbye.reason().into() });
            }
            Self::Http(end) => end.close(goodbye.reason()),
        }
    }

    /// Bytes that wait to be written.
    pub(crate) fn out_len(&self) -> usize {
        match self {
            Self::WebSocket { framing, .. } => framing.out_len(),
            Self::Http(end) => end.out_len(),
        }
    }

    /// Writes what the other side takes. True where nothing is left.
    pub(crate) fn write(&mut self) -> io::Result<bool> {
        match self {
            Self::WebSocket { transport, framing } => transport.write(framing.out()),
            Self::Http(end) => Ok(end.write()),
        }
    }

    /// After the last byte: tells the other end that nothing follows.
    pub(crate) fn finish(&mut self) {
        match self {
            Self::WebSocket { transport, .. } => transport.finish(),
            Self::Http(end) => end.finish(),
        }
    }
}
