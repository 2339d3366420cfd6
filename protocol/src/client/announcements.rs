//! Announcements: what other subscribers say in passing, each on the word of f + 1 replicas
//! (rule P5).

use std::collections::VecDeque;

use bytes::Bytes;

use super::event::{CallId, ClientEvent, InvokeError};
use super::proxy::ServiceProxy;
use crate::membership::Digest;
use crate::wire::limits::MAX_ANNOUNCEMENT;
use crate::wire::{ClientHeader, Frame, SessionKey, Topic};

/// Announcements that are remembered of each replica, until others say the same.
const CLAIMS: usize = 256;
/// Senders whose last number is remembered.
const SENDERS: usize = 256;

/// What a replica says that a session announced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) topic: Topic,
    pub(super) sender: SessionKey,
    pub(super) number: u64,
    pub(super) digest: Digest,
}

/// What has been heard. What is forgotten for want of room is lost, as any announcement may be.
#[derive(Debug)]
pub(super) struct Announcements {
    /// By replica, lest one that lies a lot crowds out the others.
    claims: Vec<VecDeque<Claim>>,
    /// The last number delivered of each sender.
    delivered: VecDeque<(SessionKey, u64)>,
}

impl Announcements {
    pub(super) fn new(n: usize) -> Self {
        Self { claims: (0..n).map(|_| VecDeque::new()).collect(), delivered: VecDeque::new() }
    }

    /// Takes one replica's word; true where `enough` replicas have now said the same, the first
    /// time, and nothing later of that sender was delivered.
    fn hear(&mut self, replica: usize, claim: Claim, enough: usize) -> bool {
        let sender = self.delivered.iter().position(|(sender, _)| *sender == claim.sender);
        if sender.is_some_and(|at| claim.number <= self.delivered[at].1)
            || self.claims[replica].contains(&claim)
        {
            return false;
        }
        let others = self.claims.iter().filter(|claims| claims.contains(&claim)).count();
        if others + 1 < enough {
            push_bounded(&mut self.claims[replica], claim, CLAIMS);
            return false;
        }
        if let Some(at) = sender {
            self.delivered.remove(at);
        }
        push_bounded(&mut self.delivered, (claim.sender, claim.number), SENDERS);
        true
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, last: T, most: usize) {
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(last);
}

impl ServiceProxy {
    /// Tells a subscription's other subscribers something at once: neither ordered nor kept, and it
    /// may be lost.
    ///
    /// # Errors
    /// Where there is no such subscription, the client is closed, or the payload too large.
    pub fn announce(&mut self, subscription: CallId, payload: Bytes) -> Result<(), InvokeError> {
        if self.closed {
            return Err(InvokeError::Closed);
        }
        let topic = self.active_topic(subscription).ok_or(InvokeError::NoSubscription)?;
        if payload.len() > MAX_ANNOUNCEMENT {
            return Err(InvokeError::AnnouncementTooLarge(payload.len()));
        }
        self.session.announced += 1;
        let (session, number) = (self.session.id, self.session.announced);
        let frame = Frame::new(ClientHeader::Announce { session, topic, number }, payload);
        for replica in self.open().iter() {
            self.send(replica, frame.clone());
        }
        Ok(())
    }

    /// A replica forwards what another subscriber announced.
    pub(super) fn handle_announcement(&mut self, replica: usize, claim: Claim, payload: Bytes) {
        let Some(subscription) = self.subscription_named(&claim.topic) else { return };
        let (topic, client) = (claim.topic.clone(), claim.sender.client);
        if self.announcements.hear(replica, claim, self.group.quorums.one_correct()) {
            self.events.push_back(ClientEvent::Announcement {
                subscription,
                topic,
                client,
                payload,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::{ClientId, SessionId};

    fn claim(sender: u8, number: u64, text: &str) -> Claim {
        Claim {
            topic: Topic::new("t").unwrap(),
            sender: SessionKey { client: ClientId([sender; 16]), session: SessionId([1; 16]) },
            number,
            digest: Digest::of(text.as_bytes()),
        }
    }

    #[test]
    fn f_plus_1_must_say_the_same_and_numbers_rise() {
        let mut heard = Announcements::new(4);
        let mut hear = |replica, number, text| heard.hear(replica, claim(1, number, text), 2);
        assert!(!hear(0, 1, "a"));
        assert!(!hear(0, 1, "a"), "one replica counts once");
        assert!(!hear(3, 1, "forged"));
        assert!(hear(1, 1, "a"));
        assert!(!hear(2, 1, "a"), "delivered once");
        assert!(!hear(0, 2, "b"));
        assert!(!hear(0, 3, "c"));
        assert!(hear(1, 3, "c"), "what was lost on one way is passed over");
        assert!(!hear(1, 2, "b"), "too late");
    }

    #[test]
    fn a_liar_crowds_out_nobody() {
        let mut heard = Announcements::new(4);
        assert!(!heard.hear(0, claim(1, 1, "a"), 2));
        for number in 0..10_000 {
            assert!(!heard.hear(3, claim(2, number, "noise"), 2));
        }
        assert!(heard.hear(1, claim(1, 1, "a"), 2));
        assert_eq!(heard.claims.iter().map(VecDeque::len).collect::<Vec<_>>(), [1, 0, 0, CLAIMS]);
    }
}
