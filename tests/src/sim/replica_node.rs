//! The driver of a simulated replica: what the daemon does, in virtual time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use webbft_protocol::auth::{NoiseKeypair, PeerLink, ServerHandshake, SigningKey};
use webbft_protocol::membership::{Cid, ReplicaId, View};
use webbft_protocol::replica::{
    Durability, LinkId, LogPosition, Notice, Parameters, Record, Recovered, Replica, ReplicaConfig,
    StableSnapshot, Start, StateJob, VotesMemory,
};
use webbft_protocol::time::Now;
use webbft_protocol::wire::{ReplicaFrame, ReplicaHeader};

use super::byzantine::Byzantine;
use super::disk::Disk;
use super::draw_plan::draw_subset;
use super::history::Fact;
use super::network::{Carried, End, Owner, pair_of};
use super::plan::{MS, RecordKind, Sabotage, Stage, Storage};
use super::service::{Defect, Recorder};
use super::words::word_of_message;
use super::world::{Event, Phase, World};

/// Frames that one turn reads from one client link.
const FRAMES_A_TURN: usize = 16;
/// The time a turn takes, and each frame in it, in microseconds.
const TURN_COST: u64 = 20;
const FRAME_COST: u64 = 5;
/// Instances between two comparisons of state.
const STATE_EVERY: u64 = 8;

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
}

/// Microseconds for thousandths of the allowed drift.
fn skew_of(parameters: &Parameters, thousandths: i64) -> i64 {
    let drift = i64::try_from(parameters.admission.max_drift.as_micros()).unwrap_or(i64::MAX);
    drift / 1000 * thousandths
}

impl World {
    pub(super) fn clocks_of(&self, me: usize) -> Now {
        self.replicas[me].now(self)
    }

    pub(super) fn wake(&mut self, me: usize) {
        let now = self.now;
        let node = &mut self.replicas[me];
        if node.turn_at.is_none() && node.running {
            let at = now.max(node.busy_until);
            node.turn_at = Some(at);
            self.queue.push(at, Event::Turn(me));
        }
    }

    pub(super) fn peer_input(&mut self, me: usize, other: usize, replaced: bool) {
        if self.replicas[me].is_down() {
            return;
        }
        self.replicas[me].peer_inputs.push_back((other, PeerInput::Up { replaced }));
        self.wake(me);
    }

    pub(super) fn peer_lost(&mut self, me: usize, other: usize) {
        if self.replicas[me].is_down() {
            return;
        }
        self.replicas[me].peer_inputs.push_back((other, PeerInput::Down));
        self.wake(me);
    }

    pub(super) fn peer_bytes(&mut self, me: usize, other: usize, bytes: Bytes) {
        if self.replicas[me].is_down() {
            return;
        }
        self.replicas[me].peer_inputs.push_back((other, PeerInput::Frame(bytes)));
        self.wake(me);
    }

    pub(super) fn conn_at_replica(&mut self, id: u64) {
        let delay = self.delay();
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.broken || conn.client_end == End::Closed || self.replicas[conn.node].is_down() {
            return;
        }
        conn.replica_end = End::Open;
        let at = self.now + delay;
        conn.arrival = [at, at];
        self.queue.push(at, Event::ConnAtClient(id));
        self.replicas[conn.node].conns.insert(id);
    }

