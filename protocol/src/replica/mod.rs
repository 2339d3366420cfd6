//! The replica: admission, consensus and execution as one state machine.
//!
//! A driver feeds bytes that `auth` has verified, drains what the replica wants sent, and calls
//! back at `next_deadline`. One *turn* is: feed everything that is ready, then drain. Proposing,
//! voting, executing and the sending of vouches happen when a turn is drained, so that a batch is
//! whatever was admitted when the slot became free.

mod checkpointing;
mod clients;
mod exchange;
mod log;
mod output;
mod parameters;
mod queries;
mod record;
mod recovery;
mod snapshots;
mod timers;
mod transfer;
mod turn;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::auth::{FromPeer, SigningKey, Verified};
use crate::execution::{Executor, Service};
use crate::membership::{Cid, ClientId, ReplicaSet, View};
use crate::ordering::{
    Admission, Checkpoints, Consensus, ConsensusConfig, LeaderTimer, Learner, Overdue, Vote,
};
use crate::time::{Instant, Now};
use crate::wire::{ClientFrame, PeerMessage, Welcome};

use clients::Clients;
use log::{Held, Log};
use snapshots::Snapshots;
use timers::{Timer, Timers};
use transfer::Transfer;

pub use clients::ClientFault;
pub use output::{LinkId, Notice, PeerFault, ReplicaStatus, Suspicion, ToClient, ToPeers};
pub use parameters::{Durability, Parameters};
pub use record::{LogPosition, Record, Value};
pub use recovery::{Recovered, VotesMemory};
pub use snapshots::{StableSnapshot, StableSnapshotError, StateJob, StateJobDone};
pub use transfer::TransferFault;

/// What a replica is started with.
#[derive(Debug, Clone)]
pub struct ReplicaConfig {
    /// The view it belongs to, validated.
    pub view: Arc<View>,
    /// Its position in the view.
    pub me: usize,
    /// Its signing key; the public half stands in the view.
    pub signing_key: SigningKey,
    /// With or without memory of what it did before.
    pub start: Start,
    /// Time-outs and limits.
    pub parameters: Parameters,
}

/// What a replica remembers when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// It has never run before: there is nothing to remember.
    Genesis,
    /// It has run before and remembers nothing: it follows without voting until it is safe
    /// (rule D3).
    Learner,
    /// It has run before and kept its log.
    Recovered(Box<Recovered>),
}

/// A replica of a service.
#[derive(Debug)]
pub struct Replica<S> {
    view: Arc<View>,
    me: usize,
    parameters: Parameters,
    now: Now,
    admission: Admission,
    consensus: Consensus,
    executor: Executor<S>,
    clients: Clients,
    leader_timer: LeaderTimer,
    timers: Timers,
    /// `Some` while this replica follows without voting.
    learner: Option<Learner>,
    /// Members with a stream.
    connected: ReplicaSet,
    /// Empty batches that learners have asked for (rule D3).
    empty_batches: u32,
    /// Rotates over the peers that are asked for decisions.
    asked: usize,
    /// How often somebody was asked.
    fetches: u32,
    /// The last decided instance when the fetch timer was set.
    lagging_at: Option<Cid>,
    /// What the members say of their states (rules C).
    checkpoints: Checkpoints,
    /// This replica's own.
    snapshots: Snapshots<S>,
    /// The state that it fetches.
    transfer: Option<Transfer>,
    /// The instance whose state is being restored from bytes.
    restoring: Option<Cid>,
    /// States up to this instance cannot be restored here.
    unusable: Cid,
    /// The latest stable checkpoint whose state is on disk.
    durable: Cid,
    /// Its own state is wrong: it neither executes nor answers until it has the right one
    /// (rule C4).
    suspended: bool,
    /// The instance whose disputed state was reported last.
    dissent: Option<Cid>,
    /// Since the last drain something may have changed.
    dirty: bool,
    log: Log,
    to_peers: Held<ToPeers>,
    to_clients: Held<ToClient>,
    notices: VecDeque<Notice>,
}

