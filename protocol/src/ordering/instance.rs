//! The votes of one consensus instance.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::held::Held;
use crate::auth::{VerifiedAccept, VerifiedCertificate};
use crate::membership::{Digest, Epoch, ReplicaId, ReplicaSet, View};
use crate::wire::Batch;

/// One kind of vote: at most one a member and epoch counts, the first.
#[derive(Debug)]
pub(super) struct Votes<T> {
    by_epoch: BTreeMap<Epoch, BTreeMap<usize, (Digest, T)>>,
}

impl<T> Default for Votes<T> {
    fn default() -> Self {
        Self { by_epoch: BTreeMap::new() }
    }
}

/// How a vote relates to the ones before.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cast {
    /// The member's first vote of this epoch.
    Counted,
    /// The same again.
    Repeated,
    /// Another hash: the member equivocates.
    Conflicting,
}

impl<T> Votes<T> {
    pub(super) fn cast(&mut self, peer: usize, epoch: Epoch, hash: Digest, extra: T) -> Cast {
        match self.by_epoch.entry(epoch).or_default().entry(peer) {
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert((hash, extra));
                Cast::Counted
            }
            std::collections::btree_map::Entry::Occupied(vote) if vote.get().0 == hash => {
                Cast::Repeated
            }
            std::collections::btree_map::Entry::Occupied(_) => Cast::Conflicting,
        }
    }

    /// The hash for which at least `quorum` members voted in one epoch, with that epoch.
    pub(super) fn quorum(&self, quorum: usize) -> Option<(Epoch, Digest)> {
        self.by_epoch
            .iter()
            .rev()
            .find_map(|(&epoch, votes)| hash_with(votes, quorum).map(|hash| (epoch, hash)))
    }

    /// The hash for which at least `quorum` members voted in this epoch.
    pub(super) fn quorum_in(&self, epoch: Epoch, quorum: usize) -> Option<Digest> {
        hash_with(self.by_epoch.get(&epoch)?, quorum)
    }

    /// Who voted for this hash in this epoch, with what came along.
    pub(super) fn voters(&self, epoch: Epoch, hash: Digest) -> impl Iterator<Item = (usize, &T)> {
        self.by_epoch
            .get(&epoch)
            .into_iter()
            .flatten()
            .filter(move |(_, vote)| vote.0 == hash)
            .map(|(&peer, vote)| (peer, &vote.1))
    }

    /// The epochs in which somebody voted.
    pub(super) fn epochs(&self) -> impl Iterator<Item = Epoch> {
        self.by_epoch.keys().copied()
    }

    /// Everyone who voted in any epoch.
    pub(super) fn everyone(&self) -> ReplicaSet {
        self.by_epoch.values().flat_map(BTreeMap::keys).copied().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_epoch.is_empty()
    }
}

fn hash_with<T>(votes: &BTreeMap<usize, (Digest, T)>, quorum: usize) -> Option<Digest> {
    let mut counts: BTreeMap<Digest, usize> = BTreeMap::new();
    for (hash, _) in votes.values() {
        *counts.entry(*hash).or_default() += 1;
    }
    counts.into_iter().find_map(|(hash, count)| (count >= quorum).then_some(hash))
}

/// A leader's proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proposal {
    pub(super) epoch: Epoch,
    pub(super) batch: Batch,
    pub(super) hash: Digest,
    /// The leader's signature; a SYNC's choice has none.
    pub(super) signature: Option<Bytes>,
    /// What the decided prefix says of it, once asked; the bodies are judged when held.
    pub(super) valid: Option<bool>,
    /// A leader change has bound it (rule S7): it is written without being judged.
    pub(super) bound: bool,
}

impl Proposal {
    pub(super) const fn new(
        epoch: Epoch,
        batch: Batch,
        hash: Digest,
        signature: Option<Bytes>,
    ) -> Self {
        Self { epoch, batch, hash, signature, valid: None, bound: false }
    }
}

