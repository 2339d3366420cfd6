//! One consensus instance after another: PROPOSE, WRITE, ACCEPT, decide (rules N1 to N6).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::admission::Admission;
use super::batch::{BatchError, check_bodies, check_ids};
use super::decisions::Decisions;
use super::instance::{Cast, Instance, Proposal};
use super::pending::Body;
use crate::auth::{
    CertificateError, SigningKey, VerifiedCertificate, VerifiedCheckpoint, sign_accept,
};
use crate::execution::{OrderedRequest, Sessions};
use crate::membership::{Cid, Digest, Epoch, Quorums, Regency, ReplicaSet, View};
use crate::time::UnixMicros;
use crate::wire::limits::MAX_SERVED_BYTES;
use crate::wire::{Batch, BatchEntry, Decision, PeerMessage, Request};

/// Instances beyond the open one for which votes are kept. A correct peer is ahead by more only
/// if this replica lags, and then it fetches decisions.
const AHEAD: u64 = 16;
/// Decisions in one answer.
const MAX_SERVED: u64 = 64;

/// Who this replica is in which view.
#[derive(Debug, Clone)]
pub struct ConsensusConfig {
    /// The view.
    pub view: Arc<View>,
    /// This replica's position in it.
    pub me: usize,
    /// Signs ACCEPTs.
    pub signing_key: SigningKey,
    /// How far a batch's time may be ahead of this replica's clock (rule N6).
    pub max_drift: Duration,
}

/// A peer did what no correct replica does in a consensus instance: it misbehaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposalFault {
    /// A proposal from a replica that does not lead.
    #[error("proposed without being the leader")]
    NotLeader,
    /// Two proposals for one instance and epoch.
    #[error("proposed two batches for one instance")]
    TwoProposals,
    /// An invalid batch (rules A6 and N6).
    #[error("proposed an invalid batch: {0}")]
    InvalidBatch(BatchError),
    /// Two votes of one kind for one instance and epoch.
    #[error("voted twice, for different hashes")]
    TwoVotes,
    /// A decision whose parts do not fit together.
    #[error("sent a decision that does not fit its own hash")]
    BrokenDecision,
    /// A certificate that certifies nothing.
    #[error("sent a bad certificate: {0}")]
    Certificate(CertificateError),
}

/// The kinds of vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vote {
    /// First vote.
    Write,
    /// Second vote, with its signature.
    Accept(Bytes),
}

/// A decided instance, ready to be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The instance.
    pub cid: Cid,
    /// Hash of the batch.
    pub hash: Digest,
    /// The batch.
    pub batch: Batch,
    /// Its requests, in order.
    pub requests: Vec<OrderedRequest>,
}

/// The consensus state machine.
#[derive(Debug)]
pub struct Consensus {
    config: ConsensusConfig,
    quorums: Quorums,
    voting: bool,
    regency: Regency,
    last: Cid,
    last_time: UnixMicros,
    instances: BTreeMap<Cid, Instance>,
    decisions: Decisions,
    /// The last instance that each member is known to have decided, by its own word.
    peers_last: Vec<Cid>,
    /// The highest instance about which a message of each member was dropped, because this
    /// replica was too far behind: it has to be said again.
    dropped: Vec<Cid>,
    out: VecDeque<(ReplicaSet, PeerMessage)>,
    faults: VecDeque<(usize, ProposalFault)>,
}

impl Consensus {
    /// Before the first instance. A replica that is not `voting` is a learner (rule D3).
    #[must_use]
    pub fn new(config: ConsensusConfig, genesis_time: UnixMicros, voting: bool) -> Self {
        let quorums = config.view.quorums();
        Self {
            quorums,
            voting,
            regency: Regency(0),
            last: Cid::ZERO,
            last_time: genesis_time,
            instances: BTreeMap::new(),
            decisions: Decisions::default(),
            peers_last: vec![Cid::ZERO; quorums.n()],
            dropped: vec![Cid::ZERO; quorums.n()],
            out: VecDeque::new(),
            faults: VecDeque::new(),
            config,
        }
    }

    /// The last decided instance.
    #[must_use]
    pub const fn last(&self) -> Cid {
        self.last
    }

    /// The current regency.
    #[must_use]
    pub const fn regency(&self) -> Regency {
        self.regency
    }

    /// The position of the current leader.
    #[must_use]
    pub fn leader(&self) -> usize {
        self.config.view.leader(self.regency)
    }

    /// Is this replica the leader, and does it vote?
    #[must_use]
    pub fn leads(&self) -> bool {
        self.voting && self.leader() == self.config.me
    }

    /// From now on this replica votes.
    pub const fn begin_voting(&mut self) {
        self.voting = true;
    }