impl<S: Service> Replica<S> {
    /// A replica before the first instance, with no links.
    ///
    /// # Panics
    /// Where `config.me` is not a position in the view: the caller is to blame.
    #[must_use]
    pub fn new(config: ReplicaConfig, service: S, now: Now) -> Self {
        let ReplicaConfig { view, me, signing_key, start, parameters } = config;
        assert!(me < view.n(), "a replica is a member of its view");
        let mut notices = VecDeque::new();
        let mut executor = Executor::new(service, parameters.execution.clone());
        let (voting, recovered) = match start {
            Start::Genesis => (true, None),
            Start::Learner => (false, None),
            Start::Recovered(mut recovered) => {
                match recovered.restore(&parameters.execution) {
                    Ok(Some(restored)) => executor = restored,
                    Ok(None) => {}
                    Err(notice) => notices.push_back(notice),
                }
                (recovered.votes == VotesMemory::Complete, Some(recovered))
            }
        };
        let max_drift = parameters.admission.max_drift;
        let checkpoints = Checkpoints::new(Arc::clone(&view), me, signing_key.clone());
        let logged = parameters.durability == Durability::Logged;
        let view_of_config = Arc::clone(&view);
        let consensus = Consensus::new(
            ConsensusConfig { view: view_of_config, me, signing_key, max_drift, logged },
            executor.time(),
            voting,
        );
        let quorums = view.quorums();
        let mut replica = Self {
            admission: Admission::new(me, quorums, voting, parameters.admission.clone()),
            consensus,
            executor,
            clients: Clients::new(Arc::clone(&view), me),
            leader_timer: LeaderTimer::new(parameters.request_timeout),
            timers: Timers::default(),
            learner: (!voting).then(Learner::default),
            connected: ReplicaSet::EMPTY,
            empty_batches: 0,
            asked: me,
            fetches: 0,
            lagging_at: None,
            checkpoints,
            snapshots: Snapshots::new(view.n(), logged),
            transfer: None,
            restoring: None,
            unusable: Cid::ZERO,
            durable: Cid::ZERO,
            suspended: false,
            dissent: None,
            dirty: true,
            log: Log::default(),
            to_peers: Held::default(),
            to_clients: Held::default(),
            notices,
            view,
            me,
            parameters,
            now,
        };
        if let Some(recovered) = recovered {
            replica.recover(*recovered);
        }
        if !voting {
            replica.notices.push_back(Notice::Learning);
            replica.set_timer(Timer::LearnerStatus, replica.parameters.learner_interval);
        }
        replica
    }

    // Inputs: clients.

    /// A client's link is established.
    pub fn handle_client_connected(&mut self, now: Now, link: LinkId, client: ClientId) {
        self.begin(now);
        self.clients.connect(link, client);
    }

    /// A frame arrived on a client's link.
    ///
    /// # Errors
    /// Where no correct client sends such a frame. Close the link.
    pub fn handle_client_frame(
        &mut self,
        now: Now,
        link: LinkId,
        frame: Verified<ClientFrame>,
    ) -> Result<(), ClientFault> {
        self.begin(now);
        if self.suspended {
            // The client repeats it, or does with the others' answers (rule C4).
            return Ok(());
        }
        self.clients.handle_frame::<S>(
            link,
            frame.into_inner(),
            now.unix,
            &mut self.admission,
            &self.executor,
            self.consensus.leader(),
        )
    }

    /// A client's link is gone.
    pub fn handle_client_disconnected(&mut self, now: Now, link: LinkId) {
        self.begin(now);
        self.clients.disconnect(link);
    }

    // Inputs: peers.

    /// A new stream to the member at position `peer` is up; what was sent before may be lost.
    pub fn handle_peer_connected(&mut self, now: Now, peer: usize) {
        self.begin(now);
        // What is still queued for everybody is part of what follows, or older.
        self.flush();
        self.connected.insert(peer);
        let to = ReplicaSet::one(peer);
        self.send(to, self.status_message());
        self.send_complete_set(to);
        self.resend_checkpoints(to);
        for message in self.consensus.resend(peer) {
            self.send(to, message);
        }
    }