    pub(super) fn arrive_at_replica(&mut self, id: u64, carried: Carried) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.broken || conn.replica_end != End::Open {
            return;
        }
        conn.inbox.push_back(carried);
        let node = conn.node;
        self.replicas[node].ready.insert(id);
        self.wake(node);
    }

    pub(super) fn closed_at_replica(&mut self, id: u64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let node = conn.node;
        let was_open = std::mem::replace(&mut conn.replica_end, End::Closed) == End::Open;
        if was_open {
            self.replicas[node].closed.push(id);
            self.wake(node);
        }
        self.forget_conn(id);
    }

    pub(super) fn forget_conn(&mut self, id: u64) {
        if self.conns.get(&id).is_some_and(|conn| {
            conn.client_end == End::Closed && conn.replica_end == End::Closed && conn.link.is_none()
        }) {
            self.conns.remove(&id);
        }
    }

    /// The replica's driver closes a connection.
    fn close_at_replica(&mut self, me: usize, id: u64) {
        let delay = self.delay();
        let node = &mut self.replicas[me];
        node.conns.remove(&id);
        node.ready.remove(&id);
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.link.take().is_some() {
            let clocks = self.clocks(self.replicas[me].origin, self.replicas[me].skew);
            self.replicas[me].replica.handle_client_disconnected(clocks, LinkId(id));
        }
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.inbox.clear();
        if conn.replica_end == End::Open && !conn.broken {
            let at = (now + delay).max(conn.arrival[1] + 1);
            self.queue.push(at, Event::ClosedAtClient(id));
        }
        conn.replica_end = End::Closed;
        self.forget_conn(id);
    }

    pub(super) fn turn(&mut self, me: usize) {
        let node = &mut self.replicas[me];
        if node.turn_at != Some(self.now) {
            return;
        }
        if self.now < node.paused_until {
            node.turn_at = Some(node.paused_until);
            self.queue.push(node.paused_until, Event::Turn(me));
            return;
        }
        node.turn_at = None;
        let now = self.replicas[me].now(self);
        let mut frames = 0;
        while let Some((other, input)) = self.replicas[me].peer_inputs.pop_front() {
            frames += 1;
            match input {
                PeerInput::Up { replaced } => {
                    let replica = &mut self.replicas[me].replica;
                    if replaced {
                        replica.handle_peer_disconnected(now, other);
                    }
                    replica.handle_peer_connected(now, other);
                }
                PeerInput::Down => {
                    self.replicas[me].replica.handle_peer_disconnected(now, other);
                }
                PeerInput::Frame(bytes) => self.read_peer(me, other, &bytes),
            }
        }
        for id in std::mem::take(&mut self.replicas[me].closed) {
            self.close_at_replica(me, id);
        }
        let ready: Vec<u64> = self.replicas[me].ready.iter().copied().collect();
        for id in ready {
            frames += self.read_conn(me, id);
        }
        self.fire_deadline(me);
        self.drain(me);
        let slow = self.phase == Phase::One;
        let node = &mut self.replicas[me];
        let cost = if slow { node.turn_cost } else { TURN_COST };
        node.busy_until = self.now + cost + FRAME_COST * frames;
        if self.readable(me) {
            self.wake(me);
        }
    }

    /// Is there something left that a turn could read?
    fn readable(&self, me: usize) -> bool {
        let node = &self.replicas[me];
        !node.peer_inputs.is_empty()
            || !node.closed.is_empty()
            || node.ready.iter().any(|id| {
                self.conns.get(id).is_some_and(|conn| conn.link.is_none())
                    || node.replica.accepts_more(LinkId(*id))
            })
    }

    fn read_peer(&mut self, me: usize, other: usize, bytes: &Bytes) {
        let now = self.replicas[me].now(self);
        match PeerLink::authenticated(&self.view, other).open(bytes) {
            Ok(message) => {
                self.trace(|| format!("r{me} <- r{other} {:?}", message.message));
                let node = &mut self.replicas[me];
                if let Some(byzantine) = &mut node.byzantine {
                    let frames = byzantine.heard(other, &message.message, &mut self.draw);
                    self.send_all(me, frames);
                }
                self.replicas[me].replica.handle_peer_message(now, message);
            }
            Err(error) => {
                self.trace(|| format!("r{me} <- r{other}: {error}"));
                self.stats.count("malformed frame between replicas");
                let position = self.replicas[me].position;
                self.break_stream(pair_of(position, other).0);
            }
        }
    }

    fn send_all(&mut self, me: usize, frames: Vec<(usize, Bytes)>) {
        for (to, bytes) in frames {
            self.send_peer(me, to, bytes);
        }
    }

    fn read_conn(&mut self, me: usize, id: u64) -> u64 {
        let mut frames = 0;
        while frames < FRAMES_A_TURN as u64 {
            let Some(conn) = self.conns.get_mut(&id) else { break };
            if conn.link.is_some() && !self.replicas[me].replica.accepts_more(LinkId(id)) {
                return frames;
            }
            let Some(carried) = conn.inbox.pop_front() else { break };
            frames += 1;
            if !self.read_frame(me, id, carried) {
                self.close_at_replica(me, id);
                return frames;
            }
        }
        if self.conns.get(&id).is_none_or(|conn| conn.inbox.is_empty()) {
            self.replicas[me].ready.remove(&id);
        }
        frames
    }

    /// One message on a client connection; false: close it.
    fn read_frame(&mut self, me: usize, id: u64, carried: Carried) -> bool {
        let now = self.replicas[me].now(self);
        let Carried { bytes, must_fail } = carried;
        let Some(conn) = self.conns.get_mut(&id) else { return true };
        let correct = matches!(conn.owner, Owner::Client(_));
        let Some(link) = &mut conn.link else {
            return self.shake_hands(me, id, &bytes, must_fail);
        };
        match link.open(&bytes) {
            Ok(_) if must_fail => {
                self.observe(&Fact::TamperedFrameTaken { by: format!("replica {me}") });
                false
            }
            Ok(frame) => {
                self.trace(|| format!("r{me} <- link {id} {:?}", frame.header));
                let node = &mut self.replicas[me];
                if let Some(byzantine) = &mut node.byzantine {
                    let frames = byzantine.overhear(&frame, &mut self.draw);
                    self.send_all(me, frames);
                }
                let replica = &mut self.replicas[me].replica;
                match replica.handle_client_frame(now, LinkId(id), frame) {
                    Ok(()) => true,
                    Err(fault) => {
                        self.trace(|| format!("r{me} closes link {id}: {fault}"));
                        self.stats.did("client link closed for a fault");
                        if correct {
                            let what = format!("replica {me} blames a correct client: {fault}");
                            self.stuck(what);
                        }
                        false
                    }
                }
            }
            Err(error) => {
                self.trace(|| format!("r{me} closes link {id}: {error}"));
                self.stats.did("frame refused by a replica");
                if correct && !must_fail {
                    let what = format!("replica {me} refuses a frame that is as it was sent");
                    self.stuck(what);
                }
                false
            }
        }
    }

    fn shake_hands(&mut self, me: usize, id: u64, bytes: &Bytes, must_fail: bool) -> bool {
        let now = self.replicas[me].now(self);
        let seed = self.draw.bytes32();
        let node = &mut self.replicas[me];
        let mut welcome = node.replica.welcome(now);
        if let Some(byzantine) = &node.byzantine {
            welcome = byzantine.welcome(welcome, &mut self.draw);
        }
        let handshake = ServerHandshake { view: &self.view, keypair: &node.noise };
        match handshake.accept(bytes, &welcome, seed) {
            Ok(_) if must_fail => {
                self.observe(&Fact::TamperedFrameTaken { by: format!("replica {me}") });
                false
            }
            Ok(accepted) => {
                let client = accepted.link.client();
                node.replica.handle_client_connected(now, LinkId(id), client);
                self.trace(|| format!("r{me} accepts link {id} of {client:?}"));
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.link = Some(accepted.link);
                }
                self.send_conn(id, 1, accepted.reply.into());
                true
            }
            Err((error, refusal)) => {
                self.trace(|| format!("r{me} refuses link {id}: {error}"));
                self.stats.did("handshake refused");
                self.send_conn(id, 1, refusal.into());
                false
            }
        }
    }

    pub(super) fn drain(&mut self, me: usize) {
        loop {
            let mut quiet = true;
            while let Some(out) = self.replicas[me].replica.poll_peer() {
                quiet = false;
                if self.plan.sabotage == Some(Sabotage::LeaderUnheard) && me == 0 {
                    continue;
                }
                if self.replicas[me].correct
                    && let Some(word) = word_of_message(&self.view, &out.message)
                {
                    self.observe(&Fact::Said { replica: me, word });
                }
                let frames = match &mut self.replicas[me].byzantine {
                    Some(byzantine) => byzantine.to_peers(&out, &mut self.draw),
                    None => {
                        let bytes = PeerLink::encode(&self.view, out.message);
                        out.to.iter().map(|to| (to, bytes.clone())).collect()
                    }
                };
                self.send_all(me, frames);
            }
            while let Some(out) = self.replicas[me].replica.poll_client() {
                quiet = false;
                self.answer(me, out.link, out.frame);
            }
            while let Some((position, record)) = self.replicas[me].replica.poll_record() {
                quiet = false;
                self.keep_record(me, position, record);
            }
            while let Some(job) = self.replicas[me].replica.poll_job() {
                quiet = false;
                self.begin_job(me, job);
            }
            while let Some(snapshot) = self.replicas[me].replica.poll_keep_snapshot() {
                quiet = false;
                self.begin_snapshot_write(me, snapshot);
            }
            while let Some(notice) = self.replicas[me].replica.poll_notice() {
                quiet = false;
                self.notice(me, notice);
            }
            if quiet {
                break;
            }
        }
        self.show_log(me);
        self.set_deadline(me);
        self.begin_disk_write(me);
        self.crash_if_due(me, Stage::HandedIn);
    }

    fn answer(&mut self, me: usize, link: LinkId, frame: ReplicaFrame) {
        if self.plan.sabotage == Some(Sabotage::EventsLost)
            && matches!(frame.header, ReplicaHeader::Event { .. } | ReplicaHeader::Heads { .. })
        {
            return;
        }
        let frames = match &mut self.replicas[me].byzantine {
            Some(byzantine) => byzantine.to_client(frame, &mut self.draw),
            None => vec![frame],
        };
        for frame in frames {
            self.trace(|| format!("r{me} -> link {} {:?}", link.0, frame.header));
            let Some(conn) = self.conns.get_mut(&link.0) else { continue };
            let Some(end) = &mut conn.link else { continue };
            let bytes = end.seal(&frame);
            self.send_conn(link.0, 1, bytes.into());
        }
    }

    fn notice(&mut self, me: usize, notice: Notice) {
        self.trace(|| format!("r{me} notes {notice:?}"));
        if !self.replicas[me].correct {
            return;
        }
        match notice {
            Notice::Decided { cid, hash, .. } => {
                self.stats.instances = self.stats.instances.max(cid.0);
                let after = self.replicas[me].accepted_up_to(cid);
                self.observe_after(me, after, Fact::Decided { replica: me, cid, hash });
            }
            Notice::LeaderSuspected { .. } => {
                self.stats.did("leader suspected");
                self.observe(&Fact::LeaderSuspected { replica: me });
            }
            Notice::RegencyInstalled { regency, .. } => {
                self.stats.regencies = self.stats.regencies.max(u64::from(regency.0));
                let after = self.replicas[me].regency_recorded;
                self.observe_after(me, after, Fact::RegencyInstalled { replica: me, regency });
            }
            Notice::CheckpointStable { .. } => self.stats.did("checkpoint stable at a replica"),
            Notice::CheckpointSkipped { .. } => self.stats.did("checkpoint skipped"),
            Notice::StateTransferred { cid, hash, .. } => {
                self.stats.did("state transferred");
                if self.plan.ballast > 0 {
                    self.stats.did("state of several chunks transferred");
                }
                self.observe_after(
                    me,
                    LogPosition::default(),
                    Fact::Transferred { replica: me, cid, hash },
                );
            }
            Notice::StateDiverged { .. }
            | Notice::CheckpointDisputed(_)
            | Notice::TransferFailed { .. }
            | Notice::SnapshotFailed { .. }
                if self.plan.sabotage.is_none() =>
            {
                self.stuck(format!("replica {me}: {notice:?}"));
            }
            Notice::PeerMisbehaved { peer, fault } if !self.plan.liars().contains(&peer) => {
                let what = format!("replica {me} blames correct replica {peer}: {fault}");
                self.stuck(what);
            }
            Notice::PeerMisbehaved { .. } => self.stats.did("replica caught misbehaving"),
            Notice::Voting { .. } => {
                self.stats.did("replica without memory votes again");
                self.replicas[me].learning = false;
            }
            _ => {}
        }
    }

    /// Shows the invariants what the replica has executed since they last looked.
    fn show_log(&mut self, me: usize) {
        if !self.replicas[me].correct {
            return;
        }
        loop {
            let node = &mut self.replicas[me];
            let place = node.shown;
            let Some(entry) = node.replica.service().log().get(place).cloned() else { break };
            node.shown += 1;
            let after = node.accepted_up_to(entry.cid);
            self.observe_after(me, after, Fact::Executed { replica: me, place, entry });
        }
        let last = self.replicas[me].last_cid();
        if last.0.is_multiple_of(STATE_EVERY) && last > self.replicas[me].state_shown {
            self.observe_state(me);
        }
    }

    /// Shows the invariants a digest of the replica's state.
    pub(super) fn observe_state(&mut self, me: usize) {
        let node = &mut self.replicas[me];
        let cid = node.last_cid();
        node.state_shown = cid;
        let digest = node.replica.service().digest();
        let after = node.accepted_up_to(cid);
        self.observe_after(me, after, Fact::State { replica: me, cid, digest });
    }

    // Time.

    fn set_deadline(&mut self, me: usize) {
        let now = self.now;
        let node = &mut self.replicas[me];
        let Some(deadline) = node.replica.next_deadline() else {
            node.timer_at = None;
            return;
        };
        let at = deadline.as_micros().saturating_sub(node.origin).max(now + 1);
        if node.timer_at != Some(at) {
            node.timer_at = Some(at);
            self.queue.push(at, Event::ReplicaTimer(me));
        }
    }

    pub(super) fn replica_timer(&mut self, me: usize) {
        if self.replicas[me].timer_at != Some(self.now) {
            return;
        }
        self.replicas[me].timer_at = None;
        self.wake(me);
    }

    fn fire_deadline(&mut self, me: usize) {
        let now = self.replicas[me].now(self);
        let node = &mut self.replicas[me];
        if node.replica.next_deadline().is_none_or(|deadline| deadline > now.instant) {
            node.late_deadlines = 0;
            return;
        }
        node.replica.handle_deadline(now);
        // A deadline that does not move would make the driver spin.
        let still = node.replica.next_deadline().is_some_and(|deadline| deadline <= now.instant);
        node.late_deadlines = if still { node.late_deadlines + 1 } else { 0 };
        if node.late_deadlines > 100 {
            self.stuck(format!("replica {me} wants to be woken again and again at the same time"));
        }
    }

    pub(super) fn misdeed(&mut self, me: usize) {
        let node = &mut self.replicas[me];
        if let Some(byzantine) = &mut node.byzantine {
            let frames = byzantine.spontaneous(&mut self.draw);
            if !frames.is_empty() {
                self.stats.count("misdeed of a Byzantine replica");
            }
            self.send_all(me, frames);
        }
        let next = self.now + self.draw.between(20 * MS..=120 * MS);
        self.queue.push(next, Event::Misdeed(me));
    }
}

impl ReplicaNode {
    fn now(&self, world: &World) -> Now {
        world.clocks(self.origin, self.skew)
    }
}
