//! The proof of the last decision (rule N3).

use super::{Consensus, ProposalFault};
use crate::auth::{VerifiedAccept, VerifiedCertificate};
use crate::membership::{Cid, Digest, Epoch, ReplicaSet, View};
use crate::ordering::instance::Instance;
use crate::ordering::proof::{Accepts, Proof};
use crate::replica::Record;
use crate::wire::{Certificate, LastProof};

impl Consensus {
    /// Is the proof of the last decision worth looking for before it is needed? Not while the
    /// missing ACCEPTs will come on their own: their members accepted the instance before. To be
    /// asked once what was decided has been answered.
    #[must_use]
    pub fn should_prove(&self) -> bool {
        if !self.may_prove() {
            return false;
        }
        let before = Cid(self.last.0.saturating_sub(1));
        let expected = self.accepted_by.iter().filter(|&&accepted| accepted >= before).count();
        expected < self.quorums.holding_a_quorum()
    }

    /// Could verifying signatures prove the last decision?
    fn may_prove(&self) -> bool {
        let instance = self.instances.get(&self.last).filter(|_| self.proven < self.last);
        instance.is_some_and(|instance| {
            let Some((_, hash)) = instance.decided else { return false };
            instance
                .accepts
                .epochs()
                .any(|epoch| instance.hopeful(epoch, hash) >= self.quorums.quorum())
        })
    }

    /// Proves the last decision, where it can be: by counting, or else by verifying signatures
    /// until a quorum's are good. A bad one is left out and poisons nothing.
    pub fn prove(&mut self) {
        self.prove_by_count();
        if !self.may_prove() {
            return;
        }
        let cid = self.last;
        let quorum = self.quorums.quorum();
        let Some(instance) = self.instances.get_mut(&cid) else { return };
        let Some((_, hash)) = instance.decided else { return };
        let epochs: Vec<Epoch> = instance.accepts.epochs().collect();
        for epoch in epochs {
            if instance.hopeful(epoch, hash) < quorum {
                continue;
            }
            for peer in verify_accepts(&self.config.view, instance, (cid, epoch, hash)) {
                self.faults.push_back((peer, ProposalFault::AcceptSignature));
            }
            let good = instance.good_accepts.iter().filter(|accept| accept.epoch() == epoch);
            let certificate = VerifiedCertificate::of_accepts(
                &self.config.view,
                (cid, epoch, hash),
                good.cloned(),
            );
            if let Ok(certificate) = certificate {
                let accepts = &certificate.certificate().signatures;
                let members = accepts.iter().filter_map(|(id, _)| self.config.view.index_of(*id));
                if !members.collect::<ReplicaSet>().is_within(instance.recorded_in(epoch)) {
                    self.record_proof(&certificate);
                }
                self.proven_by(&certificate);
                return;
            }
        }
    }

    /// Of the authenticated ACCEPTs of q + f members at least q are of correct ones, whose
    /// signatures are good: a certificate is among them, and nobody has to look for it now.
    pub(super) fn prove_by_count(&mut self) {
        if self.proven == self.last {
            return;
        }
        let cid = self.last;
        let Some(instance) = self.instances.get(&cid) else { return };
        let Some((_, hash)) = instance.decided else { return };
        let enough = self.quorums.holding_a_quorum();
        let enough = |epoch: &Epoch| instance.accepts.voters(*epoch, hash).count() >= enough;
        let Some(epoch) = instance.accepts.epochs().find(enough) else { return };
        if self.config.logged {
            let recorded = instance.recorded_in(epoch);
            let voters: ReplicaSet =
                instance.accepts.voters(epoch, hash).map(|(peer, _)| peer).collect();
            if !voters.is_within(recorded) {
                let mut accepts = instance.accepts_of(&self.config.view, epoch, hash);
                let view = &self.config.view;
                accepts.retain(|(id, _)| {
                    view.index_of(*id).is_some_and(|peer| !recorded.contains(peer))
                });
                self.late_accepts = Some(Record::Proof { cid, hash, epoch, accepts });
            }
        }
        let signatures = instance.accepts_of(&self.config.view, epoch, hash);
        self.proven_with(Proof::Accepts(Accepts { epoch, signatures }));
    }

