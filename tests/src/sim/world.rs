//! A run: replicas, clients, attackers and the network between them, one event after another.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use webbft_protocol::auth::{NoiseKeypair, SigningKey};
use webbft_protocol::membership::{
    Cid, Digest, MacAlgorithm, Member, ReplicaId, ServiceId, View, ViewNumber,
};
use webbft_protocol::replica::StableSnapshot;
use webbft_protocol::time::{Instant, Now, UnixMicros};

use super::attacker::AttackerNode;
use super::audit::Audit;
use super::call_history::{self, CallHistory};
use super::client_node::ClientNode;
use super::draw::Draw;
use super::history::{Fact, Setting};
use super::invariants::{Oracle, Violation};
use super::network::{Conn, Pairs};
use super::plan::{CrashPoint, MS, Misdeed, Plan, Sabotage, Storage};
use super::queue::Queue;
use super::replica_node::ReplicaNode;
use super::report::{Outcome, Statistics};

/// Wall-clock time at the beginning of a run: some day in 2025.
const WALL: u64 = 1_750_000_000_000_000;
/// Events after which a run is given up as never ending.
const MAX_EVENTS: u64 = 20_000_000;

/// Something that happens at a time.
#[derive(Debug)]
pub enum Event {
    /// A replica takes a turn: reads what is ready, then writes.
    Turn(usize),
    /// A replica's deadline, as set at this time, is due.
    ReplicaTimer(usize),
    /// A Byzantine replica says something of its own accord.
    Misdeed(usize),
    /// The lower of two replicas dials the other.
    Dial((usize, usize)),
    /// A side of a stream comes up.
    PeerUp((usize, usize), usize, u64),
    /// A side notices that its stream has broken.
    PeerDown((usize, usize), usize, u64),
    /// A frame arrives at a side of a stream.
    PeerFrame((usize, usize), usize, u64, Bytes),
    /// A client's connection is open at the replica.
    ConnAtReplica(u64),
    /// And at the client.
    ConnAtClient(u64),
    /// A frame arrives at the replica.
    ToReplica(u64, super::network::Carried),
    /// A frame arrives at the client.
    ToClient(u64, super::network::Carried),
    /// The replica's end notices that the connection is gone.
    ClosedAtReplica(u64),
    /// The client's end does.
    ClosedAtClient(u64),
    /// A client's deadline is due.
    ClientTimer(usize),
    /// A client thinks of something to do.
    Think(usize),
    /// An attacker does something.
    Attack(usize),
    /// A partition begins.
    PartitionBegins(usize),
    /// A replica's process stands still.
    Pause(usize),
    /// A replica's clock is set.
    ClockJump(usize),
    /// A replica's process ends.
    Crash(usize),
    /// And is started again.
    Restart(usize),
    /// A write of a replica's disk, in this of its lives, is done.
    DiskDone(usize, u32),
    /// Work on a replica's state, in this of its lives, is done.
    JobDone(usize, u32),
    /// A snapshot of a replica, in this of its lives, is stored.
    SnapshotStored(usize, u32, Arc<StableSnapshot>),
    /// Somebody is led to the other one of two twins.
    SwapTwin(usize),
    /// Faults stop.
    PhaseTwo,
    /// Clients stop making calls.
    Quiet,
    /// Has everything finished?
    Check,
}

/// How far the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Faults happen.
    One,
    /// Faults have stopped, calls go on.
    Two,
    /// No more new calls.
    Quiet,
}

/// A member that runs twice.
#[derive(Debug, Clone)]
pub struct Twin {
    /// The second process.
    pub node: usize,
    /// Which of the two each other member has to do with.
    pub faces: Vec<usize>,
}

