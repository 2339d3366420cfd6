//! A call: a future with options.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use webbft_protocol::client::{Evidence, InvokeError};

use crate::Client;
use crate::config::{CallOptions, Offline};
use crate::driver::{CallReply, Command, Kind};
use crate::error::CallError;

/// Names a call, or a subscription, of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub(crate) u64);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The agreed result of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<T = Bytes> {
    /// What the service returned.
    pub result: T,
    /// Which replicas said so, which said something else or nothing yet, and where in the total
    /// order it was.
    pub evidence: Evidence,
}

/// A call to be awaited. It begins when it is first polled.
///
/// Dropping it before it is done stops the waiting, not an execution that may be under way.
#[must_use = "a call begins when it is awaited"]
pub struct Call<T = Bytes, E = CallError> {
    client: Client,
    id: CallId,
    state: State<E>,
    decode: fn(Reply) -> Result<Reply<T>, E>,
}

enum State<E> {
    Ready {
        kind: Kind,
        options: CallOptions,
    },
    Waiting(oneshot::Receiver<Result<Reply, CallError>>),
    #[cfg_attr(not(feature = "json"), expect(dead_code, reason = "bytes need no encoding"))]
    Failed(E),
    Done,
}

impl Call {
    pub(crate) fn new(client: &Client, kind: Kind) -> Self {
        let state = State::Ready { kind, options: CallOptions::default() };
        Self { client: client.clone(), id: client.next_call(), state, decode: Ok }
    }
}

impl<T, E> Call<T, E> {
    /// A call whose result is read by `decode`, or that fails because there is no payload.
    #[cfg(feature = "json")]
    pub(crate) fn decoded(
        client: &Client,
        kind: Result<Kind, E>,
        decode: fn(Reply) -> Result<Reply<T>, E>,
    ) -> Self {
        let state = match kind {
            Ok(kind) => State::Ready { kind, options: CallOptions::default() },
            Err(error) => State::Failed(error),
        };
        Self { client: client.clone(), id: client.next_call(), state, decode }
    }

    /// Names the call in [`ClientEvent`](crate::ClientEvent)s.
    pub const fn id(&self) -> CallId {
        self.id
    }

    /// How long it may take, instead of `options.call_timeout`.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        if let State::Ready { options, .. } = &mut self.state {
            options.timeout = Some(timeout);
        }
        self
    }

    /// What it does while there is no quorum, instead of waiting for one.
    pub const fn offline(mut self, offline: Offline) -> Self {
        if let State::Ready { options, .. } = &mut self.state {
            options.offline = offline;
        }
        self
    }
}

impl<T, E: From<CallError> + Unpin> Future for Call<T, E> {
    type Output = Result<Reply<T>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Ready { kind, options } => {
                    let (reply, receiver): (CallReply, _) = oneshot::channel();
                    let command = Command::Call { call: self.id, kind, options, reply };
                    if !self.client.send(command) {
                        return Poll::Ready(Err(closed().into()));
                    }
                    self.state = State::Waiting(receiver);
                }
                State::Waiting(mut receiver) => {
                    let polled = Pin::new(&mut receiver).poll(cx);
                    if polled.is_pending() {
                        self.state = State::Waiting(receiver);
                    }
                    let reply = ready!(polled).unwrap_or(Err(CallError::Lost));
                    return Poll::Ready(reply.map_err(E::from).and_then(self.decode));
                }
                State::Failed(error) => return Poll::Ready(Err(error)),
                State::Done => panic!("a call was polled after it was done"),
            }
        }
    }
}

impl<T, E> Drop for Call<T, E> {
    fn drop(&mut self) {
        if let State::Waiting(_) = self.state {
            self.client.send(Command::Cancel { call: self.id });
        }
    }
}

impl<T, E> fmt::Debug for Call<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The error of calls that a closed client does not take.
pub(crate) const fn closed() -> CallError {
    CallError::Invalid(InvokeError::Closed)
}