    /// Records the ACCEPTs that came after the record of their decision, where its proof needs
    /// them: what this replica says next rests on it.
    pub(super) fn record_late_accepts(&mut self) {
        if let Some(record) = self.late_accepts.take() {
            self.out.push_back(super::ConsensusOutput::Record(record));
        }
    }

    /// Keeps the proof of the last decision, where not all of it stands in the record of that:
    /// what this replica says in the next instance rests on it (rule N3).
    pub(super) fn record_proof(&mut self, certificate: &VerifiedCertificate) {
        let (cid, hash) = (certificate.cid(), certificate.hash());
        let epoch = certificate.certificate().epoch;
        let accepts = certificate.certificate().signatures.clone();
        self.record(Record::Proof { cid, hash, epoch, accepts });
    }

    /// The last decision has its certificate.
    pub(super) fn proven_by(&mut self, certificate: &VerifiedCertificate) {
        assert_eq!(
            (certificate.cid(), certificate.hash()),
            (self.last, self.last_hash),
            "two quorums never certify different batches for one instance"
        );
        self.proven_with(Proof::Certificate(certificate.certificate().clone()));
    }

    fn proven_with(&mut self, proof: Proof) {
        self.decisions.prove(self.last, proof);
        self.proven = self.last;
        self.proven_hash = self.last_hash;
        self.instances = self.instances.split_off(&self.last.next());
    }

    /// The proof of the last proven instance, fit to be shown to others: signatures that nobody
    /// has looked at are verified now. `None` only if more than f members are faulty.
    pub(super) fn last_proof(&mut self) -> Option<LastProof> {
        let origin = match &self.origin {
            LastProof::Checkpoint(certificate) => certificate.checkpoint.cid,
            LastProof::Genesis | LastProof::Certificate(_) => Cid::ZERO,
        };
        if self.proven == origin {
            return Some(self.origin.clone());
        }
        self.certificate(self.proven).map(LastProof::Certificate)
    }

    /// The certificate of a decision that is kept and proven. Nothing else is ever shown.
    fn certificate(&mut self, cid: Cid) -> Option<Certificate> {
        let mut liars = Vec::new();
        let certificate = self.decisions.certificate(&self.config.view, cid, &mut liars);
        self.accuse(liars);
        certificate
    }

    /// ACCEPTs of these members have bad signatures.
    pub(super) fn accuse(&mut self, liars: Vec<usize>) {
        let fault = |peer| (peer, ProposalFault::AcceptSignature);
        self.faults.extend(liars.into_iter().map(fault));
    }
}

/// Verifies the ACCEPTs of one epoch that have not been looked at, as many as a certificate
/// needs. Gives the members whose signatures are bad.
fn verify_accepts(view: &View, instance: &mut Instance, vote: (Cid, Epoch, Digest)) -> Vec<usize> {
    let (_, epoch, hash) = vote;
    let mut bad = Vec::new();
    let mut good = instance.good_accepts.iter().filter(|accept| accept.epoch() == epoch).count();
    let candidates: Vec<_> = instance
        .accepts
        .voters(epoch, hash)
        .filter(|(peer, _)| !instance.is_judged(epoch, *peer))
        .map(|(peer, signature)| (peer, signature.clone()))
        .collect();
    for (peer, signature) in candidates {
        if good >= view.quorums().quorum() {
            break;
        }
        match VerifiedAccept::check(view, peer, vote, signature) {
            Some(accept) => {
                instance.good_accepts.push(accept);
                good += 1;
            }
            None => {
                instance.bad_accepts.push((epoch, peer));
                bad.push(peer);
            }
        }
    }
    bad
}
