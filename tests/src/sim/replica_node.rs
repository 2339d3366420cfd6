//! The driver of a simulated replica: what the daemon does, in virtual time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use webbft_protocol::auth::{NoiseKeypair, SigningKey};
use webbft_protocol::membership::{Cid, ReplicaId, View};
use webbft_protocol::replica::{
    Durability, LogPosition, Parameters, Record, Recovered, Replica, ReplicaConfig, StableSnapshot,
    Start, StateJob, VotesMemory,
};
use webbft_protocol::time::Now;

use super::byzantine::Byzantine;
use super::disk::Disk;
use super::draw_plan::draw_subset;
use super::history::Fact;
use super::plan::{RecordKind, Sabotage, Storage};
use super::service::{Defect, Recorder};
use super::world::World;

mod links;
mod turn;

/// The time a turn takes, in microseconds, and none of its frames.
const TURN_COST: u64 = 20;

#[derive(Debug)]
enum PeerInput {
    Up { replaced: bool },
    Down,
    Frame(Bytes),
}

/// A replica and its driver's state.
pub struct ReplicaNode {
    pub(super) replica: Replica<Recorder>,
    /// The member that it is.
    pub(super) position: usize,
    view: Arc<View>,
    signing_key: SigningKey,
    parameters: Parameters,
    defect: Defect,
    ballast: u8,
    noise: NoiseKeypair,
    byzantine: Option<Byzantine>,
    peer_inputs: VecDeque<(usize, PeerInput)>,
    conns: BTreeSet<u64>,
    /// Connections with frames to read, or that have closed.
    ready: BTreeSet<u64>,
    closed: Vec<u64>,
    busy_until: u64,
    turn_at: Option<u64>,
    timer_at: Option<u64>,
    /// How much of the service's log the invariants have seen.
    shown: usize,
    state_shown: Cid,
    origin: u64,
    skew: i64,
    late_deadlines: u32,
    /// Is it none of the Byzantine ones?
    pub(super) correct: bool,
    pub(super) running: bool,
    pub(super) disk: Disk,
    /// Has its disk been lost since it ran?
    pub(super) lost_disk: bool,
    /// Which of its lives this is: what is due in a former one no longer happens.
    pub(super) life: u32,
    /// Kind, count and position of records whose replica does not know that they are durable.
    pub(super) marks: Vec<(RecordKind, u32, LogPosition)>,
    /// Its ACCEPT of each instance, its last regency, and the last record that it knows to be durable.
    pub(super) accepted: BTreeMap<Cid, LogPosition>,
    pub(super) regency_recorded: LogPosition,
    pub(super) known_durable: LogPosition,
    /// Its disk stores snapshots until then, one after the other.
    pub(super) storing_until: u64,
    /// Work on its state that is done in a while.
    pub(super) job: Option<StateJob<Recorder>>,
    /// What it knows and nobody else, because it is not durable yet.
    pub(super) held: VecDeque<(LogPosition, Fact)>,
    /// Records handed to the disk, by kind, over all its lives.
    pub(super) recorded: BTreeMap<RecordKind, u32>,
    /// Has it lost its memory, and does not vote yet?
    pub(super) learning: bool,
    /// Its process stands still before this.
    pub(super) paused_until: u64,
    /// The time a turn takes in phase one.
    turn_cost: u64,
    /// Clients cannot reach it before this.
    pub(super) unreachable_until: u64,
}

