//! WRITE, ACCEPT, decide, prove (rules N2 to N4, N6 and A7).

use std::collections::btree_map::Entry;

use super::{Consensus, Decided, ProposalFault};
use crate::auth::{VerifiedAccept, VerifiedCertificate};
use crate::execution::Sessions;
use crate::membership::{Cid, Digest, Epoch};
use crate::ordering::admission::Admission;
use crate::ordering::batch::{check_bodies, check_ids};
use crate::ordering::held::Held;
use crate::ordering::instance::Instance;
use crate::replica::Record;
use crate::time::UnixMicros;
use crate::wire::{LastProof, PeerMessage};

impl Consensus {
    /// Does what the open instance allows: judges the proposal, votes, decides; as the leader of
    /// a new regency, chooses. Gives a decision once batch and bodies are there; the caller
    /// executes it before calling again.
    pub fn advance(
        &mut self,
        wall: UnixMicros,
        admission: &Admission,
        sessions: &Sessions,
    ) -> Option<Decided> {
        self.wanted = None;
        let next_has_begun = self.instances.keys().next_back() > Some(&self.last);
        if next_has_begun {
            self.prove();
        }
        self.use_certificates();
        self.try_sync();
        let cid = self.open();
        if self.voting {
            self.try_write(cid, wall, admission, sessions);
            self.try_accept(cid);
        }
        if self.proven == self.last { self.try_decide(cid, admission) } else { None }
    }

    /// Writes the proposal once rule A7 allows it; a missing vouch or body, or a time ahead of
    /// the clock (rule N6), delays the WRITE, an invalid batch prevents it. What a leader change
    /// has bound, or what is decided already, is not judged again (rule S7).
    fn try_write(
        &mut self,
        cid: Cid,
        wall: UnixMicros,
        admission: &Admission,
        sessions: &Sessions,
    ) {
        let epoch = self.epoch();
        let Some(instance) = self.instances.get_mut(&cid) else { return };
        if instance.last_written().is_some_and(|written| written >= epoch) {
            return;
        }
        let Some(proposal) = instance.proposal.as_mut().filter(|known| known.epoch == epoch) else {
            return;
        };
        let hash = proposal.hash;
        let settled = match instance.decided {
            Some((_, decided)) if cid == self.last => {
                if decided != hash {
                    return;
                }
                true
            }
            _ => proposal.bound,
        };
        if !settled {
            let judged = match proposal.valid {
                Some(valid) => valid,
                None => match check_ids(&proposal.batch, self.last_time, sessions) {
                    Ok(()) => *proposal.valid.insert(true),
                    Err(error) => {
                        proposal.valid = Some(false);
                        self.convict_leader(cid, ProposalFault::InvalidBatch(error), None);
                        return;
                    }
                },
            };
            if !judged || proposal.batch.time > wall + self.config.max_drift {
                return;
            }
        }
        if let Entry::Vacant(vacant) = instance.values.entry(hash) {
            let may_use = |entry: &_| settled || admission.may_write(entry);
            let Some(held) = Held::from_admission(&proposal.batch, admission, may_use) else {
                if settled {
                    self.wanted = Some((cid, hash));
                }
                return;
            };
            if !settled && let Err(error) = check_bodies(held.bodies(), sessions) {
                proposal.valid = Some(false);
                self.convict_leader(cid, ProposalFault::InvalidBatch(error), None);
                return;
            }
            vacant.insert(held);
        }
        instance.note_written(epoch, hash);
        instance.writes.cast(self.config.me, epoch, hash, ());
        self.record_written(cid, epoch, hash);
        self.send(self.others(), PeerMessage::Write { cid, epoch, hash });
    }

    /// Puts a value into the log before this replica proposes or writes it (rule N4).
    pub(super) fn record_written(&mut self, cid: Cid, epoch: Epoch, hash: Digest) {
        if !self.config.logged {
            return;
        }
        let Some(instance) = self.instances.get_mut(&cid) else { return };
        if instance.recorded == Some((epoch, hash)) {
            return;
        }
        instance.recorded = Some((epoch, hash));
        let Some(held) = instance.values.get(&hash) else { return };
        let value = held.value();
        self.record(Record::Written { cid, epoch, hash, value });
    }

