//! A subscription as the application sees it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{mpsc, oneshot};
use webbft_protocol::client::Evidence;

use crate::Client;
use crate::driver::Command;
use crate::error::{CallError, SubscriptionError};

/// How many events may wait to be taken before the subscription is ended.
pub(crate) const BUFFER: usize = 1024;

/// What a subscription delivers, in the order of the topic's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionEvent {
    /// An event that f + 1 replicas agree on.
    Event {
        /// Its number in the topic.
        number: u64,
        /// What was published.
        payload: Bytes,
        /// Which replicas said so.
        evidence: Evidence,
    },
    /// Events are lost: the client was away for longer than the replicas keep them. Read the
    /// state anew.
    Gap {
        /// The first event lost.
        missed_from: u64,
        /// The next event to come.
        next: u64,
    },
}

/// What the driver hands over when a subscription is in force.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) next: u64,
    pub(crate) events: mpsc::Receiver<SubscriptionEvent>,
    pub(crate) ended: oneshot::Receiver<SubscriptionError>,
}

/// A subscription to one topic; dropping it unsubscribes.
///
/// It is a handle: the client lives as long as it does. Also a [`Stream`], which ends where
/// [`Subscription::next`] gives `None` or an error.
#[derive(Debug)]
pub struct Subscription {
    client: Client,
    call: u64,
    feed: Feed,
    active: bool,
}

impl Subscription {
    pub(crate) const fn new(client: Client, call: u64, feed: Feed) -> Self {
        Self { client, call, feed, active: true }
    }

    /// The number of the first event this subscription delivers.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.feed.next
    }

    /// The next event; `None` once the client is closed.
    ///
    /// # Errors
    /// Why the subscription has ended, once.
    pub async fn next(&mut self) -> Result<Option<SubscriptionEvent>, SubscriptionError> {
        match self.feed.events.recv().await {
            Some(event) => Ok(Some(event)),
            None => self.feed.ended.try_recv().map_or(Ok(None), Err),
        }
    }

    /// Ends the subscription and waits until the replicas agree that it has.
    ///
    /// # Errors
    /// Where they do not in time; no event is delivered any more all the same.
    pub async fn unsubscribe(mut self) -> Result<(), CallError> {
        self.active = false;
        let (reply, done) = oneshot::channel();
        self.client.send(Command::Unsubscribe { call: self.call, reply: Some(reply) });
        done.await.unwrap_or(Err(CallError::Closed))
    }
}

impl Stream for Subscription {
    type Item = SubscriptionEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.feed.events.poll_recv(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.active {
            self.client.send(Command::Unsubscribe { call: self.call, reply: None });
        }
    }
}