/// A run under way.
pub struct World {
    pub(super) plan: Plan,
    pub(super) view: Arc<View>,
    pub(super) draw: Draw,
    pub(super) now: u64,
    pub(super) phase: Phase,
    pub(super) queue: Queue<Event>,
    pub(super) pairs: Pairs,
    pub(super) conns: BTreeMap<u64, Conn>,
    pub(super) next_conn: u64,
    /// By position, and twins after that.
    pub(super) replicas: Vec<ReplicaNode>,
    /// The twins by their position.
    pub(super) twins: BTreeMap<usize, Twin>,
    pub(super) clients: Vec<ClientNode>,
    pub(super) attackers: Vec<AttackerNode>,
    /// Frames that correct clients sent lately: the network is open to everybody's eyes.
    pub(super) wiretap: Vec<Bytes>,
    /// Per topic, how many events the correct replicas have published.
    pub(super) heads: BTreeMap<String, u64>,
    pub(super) stats: Statistics,
    oracle: Oracle,
    audit: Audit,
    calls: CallHistory,
    trace: bool,
    stuck: Vec<String>,
    done: bool,
}

/// A seeded view of `n` replicas with its keys.
#[must_use]
pub fn make_view(n: usize, f: usize, draw: &mut Draw) -> (View, Vec<(SigningKey, NoiseKeypair)>) {
    let keys: Vec<(SigningKey, NoiseKeypair)> = (0..n)
        .map(|_| {
            let signing = SigningKey::from_secret(&draw.bytes32());
            (signing, NoiseKeypair::from_secret(draw.bytes32()))
        })
        .collect();
    let members = keys
        .iter()
        .zip(0_u16..)
        .map(|((signing, noise), id)| Member {
            id: ReplicaId(id),
            url: format!("ws://replica-{id}.test/ws"),
            peer_address: String::new(),
            public_key: signing.public(),
            noise_key: Digest(*noise.public()),
        })
        .collect();
    let mut service = [0; 16];
    service.copy_from_slice(&draw.bytes(16));
    let mac = if draw.chance(1, 4) { MacAlgorithm::HmacSha1 } else { MacAlgorithm::HmacSha256 };
    let view = View {
        service: ServiceId(service),
        number: ViewNumber(0),
        f,
        mac,
        activation: Cid(1),
        previous: Digest::default(),
        members,
    };
    (view, keys)
}

impl World {
    /// The world of a plan, before anything has happened.
    ///
    /// # Panics
    /// Where the plan's numbers do not make a view.
    #[must_use]
    pub fn new(plan: Plan, trace: bool) -> Self {
        let mut draw = Draw::new(plan.seed);
        let (view, keys) = make_view(plan.n, plan.f, &mut draw);
        view.validate().expect("the plan's numbers make a view");
        let view = Arc::new(view);
        let setting = Setting {
            byzantine: plan.liars(),
            leader_may_be_suspected: plan.leader_may_be_suspected(),
            recorded: matches!(plan.storage, Storage::Sync(_)),
            tampering: plan.faults.tampered > 0,
            events_kept: plan.events_kept as u64,
            few_sessions: plan.few_sessions,
        };
        let mut world = Self {
            pairs: Pairs::new(plan.n),
            view,
            draw,
            now: 0,
            phase: Phase::One,
            queue: Queue::default(),
            conns: BTreeMap::new(),
            next_conn: 0,
            replicas: Vec::new(),
            twins: BTreeMap::new(),
            clients: Vec::new(),
            attackers: Vec::new(),
            wiretap: Vec::new(),
            heads: BTreeMap::new(),
            stats: Statistics::default(),
            oracle: Oracle::new(setting),
            audit: Audit::default(),
            calls: CallHistory::default(),
            trace,
            stuck: Vec::new(),
            done: false,
            plan,
        };
        world.count_the_byzantine();
        world.populate(keys);
        world
    }

    /// Counts what is there from the beginning, by kind.
    fn count_the_byzantine(&mut self) {
        for misdeed in self.plan.byzantine.iter().flat_map(|(_, misdeeds)| misdeeds) {
            self.stats.count(&format!("Byzantine replica: {misdeed:?}"));
        }
        if self.plan.byzantine.first().is_some_and(|(replica, _)| *replica == 0) {
            self.stats.count("Byzantine replica: the first leader");
        }
        for attacker in &self.plan.attackers {
            let attack = format!("{:?}", attacker.attack);
            let kind = attack.split('(').next().unwrap_or_default();
            self.stats.count(&format!("Byzantine client: {kind}"));
        }
        if !self.plan.faults.slow.is_empty() {
            self.stats.count("slow replica");
        }
        self.stats.did(match self.plan.n {
            1 => "runs of 1 replica",
            4 => "runs of 4 replicas",
            5 => "runs of 5 replicas",
            7 => "runs of 7 replicas",
            _ => "runs of other sizes",
        });
    }

