//! The change of the leader (rules S1 to S9).

use bytes::Bytes;

use super::{Consensus, ConsensusOutput, ProposalFault, Reasons};
use crate::auth::{VerifiedStopData, proves_leader_faulty, sign_stop_data};
use crate::membership::{Cid, Digest, Regency, ReplicaSet};
use crate::ordering::instance::Proposal;
use crate::ordering::sync_choice::{Choice, SyncChoice, SyncFault, choose, judge};
use crate::replica::Record;
use crate::wire::{Batch, Evidence, PeerMessage, SignedStopData, StopData, Sync};

impl Consensus {
    /// Is there, at present, a request that has waited too long for the leader (rule S8)?
    pub fn set_overdue(&mut self, overdue: bool) {
        self.reasons.overdue = overdue;
        self.heed_stops();
    }

    /// The leader says of itself that it does not lead, for it has lost its memory, or that it
    /// does (rule D3).
    pub fn set_leader_learns(&mut self, learns: bool) {
        self.reasons.leader_learns = learns;
        self.heed_stops();
    }

    /// What a member wants at present (rule S2), with proof that a leader is faulty where there
    /// is one (rule S9).
    pub fn handle_stop(&mut self, peer: usize, regency: Regency, evidence: Option<Evidence>) {
        self.stops.set(peer, regency);
        if let Some(evidence) = evidence
            && !self.reasons.convicted
            && proves_leader_faulty(&self.config.view, self.epoch(), &evidence)
        {
            self.reasons.convicted = true;
            self.evidence = Some(evidence);
        }
        self.heed_stops();
    }

    /// The leader is proven wrong (rule S9).
    pub(super) fn convict_leader(
        &mut self,
        cid: Cid,
        fault: ProposalFault,
        proposals: Option<[(Digest, Bytes); 2]>,
    ) {
        self.faults.push_back((self.leader(), fault));
        self.reasons.convicted = true;
        let epoch = self.epoch();
        if let Some(proposals) = proposals {
            self.evidence = Some(Evidence::TwoProposals { cid, epoch, proposals });
        }
        self.heed_stops();
    }

    /// The regency that this replica wants: a later one than it has installed while a reason
    /// stands.
    fn wanted_regency(&self) -> Regency {
        let join = self.stops.to_join(self.config.me);
        let own = if self.reasons.any() { self.regency.next() } else { self.regency };
        own.max(join)
    }

    /// Says what this replica wants, where that has changed; installs what a quorum wants
    /// (rule S2).
    fn heed_stops(&mut self) {
        // What a learner forgot it cannot put into a STOPDATA (rule D3).
        if self.voting {
            let wanted = self.wanted_regency();
            if wanted != self.stops.of(self.config.me) {
                self.stops.set(self.config.me, wanted);
                let stop = self.stop_message();
                self.send(self.others(), stop);
            }
        }
        let install = self.stops.to_install();
        if install > self.regency {
            self.install(install);
        }
    }

    fn stop_message(&self) -> PeerMessage {
        let regency = self.stops.of(self.config.me);
        PeerMessage::Stop { regency, evidence: self.evidence.clone() }
    }

    /// Begins a regency: computes this replica's STOPDATA, once and for all (rule S3).
    fn install(&mut self, regency: Regency) {
        assert!(regency > self.regency, "regencies ascend");
        self.prove();
        self.regency = regency;
        self.reasons = Reasons::default();
        self.synced = false;
        self.sync = None;
        self.choice = None;
        self.stop_data = None;
        self.stop_datas.retain(|_, data| data.data().regency >= regency);
        // What a learner forgot it cannot say, and what it cannot prove nobody would take.
        let own = if self.voting { self.make_stop_data() } else { None };
        if let Some(own) = own {
            let own = sign_stop_data(&self.config.signing_key, &own);
            self.stop_data = Some(own.clone());
            self.record(Record::Regency { regency, stop_data: Some(own.clone()) });
            let leader = self.leader();
            if leader == self.config.me {
                self.handle_stop_data(leader, &own);
            } else {
                self.send(ReplicaSet::one(leader), PeerMessage::StopData(own));
            }
        } else {
            self.record(Record::Regency { regency, stop_data: None });
        }
        self.out.push_back(ConsensusOutput::Installed(regency));
        self.heed_stops();
    }

    fn make_stop_data(&mut self) -> Option<StopData> {
        let proof = self.last_proof()?;
        let open = self.instances.get(&self.open());
        let accepted = open.and_then(|open| open.accepted.as_ref());
        Some(StopData {
            service: self.config.view.service,
            view: self.config.view.number,
            regency: self.regency,
            replica: self.config.view.members[self.config.me].id,
            last_cid: self.proven,
            last_hash: self.proven_hash,
            proof,
            accepted: accepted.map(|(epoch, hash, _)| (*epoch, *hash)),
            writeset: open.map(|open| open.writeset.clone()).unwrap_or_default(),
        })
    }

