//! Real replicas among at most f hostile ones and hostile clients. Who hears what, and when, is the
//! fuzzer's choice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use webbft_protocol::auth::{ClientHandshake, ClientLink, PeerLink, ReplicaLink, ServerHandshake};
use webbft_protocol::membership::{Cid, Digest, SessionId, View};
use webbft_protocol::replica::{
    Durability, LinkId, LogPosition, Notice, Parameters, Record, Recovered, Replica, ReplicaConfig,
    StableSnapshot, Start, StateJob, VotesMemory,
};
use webbft_protocol::time::{Instant, Now, UnixMicros};
use webbft_protocol::wire::{
    ClientFrame, ClientHeader, Frame, Operation, Request, RequestId, Topic,
};

use crate::choices::Choices;
use crate::group::{START, identity, noise_key, signing_key, view};
use crate::messages::{Known, time};
use crate::service::Chain;

/// Choices made at most.
const STEPS: usize = 600;
/// Messages delivered at most.
const DELIVERIES: usize = 6_000;
/// What one input may make a replica say, at most.
const OUTPUTS: usize = 4_000;
/// Messages on the way from one replica to another at which the stream breaks.
const QUEUE: usize = 2_000;
const CLIENTS: usize = 2;

/// A client's link to one replica.
struct Link {
    id: LinkId,
    at_client: ClientLink,
    at_replica: ReplicaLink,
}

/// A replica's log, which outlives it.
#[derive(Default)]
struct Disk {
    records: Vec<Record>,
    /// Records that survive a crash.
    durable: usize,
    /// Records from before the last restart.
    before: usize,
    /// Decisions, each with the number of records that it rests on: until those survive a crash,
    /// nobody is told, and the decision may be undone by one.
    decided: VecDeque<(usize, Cid, Digest)>,
    /// A snapshot that is being stored, and the last one that is.
    storing: Option<Arc<StableSnapshot>>,
    stored: Option<Arc<StableSnapshot>>,
}

struct World {
    view: Arc<View>,
    parameters: Parameters,
    /// `None` where the replica is hostile.
    replicas: Vec<Option<Replica<Chain>>>,
    disks: Vec<Disk>,
    /// Snapshots that are being taken or restored.
    jobs: Vec<Option<StateJob<Chain>>>,
    /// Is every record durable at once?
    fast: bool,
    /// By how much each replica's clock is ahead of the time, in microseconds.
    clocks: Vec<u64>,
    now: u64,
    wires: BTreeMap<(usize, usize), VecDeque<Bytes>>,
    links: BTreeMap<(usize, usize), Link>,
    next_link: u64,
    known: Known,
    decided: BTreeMap<Cid, Digest>,
    /// Streams that were too full, and break.
    overfull: Vec<(usize, usize)>,
    /// Kinds of notices.
    reached: BTreeSet<&'static str>,
    deliveries: usize,
    /// How many more replicas may fail.
    spare: usize,
}

/// Agreement holds, nobody panics or talks without end, deadlines move, and no correct replica
/// accuses another.
pub fn replica(bytes: &[u8]) {
    run(bytes);
}

/// Gives the kinds of what the replicas reported, so that a test can tell that inputs reach them.
pub fn run(bytes: &[u8]) -> BTreeSet<&'static str> {
    let mut choices = Choices::new(bytes);
    let mut world = World::new(&mut choices);
    for _ in 0..STEPS {
        if choices.is_over() {
            break;
        }
        world.step(&mut choices);
        while let Some((a, b)) = world.overfull.pop() {
            world.disconnect(a, b);
            world.connect(a, b);
            world.connect(b, a);
        }
    }
    world.reached
}