    fn populate(&mut self, keys: Vec<(SigningKey, NoiseKeypair)>) {
        let twins: Vec<usize> = self.plan.who_does(Misdeed::Twins).collect();
        let positions: Vec<usize> = (0..self.plan.n).chain(twins).collect();
        for (me, position) in positions.into_iter().enumerate() {
            let (signing, noise) = keys[position].clone();
            let node = ReplicaNode::new(self, position, signing, noise);
            if node.is_byzantine() {
                self.queue.push(self.draw.between(1..=50 * MS), Event::Misdeed(me));
            }
            self.replicas.push(node);
            if me != position {
                let twin = Twin { node: me, faces: vec![position; self.plan.n] };
                self.twins.insert(position, twin);
                self.queue.push(self.draw.between(1..=500 * MS), Event::SwapTwin(position));
            }
        }
        for pair in self.pairs.keys() {
            self.queue.push(self.draw.between(1..=20 * MS), Event::Dial(pair));
        }
        for me in 0..self.plan.clients.len() {
            let node = ClientNode::new(self, me);
            self.clients.push(node);
            self.queue.push(self.draw.between(1..=100 * MS), Event::Think(me));
        }
        for me in 0..self.plan.attackers.len() {
            let node = AttackerNode::new(self, me);
            self.attackers.push(node);
            self.queue.push(self.draw.between(1..=100 * MS), Event::Attack(me));
        }
        for (index, partition) in self.plan.faults.partitions.iter().enumerate() {
            self.queue.push(partition.from, Event::PartitionBegins(index));
        }
        let faults = &self.plan.faults;
        for (index, pause) in faults.pauses.iter().enumerate() {
            self.queue.push(pause.from, Event::Pause(index));
        }
        for (index, jump) in faults.clock_jumps.iter().enumerate() {
            self.queue.push(jump.at, Event::ClockJump(index));
        }
        for (index, crash) in faults.crashes.iter().enumerate() {
            if let CrashPoint::At(at) = crash.when {
                self.queue.push(at, Event::Crash(index));
            }
        }
        self.queue.push(self.plan.phase_one, Event::PhaseTwo);
        self.queue.push(self.plan.phase_one + self.plan.phase_two, Event::Quiet);
    }

    /// Both clocks of somebody whose wall clock is off by `skew` microseconds, and whose monotonic
    /// one began `origin` before the run.
    pub(super) fn clocks(&self, origin: u64, skew: i64) -> Now {
        Now {
            instant: Instant::from_micros(self.now + origin),
            unix: UnixMicros((WALL + self.now).saturating_add_signed(skew)),
        }
    }

