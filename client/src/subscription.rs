//! A subscription as the application sees it.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::oneshot;
use webbft_protocol::client::{Evidence, InvokeError};
use webbft_protocol::wire::limits::MAX_ANNOUNCEMENT;

use crate::Client;
use crate::call::CallId;
use crate::config::{Overflow, SubscribeOptions};
use crate::driver::Command;
use crate::error::{CallError, SubscriptionError};

/// What a subscription delivers, in the order of the topic's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionEvent<T = Bytes> {
    /// An event that f + 1 replicas agree on.
    Event {
        /// Its number in the topic.
        number: u64,
        /// What was published.
        payload: T,
        /// Which replicas said so.
        evidence: Evidence,
    },
    /// Events are lost: the client was away for longer than the replicas keep them, or the
    /// application did not take them in time and wants the newest
    /// ([`Overflow::DropOldest`]). Read the state anew.
    Gap {
        /// The first event lost.
        missed_from: u64,
        /// The next event to come.
        next: u64,
    },
}

impl<T> SubscriptionEvent<T> {
    /// The first event it is about, and the one after it.
    const fn range(&self) -> (u64, u64) {
        match self {
            Self::Event { number, .. } => (*number, number.saturating_add(1)),
            Self::Gap { missed_from, next } => (*missed_from, *next),
        }
    }
}

type Decode<T> = fn(Bytes) -> Result<T, String>;

/// A subscription to one topic; dropping it unsubscribes.
///
/// It is a handle: the client lives as long as it does. Subscriptions of a client to the same topic
/// share one at the replicas. Links that are lost, replicas that restart and sessions that expire
/// do not end it: events come without holes, or with a [`SubscriptionEvent::Gap`] in place of what
/// the replicas no longer have.
///
/// Also a [`Stream`]; an error is its last item.
pub struct Subscription<T = Bytes> {
    handle: Handle,
    first: u64,
    events: Receiver,
    decode: Decode<T>,
}

/// Unsubscribes when it is dropped.
struct Handle {
    client: Client,
    call: CallId,
    active: bool,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.active {
            self.client.send(Command::Unsubscribe { call: self.call, reply: None });
        }
    }
}

impl Subscription {
    pub(crate) fn new(client: Client, call: CallId, (first, events): Feed) -> Self {
        Self { handle: Handle { client, call, active: true }, first, events, decode: Ok }
    }

    /// The same, its events read by `decode`.
    #[cfg(feature = "json")]
    pub(crate) fn decoded<T>(self, decode: Decode<T>) -> Subscription<T> {
        let Self { handle, first, events, .. } = self;
        Subscription { handle, first, events, decode }
    }
}

impl<T> Subscription<T> {
    /// Names the subscription in [`ClientEvent`](crate::ClientEvent)s.
    #[must_use]
    pub const fn id(&self) -> CallId {
        self.handle.call
    }

    /// The number of the first event this subscription delivers.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// The next event; `None` once the client is closed.
    ///
    /// # Errors
    /// Why the subscription has ended, once.
    pub async fn next(&mut self) -> Result<Option<SubscriptionEvent<T>>, SubscriptionError> {
        poll_fn(|cx| self.poll_event(cx)).await.transpose()
    }

    /// Tells the topic's other subscribers something in passing, such as where a cursor is: they get
    /// it as [`ClientEvent::Announcement`](crate::ClientEvent::Announcement). It is neither ordered nor
    /// kept; it is lost where links fail, or where this client announces more than fifty a second.
    ///
    /// # Errors
    /// Where the payload has more than [`MAX_ANNOUNCEMENT`] bytes.
    pub fn announce(&self, payload: impl Into<Bytes>) -> Result<(), InvokeError> {
        let payload = payload.into();
        if payload.len() > MAX_ANNOUNCEMENT {
            return Err(InvokeError::AnnouncementTooLarge(payload.len()));
        }
        self.handle.client.send(Command::Announce { call: self.id(), payload });
        Ok(())
    }

    /// Ends the subscription and, if it is the topic's last, waits until the replicas agree that it
    /// has.
    ///
    /// # Errors
    /// Where they do not in time; no event is delivered any more all the same.
    pub async fn unsubscribe(mut self) -> Result<(), CallError> {
        self.handle.active = false;
        let (reply, done) = oneshot::channel();
        // A closed client has no subscriptions.
        if self.handle.client.send(Command::Unsubscribe { call: self.id(), reply: Some(reply) }) {
            return done.await.unwrap_or(Err(CallError::Lost));
        }
        Ok(())
    }

    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<SubscriptionEvent<T>, SubscriptionError>>> {
        self.events.poll_next(cx).map(|next| {
            let decoded = match next? {
                Ok(SubscriptionEvent::Gap { missed_from, next }) => {
                    Ok(SubscriptionEvent::Gap { missed_from, next })
                }
                Ok(SubscriptionEvent::Event { number, payload, evidence }) => {
                    match (self.decode)(payload) {
                        Ok(payload) => Ok(SubscriptionEvent::Event { number, payload, evidence }),
                        Err(reason) => {
                            // It is over; what else there is would only seem to be all there is.
                            self.events.end();
                            Err(SubscriptionError::Decode { number, reason, evidence })
                        }
                    }
                }
                Err(error) => Err(error),
            };
            Some(decoded)
        })
    }
}

