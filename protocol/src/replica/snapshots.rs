//! Snapshots that this replica takes, keeps and serves (rules C2, C4 and C5), and the jobs that
//! make and restore them on another thread.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::auth::{CertificateError, VerifiedCheckpoint};
use crate::execution::{ExecutionLimits, Executor, Service, Snapshot, SnapshotError};
use crate::membership::{Cid, View};
use crate::time::Instant;
use crate::wire::{CheckpointCertificate, Manifest, PeerMessage};

/// Snapshots of this replica that wait for a quorum.
const UNSTABLE: usize = 2;
/// Large answers (decisions, manifests, chunks) that one peer gets in one turn; a correct peer
/// does not ask for more at once, and asks again for what does not come.
const SERVED_PER_TURN: u32 = 8;
/// How long after a peer's last question a snapshot that is no longer the latest is still kept
/// for it.
const PIN_IDLE: Duration = Duration::from_secs(10);
/// How long it is kept for a peer in all.
const PIN_LONGEST: Duration = Duration::from_secs(900);

/// A stable checkpoint with its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StableSnapshot {
    certificate: VerifiedCheckpoint,
    snapshot: Snapshot,
}

/// What was stored is not a stable checkpoint: the disk is to blame, or whoever copied it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StableSnapshotError {
    /// The certificate proves nothing in this view.
    #[error("the checkpoint's certificate is bad: {0}")]
    Certificate(#[from] CertificateError),
    /// Chunks and manifest do not fit.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The certificate is about another state.
    #[error("the certificate is about another state than the snapshot")]
    Other,
}

impl StableSnapshot {
    /// What a driver has stored, every part of it checked.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_parts(
        view: &View,
        certificate: &CheckpointCertificate,
        manifest: Manifest,
        chunks: Vec<Bytes>,
    ) -> Result<Self, StableSnapshotError> {
        let certificate = VerifiedCheckpoint::check(view, certificate)?;
        let snapshot = Snapshot::from_parts(manifest, chunks)?;
        Self::new(certificate, snapshot).ok_or(StableSnapshotError::Other)
    }

    /// `None` where the certificate is about another state.
    pub(super) fn new(certificate: VerifiedCheckpoint, snapshot: Snapshot) -> Option<Self> {
        (certificate.id() == snapshot.id()).then_some(Self { certificate, snapshot })
    }

    /// The proof that it is stable.
    #[must_use]
    pub const fn certificate(&self) -> &VerifiedCheckpoint {
        &self.certificate
    }

    /// The state.
    #[must_use]
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The last instance that it holds.
    #[must_use]
    pub const fn cid(&self) -> Cid {
        self.certificate.id().cid
    }
}

/// Work that takes time in proportion to the state: run it on another thread and hand the outcome
/// to [`Replica::handle_job_done`](super::Replica::handle_job_done).
#[derive(Debug)]
pub struct StateJob<S> {
    generation: u64,
    work: Work<S>,
}

#[derive(Debug)]
enum Work<S> {
    Take(Executor<S>),
    Restore {
        certificate: VerifiedCheckpoint,
        manifest: Manifest,
        chunks: Vec<Bytes>,
        limits: ExecutionLimits,
    },
}

/// The outcome of a [`StateJob`].
#[derive(Debug)]
pub struct StateJobDone<S> {
    pub(super) generation: u64,
    pub(super) outcome: Outcome<S>,
}

#[derive(Debug)]
pub(super) enum Outcome<S> {
    Taken(Snapshot),
    TakingFailed(Cid),
    Restored(StableSnapshot, Executor<S>),
    RestoringFailed(Cid, StableSnapshotError),
}

impl<S: Service> StateJob<S> {
    /// Does the work. A panic of the service ends the job, not the thread.
    #[must_use]
    pub fn run(self) -> StateJobDone<S> {
        let outcome = match self.work {
            Work::Take(executor) => {
                // Unwind safety: the executor is dropped with the panic.
                catch_unwind(AssertUnwindSafe(|| executor.snapshot()))
                    .map_or(Outcome::TakingFailed(executor.last_cid()), Outcome::Taken)
            }
            Work::Restore { certificate, manifest, chunks, limits } => {
                let cid = certificate.id().cid;
                match restore(certificate, manifest, chunks, limits) {
                    Ok((stable, executor)) => Outcome::Restored(stable, executor),
                    Err(error) => Outcome::RestoringFailed(cid, error),
                }
            }
        };
        StateJobDone { generation: self.generation, outcome }
    }
}