/// What is known of one instance.
#[derive(Debug, Default)]
pub(super) struct Instance {
    pub(super) proposal: Option<Proposal>,
    pub(super) writes: Votes<()>,
    pub(super) accepts: Votes<Bytes>,
    /// What this replica wrote, by ascending epoch; of one hash only the last time.
    pub(super) writeset: Vec<(Epoch, Digest)>,
    /// What this replica accepted last, with its signature.
    pub(super) accepted: Option<(Epoch, Digest, Bytes)>,
    /// Batches with their bodies that may be decided, by hash: what this replica wrote, and what
    /// it fetched because a leader change bound it.
    pub(super) values: BTreeMap<Digest, Held>,
    /// ACCEPTs whose signatures are good, of any epoch.
    pub(super) good_accepts: Vec<VerifiedAccept>,
    /// Members whose ACCEPTs of an epoch have bad signatures.
    pub(super) bad_accepts: Vec<(Epoch, usize)>,
    /// What the log holds of this replica's writes last.
    pub(super) recorded: Option<(Epoch, Digest)>,
    /// A quorum accepted this; batch or bodies may still be missing.
    pub(super) decided: Option<(Epoch, Digest)>,
    /// Whose ACCEPTs, of the epoch in which it was decided, stand in the record of the decision.
    pub(super) recorded_accepts: ReplicaSet,
    /// The proof of it, where a leader change brought it.
    pub(super) certificate: Option<VerifiedCertificate>,
}

impl Instance {
    /// Who has said anything about this instance.
    pub(super) fn heard_from(&self) -> ReplicaSet {
        self.writes.everyone().iter().chain(self.accepts.everyone().iter()).collect()
    }

    pub(super) fn is_untouched(&self) -> bool {
        self.proposal.is_none() && self.writes.is_empty() && self.accepts.is_empty()
    }

    /// Has this ACCEPT's signature been looked at?
    pub(super) fn is_judged(&self, epoch: Epoch, peer: usize) -> bool {
        self.bad_accepts.contains(&(epoch, peer))
            || self.good_accepts.iter().any(|good| (good.epoch(), good.member()) == (epoch, peer))
    }

    /// ACCEPTs of an epoch whose signatures are good, or not looked at yet.
    pub(super) fn hopeful(&self, epoch: Epoch, hash: Digest) -> usize {
        let bad = |peer| self.bad_accepts.contains(&(epoch, peer));
        self.accepts.voters(epoch, hash).filter(|(peer, _)| !bad(*peer)).count()
    }

    /// Whose ACCEPTs of an epoch stand in the record of the decision.
    pub(super) fn recorded_in(&self, epoch: Epoch) -> ReplicaSet {
        match self.decided {
            Some((decided, _)) if decided == epoch => self.recorded_accepts,
            _ => ReplicaSet::EMPTY,
        }
    }

    /// The ACCEPTs of an epoch for a hash, but those whose signatures are known to be bad.
    pub(super) fn accepts_of(
        &self,
        view: &View,
        epoch: Epoch,
        hash: Digest,
    ) -> Vec<(ReplicaId, Bytes)> {
        let voters = self.accepts.voters(epoch, hash);
        voters
            .filter(|(peer, _)| !self.bad_accepts.contains(&(epoch, *peer)))
            .map(|(peer, signature)| (view.members[peer].id, signature.clone()))
            .collect()
    }

    /// The last epoch in which this replica wrote.
    pub(super) fn last_written(&self) -> Option<Epoch> {
        self.writeset.last().map(|(epoch, _)| *epoch)
    }

    /// Notes that this replica writes. That it wrote the same before says nothing more (S7).
    pub(super) fn note_written(&mut self, epoch: Epoch, hash: Digest) {
        self.writeset.retain(|(_, value)| *value != hash);
        self.writeset.push((epoch, hash));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_vote_a_member_and_epoch() {
        let (a, b) = (Digest([1; 32]), Digest([2; 32]));
        let mut votes = Votes::default();
        assert_eq!(votes.cast(0, Epoch(1), a, ()), Cast::Counted);
        assert_eq!(votes.cast(0, Epoch(1), a, ()), Cast::Repeated);
        assert_eq!(votes.cast(0, Epoch(1), b, ()), Cast::Conflicting);
        assert_eq!(votes.cast(1, Epoch(1), b, ()), Cast::Counted);
        assert_eq!(votes.cast(2, Epoch(2), b, ()), Cast::Counted);
        // Votes of different epochs do not add up.
        assert_eq!(votes.quorum(2), None);
        assert_eq!(votes.cast(3, Epoch(1), b, ()), Cast::Counted);
        assert_eq!(votes.quorum(2), Some((Epoch(1), b)));
        assert_eq!(votes.quorum_in(Epoch(2), 1), Some(b));
        assert_eq!(votes.voters(Epoch(1), b).map(|(peer, ())| peer).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(votes.everyone(), ReplicaSet::first(4));
    }
}