    /// A message arrived from a peer.
    pub fn handle_peer_message(&mut self, now: Now, message: Verified<FromPeer>) {
        self.begin(now);
        let FromPeer { peer, message } = message.into_inner();
        let Some(message) = self.handle_checkpoint_message(peer, message) else { return };
        match message {
            PeerMessage::Status { last_cid, learner } => {
                self.handle_status(peer, last_cid, learner);
            }
            PeerMessage::Report { last_cid, last_hash, proof } => {
                self.handle_report(peer, (last_cid, last_hash), &proof);
            }
            PeerMessage::Vouches { replace, groups } => {
                let sessions = self.executor.sessions();
                let outcome = self.admission.handle_vouches(peer, replace, &groups, sessions);
                if let Err(fault) = outcome {
                    self.misbehaved(peer, PeerFault::Vouch(fault));
                }
                if replace {
                    // Anything may have stopped being admitted (rules A4 and A5).
                    let keys: Vec<_> = self.admission.sessions().copied().collect();
                    for key in keys {
                        self.update_leader_timer(key);
                    }
                }
                if self.admission.has_ignored() {
                    self.set_timer(Timer::AskForVouches, self.parameters.fetch_retry);
                }
            }
            PeerMessage::ResendVouches => self.send_complete_set(ReplicaSet::one(peer)),
            PeerMessage::FetchBodies(wanted) => self.serve_bodies(peer, &wanted),
            PeerMessage::Body(bytes) => {
                self.admission.handle_body(&bytes, self.executor.sessions());
            }
            PeerMessage::Propose { cid, epoch, batch, signature } => {
                self.consensus.handle_propose(peer, cid, epoch, batch, signature);
            }
            PeerMessage::Write { cid, epoch, hash } => {
                self.consensus.handle_vote(peer, cid, epoch, hash, Vote::Write);
            }
            PeerMessage::Accept { cid, epoch, hash, signature } => {
                self.consensus.handle_vote(peer, cid, epoch, hash, Vote::Accept(signature));
            }
            PeerMessage::FetchDecisions { from } if from < self.consensus.first_kept() => {
                self.send_stable(ReplicaSet::one(peer));
            }
            PeerMessage::FetchDecisions { from } => {
                // What this replica repeats may have been said, and recorded, in this very turn.
                self.flush();
                for message in self.consensus.serve(peer, from) {
                    self.send(ReplicaSet::one(peer), message);
                }
            }
            // A state that is wrong is not carried on (rule C4).
            PeerMessage::Decided(_) if self.suspended => {}
            PeerMessage::Decided(decision) => {
                if let Some(decided) = self.consensus.handle_decision(peer, decision) {
                    self.execute(&decided);
                    // More of the same answer may follow; ask again when it is worked off.
                    self.lagging_at = Some(decided.cid);
                    let at = self.now.instant + self.parameters.fetch_more;
                    self.timers.set(Timer::FetchDecisions, at);
                }
            }
            // Dealt with above.
            PeerMessage::Checkpoint { .. }
            | PeerMessage::StableCheckpoint { .. }
            | PeerMessage::FetchManifest { .. }
            | PeerMessage::Manifest(_)
            | PeerMessage::FetchChunk { .. }
            | PeerMessage::Chunk { .. }
            | PeerMessage::CheckpointGone { .. } => {}
            PeerMessage::Stop { regency, evidence } => {
                self.consensus.handle_stop(peer, regency, evidence);
            }
            PeerMessage::StopData(signed) => self.consensus.handle_stop_data(peer, &signed),
            PeerMessage::Sync(sync) => self.consensus.handle_sync(peer, &sync),
            PeerMessage::FetchValue { cid, hash } => {
                if let Some(value) = self.consensus.serve_value(cid, hash) {
                    self.send(ReplicaSet::one(peer), value);
                }
            }
            PeerMessage::Value { cid, batch, bodies } => {
                self.consensus.handle_value(cid, batch, &bodies);
            }
        }
    }

    /// The stream to a member is gone.
    pub fn handle_peer_disconnected(&mut self, now: Now, peer: usize) {
        self.begin(now);
        self.connected.remove(peer);
        if let Some(transfer) = &mut self.transfer {
            transfer.handle_disconnected(peer);
        }
    }

    /// Time has passed. Call when `now` is at or after [`Replica::next_deadline`].
    pub fn handle_deadline(&mut self, now: Now) {
        self.begin(now);
        while let Some(timer) = self.timers.fire(now.instant) {
            match timer {
                Timer::SendVouches => self.send_vouches_to_others(),
                Timer::FetchBodies => self.fetch_bodies(),
                Timer::FetchDecisions => self.fetch_decisions(),
                Timer::AskForVouches => {
                    let peers = self.admission.take_ignored();
                    self.send(peers, PeerMessage::ResendVouches);
                }
                Timer::LearnerStatus => {
                    if self.learner.is_some() {
                        self.send(self.others(), self.status_message());
                        self.set_timer(Timer::LearnerStatus, self.parameters.learner_interval);
                    }
                }
                Timer::Transfer => {
                    if let Some(transfer) = &mut self.transfer {
                        transfer.handle_deadline(now.instant);
                    }
                }
                Timer::Prove => self.consensus.prove(),
                // Both only wake the replica: draining does the rest.
                Timer::ProposalClock | Timer::StaleSessions => {}
            }
        }
        while let Some(overdue) = self.leader_timer.fire(now.instant) {
            self.handle_overdue(overdue);
        }
    }

