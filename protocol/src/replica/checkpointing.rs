//! Checkpoints and state transfer at the whole replica (rules C1 to C7).

use std::sync::Arc;

use super::record::Record;
use super::snapshots::{Outcome, StableSnapshot, StateJob, StateJobDone};
use super::timers::Timer;
use super::transfer::{Transfer, TransferFault};
use super::{Notice, PeerFault, Replica};
use crate::auth::VerifiedCheckpoint;
use crate::execution::{Executor, Service, Snapshot};
use crate::membership::{Cid, Digest, ReplicaSet};
use crate::ordering::{CheckpointFault, Learner};
use crate::time::Now;
use crate::wire::{CheckpointCertificate, CheckpointId, PeerMessage};

impl<S: Service> Replica<S> {
    // What the driver does for checkpoints.

    /// Work for another thread; at most one job at a time. Its outcome goes to
    /// [`Replica::handle_job_done`].
    pub fn poll_job(&mut self) -> Option<StateJob<S>> {
        self.settle();
        self.snapshots.poll_job()
    }

    /// A job is done.
    pub fn handle_job_done(&mut self, now: Now, done: StateJobDone<S>) {
        self.begin(now);
        match self.snapshots.finish(done) {
            Some(Outcome::Taken(snapshot)) => self.handle_taken(snapshot),
            Some(Outcome::TakingFailed(cid)) => {
                self.notices.push_back(Notice::SnapshotFailed { cid });
            }
            Some(Outcome::Restored(stable, executor)) => self.install(stable, executor),
            Some(Outcome::RestoringFailed(cid, error)) => {
                self.restoring = None;
                self.unusable = self.unusable.max(cid);
                self.notices.push_back(Notice::TransferFailed { cid, error });
            }
            None => {}
        }
    }

    /// A stable checkpoint with its state, to be stored by a driver that has a disk; only the
    /// latest is given. [`Replica::handle_snapshot_durable`] says that it is stored.
    pub fn poll_keep_snapshot(&mut self) -> Option<Arc<StableSnapshot>> {
        self.settle();
        self.snapshots.poll_store()
    }

    /// A snapshot of [`Replica::poll_keep_snapshot`] is on disk with manifest and certificate: the
    /// log's records about instances up to it may go.
    pub fn handle_snapshot_durable(&mut self, now: Now, cid: Cid) {
        self.begin(now);
        if let Some(certificate) = self.snapshots.stored(cid) {
            self.durable = self.durable.max(cid);
            self.log.push(Record::Checkpoint(certificate.certificate().clone()));
        }
    }

    // Own checkpoints.

    /// A checkpoint of the present state is due (rule C1).
    pub(super) fn take_checkpoint(&mut self) {
        if self.snapshots.is_busy() {
            let cid = self.executor.last_cid();
            self.notices.push_back(Notice::CheckpointSkipped { cid });
        } else {
            self.snapshots.take(&self.executor);
        }
    }

    fn handle_taken(&mut self, snapshot: Snapshot) {
        let (own, bytes) = (snapshot.id(), snapshot.bytes());
        self.notices.push_back(Notice::CheckpointTaken { checkpoint: own, bytes });
        let stable = self.checkpoints.stable().map(VerifiedCheckpoint::id);
        self.snapshots.keep_unstable(snapshot);
        match self.checkpoints.stable_at(own.cid).cloned() {
            Some(stable) => self.meet(&stable),
            None if stable.is_some_and(|stable| stable.cid > own.cid) => {}
            None => {
                let claim = self.checkpoints.claim(own);
                self.send(self.others(), claim);
                self.advance_checkpoints();
            }
        }
    }

    /// Looks for checkpoints that have become stable.
    pub(super) fn advance_checkpoints(&mut self) {
        let mut liars = Vec::new();
        while let Some(stable) = self.checkpoints.advance(&mut liars) {
            self.handle_stable(&stable);
        }
        for peer in liars {
            self.misbehaved(peer, PeerFault::Checkpoint(CheckpointFault::Signature));
        }
        if let Some(dissent) = self.checkpoints.dissent()
            && self.dissent != Some(dissent.cid)
        {
            self.dissent = Some(dissent.cid);
            self.notices.push_back(Notice::CheckpointDisputed(dissent));
        }
    }

    /// A checkpoint later than all before is stable.
    fn handle_stable(&mut self, stable: &VerifiedCheckpoint) {
        self.notices.push_back(Notice::CheckpointStable { checkpoint: stable.id() });
        self.meet(stable);
        self.forget_decisions();
        if self.suspended && self.transfer.is_none() {
            self.begin_transfer(stable.clone());
        }
    }

