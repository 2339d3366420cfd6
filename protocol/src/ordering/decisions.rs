//! Decided instances that are kept for replicas that missed them (rule N5).

use std::collections::VecDeque;

use bytes::Bytes;

use super::proof::Proof;
use crate::membership::{Cid, Digest, View};
use crate::replica::Value;
use crate::wire::{Batch, Certificate, Decision};

/// Instances kept at most, as far as a stable checkpoint covers them.
const MAX_DECISIONS: usize = 100_000;
/// Their bodies together, in bytes. Memory that is used for the first time costs more than what a
/// replica does with a request: docs/performance.md.
const MAX_BYTES: usize = 64 << 20;
/// The same where no checkpoint becomes stable, before this replica gives up on replicas that miss
/// a decision, so as not to run out of memory.
const MAX_UNCOVERED: (usize, usize) = (400_000, 1 << 30);

#[derive(Debug)]
struct Entry {
    batch: Batch,
    hash: Digest,
    bodies: Vec<Bytes>,
    bytes: usize,
    /// Until it is there, others do not take the decision from this replica (rule N3).
    proof: Option<Proof>,
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

    /// Keeps the next decision.
    pub(super) fn push(&mut self, batch: Batch, hash: Digest, bodies: Vec<Bytes>) {
        let bytes = bodies.iter().map(Bytes::len).sum();
        self.bytes += bytes;
        self.entries.push_back(Entry { batch, hash, bodies, bytes, proof: None });
        self.trim();
    }

    fn trim(&mut self) {
        let exceeds = |this: &Self, (decisions, bytes): (usize, usize)| {
            this.entries.len() > decisions || (this.bytes > bytes && this.entries.len() > 1)
        };
        while (self.first <= self.covered && exceeds(self, (MAX_DECISIONS, MAX_BYTES)))
            || exceeds(self, MAX_UNCOVERED)
        {
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
    /// the others up to it only stay while there is room. The last one stays: it is what this
    /// replica proves its progress with.
    pub(super) fn handle_stable(&mut self, needless: Cid, stable: Cid) {
        self.covered = stable;
        while self.first <= needless && self.entries.len() > 1 {
            self.drop_first();
        }
        self.trim();
    }

    /// The state after instance `cid` takes the place of all decisions; the next one follows.
    pub(super) fn restart_after(&mut self, cid: Cid) {
        *self = Self { first: cid.next(), covered: cid, ..Self::default() };
    }

    /// The proof of a decision is there.
    pub(super) fn prove(&mut self, cid: Cid, proof: Proof) {
        if let Some(index) = self.index(cid) {
            self.entries[index].proof = Some(proof);
        }
    }

    /// The certificate of a decision, where it is kept and proven. ACCEPTs that nobody has looked
    /// at are verified now, once; the members whose signatures are bad go to `liars`.
    pub(super) fn certificate(
        &mut self,
        view: &View,
        cid: Cid,
        liars: &mut Vec<usize>,
    ) -> Option<Certificate> {
        let index = self.index(cid)?;
        let entry = &mut self.entries[index];
        if let Some(Proof::Accepts(accepts)) = &entry.proof {
            let (certificate, bad) = accepts.verify(view, cid, entry.hash);
            liars.extend(bad);
            entry.proof = certificate.map(|it| Proof::Certificate(it.certificate().clone()));
        }
        match &entry.proof {
            Some(Proof::Certificate(certificate)) => Some(certificate.clone()),
            _ => None,
        }
    }

    /// Batch and bodies of an instance that decided this hash.
    pub(super) fn value(&self, cid: Cid, hash: Digest) -> Option<Value> {
        let entry = self.entries.get(self.index(cid)?)?;
        (entry.hash == hash)
            .then(|| Value { batch: entry.batch.clone(), bodies: entry.bodies.clone() })
    }

    /// A decision that others will accept, where it is kept and proven.
    pub(super) fn serve(
        &mut self,
        view: &View,
        cid: Cid,
        liars: &mut Vec<usize>,
    ) -> Option<Decision> {
        let certificate = self.certificate(view, cid, liars)?;
        let entry = self.entries.get(self.index(cid)?)?;
        let (batch, bodies) = (entry.batch.clone(), entry.bodies.clone());
        Some(Decision { cid, batch, certificate, bodies })
    }
}
