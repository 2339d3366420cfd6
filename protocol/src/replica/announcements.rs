//! Announcements: what one subscriber tells the others of its topic, outside the total order
//! (rule P5).

use std::time::Duration;

use bytes::Bytes;

use super::clients::{ClientFault, Clients};
use super::output::LinkId;
use crate::execution::{Executor, Service};
use crate::membership::{Digest, SessionId};
use crate::time::Instant;
use crate::wire::limits::MAX_ANNOUNCEMENT;
use crate::wire::{ReplicaHeader, SessionKey, Topic};

/// What one announcement uses up of its link's allowance, and how much of that may be used at once:
/// fifty a second, a hundred together.
const EACH: Duration = Duration::from_millis(20);
const TOGETHER: Duration = Duration::from_secs(2);

/// What a link may still announce. One client's announcements go to every subscriber of a topic: they
/// must not cost a replica more than an ordered request would.
#[derive(Debug)]
pub(super) struct Allowance {
    /// When all that was used has come back.
    whole_at: Instant,
}

impl Allowance {
    pub(super) const fn whole() -> Self {
        Self { whole_at: Instant::ZERO }
    }

    /// Is there enough left for one more?
    fn take(&mut self, now: Instant) -> bool {
        let whole_at = self.whole_at.max(now) + EACH;
        let enough = whole_at <= now + TOGETHER;
        if enough {
            self.whole_at = whole_at;
        }
        enough
    }
}

impl Clients {
    /// Forwards an announcement to the subscribers that are connected, where its sender is one and
    /// has not announced too much. One that is not forwarded is lost, as any may be.
    pub(super) fn announce<S: Service>(
        &mut self,
        now: Instant,
        link: LinkId,
        (session, topic, number): (SessionId, Topic, u64),
        (body, digest): (Bytes, Digest),
        executor: &Executor<S>,
    ) -> Result<(), ClientFault> {
        if body.len() > MAX_ANNOUNCEMENT {
            return Err(ClientFault::AnnouncementTooLong(body.len()));
        }
        let sender = self.attach(link, session)?;
        let subscribed = executor.sessions().is_subscribed(&sender, &topic);
        if !subscribed || !self.allowance(link).is_some_and(|left| left.take(now)) {
            return Ok(());
        }
        let others = executor.topics().subscribers(&topic).filter(|key| **key != sender);
        for (SessionKey { session, .. }, link) in self.attached(others) {
            let header =
                ReplicaHeader::Announcement { session, topic: topic.clone(), sender, number };
            self.send_body(link, header, body.clone(), digest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowance_is_used_and_comes_back() {
        let at = |ms: u64| Instant::from_micros(ms * 1000);
        let mut allowance = Allowance::whole();
        let mut taken =
            |ms: u64, times: usize| (0..times).filter(|_| allowance.take(at(ms))).count();
        assert_eq!(taken(10_000, 150), 100);
        assert_eq!(taken(10_039, 5), 1);
        assert_eq!(taken(10_040, 5), 1);
        assert_eq!(taken(60_000, 150), 100);
    }
}
