//! A replica that lost its memory follows without voting until no vote it may have sent before
//! can matter (rule D3).

use std::collections::BTreeMap;

use crate::membership::Cid;

/// The learner's progress towards voting again.
#[derive(Debug, Default)]
pub struct Learner {
    /// The first last cid that each peer proved since the restart.
    reports: BTreeMap<usize, Cid>,
    /// The last instance in which it may have voted, where it knows that itself.
    voted: Option<Cid>,
}

impl Learner {
    /// A replica that knows that it has voted in no instance after `voted`, but whose state was
    /// wrong (rule C4).
    #[must_use]
    pub const fn beyond(voted: Cid) -> Self {
        Self { reports: BTreeMap::new(), voted: Some(voted) }
    }

    /// Would a report of this peer count?
    #[must_use]
    pub fn needs(&self, peer: usize) -> bool {
        self.voted.is_none() && !self.reports.contains_key(&peer)
    }

    /// A peer proved that it has decided an instance. Only a peer's first report counts: it bounds
    /// the instances in which this replica can have voted before it lost its memory.
    pub fn handle_report(&mut self, peer: usize, last_cid: Cid) {
        self.reports.entry(peer).or_insert(last_cid);
    }

    /// May it vote, having decided all instances up to `last`? Once that exceeds 1 + the highest
    /// last cid that a quorum of peers proved.
    #[must_use]
    pub fn may_vote(&self, last: Cid, quorum: usize) -> bool {
        self.target(quorum).is_some_and(|target| last > target)
    }

    /// The instance that must be exceeded, once a quorum of peers has reported.
    #[must_use]
    pub fn target(&self, quorum: usize) -> Option<Cid> {
        if self.voted.is_some() {
            return self.voted;
        }
        let highest = self.reports.values().max()?;
        (self.reports.len() >= quorum).then(|| highest.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_a_quorum_and_two_more_instances() {
        let mut learner = Learner::default();
        learner.handle_report(0, Cid(10));
        learner.handle_report(1, Cid(12));
        assert_eq!(learner.target(3), None);
        learner.handle_report(1, Cid(40));
        learner.handle_report(2, Cid(11));
        assert_eq!(learner.target(3), Some(Cid(13)));
        assert!(!learner.may_vote(Cid(13), 3));
        assert!(learner.may_vote(Cid(14), 3));
    }

    /// A number that a liar makes up keeps this replica from voting; it must not make it vote early.
    #[test]
    fn the_largest_report_does_not_overflow() {
        let mut learner = Learner::default();
        for peer in 0..3 {
            learner.handle_report(peer, Cid(u64::MAX - u64::from(peer == 0)));
        }
        assert_eq!(learner.target(3), Some(Cid(u64::MAX)));
        assert!(!learner.may_vote(Cid(1), 3));
    }
}