impl World {
    fn new(choices: &mut Choices<'_>) -> Self {
        let n = [1, 4, 4, 7][choices.below(4)];
        let view = view(n);
        let hostile = choices.below(view.f + 1);
        let first = choices.below(n);
        // Small bounds are reached soon.
        let mut parameters = Parameters::default();
        parameters.execution.sessions = 4;
        parameters.execution.session_idle = Duration::from_secs(30);
        parameters.execution.ring = 2;
        parameters.execution.subscriptions = 2;
        parameters.execution.checkpoint_every = 3;
        parameters.execution.checkpoint_pause = Duration::from_millis(1);
        if choices.flag() {
            parameters.durability = Durability::Logged;
        }
        parameters.admission.new_sessions = 4;
        parameters.admission.new_sessions_per_client = 3;
        let mut world = Self {
            spare: view.f - hostile,
            view,
            parameters,
            replicas: (0..n).map(|_| None).collect(),
            jobs: (0..n).map(|_| None).collect(),
            disks: (0..n).map(|_| Disk::default()).collect(),
            fast: choices.flag(),
            clocks: vec![0; n],
            now: 1,
            wires: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            known: Known::default(),
            decided: BTreeMap::new(),
            overfull: Vec::new(),
            reached: BTreeSet::new(),
            deliveries: 0,
        };
        for me in (0..n).filter(|me| (me + n - first) % n >= hostile) {
            world.replicas[me] = Some(world.start(me, Start::Genesis));
        }
        for me in 0..n {
            for peer in (0..n).filter(|&peer| peer != me) {
                world.connect(me, peer);
            }
        }
        world
    }

    fn start(&self, me: usize, start: Start) -> Replica<Chain> {
        let config = ReplicaConfig {
            view: Arc::clone(&self.view),
            me,
            signing_key: signing_key(me),
            start,
            parameters: self.parameters.clone(),
        };
        Replica::new(config, Chain::default(), self.clock(me))
    }

    fn clock(&self, me: usize) -> Now {
        let unix = START.saturating_add(self.now).saturating_add(self.clocks[me]);
        Now { instant: Instant::from_micros(self.now), unix: UnixMicros(unix) }
    }

    fn honest(&self) -> Vec<usize> {
        (0..self.replicas.len()).filter(|&me| self.replicas[me].is_some()).collect()
    }

    fn hostile(&self) -> Vec<usize> {
        (0..self.replicas.len()).filter(|&me| self.replicas[me].is_none()).collect()
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let Some(me) = choices.of(&self.honest()) else { return };
        match choices.byte() % 22 {
            0..=2 => {
                let wires: Vec<(usize, usize)> = self.wires.keys().copied().collect();
                if let Some(wire) = choices.of(&wires) {
                    for _ in 0..=choices.byte() % 8 {
                        self.deliver(wire);
                    }
                }
            }
            3..=5 => self.deliver_all(),
            6..=10 => {
                if let Some(peer) = choices.of(&self.hostile()) {
                    let message = self.known.message(choices, &self.view, peer);
                    self.hand_over(peer, me, &PeerLink::encode(&self.view, message));
                }
            }
            11..=13 => self.request(choices),
            14 => self.client_frame(choices, me),
            15 => {
                let wait = match choices.byte() % 8 {
                    0 => choices.number(0) >> 8,
                    1..4 => u64::from(choices.byte()) * 100_000,
                    _ => u64::from(choices.byte()) * 1_000,
                };
                self.pass(wait);
            }
            16 => {
                // A clock that is wrong for a while.
                self.clocks[me] = choices.number(0) >> 2 >> (choices.byte() % 64);
                self.pass(1);
            }
            17 => {
                let peer = choices.below(self.replicas.len());
                if peer != me {
                    self.disconnect(me, peer);
                    if !choices.byte().is_multiple_of(4) {
                        self.connect(me, peer);
                        self.connect(peer, me);
                    }
                }
            }
            18 => {
                let client = choices.below(CLIENTS);
                if let Some(link) = self.links.remove(&(client, me)) {
                    let now = self.clock(me);
                    self.with(me, |replica| replica.handle_client_disconnected(now, link.id));
                }
            }
            19 if choices.flag() => self.finish_job(me),
            19 => {
                if let Some(stable) = self.disks[me].storing.take() {
                    let (now, cid) = (self.clock(me), stable.cid());
                    self.disks[me].stored = Some(stable);
                    self.with(me, |replica| replica.handle_snapshot_durable(now, cid));
                }
                let records = self.disks[me].records.len();
                let up_to = choices.below(records + 1);
                self.sync(me, up_to);
            }
            20 if self.parameters.durability == Durability::Logged => {
                self.crash(me);
                let disk = &mut self.disks[me];
                disk.records.truncate(disk.durable);
                disk.decided.clear();
                disk.before = disk.durable;
                let (records, snapshot) = (disk.records.clone(), disk.stored.clone());
                let votes = VotesMemory::Complete;
                let recovered = Recovered { snapshot, records, votes };
                self.restart(me, Start::Recovered(Box::new(recovered)));
            }
            _ => {
                if self.spare > 0 {
                    self.spare -= 1;
                    self.crash(me);
                    self.disks[me] = Disk::default();
                    self.restart(me, Start::Learner);
                }
            }
        }
    }