    /// A member told what it knows as of the beginning of a regency that this replica leads.
    pub fn handle_stop_data(&mut self, peer: usize, signed: &SignedStopData) {
        let regency = match signed.decode() {
            Ok(data) => data.regency,
            Err(error) => {
                self.faults.push_back((peer, ProposalFault::StopData(error.into())));
                return;
            }
        };
        let leads = self.config.view.leader(regency) == self.config.me;
        if !leads || regency < self.regency {
            return;
        }
        if regency == self.regency
            && let Some(sync) = self.sync.clone()
        {
            if peer != self.config.me {
                self.send(ReplicaSet::one(peer), PeerMessage::Sync(sync));
            }
            return;
        }
        let known = self.stop_datas.get(&peer);
        if known.is_some_and(|known| known.data().regency > regency || known.signed() == signed) {
            return;
        }
        match VerifiedStopData::check(&self.config.view, signed) {
            Ok(data) if data.sender() == peer => {
                self.handle_progress(peer, data.data().last_cid);
                if let Some(certificate) = data.certificate() {
                    self.learn(certificate);
                }
                self.stop_datas.insert(peer, data);
            }
            Ok(_) => {}
            Err(error) => self.faults.push_back((peer, ProposalFault::StopData(error))),
        }
    }

    /// As the leader of a regency whose choice is due: makes it, or finds out what is missing.
    pub(super) fn try_sync(&mut self) {
        if self.synced || !self.leads() {
            return;
        }
        self.choice = self.choose();
        let Some(SyncChoice { cid, choice: Choice::Bound(hash) }) = self.choice else { return };
        let instance = self.instances.get(&cid);
        let held = instance.and_then(|instance| instance.values.get(&hash));
        let proposed = || {
            let proposal = instance?.proposal.as_ref()?;
            (proposal.hash == hash).then(|| proposal.batch.clone())
        };
        let batch = held
            .map(|held| held.batch().clone())
            .or_else(proposed)
            .or_else(|| self.decisions.value(cid, hash).map(|value| value.batch));
        match batch {
            Some(batch) => self.send_sync(batch),
            None => self.wanted = Some((cid, hash)),
        }
    }

    fn choose(&self) -> Option<SyncChoice> {
        let datas: Vec<&VerifiedStopData> =
            self.stop_datas.values().filter(|data| data.data().regency == self.regency).collect();
        choose(self.quorums, &datas)
    }

    /// Sends the SYNC with this batch for the chosen instance.
    pub(super) fn send_sync(&mut self, batch: Batch) {
        let Some(choice) = self.choice.take() else { return };
        let stop_datas = self
            .stop_datas
            .values()
            .filter(|data| data.data().regency == self.regency)
            .map(|data| data.signed().clone())
            .collect();
        let sync = Sync { regency: self.regency, stop_datas, batch };
        self.record(Record::Sync(sync.clone()));
        self.send(self.others(), PeerMessage::Sync(sync.clone()));
        self.apply(choice, &sync);
        self.sync = Some(sync);
    }

    /// The new leader's choice arrived (rule S6). It proves that a quorum has installed its
    /// regency: so does this replica.
    pub fn handle_sync(&mut self, peer: usize, sync: &Sync) {
        if sync.regency < self.regency || (sync.regency == self.regency && self.synced) {
            return;
        }
        let judged = if peer == self.config.view.leader(sync.regency) {
            judge(&self.config.view, sync)
        } else {
            Err(SyncFault::NotLeader)
        };
        match judged {
            Ok((choice, datas)) => {
                if sync.regency > self.regency {
                    self.install(sync.regency);
                }
                for certificate in datas.iter().filter_map(VerifiedStopData::certificate) {
                    self.learn(certificate);
                }
                self.apply(choice, sync);
            }
            Err(fault) => {
                self.faults.push_back((peer, ProposalFault::Sync(fault)));
                if fault != SyncFault::NotLeader && sync.regency == self.regency {
                    self.reasons.convicted = true;
                    self.heed_stops();
                }
            }
        }
    }

    /// From now on proposals of this regency are taken; at the SYNC's instance only its choice
    /// is (rule S1).
    pub(super) fn apply(&mut self, choice: SyncChoice, sync: &Sync) {
        self.synced = true;
        let SyncChoice { cid, choice } = choice;
        if cid > self.proven {
            let hash = self.hash(cid, &sync.batch);
            let mut proposal = Proposal::new(self.epoch(), sync.batch.clone(), hash, None);
            proposal.bound = matches!(choice, Choice::Bound(_));
            self.instances.entry(cid).or_default().proposal = Some(proposal);
        }
        self.out.push_back(ConsensusOutput::Synchronised(self.regency));
    }

    /// What a peer has to know of the regency: what this replica wants, which replaces what the
    /// peer heard before; what the regency's leader waits for; the leader's choice.
    pub(super) fn resend_regency(&self, peer: usize) -> Vec<PeerMessage> {
        let mut messages = vec![self.stop_message()];
        if peer == self.leader()
            && !self.synced
            && let Some(stop_data) = self.stop_data.clone()
        {
            messages.push(PeerMessage::StopData(stop_data));
        }
        if let Some(sync) = self.sync.clone() {
            messages.push(PeerMessage::Sync(sync));
        }
        messages
    }
}
