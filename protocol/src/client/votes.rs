//! Votes on one thing: the reply to a request, the answer to a read, or an event.

use bytes::Bytes;

use super::event::Evidence;
use crate::membership::{Cid, Digest, ReplicaSet, ViewNumber};
use crate::wire::{ExecutionResult, Refusal, encode};

/// What a replica claims, and what its claim has to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Statement {
    /// The view at execution.
    pub(super) view: ViewNumber,
    /// The instance that ordered or published, or as of which a read holds.
    pub(super) cid: Cid,
    /// Digest of the body.
    pub(super) digest: Digest,
}

impl Statement {
    /// Says it that the result of a request is no longer kept? A replica may have said something
    /// else while it was.
    pub(super) fn is_forgotten(&self) -> bool {
        self.cid == Cid::ZERO && self.digest == Digest::of(&encode(&ExecutionResult::Forgotten))
    }
}

/// What a replica said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Vote {
    Says(Statement),
    Refuses(Refusal),
    /// A body that does not have the digest beside it: not a vote for anything.
    Garbled,
}

/// One vote per replica, the latest one, and the bodies that came with them.
#[derive(Debug)]
pub(super) struct Poll {
    votes: Vec<Option<Vote>>,
    /// At most one body per replica, and one per digest.
    bodies: Vec<(usize, Digest, Bytes)>,
    decided: Option<Statement>,
    /// Those on whose word it was decided, whatever they say later.
    deciders: ReplicaSet,
    /// Replicas already reported for their vote.
    accused: ReplicaSet,
}

impl Poll {
    pub(super) fn new(n: usize) -> Self {
        Self {
            votes: vec![None; n],
            bodies: Vec::new(),
            decided: None,
            deciders: ReplicaSet::EMPTY,
            accused: ReplicaSet::EMPTY,
        }
    }

    /// Takes a statement, with the body where `body` is given as (bytes, their digest). False
    /// where the body does not have the digest that the statement names.
    pub(super) fn hear(
        &mut self,
        replica: usize,
        statement: Statement,
        body: Option<(Bytes, Digest)>,
    ) -> bool {
        let sound = body.as_ref().is_none_or(|(_, digest)| *digest == statement.digest);
        self.votes[replica] = Some(if sound { Vote::Says(statement) } else { Vote::Garbled });
        // A repetition without the body does not take the body away.
        self.bodies.retain(|(from, of, _)| *from != replica || (sound && *of == statement.digest));
        if let (true, Some((bytes, digest))) = (sound, body)
            && self.body(digest).is_none()
        {
            self.bodies.push((replica, digest, bytes));
        }
        sound
    }

    pub(super) fn refuse(&mut self, replica: usize, refusal: Refusal) {
        self.votes[replica] = Some(Vote::Refuses(refusal));
    }

    /// Takes back a replica's vote and body.
    pub(super) fn retract(&mut self, replica: usize) {
        self.votes[replica] = None;
        self.bodies.retain(|(from, ..)| *from != replica);
    }

    pub(super) fn vote(&self, replica: usize) -> Option<&Vote> {
        self.votes[replica].as_ref()
    }

    /// Has this replica made a statement?
    pub(super) fn has_stated(&self, replica: usize) -> bool {
        matches!(self.votes[replica], Some(Vote::Says(_)))
    }

    /// Those who said anything.
    pub(super) fn voters(&self) -> ReplicaSet {
        (0..self.votes.len()).filter(|&replica| self.votes[replica].is_some()).collect()
    }

    /// Those whose vote is this one.
    fn group(&self, vote: &Vote) -> ReplicaSet {
        (0..self.votes.len()).filter(|&r| self.votes[r].as_ref() == Some(vote)).collect()
    }

    pub(super) fn supporters(&self, statement: Statement) -> ReplicaSet {
        self.group(&Vote::Says(statement))
    }

    /// Those who refuse, for whatever reason.
    pub(super) fn refusing(&self) -> ReplicaSet {
        (0..self.votes.len())
            .filter(|&replica| matches!(self.votes[replica], Some(Vote::Refuses(_))))
            .collect()
    }

    /// The largest group of equal statements, or of equal refusals if `refusals`.
    fn leading(&self, refusals: bool) -> Option<(&Vote, ReplicaSet)> {
        let mut best: Option<(&Vote, ReplicaSet)> = None;
        for vote in self.votes.iter().flatten() {
            let counts = match vote {
                Vote::Says(_) => !refusals,
                Vote::Refuses(_) => refusals,
                Vote::Garbled => false,
            };
            if counts {
                let group = self.group(vote);
                if best.is_none_or(|(_, largest)| group.len() > largest.len()) {
                    best = Some((vote, group));
                }
            }
        }
        best
    }

    /// How many replicas the largest group of equal statements has.
    pub(super) fn best(&self) -> usize {
        self.leading(false).map_or(0, |(_, group)| group.len())
    }

    /// What `needed` replicas agree on. Once decided it stays so.
    pub(super) fn decide(&mut self, needed: usize) -> Option<Statement> {
        if self.decided.is_none()
            && let Some((Vote::Says(statement), group)) = self.leading(false)
            && group.len() >= needed
        {
            (self.decided, self.deciders) = (Some(*statement), group);
        }
        self.decided
    }

    pub(super) const fn decided(&self) -> Option<Statement> {
        self.decided
    }

    /// Those who say that the request was executed and its result is no longer kept.
    pub(super) fn forgotten(&self) -> ReplicaSet {
        (0..self.votes.len())
            .filter(|&r| matches!(&self.votes[r], Some(Vote::Says(said)) if said.is_forgotten()))
            .collect()
    }

