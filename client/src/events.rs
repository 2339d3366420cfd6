//! What a client tells besides results.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;
use webbft_protocol::client::{Evidence, Status, SuspectReason};
use webbft_protocol::membership::{ClientId, ReplicaId, ViewNumber};
use webbft_protocol::wire::Topic;

use crate::call::CallId;

/// How many events may wait for one listener.
const BUFFER: usize = 1024;

/// What a client tells besides results; see [`Client::events`](crate::Client::events).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// How the client stands with its replicas has changed.
    Status(Status),
    /// The client goes on with the replicas of another view.
    View {
        /// The number of the view before.
        from: ViewNumber,
        /// That of the view now.
        to: ViewNumber,
        /// Members that are new.
        joined: Vec<ReplicaId>,
        /// Members that are no longer there.
        left: Vec<ReplicaId>,
    },
    /// A link that was lost is dialled again.
    Reconnect {
        /// To whom.
        replica: ReplicaId,
        /// Why now.
        cause: ReconnectCause,
    },
    /// Something speaks against a replica.
    Suspect {
        /// Which.
        replica: ReplicaId,
        /// What.
        reason: SuspectReason,
        /// The call in question, where there is one.
        call: Option<CallId>,
    },
    /// Events of a topic are lost; its subscribers are told as well.
    Gap {
        /// The topic.
        topic: Topic,
        /// The first event lost.
        missed_from: u64,
        /// The next event to come.
        next: u64,
    },
    /// Another subscriber of a topic announced something
    /// ([`Subscription::announce`](crate::Subscription::announce)), by the word of f + 1 replicas.
    Announcement {
        /// The topic.
        topic: Topic,
        /// Who announced it.
        client: ClientId,
        /// What.
        payload: Bytes,
    },
    /// Who said what about a call or an event.
    Votes {
        /// About which of the two, and whether it is news.
        kind: VotesKind,
        /// The call, or the subscription. Those who share a topic hear of the one that was first.
        call: CallId,
        /// For an event: its number.
        number: Option<u64>,
        /// Who said what.
        evidence: Evidence,
    },
    /// The listener was too slow: this many events are left out here.
    Missed(u64),
}

/// Why a lost link is dialled again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReconnectCause {
    /// Its pause is over.
    Backoff,
    /// [`Client::reconnect_now`](crate::Client::reconnect_now).
    Manual,
}

/// What votes are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VotesKind {
    /// A call that has completed or failed.
    Call,
    /// An event.
    Event,
    /// A call that had completed, or an event that was delivered before: replaces the votes given
    /// then.
    Late,
}

/// A listener's stream of [`ClientEvent`]s. It ends with the client.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<ClientEvent>,
}

impl Events {
    /// The next one; `None` once the client is closed.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        self.receiver.recv().await
    }
}

impl Stream for Events {
    type Item = ClientEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ClientEvent>> {
        self.receiver.poll_recv(cx)
    }
}

/// The driver's end of an [`Events`].
#[derive(Debug)]
pub(crate) struct Listener {
    sender: mpsc::Sender<ClientEvent>,
    missed: u64,
}

pub(crate) fn listener() -> (Listener, Events) {
    let (sender, receiver) = mpsc::channel(BUFFER);
    (Listener { sender, missed: 0 }, Events { receiver })
}

impl Listener {
    /// False once nobody listens any more. Never waits.
    fn tell(&mut self, event: &ClientEvent) -> bool {
        if self.missed > 0 {
            let Ok(mut room) = self.sender.try_reserve_many(2) else {
                self.missed += 1;
                return !self.sender.is_closed();
            };
            if let (Some(first), Some(second)) = (room.next(), room.next()) {
                first.send(ClientEvent::Missed(std::mem::take(&mut self.missed)));
                second.send(event.clone());
            }
            return true;
        }
        match self.sender.try_send(event.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.missed = 1;
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

/// Everybody who listens.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Vec<Listener>);

impl Listeners {
    pub(crate) fn add(&mut self, listener: Listener) {
        self.0.push(listener);
    }

    pub(crate) fn tell(&mut self, event: impl FnOnce() -> ClientEvent) {
        if !self.0.is_empty() {
            let event = event();
            self.0.retain_mut(|listener| listener.tell(&event));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_listener_hears_how_much_it_missed() {
        let (listener, mut events) = listener();
        let mut listeners = Listeners::default();
        listeners.add(listener);
        let gap =
            |next: u64| ClientEvent::Gap { topic: Topic::new("t").unwrap(), missed_from: 0, next };
        let many = BUFFER as u64 + 3;
        for number in 0..many {
            listeners.tell(|| gap(number));
        }
        for number in 0..BUFFER as u64 {
            assert_eq!(events.next().await, Some(gap(number)));
        }
        listeners.tell(|| gap(many));
        assert_eq!(events.next().await, Some(ClientEvent::Missed(3)));
        assert_eq!(events.next().await, Some(gap(many)));
        drop(events);
        listeners.tell(|| gap(0));
        assert!(listeners.0.is_empty());
    }
}