    fn handle_overdue(&mut self, overdue: Overdue) {
        let leader = self.consensus.leader();
        let (Overdue::Resend(id) | Overdue::Suspect(id)) = overdue else {
            let cause = Suspicion::AheadOfClock;
            self.notices.push_back(Notice::LeaderSuspected { leader, cause });
            return;
        };
        let key = id.session_key();
        match (overdue, self.admission.admitted_next(&key, self.executor.sessions())) {
            (Overdue::Resend(_), Some(next)) if next.id == id => {
                if let Some(body) = self.admission.body(&id, &next.digest)
                    && leader != self.me
                {
                    let message = PeerMessage::Body(body.bytes.clone());
                    self.send(ReplicaSet::one(leader), message);
                }
            }
            (Overdue::Suspect(request), Some(next)) if next.id == id => {
                let cause = Suspicion::NotOrdered(request);
                self.notices.push_back(Notice::LeaderSuspected { leader, cause });
            }
            // No longer admitted: the timer should not be running (rule A5).
            _ => self.update_leader_timer(key),
        }
    }

    /// The log's records up to `up_to` will survive a crash.
    ///
    /// # Panics
    /// Where there is no such record: the driver is to blame.
    pub fn handle_durable(&mut self, now: Now, up_to: LogPosition) {
        self.begin(now);
        self.log.handle_durable(up_to);
    }

    // Outputs.

    /// When to call [`Replica::handle_deadline`]. Ask after draining.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline().into_iter().chain(self.leader_timer.next_deadline()).min()
    }

    /// A message to other members. Members without a stream get it another way: the replica
    /// repeats what matters when a stream comes up.
    pub fn poll_peer(&mut self) -> Option<ToPeers> {
        self.settle();
        self.to_peers.poll(&self.log)
    }

    /// A frame for a client.
    pub fn poll_client(&mut self) -> Option<ToClient> {
        self.settle();
        self.to_clients.poll(&self.log)
    }

    /// The next record for the log, in order. Nothing that depends on it is given out before
    /// [`Replica::handle_durable`] says that it will survive a crash.
    pub fn poll_record(&mut self) -> Option<(LogPosition, Record)> {
        self.settle();
        self.log.poll()
    }

    /// Something worth knowing: for logs, metrics and tests.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.settle();
        self.notices.pop_front()
    }

    // Looking.

    /// What a client learns when its link is accepted at `now`.
    #[must_use]
    pub fn welcome(&self, now: Now) -> Welcome {
        let time = self.executor.time().max(now.unix);
        Welcome { last_cid: self.executor.last_cid(), time }
    }

    /// Does this link have room for more? While it has not, stop reading from it: a flooding
    /// client is slowed, not buffered.
    #[must_use]
    pub fn accepts_more(&self, link: LinkId) -> bool {
        self.clients.accepts_more(link)
    }

    /// Where this replica stands.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        ReplicaStatus {
            last_cid: self.executor.last_cid(),
            time: self.executor.time(),
            regency: self.consensus.regency(),
            leader: self.view.members[self.consensus.leader()].id,
            learner: self.learner.is_some(),
            connected: self.connected,
            sessions: self.executor.sessions().len(),
            pending: self.admission.sessions().count(),
            links: self.clients.len(),
            stable: self.checkpoints.stable().map_or(Cid::ZERO, |stable| stable.id().cid),
            durable: self.durable,
            transfer: self.transfer.as_ref().map(Transfer::progress),
        }
    }

    /// The service in its current state.
    #[must_use]
    pub const fn service(&self) -> &S {
        self.executor.service()
    }

    /// All replicated state.
    #[must_use]
    pub const fn executor(&self) -> &Executor<S> {
        &self.executor
    }

    // The inside.

    fn begin(&mut self, now: Now) {
        // The monotonic clock of a driver may not run backwards; the wall clock may.
        self.now.instant = self.now.instant.max(now.instant);
        self.now.unix = now.unix;
        self.dirty = true;
    }

    fn others(&self) -> ReplicaSet {
        self.view.everyone().without(self.me)
    }

    fn send(&mut self, to: ReplicaSet, message: PeerMessage) {
        if to.is_empty() {
            return;
        }
        let after = match message {
            PeerMessage::Propose { .. }
            | PeerMessage::Write { .. }
            | PeerMessage::Accept { .. }
            | PeerMessage::StopData(_)
            | PeerMessage::Sync(_) => self.log.word(),
            _ => LogPosition::default(),
        };
        self.to_peers.push(after, ToPeers { to, message });
    }

    fn set_timer(&mut self, timer: Timer, after: std::time::Duration) {
        self.timers.set_earliest(timer, self.now.instant + after);
    }

    fn misbehaved(&mut self, peer: usize, fault: PeerFault) {
        self.notices.push_back(Notice::PeerMisbehaved { peer, fault });
    }

    fn status_message(&self) -> PeerMessage {
        PeerMessage::Status { last_cid: self.consensus.last(), learner: self.learner.is_some() }
    }
}
