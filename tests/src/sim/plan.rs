//! What a run consists of: drawn from its seed (`draw_plan`), or made by hand for a test.

use webbft_protocol::membership::ReplicaSet;

use super::disk::DiskSpeed;
use super::service::Defect;

/// Microseconds in a millisecond.
pub const MS: u64 = 1_000;
/// Microseconds in a second.
pub const S: u64 = 1_000_000;

/// Two clocks that are off by this much in opposite directions are as far apart as the protocol
/// allows; in thousandths of the allowed drift.
pub const WITHIN_DRIFT: i64 = 500;

/// How long messages take.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    /// At least this long.
    pub base: u64,
    /// And a random time of about this size, with a tail.
    pub jitter: u64,
    /// One message in this many takes up to half a second more; 0: none.
    pub spike_one_in: u32,
}

/// Replicas that cannot hear others for a while.
#[derive(Debug, Clone, Copy)]
pub struct Partition {
    /// From when.
    pub from: u64,
    /// Until when.
    pub until: u64,
    /// One side; all other replicas are the other.
    pub side: ReplicaSet,
    /// Do streams across break (and cannot be made again), rather than stall?
    pub breaks: bool,
    /// Where streams stall: only what `side` sends, so that it hears and is not heard?
    pub one_way: bool,
    /// Are clients, too, unable to reach the replicas of `side`?
    pub clients_too: bool,
}

/// A replica whose process stands still (as after SIGSTOP) while its links stay up and fill.
#[derive(Debug, Clone, Copy)]
pub struct Pause {
    /// Its position.
    pub replica: usize,
    /// From when.
    pub from: u64,
    /// Until when.
    pub until: u64,
}

/// A replica whose wall clock is set.
#[derive(Debug, Clone, Copy)]
pub struct ClockJump {
    /// Its position.
    pub replica: usize,
    /// When.
    pub at: u64,
    /// How far it is off from then on, in thousandths of the allowed drift.
    pub to: i64,
}

/// Replicas whose processes end at the same time, and are started again.
#[derive(Debug, Clone, Copy)]
pub struct Crash {
    /// Which.
    pub replicas: ReplicaSet,
    /// When.
    pub when: CrashPoint,
    /// How long until they are started again.
    pub down: u64,
    /// What becomes of their disks.
    pub disk: DiskFate,
}

/// What becomes of a disk in a crash, but for what was not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFate {
    /// Nothing.
    Kept,
    /// All is lost.
    Lost,
    /// A durable record is damaged: the process does not start from such a log, and its operator
    /// sets that aside.
    Damaged,
}

/// When processes end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// At this time.
    At(u64),
    /// When this replica hands its disk the nth record of a kind.
    Record {
        /// Its position.
        replica: usize,
        /// Which of that kind, from 1.
        nth: u32,
        /// The kind.
        kind: RecordKind,
        /// Before or after the record is durable.
        stage: Stage,
    },
}

/// Kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKind {
    /// A WRITE.
    Written,
    /// An ACCEPT.
    Accepted,
    /// A decision.
    Decided,
    /// A new regency with the STOPDATA.
    Regency,
    /// A SYNC.
    Sync,
}

/// How far a record has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Handed in, not yet durable: a part of what is not durable survives.
    HandedIn,
    /// Durable, but the replica does not know yet.
    Durable,
    /// The replica has been told and has sent what waited for it.
    Told,
}

/// What replicas keep on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Nothing: who is started again is a learner.
    Memory,
    /// A log; nothing leaves that is not in it. A write takes this long.
    Sync(DiskSpeed),
    /// A log that follows after a while: who is started again keeps what there is, and is a
    /// learner.
    Async(DiskSpeed),
}

/// A replica that takes long over everything in phase one.
#[derive(Debug, Clone, Copy)]
pub struct Slowness {
    /// Its position.
    pub replica: usize,
    /// The time a turn takes, in microseconds.
    pub turn: u64,
}

impl Storage {
    /// The longest time that a write may take.
    #[must_use]
    pub const fn may_take(self) -> u64 {
        match self {
            Self::Memory => 0,
            Self::Sync(speed) | Self::Async(speed) => speed.base + (speed.jitter << 6),
        }
    }
}

/// What goes wrong in phase one. Rates are per million frames.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Streams between replicas that break.
    pub peer_breaks: u32,
    /// Client links that break.
    pub client_breaks: u32,
    /// Frames on client links that are damaged, repeated, moved or left out.
    pub tampered: u32,
    /// Partitions.
    pub partitions: Vec<Partition>,
    /// Pauses.
    pub pauses: Vec<Pause>,
    /// Clocks that are set; at the end of phase one all are right again.
    pub clock_jumps: Vec<ClockJump>,
    /// Crashes. Those that would make more than f replicas faulty at a time do not happen: one that
    /// has lost its memory counts as faulty until it votes again.
    pub crashes: Vec<Crash>,
    /// Slow replicas.
    pub slow: Vec<Slowness>,
}