fn restore<S: Service>(
    certificate: VerifiedCheckpoint,
    manifest: Manifest,
    chunks: Vec<Bytes>,
    limits: ExecutionLimits,
) -> Result<(StableSnapshot, Executor<S>), StableSnapshotError> {
    let snapshot = Snapshot::from_parts(manifest, chunks)?;
    let stable = StableSnapshot::new(certificate, snapshot).ok_or(StableSnapshotError::Other)?;
    let executor = Executor::restore(stable.snapshot(), limits)?;
    Ok((stable, executor))
}

/// Which snapshot a peer is fetching.
#[derive(Debug, Clone, Copy)]
struct Pin {
    cid: Cid,
    since: Instant,
    last: Instant,
}

/// The snapshots of this replica.
#[derive(Debug)]
pub(super) struct Snapshots<S> {
    job: Option<StateJob<S>>,
    busy: bool,
    /// Outcomes of jobs that were begun before the state was found to be wrong do not count.
    generation: u64,
    unstable: VecDeque<Snapshot>,
    /// By ascending instance; the last one is the latest.
    served: VecDeque<Arc<StableSnapshot>>,
    pins: Vec<Option<Pin>>,
    /// What each peer was served in this turn.
    answers: Vec<u32>,
    /// Does the driver store snapshots?
    stores: bool,
    to_store: Option<Arc<StableSnapshot>>,
    /// Handed to the driver and not on disk yet.
    storing: VecDeque<VerifiedCheckpoint>,
}

impl<S: Service> Snapshots<S> {
    pub(super) fn new(n: usize, stores: bool) -> Self {
        Self {
            job: None,
            busy: false,
            generation: 0,
            unstable: VecDeque::new(),
            served: VecDeque::new(),
            pins: vec![None; n],
            answers: vec![0; n],
            stores,
            to_store: None,
            storing: VecDeque::new(),
        }
    }

    // Jobs.

    /// Is a job under way?
    pub(super) const fn is_busy(&self) -> bool {
        self.busy
    }

    pub(super) fn take(&mut self, executor: &Executor<S>) {
        self.begin(Work::Take(executor.clone()));
    }

    pub(super) fn restore(
        &mut self,
        certificate: VerifiedCheckpoint,
        manifest: Manifest,
        chunks: Vec<Bytes>,
        limits: ExecutionLimits,
    ) {
        self.begin(Work::Restore { certificate, manifest, chunks, limits });
    }

    fn begin(&mut self, work: Work<S>) {
        assert!(!self.busy, "one job at a time");
        self.busy = true;
        self.job = Some(StateJob { generation: self.generation, work });
    }

    pub(super) const fn poll_job(&mut self) -> Option<StateJob<S>> {
        self.job.take()
    }

    /// A job is done; gives its outcome where it still matters.
    pub(super) fn finish(&mut self, done: StateJobDone<S>) -> Option<Outcome<S>> {
        self.busy = false;
        (done.generation == self.generation).then_some(done.outcome)
    }

    /// This replica's state is wrong: what it took of it counts for nothing.
    pub(super) fn discard(&mut self) {
        self.generation += 1;
        self.unstable.clear();
        if self.job.take().is_some() {
            self.busy = false;
        }
    }

    // Own snapshots.

    pub(super) fn keep_unstable(&mut self, snapshot: Snapshot) {
        self.unstable.push_back(snapshot);
        if self.unstable.len() > UNSTABLE {
            self.unstable.pop_front();
        }
    }

    /// Takes out this replica's snapshot after an instance, and drops the earlier ones.
    pub(super) fn take_unstable(&mut self, cid: Cid) -> Option<Snapshot> {
        self.unstable.retain(|snapshot| snapshot.id().cid >= cid);
        let first = self.unstable.front()?;
        if first.id().cid == cid { self.unstable.pop_front() } else { None }
    }

