//! Decisions and values for those who missed them (rules N5 and S7).

use bytes::Bytes;

use super::{AHEAD, Consensus, Decided, ProposalFault};
use crate::auth::VerifiedCertificate;
use crate::membership::{Cid, Digest, ReplicaSet};
use crate::ordering::held::Held;
use crate::replica::Record;
use crate::wire::limits::MAX_SERVED_BYTES;
use crate::wire::{Batch, Decision, PeerMessage};

/// Decisions in one answer.
const MAX_SERVED: u64 = 64;

impl Consensus {
    /// A decision arrived from a peer (rule N5). Gives it back for execution where it is the next
    /// one and its certificate is good.
    pub fn handle_decision(&mut self, peer: usize, decision: Decision) -> Option<Decided> {
        self.handle_progress(peer, decision.cid);
        let cid = decision.cid;
        if cid != self.open() {
            return None;
        }
        let hash = self.hash(cid, &decision.batch);
        let checked =
            VerifiedCertificate::check(&self.config.view, cid, hash, &decision.certificate);
        let certificate = match checked {
            Ok(certificate) => certificate,
            Err(error) => {
                self.faults.push_back((peer, ProposalFault::Certificate(error)));
                return None;
            }
        };
        if cid == self.last {
            self.record_proof(&certificate);
            self.proven_by(&certificate);
            return None;
        }
        let Some(held) = Held::from_bytes(decision.batch, &decision.bodies) else {
            self.faults.push_back((peer, ProposalFault::BrokenDecision));
            return None;
        };
        let batch = held.batch().clone();
        self.decisions.push(batch.clone(), hash, held.bytes());
        if self.config.logged {
            let certificate = certificate.certificate();
            let (epoch, accepts) = (certificate.epoch, certificate.signatures.clone());
            let value = Some(held.value());
            self.record(Record::Decided { cid, hash, epoch, accepts, value });
        }
        self.close(cid, hash, batch.time);
        self.proven_by(&certificate);
        Some(Decided { cid, hash, batch, requests: held.requests() })
    }

    /// A leader change showed that an instance is decided. Somebody may have kept the ACCEPTs from
    /// everybody else until now, and may not say it again.
    pub(super) fn learn(&mut self, certificate: &VerifiedCertificate) {
        let kept = self.proven.next().0..=self.last.0.saturating_add(AHEAD);
        if kept.contains(&certificate.cid().0) {
            self.certificates.insert(certificate.cid(), certificate.clone());
        }
        self.use_certificates();
    }

    /// Uses what [`Consensus::learn`] kept, once it is about the open instance.
    pub(super) fn use_certificates(&mut self) {
        while let Some((&cid, certificate)) = self.certificates.first_key_value() {
            if cid > self.open() {
                return;
            }
            let certificate = certificate.clone();
            if cid == self.open() && cid == self.last {
                self.record_proof(&certificate);
                self.proven_by(&certificate);
            } else if cid == self.open() {
                let instance = self.instances.entry(cid).or_default();
                instance.decided = Some((certificate.certificate().epoch, certificate.hash()));
                instance.certificate = Some(certificate);
            }
            self.certificates.remove(&cid);
        }
    }

    /// The last decision that this replica can prove, for a learner (rule D3). It has voted in no
    /// instance but the next: that much of what the learner forgot can still matter.
    pub fn report(&mut self) -> Option<PeerMessage> {
        let (last_cid, last_hash) = (self.proven, self.proven_hash);
        let proof = self.last_proof()?;
        Some(PeerMessage::Report { last_cid, last_hash, proof })
    }

    /// The decisions from `from` on, as many as fit into one answer; where there is none yet,
    /// this replica's part in the open instance.
    pub fn serve(&mut self, peer: usize, from: Cid) -> Vec<PeerMessage> {
        if from == self.last {
            // The peer's ACCEPT may be the one that this replica still waited for.
            self.prove();
        }
        if from > self.proven {
            return self.resend(peer);
        }
        let mut messages = Vec::new();
        let mut bytes = 0;
        let mut liars = Vec::new();
        let end = self.proven.0.min(from.0.saturating_add(MAX_SERVED - 1));
        for cid in from.0..=end {
            let served = self.decisions.serve(&self.config.view, Cid(cid), &mut liars);
            let Some(decision) = served else { break };
            bytes += decision.bodies.iter().map(Bytes::len).sum::<usize>();
            messages.push(PeerMessage::Decided(decision));
            if bytes > MAX_SERVED_BYTES {
                break;
            }
        }
        self.accuse(liars);
        messages
    }