    /// Compares this replica's own state after an instance with the stable one (rule C4).
    fn meet(&mut self, stable: &VerifiedCheckpoint) {
        let cid = stable.id().cid;
        let Some(snapshot) = self.snapshots.take_unstable(cid) else { return };
        let own = snapshot.id();
        match StableSnapshot::new(stable.clone(), snapshot) {
            Some(snapshot) => {
                self.snapshots.adopt(Arc::new(snapshot), false, self.now.instant);
            }
            None => self.diverge(own.digest, stable),
        }
    }

    /// Decisions go that no replica needs which fetches what this one still serves (rule C5).
    fn forget_decisions(&mut self) {
        let Some(stable) = self.checkpoints.stable().map(|stable| stable.id().cid) else { return };
        self.snapshots.unpin(self.now.instant);
        let previous = self.checkpoints.previous().map_or(Cid::ZERO, |stable| stable.id().cid);
        let served = self.snapshots.oldest().unwrap_or(previous);
        self.consensus.handle_stable(previous.min(served), stable);
    }

    /// This replica's state is not what a quorum has: it does without it from here on, and
    /// follows without voting until it has the right one and can have forgotten no vote.
    fn diverge(&mut self, own: Digest, stable: &VerifiedCheckpoint) {
        let CheckpointId { cid, digest, .. } = stable.id();
        self.notices.push_back(Notice::StateDiverged { cid, own, stable: digest });
        self.checkpoints.withdraw();
        self.snapshots.discard();
        self.suspended = true;
        self.consensus.end_voting();
        self.admission.end_vouching();
        self.learner = Some(Learner::beyond(self.consensus.last().next()));
        self.send(self.others(), self.status_message());
        self.set_timer(Timer::LearnerStatus, self.parameters.learner_interval);
        self.transfer = None;
        self.restoring = None;
        self.begin_transfer(stable.clone());
    }

    // Peers.

    /// What a new stream begins with, as far as checkpoints are concerned.
    pub(super) fn resend_checkpoints(&mut self, to: ReplicaSet) {
        self.send_stable(to);
        for message in self.checkpoints.resend() {
            self.send(to, message);
        }
    }

    /// Tells the latest stable checkpoint.
    pub(super) fn send_stable(&mut self, to: ReplicaSet) {
        if let Some(stable) = self.checkpoints.stable() {
            let certificate = stable.certificate().clone();
            let first = self.consensus.first_kept();
            self.send(to, PeerMessage::StableCheckpoint { certificate, first });
        }
    }

    /// A message about checkpoints arrived; gives back any other.
    pub(super) fn handle_checkpoint_message(
        &mut self,
        peer: usize,
        message: PeerMessage,
    ) -> Option<PeerMessage> {
        let now = self.now.instant;
        match message {
            PeerMessage::Checkpoint { checkpoint, signature } => {
                let outcome = self.checkpoints.handle_checkpoint(peer, checkpoint, signature);
                if let Err(fault) = outcome {
                    self.misbehaved(peer, PeerFault::Checkpoint(fault));
                }
                self.advance_checkpoints();
            }
            PeerMessage::StableCheckpoint { certificate, first } => {
                self.handle_certificate(peer, &certificate, first);
            }
            PeerMessage::FetchManifest { .. }
            | PeerMessage::FetchChunk { .. }
            | PeerMessage::FetchDecisions { .. }
                if !self.snapshots.may_serve(peer) => {}
            PeerMessage::FetchManifest { cid } => {
                let answer = self.snapshots.serve_manifest(peer, cid, now);
                self.answer_fetch(peer, cid, answer);
            }
            PeerMessage::FetchChunk { cid, index } => {
                if let Some(answer) = self.snapshots.serve_chunk(peer, cid, index, now) {
                    self.answer_fetch(peer, cid, answer);
                }
            }
            PeerMessage::Manifest(manifest) => {
                let outcome = self
                    .transfer
                    .as_mut()
                    .map_or(Ok(()), |transfer| transfer.handle_manifest(peer, manifest));
                self.judge_transfer(peer, outcome);
            }
            PeerMessage::Chunk { cid, index, bytes } => {
                let outcome = self
                    .transfer
                    .as_mut()
                    .map_or(Ok(()), |transfer| transfer.handle_chunk(now, peer, cid, index, bytes));
                self.judge_transfer(peer, outcome);
            }
            PeerMessage::CheckpointGone { cid } => {
                if let Some(transfer) = &mut self.transfer {
                    transfer.handle_gone(peer, cid);
                }
            }
            other => return Some(other),
        }
        None
    }