    /// Runs an input of one replica, then does what it wants done.
    fn with<T>(&mut self, me: usize, input: impl FnOnce(&mut Replica<Chain>) -> T) -> Option<T> {
        let replica = self.replicas[me].as_mut()?;
        let result = input(replica);
        self.drain(me);
        for _ in 0..8 {
            let now = self.clock(me);
            let Some(replica) = self.replicas[me].as_mut() else { break };
            if replica.next_deadline().is_none_or(|at| at > now.instant) {
                return Some(result);
            }
            replica.handle_deadline(now);
            self.drain(me);
        }
        panic!("the deadline does not move");
    }

    fn drain(&mut self, me: usize) {
        // A record that is durable sets free what waited for it.
        for _ in 0..OUTPUTS {
            if !self.drain_once(me) {
                return;
            }
        }
        panic!("outputs without end");
    }

    fn drain_once(&mut self, me: usize) -> bool {
        let clock = self.clock(me);
        let mut outputs = 0;
        let mut count = || {
            outputs += 1;
            assert!(outputs < OUTPUTS, "one input, outputs without end");
        };
        let Some(replica) = self.replicas[me].as_mut() else { return false };
        let disk = &mut self.disks[me];
        while let Some((position, record)) = replica.poll_record() {
            count();
            assert_eq!(Record::decode(&record.encode()).as_ref(), Ok(&record));
            disk.records.push(record);
            assert_eq!(position.0, (disk.records.len() - disk.before) as u64, "out of order");
            if self.fast {
                disk.durable = disk.records.len();
                replica.handle_durable(clock, position);
            }
        }
        if let Some(stable) = replica.poll_keep_snapshot() {
            count();
            disk.storing = Some(stable);
        }
        if let Some(job) = replica.poll_job() {
            count();
            assert!(self.jobs[me].replace(job).is_none(), "two jobs at a time");
        }
        while let Some(sent) = replica.poll_peer() {
            count();
            assert!(!sent.to.contains(me), "a message to itself");
            self.known.hear(&self.view, &sent.message);
            let bytes = PeerLink::encode(&self.view, sent.message);
            PeerLink::authenticated(&self.view, me)
                .open(&bytes)
                .expect("a correct replica sends what a correct replica takes");
            for to in sent.to.iter() {
                assert!(to < self.view.n(), "a message to nobody");
                // Those to hostile replicas were heard above.
                let Some(wire) = self.wires.get_mut(&(me, to)) else { continue };
                wire.push_back(bytes.clone());
                if wire.len() == QUEUE {
                    self.overfull.push((me, to));
                }
            }
        }
        while let Some(sent) = replica.poll_client() {
            count();
            if let Some(link) = self.links.values_mut().find(|link| link.id == sent.link) {
                let bytes = Bytes::from(link.at_replica.seal(&sent.frame));
                link.at_client.open(&bytes).expect("the next frame of the link");
            }
        }
        while let Some(notice) = replica.poll_notice() {
            count();
            self.reached.insert(kind(&notice));
            match notice {
                Notice::Decided { cid, hash, .. } => {
                    disk.decided.push_back((disk.records.len(), cid, hash));
                    self.known.last = self.known.last.max(cid);
                }
                Notice::PeerMisbehaved { peer, fault } => {
                    let hostile = self.view.everyone().contains(peer) && peer != me;
                    assert!(hostile, "accuses itself or nobody");
                    let correct = self.wires.contains_key(&(peer, me));
                    assert!(!correct, "replica {me} accuses the correct replica {peer}: {fault}");
                }
                Notice::StateTransferred { cid, hash, .. } => {
                    let agreed = *self.decided.entry(cid).or_insert(hash);
                    assert_eq!(agreed, hash, "a state of another decision of instance {cid}");
                }
                Notice::StateDiverged { .. }
                | Notice::CheckpointDisputed(_)
                | Notice::SnapshotFailed { .. }
                | Notice::TransferFailed { .. } => panic!("correct replicas differ: {notice:?}"),
                Notice::RegencyInstalled { regency, .. } => {
                    self.known.regency = self.known.regency.max(regency);
                }
                _ => {}
            }
        }
        while let Some(&(records, cid, hash)) = disk.decided.front() {
            if records > disk.durable {
                break;
            }
            disk.decided.pop_front();
            let agreed = *self.decided.entry(cid).or_insert(hash);
            assert_eq!(agreed, hash, "two decisions of instance {cid}");
        }
        outputs > 0
    }