    /// Is there a sign that others have decided, or are deciding, what this replica has not?
    /// In a quiet system there is none for long.
    #[must_use]
    pub fn lags(&self) -> bool {
        let ahead = self.peers_last.iter().filter(|&&last| last > self.last).count();
        let dropped = self.dropped.iter().filter(|&&cid| cid > self.last).count();
        ahead >= self.quorums.one_correct()
            || dropped >= self.quorums.one_correct()
            || !self.synced
            || self.instances.values().any(|instance| !instance.is_untouched())
    }

    /// Members that may have the next decision, or something to say about the open instance or
    /// the regency that this replica has missed.
    #[must_use]
    pub fn ahead(&self) -> ReplicaSet {
        let mut ahead: ReplicaSet = (0..self.quorums.n())
            .filter(|&peer| self.peers_last[peer] > self.last || self.dropped[peer] > self.last)
            .collect();
        if !self.synced && self.leads() {
            ahead = self.others();
        }
        let open = self.instances.get(&self.open());
        if !self.synced || open.is_none_or(|open| open.proposal.is_none()) {
            ahead.insert(self.leader());
        }
        if let Some(open) = open {
            for peer in open.heard_from().iter() {
                ahead.insert(peer);
            }
        }
        ahead.without(self.config.me)
    }

    /// What `peer` has to know of the regency and of this replica's part in the open instance,
    /// to be said again on a new stream or when it asks.
    #[must_use]
    pub fn resend(&self, peer: usize) -> Vec<PeerMessage> {
        let mut messages = self.resend_regency(peer);
        for cid in [self.open(), self.open().next()] {
            let Some(instance) = self.instances.get(&cid) else { continue };
            if self.leads()
                && let Some(proposal) = &instance.proposal
                && proposal.epoch == self.epoch()
                && let Some(signature) = proposal.signature.clone()
            {
                let (epoch, batch) = (proposal.epoch, proposal.batch.clone());
                messages.push(PeerMessage::Propose { cid, epoch, batch, signature });
            }
            // Nothing of lower epochs is said any more (rule S2).
            if let Some(&(epoch, hash)) = instance.writeset.last()
                && epoch == self.epoch()
            {
                messages.push(PeerMessage::Write { cid, epoch, hash });
            }
            if let Some((epoch, hash, signature)) = instance.accepted.clone()
                && epoch == self.epoch()
            {
                messages.push(PeerMessage::Accept { cid, epoch, hash, signature });
            }
        }
        messages
    }

    /// A value without which this replica cannot go on: it is bound or decided, and its batch or
    /// bodies are missing.
    #[must_use]
    pub const fn wanted_value(&self) -> Option<(Cid, Digest)> {
        self.wanted
    }

    /// Batch and bodies for a hash, where held.
    #[must_use]
    pub fn serve_value(&self, cid: Cid, hash: Digest) -> Option<PeerMessage> {
        let held = self.instances.get(&cid).and_then(|instance| instance.values.get(&hash));
        let value = held.map(Held::value).or_else(|| self.decisions.value(cid, hash))?;
        Some(PeerMessage::Value { cid, batch: value.batch, bodies: value.bodies })
    }

    /// A value arrived. It counts where it is the one wanted; false otherwise, and then it may
    /// merely be late.
    pub fn handle_value(&mut self, cid: Cid, batch: Batch, bodies: &[Bytes]) -> bool {
        let hash = self.hash(cid, &batch);
        if self.wanted != Some((cid, hash)) {
            return false;
        }
        let Some(held) = Held::from_bytes(batch, bodies) else { return false };
        self.instances.entry(cid).or_default().values.insert(hash, held);
        self.wanted = None;
        true
    }
}