    /// From now on this replica does not vote (rule C4).
    pub const fn end_voting(&mut self) {
        self.voting = false;
    }

    /// The oldest decision kept, or the next to come.
    #[must_use]
    pub const fn first_kept(&self) -> Cid {
        self.decisions.first()
    }

    /// A checkpoint is stable: see [`Decisions::handle_stable`].
    pub(crate) fn handle_stable(&mut self, needless: Cid, stable: Cid) {
        self.decisions.handle_stable(needless, stable);
    }

    /// The state after a stable checkpoint was put in place (rule C7): the next instance follows
    /// that. It may lie behind where this replica's own state was wrong.
    pub fn install_checkpoint(&mut self, stable: &VerifiedCheckpoint, time: UnixMicros) {
        let cid = stable.id().cid;
        self.instances.retain(|&open, _| open > cid && open > self.last);
        self.last = cid;
        self.last_time = time;
        self.peers_last[self.config.me] = cid;
        self.decisions.restart_after(cid);
    }

    /// A message to be sent.
    pub fn poll_message(&mut self) -> Option<(ReplicaSet, PeerMessage)> {
        self.out.pop_front()
    }

    /// A member that was caught misbehaving, and how.
    pub fn poll_fault(&mut self) -> Option<(usize, ProposalFault)> {
        self.faults.pop_front()
    }

    fn epoch(&self) -> Epoch {
        self.regency.epoch()
    }

    fn others(&self) -> ReplicaSet {
        self.config.view.everyone().without(self.config.me)
    }

    /// The instance that a message of `peer` is about, where it is kept.
    fn instance_mut(&mut self, peer: usize, cid: Cid) -> Option<&mut Instance> {
        if cid.0 > self.last.0 + AHEAD {
            self.dropped[peer] = self.dropped[peer].max(cid);
            return None;
        }
        (cid > self.last).then(|| self.instances.entry(cid).or_default())
    }

    /// A peer says that it has decided everything up to `last`.
    pub fn handle_progress(&mut self, peer: usize, last: Cid) {
        self.peers_last[peer] = self.peers_last[peer].max(last);
    }

    /// A proposal arrived.
    pub fn handle_propose(&mut self, peer: usize, cid: Cid, epoch: Epoch, batch: Batch) {
        if epoch != self.epoch() {
            return;
        }
        if peer != self.leader() {
            self.faults.push_back((peer, ProposalFault::NotLeader));
            return;
        }
        self.handle_progress(peer, Cid(cid.0.saturating_sub(1)));
        let view = Arc::clone(&self.config.view);
        let Some(instance) = self.instance_mut(peer, cid) else { return };
        let hash = batch.hash(view.service, view.number, cid);
        match &instance.proposal {
            Some(known) if known.epoch == epoch => {
                if known.hash != hash {
                    self.faults.push_back((peer, ProposalFault::TwoProposals));
                }
            }
            _ => instance.proposal = Some(Proposal { epoch, batch, hash, valid: None }),
        }
    }

    /// A vote arrived. A conflicting second vote of the same kind does not count.
    pub fn handle_vote(&mut self, peer: usize, cid: Cid, epoch: Epoch, hash: Digest, vote: Vote) {
        if epoch != self.epoch() {
            return;
        }
        self.handle_progress(peer, Cid(cid.0.saturating_sub(1)));
        if cid <= self.last {
            if let Vote::Accept(signature) = vote {
                self.decisions.add_accept(peer, cid, epoch, hash, signature);
            }
            return;
        }
        let Some(instance) = self.instance_mut(peer, cid) else { return };
        let cast = match vote {
            Vote::Write => instance.writes.cast(peer, epoch, hash, ()),
            Vote::Accept(signature) => instance.accepts.cast(peer, epoch, hash, signature),
        };
        if cast == Cast::Conflicting {
            self.faults.push_back((peer, ProposalFault::TwoVotes));
        }
    }

    /// May this replica propose the next batch now? One proposal an instance and epoch.
    #[must_use]
    pub fn may_propose(&self) -> bool {
        let epoch = self.epoch();
        self.leads()
            && self
                .instances
                .get(&self.last.next())
                .and_then(|instance| instance.proposal.as_ref())
                .is_none_or(|proposal| proposal.epoch != epoch)
    }