impl Faults {
    /// Does nothing go wrong?
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.peer_breaks == 0
            && self.client_breaks == 0
            && self.tampered == 0
            && self.partitions.is_empty()
            && self.pauses.is_empty()
            && self.clock_jumps.is_empty()
            && self.crashes.is_empty()
            && self.slow.is_empty()
    }
}

/// What a Byzantine replica does; it may do several of these at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misdeed {
    /// Says nothing to clients.
    MuteToClients,
    /// Says nothing to replicas.
    MuteToPeers,
    /// Falsifies replies, answers to queries, events and everything else that clients are told.
    LieToClients,
    /// Votes for random hashes, different ones to different replicas, with bad signatures, for
    /// past and future instances and epochs.
    EquivocateVotes,
    /// Vouches for digests that nobody sent, in the names of others too, and serves bodies to
    /// them; leaves out vouches of its own.
    LieInVouches,
    /// Vouches for several bodies of every request it hears of.
    VouchForEverything,
    /// Sends its own old messages again, out of order.
    Replay,
    /// Sends forged decisions, proposals without being the leader, and wild requests for state.
    ForgeDecisions,
    /// Sends bytes that are not messages.
    Garbage,
    /// Tells the replicas of a set everything and the others nothing.
    Selective,
    /// As the leader, proposes nothing.
    StallAsLeader,
    /// As the leader, has only f + 1 other replicas take part in consensus.
    ProposeToFew,
    /// As the leader, proposes one batch to some and another to the rest, and votes accordingly.
    EquivocateProposals,
    /// Tells new leaders something else than it knows, or than it may know.
    LieInStopData,
    /// As a new leader, makes choices that do not follow from what it was told.
    LieInSync,
    /// Asks for leader changes without cause.
    EarlyStops,
    /// Reports to replicas that lost their memory what nobody has decided.
    LieInReports,
    /// Signs checkpoints of other states, and serves false manifests and chunks.
    LieInTransfer,
    /// Runs twice under the same keys; every other replica and every client link has to do with
    /// one of the two, and at times with the other.
    Twins,
}

/// All misdeeds.
pub const MISDEEDS: [Misdeed; 19] = [
    Misdeed::MuteToClients,
    Misdeed::MuteToPeers,
    Misdeed::LieToClients,
    Misdeed::EquivocateVotes,
    Misdeed::LieInVouches,
    Misdeed::VouchForEverything,
    Misdeed::Replay,
    Misdeed::ForgeDecisions,
    Misdeed::Garbage,
    Misdeed::Selective,
    Misdeed::StallAsLeader,
    Misdeed::ProposeToFew,
    Misdeed::EquivocateProposals,
    Misdeed::LieInStopData,
    Misdeed::LieInSync,
    Misdeed::EarlyStops,
    Misdeed::LieInReports,
    Misdeed::LieInTransfer,
    Misdeed::Twins,
];

/// How a Byzantine client attacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Requests that only these replicas can authenticate: to the others they go with a wrong MAC
    /// (paper, 4.3).
    WrongMac(ReplicaSet),
    /// Requests that only these replicas are sent at all.
    Withhold(ReplicaSet),
    /// One body under a number to these replicas, another one to the rest.
    TwoBodies(ReplicaSet),
    /// A subset and one of the three above drawn anew for each number.
    AnySubset,
    /// Numbers with holes, 0, and the largest ones.
    SkipNumbers,
    /// As many requests, queries, pings and event requests as the links take.
    Flood,
    /// Old frames of its own, and requests of others, again and again.
    Replay,
    /// Bytes that are not frames, before and after the handshake, truncated and oversized ones.
    Garbage,
    /// New sessions without end, with birth times of every kind.
    Sessions,
}

/// A Byzantine client.
#[derive(Debug, Clone, Copy)]
pub struct Attacker {
    /// What it does.
    pub attack: Attack,
    /// How often, in microseconds.
    pub period: u64,
}

/// A correct client.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// Mean time between two calls, in microseconds.
    pub think: u64,
    /// Calls at once.
    pub outstanding: usize,
    /// Of ten calls, this many are reads.
    pub reads: u32,
    /// Does it subscribe and unsubscribe?
    pub subscribes: bool,
    /// One operation in this many asks the service to panic; 0: none.
    pub panics_one_in: u32,
    /// Largest item appended, in bytes.
    pub item: u64,
    /// One call in this many has a timeout of a second or less; 0: none.
    pub impatient_one_in: u32,
}

