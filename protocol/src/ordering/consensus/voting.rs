//! WRITE, ACCEPT, decide (rules N2, N4, N6 and A7).

use std::collections::btree_map::Entry;

use super::{Consensus, Decided, ProposalFault};
use crate::auth::VerifiedAccept;
use crate::execution::Sessions;
use crate::membership::{Cid, Digest, Epoch, ReplicaSet};
use crate::ordering::admission::Admission;
use crate::ordering::batch::{check_bodies, check_ids};
use crate::ordering::held::Held;
use crate::replica::Record;
use crate::time::UnixMicros;
use crate::wire::PeerMessage;

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
        self.prove_by_count();
        if self.next_has_begun() {
            // Not even a moment is waited for the ACCEPTs that are still missing.
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

    /// Is there something about the next instance that this replica may have to vote on? The
    /// leader's own WRITE is not urgent as long as it is alone with its proposal.
    fn next_has_begun(&self) -> bool {
        let me = ReplicaSet::one(self.config.me);
        let mut later = self.instances.range(self.last.next()..);
        later.any(|(_, instance)| {
            let proposed = instance.proposal.is_some() && !self.leads();
            proposed || !instance.heard_from().is_within(me)
        })
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
        self.record_late_accepts();
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
        self.accepted_by[me] = cid;
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
            let accepts = match &instance.certificate {
                Some(proof) => proof.certificate().signatures.clone(),
                None => instance.accepts_of(&self.config.view, epoch, hash),
            };
            let voters = instance.accepts.voters(epoch, hash).map(|(peer, _)| peer);
            instance.recorded_accepts = voters.collect::<ReplicaSet>();
            self.record(Record::Decided { cid, hash, epoch, accepts, value });
        }
        self.close(cid, hash, batch.time);
        if let Some(certificate) = certificate {
            self.proven_by(&certificate);
        }
        Some(Decided { cid, hash, batch, requests })
    }
}
