//! Topics, their numbered events, and who is subscribed: replicated state (DESIGN 6).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::membership::{Cid, Digest, ViewNumber};
use crate::wire::{SessionKey, Topic};

/// Payloads that one topic keeps, in bytes; the newest event is kept whatever its size.
const MAX_RING_BYTES: usize = 1 << 20;

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its topic.
    pub topic: Topic,
    /// Its number in the topic, from 1.
    pub number: u64,
    /// The view at execution.
    pub view: ViewNumber,
    /// The instance that published it.
    pub cid: Cid,
    /// Its payload.
    pub payload: Bytes,
    /// The payload's digest.
    pub digest: Digest,
}

#[derive(Debug, Clone, Default)]
pub(super) struct TopicState {
    pub(super) head: u64,
    /// Consecutive numbers, the head at the end.
    pub(super) ring: VecDeque<Event>,
    bytes: usize,
    subscribers: BTreeSet<SessionKey>,
}

/// All topics. A clone shares them until one of the two changes them (rule C1).
#[derive(Debug, Clone)]
pub struct Topics {
    topics: BTreeMap<Topic, Arc<TopicState>>,
    ring: usize,
}

/// What a subscriber that wants events from some number on gets.
#[derive(Debug, PartialEq, Eq)]
pub struct Resumption<'a> {
    /// Where older events are wanted than are kept: the oldest that is, or the next to come.
    pub gap: Option<u64>,
    /// The events kept.
    pub events: Vec<&'a Event>,
}

impl TopicState {
    fn holds_too_much(&self, ring: usize) -> bool {
        self.ring.len() > ring || (self.bytes > MAX_RING_BYTES && self.ring.len() > 1)
    }
}

impl Topics {
    /// No topic; each will keep its last `ring` events.
    #[must_use]
    pub const fn new(ring: usize) -> Self {
        Self { topics: BTreeMap::new(), ring }
    }

    /// The number of a topic's last event, 0 before the first.
    #[must_use]
    pub fn head(&self, topic: &Topic) -> u64 {
        self.topics.get(topic).map_or(0, |state| state.head)
    }

    /// One event, where still kept.
    #[must_use]
    pub fn event(&self, topic: &Topic, number: u64) -> Option<&Event> {
        let ring = &self.topics.get(topic)?.ring;
        let first = ring.front()?.number;
        ring.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// The events from number `next` on, and whether some are missing.
    #[must_use]
    pub fn resume(&self, topic: &Topic, next: u64) -> Resumption<'_> {
        let Some(state) = self.topics.get(topic) else {
            return Resumption { gap: None, events: Vec::new() };
        };
        let oldest = state.ring.front().map_or(state.head + 1, |event| event.number);
        Resumption {
            gap: (next < oldest).then_some(oldest),
            events: state.ring.iter().filter(|event| event.number >= next).collect(),
        }
    }

    /// The sessions subscribed to a topic.
    pub fn subscribers(&self, topic: &Topic) -> impl Iterator<Item = &SessionKey> {
        self.topics.get(topic).into_iter().flat_map(|state| &state.subscribers)
    }

    /// Adds a subscriber; gives the number of the next event.
    pub(super) fn subscribe(&mut self, topic: Topic, session: SessionKey) -> u64 {
        let state = Arc::make_mut(self.topics.entry(topic).or_default());
        state.subscribers.insert(session);
        state.head + 1
    }

    /// Ends a subscription.
    pub(super) fn unsubscribe(&mut self, topic: &Topic, session: &SessionKey) {
        if let Some(state) = self.topics.get_mut(topic).map(Arc::make_mut) {
            state.subscribers.remove(session);
            if state.head == 0 && state.subscribers.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    /// Gives an event its number and keeps it.
    pub(super) fn publish(
        &mut self,
        topic: Topic,
        payload: Bytes,
        view: ViewNumber,
        cid: Cid,
    ) -> Event {
        let state = Arc::make_mut(self.topics.entry(topic.clone()).or_default());
        state.head += 1;
        let digest = Digest::of(&payload);
        let event = Event { topic, number: state.head, view, cid, payload, digest };
        state.bytes += event.payload.len();
        state.ring.push_back(event.clone());
        while state.holds_too_much(self.ring) {
            let dropped = state.ring.pop_front().expect("it is not empty");
            state.bytes -= dropped.payload.len();
        }
        event
    }

    /// All topics, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Topic, &TopicState)> {
        self.topics.iter().map(|(topic, state)| (topic, &**state))
    }

    /// Puts a topic of a snapshot back; false where no sequence of batches leads there.
    /// Subscribers follow with [`Topics::subscribe`].
    pub(super) fn restore(&mut self, topic: Topic, head: u64, ring: VecDeque<Event>) -> bool {
        let bytes = ring.iter().map(|event| event.payload.len()).sum();
        let state = TopicState { head, ring, bytes, subscribers: BTreeSet::new() };
        let ascends = self.topics.last_key_value().is_none_or(|(last, _)| *last < topic);
        let last = state.ring.back().map_or(head, |event| event.number);
        let kept = !state.ring.is_empty() || self.ring == 0;
        if !ascends || head == 0 || last != head || !kept || state.holds_too_much(self.ring) {
            return false;
        }
        self.topics.insert(topic, Arc::new(state));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::{ClientId, SessionId};

    #[test]
    fn rings_gaps_and_numbers() {
        let topic = Topic::new("t").unwrap();
        let mut topics = Topics::new(3);
        let key = SessionKey { client: ClientId([1; 16]), session: SessionId([2; 16]) };
        assert_eq!(topics.subscribe(topic.clone(), key), 1);
        let events: Vec<Event> = (0..5_u8)
            .map(|n| {
                topics.publish(topic.clone(), vec![n].into(), ViewNumber(0), Cid(u64::from(n)))
            })
            .collect();
        assert_eq!(events.iter().map(|event| event.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        let resumed = topics.resume(&topic, 1);
        assert_eq!((resumed.gap, resumed.events), (Some(3), events[2..].iter().collect()));
        let resumed = topics.resume(&topic, 4);
        assert_eq!((resumed.gap, resumed.events), (None, events[3..].iter().collect()));
        assert_eq!(topics.resume(&topic, 6), Resumption { gap: None, events: vec![] });
        assert_eq!(topics.event(&topic, 2), None);
        assert_eq!(topics.event(&topic, 5), Some(&events[4]));
        assert_eq!(topics.head(&topic), 5);
        topics.unsubscribe(&topic, &key);
        assert_eq!(topics.subscribers(&topic).count(), 0);
        assert_eq!(topics.subscribe(topic, key), 6);
    }
}