    fn answer_fetch(&mut self, peer: usize, cid: Cid, answer: PeerMessage) {
        let to = ReplicaSet::one(peer);
        let later = self.checkpoints.stable().is_some_and(|stable| stable.id().cid > cid);
        if later && matches!(answer, PeerMessage::CheckpointGone { .. }) {
            self.send_stable(to);
        }
        self.send(to, answer);
    }

    fn judge_transfer(&mut self, peer: usize, outcome: Result<(), TransferFault>) {
        if let Err(fault) = outcome {
            self.misbehaved(peer, PeerFault::Transfer(fault));
        }
    }

    /// A peer tells a stable checkpoint, and from where on it has decisions.
    fn handle_certificate(&mut self, peer: usize, certificate: &CheckpointCertificate, first: Cid) {
        match self.checkpoints.handle_certificate(certificate) {
            Ok(Some(stable)) => self.handle_stable(&stable),
            Ok(None) => {}
            Err(fault) => return self.misbehaved(peer, PeerFault::Checkpoint(fault)),
        }
        let proven = self.consensus.proven();
        let Some(stable) = self.checkpoints.stable().cloned() else { return };
        // Decisions may come from others meanwhile: they are asked as well (rule N5).
        if self.transfer.is_none() && first > proven.next() && stable.id().cid > proven {
            self.begin_transfer(stable);
        }
    }

    // Transfer.

    fn begin_transfer(&mut self, target: VerifiedCheckpoint) {
        let cid = target.id().cid;
        if cid <= self.unusable || self.restoring.is_some() {
            return;
        }
        let mut transfer = Transfer::new(target, self.view.n(), self.parameters.transfer_retry);
        for snapshot in self.snapshots.sources() {
            transfer.reuse(snapshot);
        }
        self.notices.push_back(Notice::TransferStarted { cid });
        self.transfer = Some(transfer);
    }

    /// Carries a transfer on: asks, changes the target, restores.
    pub(super) fn advance_transfer(&mut self) {
        self.snapshots.begin_turn();
        let Some(mut transfer) = self.transfer.take() else { return };
        let target = transfer.target().id().cid;
        if !self.suspended && self.consensus.proven() >= target {
            // The decisions came from somewhere.
            return;
        }
        if transfer.is_complete() {
            if self.snapshots.is_busy() {
                self.transfer = Some(transfer);
            } else if let Some((certificate, manifest, chunks)) = transfer.finish() {
                let limits = self.parameters.execution.clone();
                self.restoring = Some(target);
                self.snapshots.restore(certificate, manifest, chunks, limits);
            }
            return;
        }
        let later = self.checkpoints.stable().filter(|stable| stable.id().cid > target);
        if let Some(later) = later
            && (transfer.gone().len() >= self.view.quorums().one_correct()
                || !transfer.has_source(self.connected))
        {
            let cid = later.id().cid;
            transfer = transfer.retarget(later.clone());
            self.notices.push_back(Notice::TransferStarted { cid });
        }
        for (peer, message) in transfer.requests(self.now.instant, self.connected) {
            self.send(ReplicaSet::one(peer), message);
        }
        if let Some(at) = transfer.next_deadline() {
            self.timers.set(Timer::Transfer, at);
        }
        self.transfer = Some(transfer);
    }

    /// Puts a fetched state in the place of this replica's own (rule C7).
    fn install(&mut self, stable: StableSnapshot, restored: Executor<S>) {
        self.restoring = None;
        let id = stable.certificate().id();
        // It may be about the last decision, which this replica cannot prove otherwise.
        if !self.suspended && self.consensus.proven() >= id.cid {
            return;
        }
        let from = self.consensus.last();
        let before = std::mem::replace(&mut self.executor, restored);
        self.suspended = false;
        self.consensus.install_checkpoint(stable.certificate(), self.executor.time());
        let sessions = self.executor.sessions();
        self.admission.handle_restored(sessions);
        let known: Vec<_> =
            before.sessions().keys().chain(self.admission.sessions()).copied().collect();
        for key in known {
            self.update_leader_timer(key);
        }
        self.clients.handle_restored(&before, &self.executor);
        self.hold_client_frames();
        self.snapshots.adopt(Arc::new(stable), false, self.now.instant);
        self.forget_decisions();
        let (cid, hash) = (id.cid, id.hash);
        self.notices.push_back(Notice::StateTransferred { from, cid, hash });
        self.lagging_at = None;
        self.send_complete_set(self.others());
        self.set_timer(Timer::AskForVouches, self.parameters.fetch_retry);
        self.try_vote_again();
    }
}