/// A defect that makes a run fail on purpose, to see that the invariants see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// All replicas but the leader lie to clients in the same way.
    LyingMajority,
    /// This replica's service has a defect, though the replica counts as correct.
    Defect(usize, Defect),
    /// What the leader says to its peers is lost, though it counts as correct.
    LeaderUnheard,
    /// Every client is cut off at the end of phase one, for ever.
    CutOff,
    /// Events never reach their subscribers.
    EventsLost,
    /// Reads are answered, by all replicas alike, from before the latest operation.
    StaleReads,
    /// Frames count as tampered with, but are delivered as they were.
    HarmlessTampering,
}

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Drives what is drawn while the run goes on.
    pub seed: u64,
    /// Replicas.
    pub n: usize,
    /// How many may be Byzantine.
    pub f: usize,
    /// Between replicas, and between them and clients.
    pub latency: Latency,
    /// What goes wrong in phase one.
    pub faults: Faults,
    /// What replicas keep on disk.
    pub storage: Storage,
    /// How long a request may wait for the leader, in microseconds.
    pub request_timeout: u64,
    /// Instances between two checkpoints, at least.
    pub checkpoint_every: u64,
    /// Agreed time between two checkpoints, at least, in microseconds.
    pub checkpoint_pause: u64,
    /// How many chunks the state is longer than what the service needs.
    pub ballast: u8,
    /// How long work on a snapshot takes, about.
    pub job_time: u64,
    /// How far each replica's wall clock is off, in thousandths of the allowed drift.
    pub skew: Vec<i64>,
    /// Byzantine replicas and what they do.
    pub byzantine: Vec<(usize, Vec<Misdeed>)>,
    /// Correct clients.
    pub clients: Vec<Client>,
    /// Byzantine clients.
    pub attackers: Vec<Attacker>,
    /// Length of phase one, in microseconds.
    pub phase_one: u64,
    /// How long clients go on making calls in phase two.
    pub phase_two: u64,
    /// How long everything may then take to finish.
    pub bound: u64,
    /// Events of a topic that replicas keep.
    pub events_kept: usize,
    /// Is the table of sessions so small that correct clients may lose theirs?
    pub few_sessions: bool,
    /// A defect on purpose.
    pub sabotage: Option<Sabotage>,
}

impl Plan {
    /// A calm run: every replica correct, a quick network without faults, one client.
    #[must_use]
    pub fn calm(seed: u64, n: usize, f: usize) -> Self {
        Self {
            seed,
            n,
            f,
            latency: Latency { base: 200, jitter: 200, spike_one_in: 0 },
            faults: Faults::default(),
            storage: Storage::Memory,
            request_timeout: 2 * S,
            checkpoint_every: 20,
            checkpoint_pause: 0,
            ballast: 0,
            job_time: MS,
            skew: vec![0; n],
            byzantine: Vec::new(),
            clients: vec![Client::steady()],
            attackers: Vec::new(),
            phase_one: 5 * S,
            phase_two: 2 * S,
            bound: 60 * S,
            events_kept: 64,
            few_sessions: false,
            sabotage: None,
        }
    }

    /// Positions of the Byzantine replicas.
    #[must_use]
    pub fn liars(&self) -> Vec<usize> {
        self.byzantine.iter().map(|(replica, _)| *replica).collect()
    }

    /// Positions of the Byzantine replicas that do this.
    pub fn who_does(&self, misdeed: Misdeed) -> impl Iterator<Item = usize> {
        let does = move |misdeeds: &[Misdeed]| misdeeds.contains(&misdeed);
        self.byzantine.iter().filter(move |(_, all)| does(all)).map(|(replica, _)| *replica)
    }

    /// May the leader of regency 0 be suspected through other than clients' and followers' doing?
    #[must_use]
    pub fn leader_may_be_suspected(&self) -> bool {
        let faults = &self.faults;
        self.byzantine.iter().any(|(replica, _)| *replica == 0)
            || !faults.partitions.is_empty()
            || faults.peer_breaks > 0
            || !faults.pauses.is_empty()
            || !faults.slow.is_empty()
            || !faults.crashes.is_empty()
            || faults.clock_jumps.iter().any(|jump| jump.to.abs() > WITHIN_DRIFT)
            || self.latency.spike_one_in > 0
            || self.storage.may_take() * 50 > self.request_timeout
    }
}

impl Client {
    /// A client that works steadily: operations, reads and subscriptions.
    #[must_use]
    pub const fn steady() -> Self {
        Self {
            think: 50 * MS,
            outstanding: 2,
            reads: 3,
            subscribes: true,
            panics_one_in: 0,
            item: 200,
            impatient_one_in: 0,
        }
    }
}