    /// A snapshot has been taken or restored.
    fn finish_job(&mut self, me: usize) {
        if let Some(job) = self.jobs[me].take() {
            let (now, done) = (self.clock(me), job.run());
            self.with(me, |replica| replica.handle_job_done(now, done));
        }
    }

    /// The first `up_to` records of a replica's log survive a crash from now on.
    fn sync(&mut self, me: usize, up_to: usize) {
        let disk = &mut self.disks[me];
        disk.durable = disk.durable.max(up_to);
        let position = LogPosition((disk.durable - disk.before) as u64);
        let now = self.clock(me);
        self.with(me, |replica| replica.handle_durable(now, position));
    }

    fn hand_over(&mut self, from: usize, to: usize, bytes: &Bytes) {
        let link = PeerLink::authenticated(&self.view, from);
        if let Ok(message) = link.open(bytes) {
            let now = self.clock(to);
            self.with(to, |replica| replica.handle_peer_message(now, message));
        }
    }

    fn deliver(&mut self, (from, to): (usize, usize)) -> bool {
        let Some(bytes) = self.wires.get_mut(&(from, to)).and_then(VecDeque::pop_front) else {
            return false;
        };
        self.deliveries += 1;
        if self.deliveries < DELIVERIES {
            self.hand_over(from, to, &bytes);
        }
        true
    }

    fn deliver_all(&mut self) {
        loop {
            let wires: Vec<(usize, usize)> = self.wires.keys().copied().collect();
            let mut any = false;
            for wire in wires {
                any |= self.deliver(wire);
            }
            if !any || self.deliveries >= DELIVERIES {
                return;
            }
        }
    }

    /// Time passes, and timers fire on the way.
    fn pass(&mut self, micros: u64) {
        let end = self.now.saturating_add(micros);
        for _ in 0..200 {
            let due = self.replicas.iter().flatten().filter_map(Replica::next_deadline).min();
            self.now = due.map_or(end, |due| due.as_micros().min(end)).max(self.now);
            for me in self.honest() {
                // Fires what is due.
                self.with(me, |_| ());
                if self.fast {
                    self.finish_job(me);
                }
            }
            if self.now >= end {
                return;
            }
        }
        self.now = end;
    }

    fn connect(&mut self, me: usize, peer: usize) {
        if self.replicas[me].is_some() && self.replicas[peer].is_some() {
            self.wires.insert((me, peer), VecDeque::new());
        }
        let now = self.clock(me);
        self.with(me, |replica| replica.handle_peer_connected(now, peer));
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        for (me, peer) in [(a, b), (b, a)] {
            if let Some(wire) = self.wires.get_mut(&(me, peer)) {
                wire.clear();
            }
            let now = self.clock(me);
            self.with(me, |replica| replica.handle_peer_disconnected(now, peer));
        }
    }

    /// A replica stops, and what was under way is lost.
    fn crash(&mut self, me: usize) {
        for peer in (0..self.replicas.len()).filter(|&peer| peer != me) {
            self.disconnect(me, peer);
        }
        self.links.retain(|&(_, replica), _| replica != me);
        self.jobs[me] = None;
        self.disks[me].storing = None;
    }

    /// It starts again.
    fn restart(&mut self, me: usize, start: Start) {
        let n = self.replicas.len();
        self.replicas[me] = Some(self.start(me, start));
        for peer in (0..n).filter(|&peer| peer != me) {
            self.connect(me, peer);
            self.connect(peer, me);
        }
    }