    /// A stable snapshot is there: to be served, and stored.
    pub(super) fn adopt(&mut self, stable: Arc<StableSnapshot>, stored: bool, now: Instant) {
        if self.latest().is_some_and(|latest| latest.cid() >= stable.cid()) {
            return;
        }
        if self.stores && !stored {
            self.to_store = Some(Arc::clone(&stable));
        }
        self.served.push_back(stable);
        self.unpin(now);
    }

    /// The latest stable snapshot that this replica has.
    pub(super) fn latest(&self) -> Option<&Arc<StableSnapshot>> {
        self.served.back()
    }

    /// The oldest one still served: decisions after it may be needed.
    pub(super) fn oldest(&self) -> Option<Cid> {
        self.served.front().map(|stable| stable.cid())
    }

    // The driver's disk.

    pub(super) fn poll_store(&mut self) -> Option<Arc<StableSnapshot>> {
        let stable = self.to_store.take()?;
        self.storing.push_back(stable.certificate().clone());
        Some(stable)
    }

    /// The driver has stored a snapshot; gives its certificate.
    pub(super) fn stored(&mut self, cid: Cid) -> Option<VerifiedCheckpoint> {
        let certificate = self.storing.iter().find(|stored| stored.id().cid == cid).cloned()?;
        self.storing.retain(|stored| stored.id().cid > cid);
        Some(certificate)
    }

    // Serving.

    /// A new turn: peers may be served again.
    pub(super) fn begin_turn(&mut self) {
        self.answers.fill(0);
    }

    /// May this peer be served once more in this turn? Few bytes of a question make many of an
    /// answer: a liar must not make this replica hold more of them than it can send.
    pub(super) fn may_serve(&mut self, peer: usize) -> bool {
        self.answers[peer] += 1;
        self.answers[peer] <= SERVED_PER_TURN
    }

    /// The manifest of a stable snapshot, or that it is gone.
    pub(super) fn serve_manifest(&mut self, peer: usize, cid: Cid, now: Instant) -> PeerMessage {
        match self.pinned(peer, cid, now) {
            Some(stable) => PeerMessage::Manifest(stable.snapshot().manifest().clone()),
            None => PeerMessage::CheckpointGone { cid },
        }
    }

    /// A chunk of a stable snapshot, or that it is gone. Nothing where there is no such chunk.
    pub(super) fn serve_chunk(
        &mut self,
        peer: usize,
        cid: Cid,
        index: u32,
        now: Instant,
    ) -> Option<PeerMessage> {
        let Some(stable) = self.pinned(peer, cid, now) else {
            return Some(PeerMessage::CheckpointGone { cid });
        };
        let bytes = stable.snapshot().chunks().get(usize::try_from(index).ok()?)?.clone();
        Some(PeerMessage::Chunk { cid, index, bytes })
    }

    /// The snapshot after an instance, now kept for this peer. Each peer has one pin: a liar
    /// makes this replica keep one snapshot more, and not for ever.
    fn pinned(&mut self, peer: usize, cid: Cid, now: Instant) -> Option<Arc<StableSnapshot>> {
        let stable = Arc::clone(self.served.iter().find(|stable| stable.cid() == cid)?);
        let pin = &mut self.pins[peer];
        match pin {
            Some(pin) if pin.cid == cid => pin.last = now,
            _ => *pin = Some(Pin { cid, since: now, last: now }),
        }
        Some(stable)
    }

    /// Drops the snapshots that are neither the latest nor being fetched.
    pub(super) fn unpin(&mut self, now: Instant) {
        for pin in &mut self.pins {
            let over =
                |pin: &Pin| now.since(pin.last) > PIN_IDLE || now.since(pin.since) > PIN_LONGEST;
            if pin.as_ref().is_some_and(over) {
                *pin = None;
            }
        }
        let latest = self.served.back().map(|stable| stable.cid());
        let pins = &self.pins;
        self.served.retain(|stable| {
            let cid = stable.cid();
            Some(cid) == latest || pins.iter().flatten().any(|pin| pin.cid == cid)
        });
    }

    /// The snapshots that are served, the latest first: sources of equal chunks.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Snapshot> {
        self.served.iter().rev().map(|stable| stable.snapshot())
    }
}
