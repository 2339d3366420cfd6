//! Decided instances that are kept for replicas that missed them (rule N5).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::auth::VerifiedCertificate;
use crate::membership::{Cid, Digest, Epoch, View};
use crate::wire::{Batch, Certificate, Decision, PeerMessage};

/// Instances kept at most, as far as a stable checkpoint covers them.
const MAX_DECISIONS: usize = 100_000;
/// Their bodies together, in bytes.
const MAX_BYTES: usize = 256 << 20;
/// How much more is kept where no checkpoint becomes stable, before this replica gives up on
/// replicas that miss a decision, so as not to run out of memory.
const UNCOVERED: usize = 4;

#[derive(Debug)]
enum Proof {
    /// ACCEPTs as they came in: authenticated by their links, signatures not looked at yet
    /// (rule N3).
    Collected {
        epoch: Epoch,
        accepts: BTreeMap<usize, Bytes>,
    },
    Verified(Certificate),
}

#[derive(Debug)]
struct Entry {
    batch: Batch,
    hash: Digest,
    bodies: Vec<Bytes>,
    bytes: usize,
    proof: Proof,
}

/// The most recent decisions.
#[derive(Debug)]
pub struct Decisions {
    first: Cid,
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The latest stable checkpoint: what it covers can be had as state (rule C5).
    covered: Cid,
}

impl Default for Decisions {
    fn default() -> Self {
        Self { first: Cid(1), entries: VecDeque::new(), bytes: 0, covered: Cid::ZERO }
    }
}

impl Decisions {
    /// The oldest decision kept, or the next to come.
    #[must_use]
    pub const fn first(&self) -> Cid {
        self.first
    }

    fn index(&self, cid: Cid) -> Option<usize> {
        let index = usize::try_from(cid.0.checked_sub(self.first.0)?).ok()?;
        (index < self.entries.len()).then_some(index)
    }

    /// Keeps a decision reached by counting ACCEPTs.
    pub(super) fn push_collected(
        &mut self,
        batch: Batch,
        hash: Digest,
        bodies: Vec<Bytes>,
        epoch: Epoch,
        accepts: BTreeMap<usize, Bytes>,
    ) {
        self.push(batch, hash, bodies, Proof::Collected { epoch, accepts });
    }

    /// Keeps a decision that came with its certificate.
    pub(super) fn push_verified(
        &mut self,
        batch: Batch,
        bodies: Vec<Bytes>,
        certificate: &VerifiedCertificate,
    ) {
        let proof = Proof::Verified(certificate.certificate().clone());
        self.push(batch, certificate.hash(), bodies, proof);
    }

    fn push(&mut self, batch: Batch, hash: Digest, bodies: Vec<Bytes>, proof: Proof) {
        let bytes = bodies.iter().map(Bytes::len).sum();
        self.bytes += bytes;
        self.entries.push_back(Entry { batch, hash, bodies, bytes, proof });
        self.trim();
    }

    fn trim(&mut self) {
        let exceeds = |this: &Self, by: usize| {
            this.entries.len() > by * MAX_DECISIONS
                || (this.bytes > by * MAX_BYTES && this.entries.len() > 1)
        };
        while (self.first <= self.covered && exceeds(self, 1)) || exceeds(self, UNCOVERED) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(dropped) = self.entries.pop_front() {
            self.bytes -= dropped.bytes;
            self.first = self.first.next();
        }
    }

    /// The state after instance `stable` can be had (rule C5): decisions up to `needless` go, and
    /// the others up to it only stay while there is room.
    pub(super) fn handle_stable(&mut self, needless: Cid, stable: Cid) {
        self.covered = stable;
        while self.first <= needless && !self.entries.is_empty() {
            self.drop_first();
        }
        self.trim();
    }

    /// The state after instance `cid` takes the place of all decisions; the next one follows.
    pub(super) fn restart_after(&mut self, cid: Cid) {
        *self = Self { first: cid.next(), covered: cid, ..Self::default() };
    }

    /// An ACCEPT that came after its instance was decided: one more signature to choose from.
    pub(super) fn add_accept(
        &mut self,
        peer: usize,
        cid: Cid,
        epoch: Epoch,
        hash: Digest,
        signature: Bytes,
    ) {
        let Some(index) = self.index(cid) else { return };
        let entry = &mut self.entries[index];
        if let Proof::Collected { epoch: decided, accepts } = &mut entry.proof
            && *decided == epoch
            && entry.hash == hash
        {
            accepts.entry(peer).or_insert(signature);
        }
    }

    /// This replica's own ACCEPT for an instance whose certificate is not complete yet.
    pub(super) fn own_accept(&self, cid: Cid, me: usize) -> Option<PeerMessage> {
        let entry = self.entries.get(self.index(cid)?)?;
        let Proof::Collected { epoch, accepts } = &entry.proof else { return None };
        let signature = accepts.get(&me)?.clone();
        Some(PeerMessage::Accept { cid, epoch: *epoch, hash: entry.hash, signature })
    }

    /// A decision with a certificate that others will accept, where it is kept and q signatures
    /// are good. Signatures are verified on first use.
    pub(super) fn serve(&mut self, view: &View, cid: Cid) -> Option<Decision> {
        let index = self.index(cid)?;
        let entry = &mut self.entries[index];
        if let Proof::Collected { epoch, accepts } = &entry.proof {
            let certificate = Certificate {
                epoch: *epoch,
                signatures: accepts
                    .iter()
                    .map(|(&peer, signature)| (view.members[peer].id, signature.clone()))
                    .collect(),
            };
            let verified = VerifiedCertificate::check(view, cid, entry.hash, &certificate).ok()?;
            entry.proof = Proof::Verified(verified.certificate().clone());
        }
        let Proof::Verified(certificate) = &entry.proof else { return None };
        Some(Decision {
            cid,
            batch: entry.batch.clone(),
            certificate: certificate.clone(),
            bodies: entry.bodies.clone(),
        })
    }
}