impl<T> Stream for Subscription<T> {
    type Item = Result<SubscriptionEvent<T>, SubscriptionError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(cx)
    }
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// What the driver hands over when a subscription is in force: the first number, and the events.
pub(crate) type Feed = (u64, Receiver);

/// Events on their way from the driver to a handle.
#[derive(Debug)]
struct Queue {
    events: VecDeque<SubscriptionEvent>,
    /// Over once `events` is empty, and why.
    ended: Option<Option<SubscriptionError>>,
    waker: Option<Waker>,
}

type Shared = Arc<Mutex<Queue>>;

/// A panic elsewhere does not leave a queue half changed.
fn lock(queue: &Shared) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The driver's end.
#[derive(Debug)]
pub(crate) struct Sender {
    queue: Shared,
    options: SubscribeOptions,
}

/// The handle's end.
#[derive(Debug)]
pub(crate) struct Receiver {
    queue: Shared,
}

pub(crate) fn feed(mut options: SubscribeOptions) -> (Sender, Receiver) {
    // Where the oldest are dropped there must be room for the gap that says so.
    options.buffer = options.buffer.max(2);
    let queue = Queue { events: VecDeque::new(), ended: None, waker: None };
    let queue = Arc::new(Mutex::new(queue));
    (Sender { queue: Arc::clone(&queue), options }, Receiver { queue })
}

impl Sender {
    /// False where the subscriber is cut off, which it is told.
    pub(crate) fn push(&self, event: SubscriptionEvent) -> bool {
        let mut queue = lock(&self.queue);
        if queue.events.len() >= self.options.buffer {
            match self.options.overflow {
                Overflow::End => {
                    drop(queue);
                    self.end(Some(SubscriptionError::Lagged(self.options.buffer)));
                    return false;
                }
                Overflow::DropOldest => {
                    let two = (queue.events.pop_front(), queue.events.pop_front());
                    if let (Some(first), Some(second)) = two {
                        let (missed_from, next) = (first.range().0, second.range().1);
                        queue.events.push_front(SubscriptionEvent::Gap { missed_from, next });
                    }
                }
            }
        }
        queue.events.push_back(event);
        wake(queue);
        true
    }

    /// It is over, after what is waiting.
    pub(crate) fn end(&self, error: Option<SubscriptionError>) {
        let mut queue = lock(&self.queue);
        queue.ended.get_or_insert(error);
        wake(queue);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// Wakes the handle's task, without holding the lock.
fn wake(mut queue: MutexGuard<'_, Queue>) {
    let waker = queue.waker.take();
    drop(queue);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Receiver {
    fn poll_next(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<SubscriptionEvent, SubscriptionError>>> {
        let mut queue = lock(&self.queue);
        if let Some(event) = queue.events.pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        if let Some(error) = &mut queue.ended {
            return Poll::Ready(error.take().map(Err));
        }
        queue.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn end(&self) {
        let mut queue = lock(&self.queue);
        queue.events.clear();
        queue.ended = Some(None);
    }
}

#[cfg(test)]
mod tests {
    use webbft_protocol::membership::{ReplicaSet, ViewNumber};

    use super::*;

    fn event(number: u64) -> SubscriptionEvent {
        let evidence = Evidence {
            view: ViewNumber(0),
            needed: 2,
            matching: ReplicaSet::EMPTY,
            differing: ReplicaSet::EMPTY,
            silent: ReplicaSet::EMPTY,
            cid: None,
        };
        SubscriptionEvent::Event { number, payload: Bytes::new(), evidence }
    }

    fn taken(receiver: &Receiver) -> Vec<SubscriptionEvent> {
        let mut events = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(next)) = receiver.poll_next(&mut cx) {
            events.push(next.unwrap());
        }
        events
    }

    #[test]
    fn dropped_events_leave_a_gap() {
        let options = SubscribeOptions { buffer: 3, overflow: Overflow::DropOldest };
        let (sender, receiver) = feed(options);
        for number in 1..=3 {
            assert!(sender.push(event(number)));
        }
        assert_eq!(taken(&receiver), [event(1), event(2), event(3)]);
        for number in 4..=9 {
            assert!(sender.push(event(number)));
        }
        let gap = SubscriptionEvent::Gap { missed_from: 4, next: 8 };
        assert_eq!(taken(&receiver), [gap, event(8), event(9)]);
    }

    #[test]
    fn an_end_comes_after_what_was_waiting() {
        let (sender, receiver) = feed(SubscribeOptions { buffer: 2, overflow: Overflow::End });
        assert!(sender.push(event(1)));
        assert!(sender.push(event(2)));
        assert!(!sender.push(event(3)));
        drop(sender);
        let mut cx = Context::from_waker(Waker::noop());
        for number in 1..=2 {
            let Poll::Ready(Some(Ok(next))) = receiver.poll_next(&mut cx) else { panic!() };
            assert_eq!(next, event(number));
        }
        let ended = receiver.poll_next(&mut cx);
        assert!(matches!(ended, Poll::Ready(Some(Err(SubscriptionError::Lagged(2))))));
        assert!(matches!(receiver.poll_next(&mut cx), Poll::Ready(None)));
    }
}