    /// Proposes a batch for the next instance, at the agreed time that follows from `wall`.
    ///
    /// # Panics
    /// Where [`Consensus::may_propose`] is false: the caller is to blame.
    pub fn propose(&mut self, wall: UnixMicros, entries: Vec<BatchEntry>) {
        assert!(self.may_propose(), "one proposal an instance and epoch");
        let time = wall.max(UnixMicros(self.last_time.0 + 1));
        let (cid, epoch) = (self.last.next(), self.epoch());
        let batch = Batch { time, entries };
        self.out
            .push_back((self.others(), PeerMessage::Propose { cid, epoch, batch: batch.clone() }));
        self.handle_propose(self.config.me, cid, epoch, batch);
    }

    /// Does what the open instance allows: judges the proposal, votes, decides. Gives a decision
    /// once batch and bodies are there; the caller executes it before calling again.
    pub fn advance(
        &mut self,
        wall: UnixMicros,
        admission: &Admission,
        sessions: &Sessions,
    ) -> Option<Decided> {
        let cid = self.last.next();
        if self.voting {
            self.try_write(cid, wall, admission, sessions);
            self.try_accept(cid);
        }
        let quorum = self.quorums.quorum();
        let instance = self.instances.get_mut(&cid)?;
        if instance.decided.is_none() {
            instance.decided = instance.accepts.quorum(quorum);
        }
        let (epoch, hash) = instance.decided?;
        let proposal = instance.proposal.as_ref().filter(|proposal| proposal.hash == hash)?;
        let bodies: Option<Vec<&Body>> = proposal
            .batch
            .entries
            .iter()
            .map(|entry| admission.body(&entry.id, &entry.digest))
            .collect();
        let bodies = bodies?;
        let batch = proposal.batch.clone();
        let requests = batch
            .entries
            .iter()
            .zip(&bodies)
            .map(|(entry, body)| OrderedRequest {
                request: body.request.clone(),
                digest: entry.digest,
            })
            .collect();
        let bytes = bodies.into_iter().map(|body| body.bytes.clone()).collect();
        let accepts = instance
            .accepts
            .voters(epoch, hash)
            .map(|(peer, signature)| (peer, signature.clone()))
            .collect();
        self.decisions.push_collected(batch.clone(), hash, bytes, epoch, accepts);
        self.close(cid, batch.time);
        Some(Decided { cid, hash, batch, requests })
    }

    fn close(&mut self, cid: Cid, time: UnixMicros) {
        assert_eq!(cid, self.last.next(), "instances are decided in order");
        self.instances.remove(&cid);
        self.last = cid;
        self.last_time = time;
        self.peers_last[self.config.me] = cid;
    }

    /// Writes the proposal once rule A7 allows it; a missing vouch or body, or a time ahead of
    /// the clock (rule N6), delays the WRITE, an invalid batch prevents it.
    fn try_write(
        &mut self,
        cid: Cid,
        wall: UnixMicros,
        admission: &Admission,
        sessions: &Sessions,
    ) {
        let epoch = self.epoch();
        let leader = self.leader();
        let Some(instance) = self.instances.get_mut(&cid) else { return };
        if instance.writeset.last().is_some_and(|(written, _)| *written >= epoch) {
            return;
        }
        let Some(proposal) = instance.proposal.as_mut().filter(|known| known.epoch == epoch) else {
            return;
        };
        let judged = match proposal.valid {
            Some(valid) => valid,
            None => match check_ids(&proposal.batch, self.last_time, sessions) {
                Ok(()) => *proposal.valid.insert(true),
                Err(error) => {
                    self.faults.push_back((leader, ProposalFault::InvalidBatch(error)));
                    *proposal.valid.insert(false)
                }
            },
        };
        if !judged || proposal.batch.time > wall + self.config.max_drift {
            return;
        }
        let mut bodies = Vec::with_capacity(proposal.batch.entries.len());
        for entry in &proposal.batch.entries {
            match admission.body(&entry.id, &entry.digest) {
                Some(body) if admission.may_write(entry) => bodies.push(body),
                _ => return,
            }
        }
        if let Err(error) = check_bodies(bodies.into_iter(), sessions) {
            proposal.valid = Some(false);
            self.faults.push_back((leader, ProposalFault::InvalidBatch(error)));
            return;
        }
        let hash = proposal.hash;
        instance.writeset.push((epoch, hash));
        instance.writes.cast(self.config.me, epoch, hash, ());
        self.out.push_back((self.others(), PeerMessage::Write { cid, epoch, hash }));
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
        let signature = sign_accept(&self.config.signing_key, &self.config.view, cid, epoch, hash);
        instance.accepted = Some((epoch, hash, signature.clone()));
        instance.accepts.cast(me, epoch, hash, signature.clone());
        self.out.push_back((self.others(), PeerMessage::Accept { cid, epoch, hash, signature }));
    }