impl ReplicaNode {
    pub(super) fn new(
        world: &mut World,
        me: usize,
        signing_key: SigningKey,
        noise: NoiseKeypair,
    ) -> Self {
        let plan = &world.plan;
        let mut parameters = Parameters::default();
        parameters.execution.ring = plan.events_kept;
        parameters.execution.checkpoint_every = plan.checkpoint_every;
        parameters.execution.checkpoint_pause = Duration::from_micros(plan.checkpoint_pause);
        // The shorter waits in the same proportion to the longest as by default.
        let timeout = Duration::from_micros(plan.request_timeout);
        parameters.vouch_delay = timeout / 100;
        parameters.fetch_delay = timeout / 130;
        parameters.fetch_retry = timeout / 10;
        parameters.request_timeout = timeout;
        parameters.durability = match plan.storage {
            Storage::Memory => Durability::Volatile,
            Storage::Sync(_) | Storage::Async(_) => Durability::Logged,
        };
        if plan.few_sessions {
            parameters.execution.sessions = 4;
        }
        let misdeeds = plan.byzantine.iter().find(|(replica, _)| *replica == me);
        let byzantine = match (misdeeds, plan.sabotage) {
            (Some((_, misdeeds)), _) => Some(Byzantine::new(
                Arc::clone(&world.view),
                me,
                signing_key.clone(),
                misdeeds.clone(),
                draw_subset(&mut world.draw, plan.n),
            )),
            (None, Some(Sabotage::LyingMajority)) if me > 0 => {
                Some(Byzantine::conspirator(Arc::clone(&world.view), me, signing_key.clone()))
            }
            _ => None,
        };
        let defect = match plan.sabotage {
            Some(Sabotage::Defect(replica, defect)) if replica == me => defect,
            Some(Sabotage::StaleReads) => Defect::StaleReads,
            _ => Defect::None,
        };
        let origin = world.draw.between(0..=1_000_000_000);
        let slow = plan.faults.slow.iter().find(|slow| slow.replica == me);
        let turn_cost = slow.map_or(TURN_COST, |slow| slow.turn);
        let skew = skew_of(&parameters, plan.skew[me]);
        let view = Arc::clone(&world.view);
        let config = ReplicaConfig {
            view: Arc::clone(&view),
            me,
            signing_key: signing_key.clone(),
            start: Start::Genesis,
            parameters: parameters.clone(),
        };
        let now = world.clocks(origin, skew);
        let service = Recorder::with_defect(defect).with_ballast(plan.ballast);
        Self {
            replica: Replica::new(config, service, now),
            position: me,
            view,
            signing_key,
            parameters,
            defect,
            ballast: plan.ballast,
            noise,
            byzantine,
            peer_inputs: VecDeque::new(),
            conns: BTreeSet::new(),
            ready: BTreeSet::new(),
            closed: Vec::new(),
            busy_until: 0,
            turn_at: None,
            timer_at: None,
            shown: 0,
            state_shown: Cid::ZERO,
            origin,
            skew,
            late_deadlines: 0,
            correct: misdeeds.is_none(),
            running: true,
            disk: Disk::default(),
            lost_disk: false,
            life: 0,
            marks: Vec::new(),
            accepted: BTreeMap::new(),
            regency_recorded: LogPosition::default(),
            known_durable: LogPosition::default(),
            storing_until: 0,
            job: None,
            held: VecDeque::new(),
            recorded: BTreeMap::new(),
            learning: false,
            paused_until: 0,
            turn_cost,
            unreachable_until: 0,
        }
    }

    /// Sets the wall clock off by this many thousandths of the allowed drift.
    pub(super) fn set_skew(&mut self, thousandths: i64) {
        self.skew = skew_of(&self.parameters, thousandths);
    }

    pub(super) const fn is_down(&self) -> bool {
        !self.running
    }

    /// The process ends; what it has not read is lost.
    pub(super) fn stop(&mut self) {
        self.running = false;
        self.life += 1;
        self.storing_until = 0;
        self.marks.clear();
        self.accepted.clear();
        self.regency_recorded = LogPosition::default();
        self.known_durable = LogPosition::default();
        self.job = None;
        self.held.clear();
        self.peer_inputs.clear();
        self.conns.clear();
        self.ready.clear();
        self.closed.clear();
        self.turn_at = None;
        self.timer_at = None;
    }

    /// The record of its ACCEPT of an instance, or of the last one before it: what others cannot
    /// know of the decision before that is durable.
    fn accepted_up_to(&self, cid: Cid) -> LogPosition {
        self.accepted.range(..=cid).next_back().map_or_else(LogPosition::default, |(_, at)| *at)
    }

    pub(super) const fn is_byzantine(&self) -> bool {
        self.byzantine.is_some()
    }

    /// Who leads in its eyes.
    pub(super) fn leader(&self) -> ReplicaId {
        self.replica.status().leader
    }

    pub(super) fn last_cid(&self) -> Cid {
        self.replica.status().last_cid
    }

    /// The process starts again, with what its disk remembers.
    pub(super) fn start_again(
        &mut self,
        now: Now,
        storage: Storage,
        snapshot: Option<Arc<StableSnapshot>>,
        records: Vec<Record>,
    ) {
        let start = if storage == Storage::Memory || std::mem::take(&mut self.lost_disk) {
            Start::Learner
        } else {
            let votes = if self.learning { VotesMemory::Doubtful } else { VotesMemory::Complete };
            Start::Recovered(Box::new(Recovered { snapshot, records, votes }))
        };
        let config = ReplicaConfig {
            view: Arc::clone(&self.view),
            me: self.position,
            signing_key: self.signing_key.clone(),
            start,
            parameters: self.parameters.clone(),
        };
        let service = Recorder::with_defect(self.defect).with_ballast(self.ballast);
        self.replica = Replica::new(config, service, now);
        self.running = true;
        self.shown = 0;
        self.state_shown = Cid::ZERO;
        self.late_deadlines = 0;
    }

    fn now(&self, world: &World) -> Now {
        world.clocks(self.origin, self.skew)
    }
}

/// Microseconds for thousandths of the allowed drift.
fn skew_of(parameters: &Parameters, thousandths: i64) -> i64 {
    let drift = i64::try_from(parameters.admission.max_drift.as_micros()).unwrap_or(i64::MAX);
    drift / 1000 * thousandths
}