    /// A request, honest or not, to some of the replicas.
    fn request(&mut self, choices: &mut Choices<'_>) {
        let client = choices.below(CLIENTS);
        let near = 1 + self.known.last.0;
        let id = RequestId {
            client: identity(client).id(),
            session: SessionId([choices.byte() % 6; 16]),
            number: match choices.byte() % 8 {
                0 => choices.number(near),
                step => u64::from(step),
            },
        };
        let topic = || Topic::new("t").expect("a topic");
        let operation = match choices.byte() % 8 {
            0 => Operation::Subscribe(topic()),
            1 => Operation::Unsubscribe(topic()),
            2 => Operation::Query(choices.bytes(4).into()),
            _ => Operation::Execute(choices.bytes(12).into()),
        };
        let born = time(choices);
        let mut bytes = Request { service: self.view.service, id, born, operation }.encode();
        if choices.byte().is_multiple_of(4)
            && let Some(earlier) = self.known.body(choices)
        {
            bytes = earlier;
        } else if choices.byte().is_multiple_of(16) {
            let mut damaged = bytes.to_vec();
            choices.damage(&mut damaged);
            bytes = damaged.into();
        }
        self.known.request(bytes.clone());
        let to = if choices.flag() { u8::MAX } else { choices.byte() };
        for me in self.honest().into_iter().filter(|me| to & (1 << me) != 0) {
            let header = ClientHeader::Request { full: choices.flag() };
            self.send(client, me, &Frame::new(header, bytes.clone()));
        }
    }

    fn client_frame(&mut self, choices: &mut Choices<'_>, me: usize) {
        let topic = Topic::new(if choices.flag() { "t" } else { "other" }).expect("a topic");
        let session = SessionId([choices.byte() % 6; 16]);
        let number = choices.number(1);
        let header = match choices.byte() % 7 {
            0 => ClientHeader::Request { full: true },
            1 | 2 => {
                let (nonce, min_cid) = (number, Cid(choices.number(self.known.last.0)));
                ClientHeader::Query { nonce, min_cid, full: choices.flag() }
            }
            3 => ClientHeader::Resume { session, topic, next: number },
            4 => ClientHeader::FetchEvent { session, topic, number },
            5 => ClientHeader::Announce { session, topic, number },
            _ => ClientHeader::Ping { nonce: number },
        };
        let body = choices.bytes(40).into();
        self.send(choices.below(CLIENTS), me, &Frame::new(header, body));
    }

    /// Sends a frame on a client's link, after a handshake where there is no link. A replica that
    /// finds the frame wrong closes the link.
    fn send(&mut self, client: usize, me: usize, frame: &ClientFrame) {
        if !self.links.contains_key(&(client, me)) {
            self.open(client, me);
        }
        let now = self.clock(me);
        let Some(link) = self.links.get_mut(&(client, me)) else { return };
        let id = link.id;
        let bytes = Bytes::from(link.at_client.seal(frame));
        let frame = link.at_replica.open(&bytes).expect("the next frame of the link");
        let outcome = self.with(me, |replica| replica.handle_client_frame(now, id, frame));
        if outcome.is_some_and(|outcome| outcome.is_err()) {
            self.links.remove(&(client, me));
            self.with(me, |replica| replica.handle_client_disconnected(now, id));
        }
    }

    fn open(&mut self, client: usize, me: usize) {
        let (view, now) = (Arc::clone(&self.view), self.clock(me));
        let Some(replica) = &self.replicas[me] else { return };
        let welcome = replica.welcome(now);
        let (handshake, hello) = ClientHandshake::begin(&view, me, &identity(client), [1; 32]);
        let keypair = noise_key(me);
        let server = ServerHandshake { view: &view, keypair: &keypair };
        let accepted = server.accept(&hello, &welcome, [2; 32]).expect("an honest hello");
        let (at_client, _) = handshake.finish(&accepted.reply).expect("an honest answer");
        self.next_link += 1;
        let id = LinkId(self.next_link);
        let who = accepted.link.client();
        self.links.insert((client, me), Link { id, at_client, at_replica: accepted.link });
        self.with(me, |replica| replica.handle_client_connected(now, id, who));
    }
}

const fn kind(notice: &Notice) -> &'static str {
    match notice {
        Notice::Decided { .. } => "decided",
        Notice::PeerMisbehaved { .. } => "peer misbehaved",
        Notice::LeaderSuspected { .. } => "leader suspected",
        Notice::RegencyInstalled { .. } => "regency installed",
        Notice::Synchronised { .. } => "synchronised",
        Notice::Learning => "learning",
        Notice::Voting { .. } => "voting again",
        Notice::CheckpointStable { .. } => "checkpoint stable",
        Notice::StateTransferred { .. } => "state transferred",
        _ => "other",
    }
}