    /// Accepts what a quorum wrote, or what f + 1 accepted, one of whom is correct and saw that
    /// quorum; needs neither the proposal nor an own WRITE (rule N2).
    fn try_accept(&mut self, cid: Cid) {
        let (epoch, me) = (self.epoch(), self.config.me);
        let (quorum, one_correct) = (self.quorums.quorum(), self.quorums.one_correct());
        let Some(instance) = self.instances.get_mut(&cid) else { return };
        if instance.accepted.as_ref().is_some_and(|(accepted, ..)| *accepted >= epoch) {
            return;
        }
        let written = instance.writes.quorum_in(epoch, quorum);
        let accepted = || instance.accepts.quorum_in(epoch, one_correct);
        let Some(hash) = written.or_else(accepted) else { return };
        let accept = VerifiedAccept::sign(
            &self.config.signing_key,
            &self.config.view,
            me,
            (cid, epoch, hash),
        );
        let signature = accept.signature().clone();
        instance.accepted = Some((epoch, hash, signature.clone()));
        instance.accepts.cast(me, epoch, hash, signature.clone());
        instance.good_accepts.push(accept);
        self.record(Record::Accepted { cid, epoch, hash, signature: signature.clone() });
        self.send(self.others(), PeerMessage::Accept { cid, epoch, hash, signature });
    }

    fn try_decide(&mut self, cid: Cid, admission: &Admission) -> Option<Decided> {
        let quorum = self.quorums.quorum();
        let instance = self.instances.get_mut(&cid)?;
        if instance.decided.is_none() {
            instance.decided = instance.accepts.quorum(quorum);
        }
        let (epoch, hash) = instance.decided?;
        if !instance.values.contains_key(&hash) {
            let proposal = instance.proposal.as_ref().filter(|proposal| proposal.hash == hash);
            let held = proposal
                .and_then(|proposal| Held::from_admission(&proposal.batch, admission, |_| true));
            let Some(held) = held else {
                self.wanted = Some((cid, hash));
                return None;
            };
            instance.values.insert(hash, held);
        }
        let held = &instance.values[&hash];
        let (batch, requests) = (held.batch().clone(), held.requests());
        let certificate = instance.certificate.clone();
        self.decisions.push(batch.clone(), hash, held.bytes());
        if self.config.logged {
            let written = instance.recorded.is_some_and(|(_, recorded)| recorded == hash);
            let value = (!written).then(|| held.value());
            let certified =
                instance.certificate.as_ref().map(|proof| proof.certificate().signatures.clone());
            let counted = || {
                let voters = instance.accepts.voters(epoch, hash);
                let id = |peer: usize| self.config.view.members[peer].id;
                voters.map(|(peer, signature)| (id(peer), signature.clone())).collect()
            };
            let accepts = certified.unwrap_or_else(counted);
            self.record(Record::Decided { cid, hash, epoch, accepts, value });
        }
        self.close(cid, hash, batch.time);
        if let Some(certificate) = certificate {
            self.proven_by(&certificate);
        }
        Some(Decided { cid, hash, batch, requests })
    }

    /// Could [`Consensus::prove`] get further? To be called once what was decided has been
    /// answered.
    #[must_use]
    pub fn may_prove(&self) -> bool {
        let instance = self.instances.get(&self.last).filter(|_| self.proven < self.last);
        instance.is_some_and(|instance| {
            let Some((_, hash)) = instance.decided else { return false };
            instance
                .accepts
                .epochs()
                .any(|epoch| instance.hopeful(epoch, hash) >= self.quorums.quorum())
        })
    }

    /// Verifies signatures of the last decision until a quorum's are good (rule N3). A bad one is
    /// left out and poisons nothing.
    pub fn prove(&mut self) {
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
                let others_needed =
                    !instance.bad_accepts.is_empty() || instance.decided != Some((epoch, hash));
                if others_needed {
                    self.record_proof(&certificate);
                }
                self.proven_by(&certificate);
                return;
            }
        }
    }

    /// Keeps the proof of the last decision, where not all of it stands in the record of that:
    /// what this replica says in the next instance rests on it (rule N3).
    pub(super) fn record_proof(&mut self, certificate: &VerifiedCertificate) {
        let (cid, hash) = (certificate.cid(), certificate.hash());
        let epoch = certificate.certificate().epoch;
        let accepts = certificate.certificate().signatures.clone();
        self.record(Record::Decided { cid, hash, epoch, accepts, value: None });
    }

    /// The last decision has its proof.
    pub(super) fn proven_by(&mut self, certificate: &VerifiedCertificate) {
        assert_eq!(
            (certificate.cid(), certificate.hash()),
            (self.last, self.last_hash),
            "two quorums never certify different batches for one instance"
        );
        self.decisions.prove(certificate);
        self.proven = self.last;
        self.proven_hash = self.last_hash;
        self.proof = LastProof::Certificate(certificate.certificate().clone());
        self.instances = self.instances.split_off(&self.last.next());
    }
}

/// Verifies the ACCEPTs of one epoch that have not been looked at, as many as a certificate
/// needs. Gives the members whose signatures are bad.
fn verify_accepts(
    view: &crate::membership::View,
    instance: &mut Instance,
    vote: (Cid, Epoch, Digest),
) -> Vec<usize> {
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