    /// The run of this plan, from beginning to end.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        for me in 0..self.clients.len() {
            self.start_client(me);
        }
        let mut events = 0;
        while !self.done {
            let Some((at, event)) = self.queue.pop() else { break };
            self.now = at;
            self.record(&event);
            self.happen(event);
            events += 1;
            if events > MAX_EVENTS {
                self.stuck.push(format!("{MAX_EVENTS} events without an end"));
                self.done = true;
            }
        }
        let calls = self.calls.finish();
        let mut violations = self.oracle.violations().to_vec();
        match call_history::judge(&calls) {
            Ok(violation) => violations.extend(violation),
            Err(()) => self.stats.undecided += 1,
        }
        self.stats.events = events;
        self.stats.simulated_micros = self.now;
        self.stats.executed = self.oracle.log().len() as u64;
        self.stats.violations = violations.len() as u64;
        self.stats.stuck = self.stuck.len() as u64;
        Outcome {
            violations,
            stuck: self.stuck,
            hash: self.audit.hash(),
            statistics: self.stats,
            log: self.oracle.into_log(),
            calls,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn(me) => self.turn(me),
            Event::ReplicaTimer(me) => self.replica_timer(me),
            Event::Misdeed(me) => self.misdeed(me),
            Event::Dial(pair) => self.dial(pair),
            Event::PeerUp(pair, side, stream) => self.peer_up(pair, side, stream),
            Event::PeerDown(pair, side, stream) => self.peer_down(pair, side, stream),
            Event::PeerFrame(pair, side, stream, bytes) => {
                self.peer_frame(pair, side, stream, bytes);
            }
            Event::ConnAtReplica(conn) => self.conn_at_replica(conn),
            Event::ConnAtClient(conn) => self.conn_at_client(conn),
            Event::ToReplica(conn, carried) => self.arrive_at_replica(conn, carried),
            Event::ToClient(conn, carried) => self.arrive_at_client(conn, carried),
            Event::ClosedAtReplica(conn) => self.closed_at_replica(conn),
            Event::ClosedAtClient(conn) => self.closed_at_client(conn),
            Event::ClientTimer(me) => self.client_timer(me),
            Event::Think(me) => self.think(me),
            Event::Attack(me) => self.attack(me),
            Event::PartitionBegins(index) => self.partition(index),
            Event::Pause(index) => self.pause(index),
            Event::ClockJump(index) => self.clock_jump(index),
            Event::Crash(index) => self.crash(index),
            Event::Restart(me) => self.restart(me),
            Event::DiskDone(me, life) => self.disk_done(me, life),
            Event::JobDone(me, life) => self.job_done(me, life),
            Event::SnapshotStored(me, life, snapshot) => self.snapshot_stored(me, life, snapshot),
            Event::SwapTwin(position) => self.swap_twin(position),
            Event::PhaseTwo => {
                self.phase = Phase::Two;
                self.mend_clocks();
                if self.plan.sabotage == Some(Sabotage::CutOff) {
                    self.cut_off();
                }
            }
            Event::Quiet => {
                self.phase = Phase::Quiet;
                self.queue.push(self.now + 1, Event::Check);
            }
            Event::Check => self.check(),
        }
    }

    fn record(&mut self, event: &Event) {
        let (what, numbers, bytes): (&str, [u64; 3], &[u8]) = match event {
            Event::Turn(me) => ("turn", [*me as u64, 0, 0], &[]),
            Event::ReplicaTimer(me) => ("timer", [*me as u64, 0, 0], &[]),
            Event::Misdeed(me) => ("misdeed", [*me as u64, 0, 0], &[]),
            Event::Dial((a, b)) => ("dial", [*a as u64, *b as u64, 0], &[]),
            Event::PeerUp((a, b), side, _) => ("up", [*a as u64, *b as u64, *side as u64], &[]),
            Event::PeerDown((a, b), side, _) => ("down", [*a as u64, *b as u64, *side as u64], &[]),
            Event::PeerFrame((a, b), side, _, bytes) => {
                ("peer frame", [*a as u64, *b as u64, *side as u64], bytes)
            }
            Event::ConnAtReplica(conn) => ("open", [*conn, 0, 0], &[]),
            Event::ConnAtClient(conn) => ("opened", [*conn, 0, 0], &[]),
            Event::ToReplica(conn, carried) => ("to replica", [*conn, 0, 0], &carried.bytes),
            Event::ToClient(conn, carried) => ("to client", [*conn, 0, 0], &carried.bytes),
            Event::ClosedAtReplica(conn) => ("closed", [*conn, 0, 0], &[]),
            Event::ClosedAtClient(conn) => ("closed here", [*conn, 0, 0], &[]),
            Event::ClientTimer(me) => ("client timer", [*me as u64, 0, 0], &[]),
            Event::Think(me) => ("think", [*me as u64, 0, 0], &[]),
            Event::Attack(me) => ("attack", [*me as u64, 0, 0], &[]),
            Event::PartitionBegins(index) => ("partition", [*index as u64, 0, 0], &[]),
            Event::Pause(index) => ("pause", [*index as u64, 0, 0], &[]),
            Event::ClockJump(index) => ("clock", [*index as u64, 0, 0], &[]),
            Event::Crash(index) => ("crash", [*index as u64, 0, 0], &[]),
            Event::Restart(me) => ("restart", [*me as u64, 0, 0], &[]),
            Event::DiskDone(me, life) => ("disk", [*me as u64, u64::from(*life), 0], &[]),
            Event::JobDone(me, life) => ("job", [*me as u64, u64::from(*life), 0], &[]),
            Event::SnapshotStored(me, life, snapshot) => {
                ("snapshot", [*me as u64, u64::from(*life), snapshot.cid().0], &[])
            }
            Event::SwapTwin(position) => ("twin", [*position as u64, 0, 0], &[]),
            Event::PhaseTwo => ("phase two", [0; 3], &[]),
            Event::Quiet => ("quiet", [0; 3], &[]),
            Event::Check => ("check", [0; 3], &[]),
        };
        self.audit.fold(self.now, what, numbers, bytes);
    }

    /// One line of the trace, where one is wanted.
    #[allow(clippy::print_stdout)] // this is what --trace is for
    pub(super) fn trace(&self, line: impl FnOnce() -> String) {
        if self.trace {
            let (seconds, micros) = (self.now / 1_000_000, self.now % 1_000_000);
            println!("[{seconds:4}.{micros:06}] {}", line());
        }
    }

    /// Shows a fact to the invariants.
    pub(super) fn observe(&mut self, fact: &Fact) {
        self.calls.note(self.now, fact);
        let before = self.oracle.log().len();
        let found = self.oracle.observe(fact);
        for entry in &self.oracle.log()[before..] {
            for (topic, _) in &entry.published {
                *self.heads.entry(topic.clone()).or_default() += 1;
            }
        }
        for Violation { invariant, what } in &found {
            self.trace(|| format!("VIOLATION of {invariant}: {what}"));
        }
        // What follows from a broken invariant is of no interest, unless it is broken on purpose.
        self.done |= !found.is_empty() && self.plan.sabotage.is_none();
    }

    /// Something that should have come to pass has not.
    pub(super) fn stuck(&mut self, what: String) {
        self.trace(|| format!("STUCK: {what}"));
        self.stuck.push(what);
        self.done = true;
    }

    fn correct(&self) -> impl Iterator<Item = (usize, &ReplicaNode)> {
        self.replicas.iter().enumerate().filter(|(_, node)| node.correct)
    }

    /// What has not finished yet, in words; `None` when everything has.
    fn unfinished(&self) -> Option<String> {
        for (me, client) in self.clients.iter().enumerate() {
            if let Some(what) = client.unfinished(&self.heads) {
                return Some(format!("client {me}: {what}"));
            }
        }
        if let Some((me, _)) = self.correct().find(|(_, node)| !node.running) {
            return Some(format!("replica {me} has still to start again"));
        }
        let last: Vec<(usize, Cid)> =
            self.correct().map(|(me, node)| (me, node.last_cid())).collect();
        if let Some((me, _)) = self.correct().find(|(_, node)| !node.held.is_empty()) {
            return Some(format!("replica {me} has still to make durable what it knows"));
        }
        if last.iter().any(|(_, cid)| *cid != last[0].1) {
            return Some(format!("correct replicas stand at {last:?} (position, instance)"));
        }
        let learner = self.correct().find(|(_, node)| node.learning);
        if let Some((me, node)) = learner.filter(|(_, node)| !self.is_led_by_a_liar(node)) {
            let leader = node.leader();
            return Some(format!("replica {me} has not been led to vote again by {leader:?}"));
        }
        None
    }

    /// Such a leader need not order the empty batches that a learner waits for, as long as no client
    /// has anything to order.
    fn is_led_by_a_liar(&self, node: &ReplicaNode) -> bool {
        let leader = self.view.index_of(node.leader());
        leader.is_some_and(|leader| self.plan.liars().contains(&leader))
    }

    fn check(&mut self) {
        match self.unfinished() {
            None => {
                let correct: Vec<usize> = self.correct().map(|(me, _)| me).collect();
                for me in correct {
                    self.observe_state(me);
                }
                self.observe(&Fact::End);
                self.done = true;
            }
            Some(what) => {
                let since = self.plan.phase_one + self.plan.phase_two;
                if self.now > since + self.plan.bound {
                    self.stuck(what);
                } else {
                    self.queue.push(self.now + 100 * MS, Event::Check);
                }
            }
        }
    }

    /// How long a message takes.
    pub(super) fn delay(&mut self) -> u64 {
        self.plan.latency.draw(&mut self.draw, self.phase == Phase::One)
    }
}
