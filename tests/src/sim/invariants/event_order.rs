//! A subscriber is given a topic's events in order, once each, with the payloads that the correct
//! replicas published, and is told of every one that it misses.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Invariant;
use crate::sim::history::{Author, Fact, Setting};
use crate::sim::service::Executed;

#[derive(Debug)]
struct Subscriber {
    topic: String,
    next: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct EventOrder {
    /// What each topic's events were, from number 1.
    topics: BTreeMap<String, Vec<Bytes>>,
    taken: usize,
    subscribers: BTreeMap<(Author, u64), Subscriber>,
}

impl Invariant for EventOrder {
    fn name(&self) -> &'static str {
        "event_order"
    }

    fn check(&mut self, fact: &Fact, log: &[Executed], setting: &Setting) -> Result<(), String> {
        for entry in &log[self.taken..] {
            for (topic, payload) in &entry.published {
                self.topics.entry(topic.clone()).or_default().push(payload.clone());
            }
        }
        self.taken = log.len();
        match fact {
            Fact::Subscribed { author, subscription, topic, next } => {
                let published = self.topics.get(topic).map_or(0, Vec::len) as u64;
                if *next == 0 || *next > published + 1 {
                    return Err(format!(
                        "client {author} subscribed to {topic} from number {next}, of which \
                         {published} were published"
                    ));
                }
                let subscriber = Subscriber { topic: topic.clone(), next: *next };
                self.subscribers.insert((*author, *subscription), subscriber);
            }
            Fact::Unsubscribed { author, subscription } => {
                self.subscribers.remove(&(*author, *subscription));
            }
            Fact::Event { author, subscription, topic, number, payload } => {
                let Some(subscriber) = self.subscribers.get_mut(&(*author, *subscription)) else {
                    return Err(format!("client {author} was given an event without subscription"));
                };
                if subscriber.topic != *topic || subscriber.next != *number {
                    return Err(format!(
                        "client {author} was given number {number} of {topic} where {} of {} was \
                         next",
                        subscriber.next, subscriber.topic
                    ));
                }
                subscriber.next += 1;
                let index = usize::try_from(*number - 1).unwrap_or(usize::MAX);
                let published = self.topics.get(topic).and_then(|events| events.get(index));
                if published != Some(payload) {
                    return Err(format!(
                        "client {author} was given {payload:?} as number {number} of {topic}, \
                         which is {published:?}"
                    ));
                }
            }
            Fact::Gap { author, subscription, missed_from, next } => {
                let Some(subscriber) = self.subscribers.get_mut(&(*author, *subscription)) else {
                    return Err(format!("client {author} was told of a gap without subscription"));
                };
                let published = self.topics.get(&subscriber.topic).map_or(0, Vec::len) as u64;
                if *missed_from != subscriber.next || next <= missed_from {
                    return Err(format!(
                        "client {author} was told of a gap from {missed_from} to {next} where {} \
                         was next",
                        subscriber.next
                    ));
                }
                if published < setting.events_kept + missed_from || *next > published + 1 {
                    return Err(format!(
                        "client {author} was told that events {missed_from} to {next} of {} are \
                         gone, of which {published} were published",
                        subscriber.topic
                    ));
                }
                subscriber.next = *next;
            }
            Fact::End => {
                for ((author, _), subscriber) in &self.subscribers {
                    let published = self.topics.get(&subscriber.topic).map_or(0, Vec::len) as u64;
                    if subscriber.next != published + 1 {
                        return Err(format!(
                            "client {author} was not given events {} to {published} of {}",
                            subscriber.next, subscriber.topic
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{entry, payload, setting};
    use super::*;
    use crate::sim::service::Action;

    fn event(number: u64, payload: &'static str) -> Fact {
        Fact::Event {
            author: 0,
            subscription: 1,
            topic: "t".into(),
            number,
            payload: Bytes::from_static(payload.as_bytes()),
        }
    }

    fn after(facts: &[Fact], last: &Fact) -> bool {
        let log: Vec<Executed> = ["a", "b", "c"]
            .iter()
            .zip(1..)
            .map(|(event, number)| {
                let mut entry = entry(number, payload(0, number, 0, Action::Panic), b"");
                entry.published = vec![("t".into(), Bytes::from_static(event.as_bytes()))];
                entry
            })
            .collect();
        let mut order = EventOrder::default();
        for fact in facts {
            order.check(fact, &log, &setting()).expect("facts without a defect");
        }
        order.check(last, &log, &setting()).is_ok()
    }

    #[test]
    fn loss_disorder_and_wrong_payloads_are_found() {
        let topic = "t".to_owned();
        let subscribed = Fact::Subscribed { author: 0, subscription: 1, topic, next: 1 };
        let so_far = [subscribed, event(1, "a")];
        assert!(after(&so_far, &event(2, "b")));
        assert!(!after(&so_far, &event(1, "a")), "twice");
        assert!(!after(&so_far, &event(3, "c")), "a hole");
        assert!(!after(&so_far, &event(2, "x")), "another payload");
        assert!(!after(&so_far, &Fact::End), "two are missing");
        let gap = Fact::Gap { author: 0, subscription: 1, missed_from: 2, next: 3 };
        assert!(!after(&so_far, &gap), "number 2 is still kept");
        assert!(!after(&[], &event(1, "a")), "not subscribed");
    }
}