    /// Makes a statement the decision.
    pub(super) const fn settle_on(&mut self, statement: Statement) {
        self.decided = Some(statement);
    }

    /// The refusal on which `needed` replicas agree.
    pub(super) fn refused(&self, needed: usize) -> Option<Refusal> {
        match self.leading(true) {
            Some((Vote::Refuses(refusal), group)) if group.len() >= needed => Some(refusal.clone()),
            _ => None,
        }
    }

    pub(super) fn body(&self, digest: Digest) -> Option<&Bytes> {
        self.bodies.iter().find(|(_, of, _)| *of == digest).map(|(.., bytes)| bytes)
    }

    /// The bytes held of a replica's body.
    pub(super) fn body_len(&self, replica: usize) -> usize {
        self.bodies.iter().filter(|(from, ..)| *from == replica).map(|(.., b)| b.len()).sum()
    }

    pub(super) fn drop_bodies(&mut self) {
        self.bodies = Vec::new();
    }

    /// Is this the first report of the replica for its vote here?
    pub(super) const fn accuse(&mut self, replica: usize) -> bool {
        self.accused.insert(replica)
    }

    /// Who said what, in relation to the decision or else the largest group.
    pub(super) fn evidence(&self, needed: usize, view: ViewNumber) -> Evidence {
        let voters = self.voters();
        let leading = || self.leading(false).or_else(|| self.leading(true));
        let (statement, matching) = match self.decided {
            Some(statement) => {
                let later = self.supporters(statement);
                (Some(statement), self.deciders.iter().chain(later.iter()).collect())
            }
            None => match leading() {
                Some((Vote::Says(statement), group)) => (Some(*statement), group),
                Some((_, group)) => (None, group),
                None => (None, ReplicaSet::EMPTY),
            },
        };
        Evidence {
            view: statement.map_or(view, |statement| statement.view),
            needed,
            matching,
            differing: voters.iter().filter(|&replica| !matching.contains(replica)).collect(),
            silent: (0..self.votes.len()).filter(|&r| !voters.contains(r)).collect(),
            cid: self.decided.map(|statement| statement.cid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(cid: u64, body: &[u8]) -> Statement {
        Statement { view: ViewNumber(0), cid: Cid(cid), digest: Digest::of(body) }
    }

    fn full(body: &'static [u8]) -> Option<(Bytes, Digest)> {
        Some((Bytes::from_static(body), Digest::of(body)))
    }

    fn set(members: &[usize]) -> ReplicaSet {
        members.iter().copied().collect()
    }

    #[test]
    fn one_vote_per_replica_and_every_field_counts() {
        let mut poll = Poll::new(4);
        for _ in 0..3 {
            assert!(poll.hear(0, says(1, b"a"), None));
        }
        assert!(poll.hear(1, says(2, b"a"), None));
        assert!(poll.hear(2, Statement { view: ViewNumber(1), ..says(1, b"a") }, None));
        assert_eq!((poll.best(), poll.decide(2)), (1, None));
        // The latest vote of a replica replaces its earlier one.
        assert!(poll.hear(1, says(1, b"a"), full(b"a")));
        assert_eq!(poll.decide(2), Some(says(1, b"a")));
        assert_eq!(poll.body(Digest::of(b"a")), Some(&Bytes::from_static(b"a")));
        assert_eq!(
            poll.evidence(2, ViewNumber(9)),
            Evidence {
                view: ViewNumber(0),
                needed: 2,
                matching: set(&[0, 1]),
                differing: set(&[2]),
                silent: set(&[3]),
                cid: Some(Cid(1)),
            }
        );
    }

    #[test]
    fn a_body_that_hashes_to_something_else_is_no_vote() {
        let mut poll = Poll::new(4);
        assert!(!poll.hear(0, says(1, b"a"), full(b"b")));
        assert_eq!((poll.vote(0), poll.best()), (Some(&Vote::Garbled), 0));
        assert_eq!((poll.body(Digest::of(b"a")), poll.body(Digest::of(b"b"))), (None, None));
        assert_eq!(poll.evidence(3, ViewNumber(9)).differing, set(&[0]));
    }

    #[test]
    fn refusals_are_counted_apart() {
        let mut poll = Poll::new(4);
        poll.refuse(0, Refusal::Window);
        poll.refuse(1, Refusal::Sessions);
        poll.hear(2, says(1, b"a"), None);
        assert_eq!(poll.refused(2), None);
        poll.refuse(1, Refusal::Window);
        assert_eq!(poll.refused(2), Some(Refusal::Window));
        assert_eq!((poll.refusing(), poll.best()), (set(&[0, 1]), 1));
    }

    #[test]
    fn a_decision_is_final() {
        let mut poll = Poll::new(4);
        for replica in 0..3 {
            poll.hear(replica, says(1, b"a"), None);
        }
        assert_eq!(poll.decide(3), Some(says(1, b"a")));
        for replica in 0..4 {
            poll.hear(replica, says(2, b"b"), None);
        }
        assert_eq!(poll.decide(3), Some(says(1, b"a")));
        // That it was decided on three replicas' word stays true, whatever they say later.
        let evidence = poll.evidence(3, ViewNumber(0));
        assert_eq!((evidence.matching, evidence.differing), (set(&[0, 1, 2]), set(&[3])));
        poll.retract(3);
        assert_eq!(poll.vote(3), None);
    }
}
