//! Reads this replica's own log after a restart (rules N4 and S3).

use super::{Consensus, Decided};
use crate::auth::{VerifiedCertificate, sign_propose};
use crate::membership::{Cid, Digest, Epoch, ReplicaId};
use crate::ordering::held::Held;
use crate::ordering::instance::Proposal;
use crate::ordering::sync_choice::judge;
use crate::replica::{Record, Value};
use crate::wire::{Certificate, Sync};
use bytes::Bytes;

impl Consensus {
    /// Takes in the next record. Gives a decision to be executed.
    pub fn replay(&mut self, record: Record) -> Option<Decided> {
        match record {
            Record::Written { cid, epoch, hash, value } => {
                self.replay_written(cid, epoch, hash, value);
            }
            Record::Accepted { cid, epoch, hash, signature } => {
                if cid > self.proven {
                    let me = self.config.me;
                    let instance = self.instances.entry(cid).or_default();
                    instance.accepted = Some((epoch, hash, signature.clone()));
                    instance.accepts.cast(me, epoch, hash, signature);
                }
            }
            Record::Regency { regency, stop_data } => {
                self.regency = regency;
                self.stops.set(self.config.me, regency);
                self.stop_data = stop_data;
                self.synced = false;
                self.sync = None;
            }
            Record::Sync(sync) => self.replay_sync(sync),
            Record::Decided { cid, hash, epoch, accepts, value } => {
                return self.replay_decided(cid, (epoch, hash), accepts, value);
            }
            Record::Proof { cid, hash, epoch, accepts } => {
                self.replay_proof(cid, (epoch, hash), accepts);
            }
            Record::Checkpoint(_) => {}
        }
        None
    }

    fn replay_written(&mut self, cid: Cid, epoch: Epoch, hash: Digest, value: Value) {
        if cid <= self.proven || self.hash(cid, &value.batch) != hash {
            return;
        }
        let Some(held) = Held::from_bytes(value.batch, &value.bodies) else { return };
        let leader = epoch.regency().map(|regency| self.config.view.leader(regency));
        let proposal = (leader == Some(self.config.me)).then(|| {
            let view = &self.config.view;
            let signature = sign_propose(&self.config.signing_key, view, cid, epoch, hash);
            Proposal::new(epoch, held.batch().clone(), hash, Some(signature))
        });
        let me = self.config.me;
        let instance = self.instances.entry(cid).or_default();
        if let Some(proposal) = proposal {
            instance.proposal = Some(proposal);
        }
        instance.values.insert(hash, held);
        instance.note_written(epoch, hash);
        instance.writes.cast(me, epoch, hash, ());
        instance.recorded = Some((epoch, hash));
    }

    fn replay_sync(&mut self, sync: Sync) {
        if sync.regency == self.regency
            && self.leads()
            && let Ok((choice, _)) = judge(&self.config.view, &sync)
        {
            self.apply(choice, &sync);
            self.sync = Some(sync);
        }
    }

    fn replay_decided(
        &mut self,
        cid: Cid,
        (epoch, hash): (Epoch, Digest),
        accepts: Vec<(ReplicaId, Bytes)>,
        value: Option<Value>,
    ) -> Option<Decided> {
        if self.proven < self.last {
            self.prove();
        }
        if cid != self.last.next() || self.proven < self.last {
            return None;
        }
        let instance = self.instances.entry(cid).or_default();
        if let Some(value) = value
            && let Some(held) = Held::from_bytes(value.batch, &value.bodies)
        {
            instance.values.insert(hash, held);
        }
        for (id, signature) in accepts {
            if let Some(peer) = self.config.view.index_of(id) {
                instance.accepts.cast(peer, epoch, hash, signature);
            }
        }
        instance.recorded_accepts =
            instance.accepts.voters(epoch, hash).map(|(peer, _)| peer).collect();
        let held = instance.values.get(&hash)?.clone();
        instance.decided = Some((epoch, hash));
        let batch = held.batch().clone();
        self.decisions.push(batch.clone(), hash, held.bytes());
        self.close(cid, hash, batch.time);
        Some(Decided { cid, hash, batch, requests: held.requests() })
    }

    /// ACCEPTs that came after the record of their decision: together with those they prove it.
    fn replay_proof(
        &mut self,
        cid: Cid,
        (epoch, hash): (Epoch, Digest),
        mut signatures: Vec<(ReplicaId, Bytes)>,
    ) {
        if (cid, hash) != (self.last, self.last_hash) || self.proven == self.last {
            return;
        }
        if let Some(instance) = self.instances.get(&cid) {
            signatures.extend(instance.accepts_of(&self.config.view, epoch, hash));
        }
        let certificate = Certificate { epoch, signatures };
        let checked = VerifiedCertificate::check(&self.config.view, cid, hash, &certificate);
        if let Ok(certificate) = checked {
            self.proven_by(&certificate);
        }
    }

    /// The log has been read. What it made this replica say was said before, or may be said
    /// again when a stream comes up.
    pub fn finish_replay(&mut self) {
        self.prove();
        self.late_accepts = None;
        self.out.clear();
        self.faults.clear();
    }
}