    /// A decision arrived from a peer (rule N5). Gives it back for execution where it is the next
    /// one and its certificate is good.
    pub fn handle_decision(&mut self, peer: usize, decision: Decision) -> Option<Decided> {
        self.handle_progress(peer, decision.cid);
        let cid = decision.cid;
        if cid != self.last.next() {
            return None;
        }
        let view = Arc::clone(&self.config.view);
        let hash = decision.batch.hash(view.service, view.number, cid);
        let certificate = match VerifiedCertificate::check(&view, cid, hash, &decision.certificate)
        {
            Ok(certificate) => certificate,
            Err(error) => {
                self.faults.push_back((peer, ProposalFault::Certificate(error)));
                return None;
            }
        };
        let Some(requests) = matching_requests(&decision.batch, &decision.bodies) else {
            self.faults.push_back((peer, ProposalFault::BrokenDecision));
            return None;
        };
        let batch = decision.batch;
        self.decisions.push_verified(batch.clone(), decision.bodies, &certificate);
        self.close(cid, batch.time);
        Some(Decided { cid, hash, batch, requests })
    }

    /// The decisions from `from` on, as many as fit into one answer; where there is none yet,
    /// this replica's part in the open instance.
    pub fn serve(&mut self, from: Cid) -> Vec<PeerMessage> {
        if from == self.last.next() {
            return self.resend();
        }
        let mut messages = Vec::new();
        let mut bytes = 0;
        let end = self.last.0.min(from.0.saturating_add(MAX_SERVED - 1));
        for cid in from.0..=end {
            let Some(decision) = self.decisions.serve(&self.config.view, Cid(cid)) else {
                // Too few of the signatures are good. With this replica's own the others get to
                // accept, too, and theirs complete the certificate (rules N2 and N5).
                messages.extend(self.decisions.own_accept(Cid(cid), self.config.me));
                break;
            };
            bytes += decision.bodies.iter().map(Bytes::len).sum::<usize>();
            messages.push(PeerMessage::Decided(decision));
            if bytes > MAX_SERVED_BYTES {
                break;
            }
        }
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
            || self.instances.values().any(|instance| !instance.is_untouched())
    }

    /// Members that may have the next decision, or something to say about the open instance that
    /// this replica has missed.
    #[must_use]
    pub fn ahead(&self) -> ReplicaSet {
        let mut ahead: ReplicaSet = (0..self.quorums.n())
            .filter(|&peer| self.peers_last[peer] > self.last || self.dropped[peer] > self.last)
            .collect();
        let open = self.instances.get(&self.last.next());
        if open.is_none_or(|open| open.proposal.is_none()) {
            ahead.insert(self.leader());
        }
        if let Some(open) = self.instances.get(&self.last.next()) {
            for peer in open.heard_from().iter() {
                ahead.insert(peer);
            }
        }
        ahead.without(self.config.me)
    }

    /// This replica's part in the open instance, to be said again on a new stream.
    #[must_use]
    pub fn resend(&self) -> Vec<PeerMessage> {
        let cid = self.last.next();
        let Some(instance) = self.instances.get(&cid) else { return Vec::new() };
        let mut messages = Vec::new();
        if self.leads()
            && let Some(proposal) = &instance.proposal
        {
            let (epoch, batch) = (proposal.epoch, proposal.batch.clone());
            messages.push(PeerMessage::Propose { cid, epoch, batch });
        }
        if let Some(&(epoch, hash)) = instance.writeset.last() {
            messages.push(PeerMessage::Write { cid, epoch, hash });
        }
        if let Some((epoch, hash, signature)) = instance.accepted.clone() {
            messages.push(PeerMessage::Accept { cid, epoch, hash, signature });
        }
        messages
    }

    /// The time of a proposal that waits for this replica's clock (rule N6).
    #[must_use]
    pub fn waits_for_clock(&self, wall: UnixMicros) -> Option<Duration> {
        let proposal = self.instances.get(&self.last.next())?.proposal.as_ref()?;
        let ahead = proposal.batch.time.0.checked_sub((wall + self.config.max_drift).0)?;
        (ahead > 0).then(|| Duration::from_micros(ahead))
    }
}

/// The requests of a batch, where `bodies` are exactly what its digests name.
fn matching_requests(batch: &Batch, bodies: &[Bytes]) -> Option<Vec<OrderedRequest>> {
    if bodies.len() != batch.entries.len() {
        return None;
    }
    batch
        .entries
        .iter()
        .zip(bodies)
        .map(|(entry, body)| {
            if Request::digest(body) != entry.digest {
                return None;
            }
            let request = Request::decode(body).ok().filter(|request| request.id == entry.id)?;
            Some(OrderedRequest { request, digest: entry.digest })
        })
        .collect()
}
