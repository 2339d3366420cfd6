//! Replicas and hand-driven clients in one thread: messages travel when the test says so.

// Each test file uses its part of this, and a panic here is a failing test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use webbft_protocol::auth::{
    ClientHandshake, ClientIdentity, ClientLink, NoiseKeypair, PeerLink, ReplicaLink,
    ServerHandshake, SigningKey, sign_propose,
};
use webbft_protocol::execution::{Answer, Context, RestoreError, Service};
use webbft_protocol::membership::{
    Cid, ClientId, Digest, Epoch, MacAlgorithm, Member, ReplicaId, ReplicaSet, ServiceId,
    SessionId, View, ViewNumber,
};
use webbft_protocol::replica::{
    ClientFault, Durability, LinkId, LogPosition, Notice, Parameters, Record, Recovered, Replica,
    ReplicaConfig, StableSnapshot, Start, StateJob, VotesMemory,
};
use webbft_protocol::time::{Instant, Now, UnixMicros};
use webbft_protocol::wire::{
    Batch, ClientFrame, ClientHeader, Frame, Operation, PeerMessage, ReplicaFrame, ReplicaHeader,
    Request, RequestId, decode, encode,
};

/// A log of everything executed. `panic` panics, `publish X` publishes X on topic `t`; an event `for ID`
/// may be seen by that client alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log(pub Vec<Bytes>, pub Cid);

impl Service for Log {
    fn admit(operation: &[u8]) -> Result<(), String> {
        if operation == b"inadmissible" { Err("never".to_owned()) } else { Ok(()) }
    }

    fn execute(&mut self, operation: &[u8], context: &mut Context<'_>) -> Vec<u8> {
        self.0.push(Bytes::copy_from_slice(operation));
        self.1 = context.cid;
        assert_ne!(operation, b"panic", "asked to");
        if let Some(payload) = operation.strip_prefix(b"publish ") {
            context.publish("t", payload.to_vec());
        }
        format!("{}", self.0.len()).into_bytes()
    }

    fn may_see(subscriber: ClientId, _: &str, payload: &[u8]) -> bool {
        let whom = payload.strip_prefix(b"for ");
        whom.is_none_or(|whom| whom.starts_with(subscriber.to_string().as_bytes()))
    }

    fn query(&self, _: &[u8]) -> Answer {
        Answer { result: format!("{}", self.0.len()).into_bytes(), as_of: Some(self.1) }
    }

    fn snapshot(&self) -> Vec<u8> {
        encode(&(&self.0, self.1))
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        let (log, last) = decode(snapshot).map_err(|error| RestoreError(error.to_string()))?;
        Ok(Self(log, last))
    }
}

/// The wall clock at the beginning of every test.
pub const START: u64 = 1_700_000_000_000_000;

pub fn signing_key(index: usize) -> SigningKey {
    SigningKey::from_secret(&[10 + u8::try_from(index).unwrap(); 32])
}

fn noise_key(index: usize) -> NoiseKeypair {
    NoiseKeypair::from_secret([100 + u8::try_from(index).unwrap(); 32])
}

pub fn view(n: usize, f: usize) -> View {
    let view = View {
        service: ServiceId([1; 16]),
        number: ViewNumber(0),
        f,
        mac: MacAlgorithm::HmacSha256,
        activation: Cid(1),
        previous: Digest::default(),
        members: (0..n)
            .map(|index| Member {
                id: ReplicaId(u16::try_from(index).unwrap()),
                url: format!("ws://r{index}"),
                peer_address: String::new(),
                public_key: signing_key(index).public(),
                noise_key: Digest(*noise_key(index).public()),
            })
            .collect(),
    };
    view.validate().unwrap();
    view
}

/// A client's links to all replicas.
pub struct TestClient {
    pub identity: ClientIdentity,
    pub session: SessionId,
    born: UnixMicros,
    links: Vec<(LinkId, ClientLink, ReplicaLink)>,
    pub received: Vec<Vec<ReplicaFrame>>,
}

/// T of rule S8 here, whatever the default: tests count in it.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

pub struct Net {
    pub view: Arc<View>,
    pub replicas: Vec<Replica<Log>>,
    pub now: Now,
    /// Messages on their way, by (from, to).
    pub wires: BTreeMap<(usize, usize), VecDeque<PeerMessage>>,
    /// Pairs whose stream is down.
    pub cut: Vec<(usize, usize)>,
    pub clients: Vec<TestClient>,
    pub notices: Vec<Vec<Notice>>,
    /// What becomes of a message on its way from one replica to another.
    pub tamper: Option<Tamper>,
    /// What each replica has recorded, durable as soon as it is.
    pub records: Vec<Vec<Record>>,
    /// The snapshot that each replica has stored.
    pub stored: Vec<Option<Arc<StableSnapshot>>>,
    /// Replicas whose disks take everything and make nothing durable.
    pub slow_disks: Vec<usize>,
    /// The last record of each replica since it was started.
    pub positions: Vec<LogPosition>,
    /// Messages from one replica to another that get lost.
    pub lost: fn(usize, usize, &PeerMessage) -> bool,
    /// Every proposal that was made.
    pub proposed: Vec<Batch>,
    /// Jobs are done when the test says so, and not at once.
    pub slow_jobs: bool,
    pub jobs: Vec<Option<StateJob<Log>>>,
    parameters: Parameters,
    next_link: u64,
}

/// (from, to, message) → what arrives instead.
pub type Tamper = Box<dyn FnMut(usize, usize, PeerMessage) -> Vec<PeerMessage>>;

impl Net {
    pub fn new(n: usize, f: usize) -> Self {
        Self::with(n, f, Parameters { request_timeout: REQUEST_TIMEOUT, ..Parameters::default() })
    }

    /// Replicas that keep logs.
    pub fn logged(n: usize, f: usize) -> Self {
        Self::with(
            n,
            f,
            Parameters {
                durability: Durability::Logged,
                request_timeout: REQUEST_TIMEOUT,
                ..Parameters::default()
            },
        )
    }

    pub fn with(n: usize, f: usize, parameters: Parameters) -> Self {
        Self::with_services(n, f, parameters, |_| Log::default())
    }

    /// With a service of its own at each replica.
    pub fn with_services(
        n: usize,
        f: usize,
        parameters: Parameters,
        service: impl Fn(usize) -> Log,
    ) -> Self {
        let view = Arc::new(view(n, f));
        let now = Now { instant: Instant::from_micros(1), unix: UnixMicros(START) };
        let replicas = (0..n)
            .map(|me| Self::replica(&view, me, Start::Genesis, &parameters, service(me), now))
            .collect();
        let mut net = Self {
            view,
            replicas,
            now,
            wires: BTreeMap::new(),
            cut: Vec::new(),
            clients: Vec::new(),
            notices: vec![Vec::new(); n],
            tamper: None,
            records: vec![Vec::new(); n],
            stored: vec![None; n],
            slow_disks: Vec::new(),
            positions: vec![LogPosition::default(); n],
            lost: |_, _, _| false,
            proposed: Vec::new(),
            slow_jobs: false,
            jobs: (0..n).map(|_| None).collect(),
            parameters,
            next_link: 0,
        };
        for a in 0..n {
            for b in 0..a {
                net.connect(a, b);
            }
        }
        net.run();
        net
    }

    fn replica(
        view: &Arc<View>,
        me: usize,
        start: Start,
        parameters: &Parameters,
        service: Log,
        now: Now,
    ) -> Replica<Log> {
        let config = ReplicaConfig {
            view: Arc::clone(view),
            me,
            signing_key: signing_key(me),
            start,
            parameters: parameters.clone(),
        };
        Replica::new(config, service, now)
    }

    pub fn connect(&mut self, a: usize, b: usize) {
        self.cut.retain(|&pair| pair != (a, b) && pair != (b, a));
        self.replicas[a].handle_peer_connected(self.now, b);
        self.replicas[b].handle_peer_connected(self.now, a);
    }

    pub fn disconnect(&mut self, a: usize, b: usize) {
        self.cut.push((a, b));
        self.wires.remove(&(a, b));
        self.wires.remove(&(b, a));
        self.replicas[a].handle_peer_disconnected(self.now, b);
        self.replicas[b].handle_peer_disconnected(self.now, a);
    }

    /// Cuts a replica off from all others.
    pub fn isolate(&mut self, a: usize) {
        for b in 0..self.replicas.len() {
            if a != b {
                self.disconnect(a, b);
            }
        }
    }

    pub fn rejoin(&mut self, a: usize) {
        for b in 0..self.replicas.len() {
            if a != b {
                self.connect(a, b);
            }
        }
    }

    /// Restarts a replica without memory.
    pub fn restart(&mut self, me: usize) {
        self.isolate(me);
        self.start(me, Start::Learner);
        self.rejoin(me);
    }

    /// Restarts a replica with its log.
    pub fn restart_from_log(&mut self, me: usize) {
        self.isolate(me);
        let (records, votes) = (self.records[me].clone(), VotesMemory::Complete);
        let snapshot = self.stored[me].clone();
        self.start(me, Start::Recovered(Box::new(Recovered { snapshot, records, votes })));
        self.rejoin(me);
    }

    /// Everything that a replica has recorded becomes durable.
    pub fn make_durable(&mut self, me: usize) {
        self.slow_disks.retain(|&slow| slow != me);
        let position = self.positions[me];
        self.replicas[me].handle_durable(self.now, position);
    }

    fn start(&mut self, me: usize, start: Start) {
        let service = Log::default();
        self.jobs[me] = None;
        self.replicas[me] =
            Self::replica(&self.view, me, start, &self.parameters, service, self.now);
    }

    /// The job that a replica has under way is done.
    pub fn finish_job(&mut self, index: usize) {
        if let Some(job) = self.jobs[index].take() {
            self.replicas[index].handle_job_done(self.now, job.run());
            self.drain(index);
        }
    }

    /// Puts a message on the wire as if `from` had sent it.
    pub fn inject(&mut self, from: usize, to: usize, message: PeerMessage) {
        self.wires.entry((from, to)).or_default().push_back(message);
    }

    /// Hands one replica a message as if `from` had sent it; nobody else moves.
    pub fn tell(&mut self, from: usize, to: usize, message: PeerMessage) {
        let bytes = PeerLink::encode(&self.view, message);
        let verified = PeerLink::authenticated(&self.view, from).open(&bytes).unwrap();
        self.replicas[to].handle_peer_message(self.now, verified);
    }

    /// What one replica has to say to its peers, which do not get it.
    pub fn said(&mut self, index: usize) -> Vec<(ReplicaSet, PeerMessage)> {
        std::iter::from_fn(|| self.replicas[index].poll_peer())
            .map(|sent| (sent.to, sent.message))
            .collect()
    }

    /// Puts a proposal on the wire as if `from` had made and signed it.
    pub fn inject_proposal(
        &mut self,
        from: usize,
        to: usize,
        cid: Cid,
        epoch: Epoch,
        batch: Batch,
    ) {
        let hash = batch.hash(self.view.service, self.view.number, cid);
        let signature = sign_propose(&signing_key(from), &self.view, cid, epoch, hash);
        self.inject(from, to, PeerMessage::Propose { cid, epoch, batch, signature });
    }

    /// Drains one replica's outputs onto the wires and to the clients.
    pub fn drain(&mut self, index: usize) {
        while let Some((position, record)) = self.replicas[index].poll_record() {
            if let Record::Checkpoint(certificate) = &record {
                let covered = Some(certificate.checkpoint.cid);
                // What goes from the log must be in a snapshot that is stored (rule C5).
                let stored = self.stored[index].as_ref().map(|stored| stored.cid());
                assert!(stored >= covered, "the log is cut before the snapshot is stored");
                self.records[index].retain(|kept| kept.cid().is_none() || kept.cid() > covered);
            }
            self.records[index].push(record);
            self.positions[index] = position;
            if !self.slow_disks.contains(&index) {
                self.replicas[index].handle_durable(self.now, position);
            }
        }
        while let Some(sent) = self.replicas[index].poll_peer() {
            for to in sent.to.iter() {
                let cut = self.cut.contains(&(index, to)) || self.cut.contains(&(to, index));
                if let PeerMessage::Propose { batch, .. } = &sent.message {
                    self.proposed.push(batch.clone());
                }
                if !cut && !(self.lost)(index, to, &sent.message) {
                    self.wires.entry((index, to)).or_default().push_back(sent.message.clone());
                }
            }
        }
        while let Some(sent) = self.replicas[index].poll_client() {
            for client in &mut self.clients {
                if let Some((_, at_client, at_replica)) =
                    client.links.get_mut(index).filter(|(link, ..)| *link == sent.link)
                {
                    let bytes = Bytes::from(at_replica.seal(&sent.frame));
                    let frame = at_client.open(&bytes).unwrap().into_inner();
                    client.received[index].push(frame);
                }
            }
        }
        while let Some(notice) = self.replicas[index].poll_notice() {
            self.notices[index].push(notice);
        }
        if let Some(stable) = self.replicas[index].poll_keep_snapshot() {
            let cid = stable.cid();
            self.stored[index] = Some(stable);
            self.replicas[index].handle_snapshot_durable(self.now, cid);
        }
        if let Some(job) = self.replicas[index].poll_job() {
            self.jobs[index] = Some(job);
        }
        if !self.slow_jobs {
            self.finish_job(index);
        }
    }

    /// Delivers everything until nothing moves.
    pub fn run(&mut self) {
        while self.step(0) {}
    }

    /// Delivers the next message of one of the wires that have any, `pick` says which; false
    /// where there is none.
    pub fn step(&mut self, pick: usize) -> bool {
        for index in 0..self.replicas.len() {
            self.drain(index);
        }
        let waiting: Vec<(usize, usize)> = self
            .wires
            .iter()
            .filter(|(_, queue)| !queue.is_empty())
            .map(|(pair, _)| *pair)
            .collect();
        if waiting.is_empty() {
            return false;
        }
        let (from, to) = waiting[pick % waiting.len()];
        let message = self.wires.get_mut(&(from, to)).unwrap().pop_front().unwrap();
        let arriving = match &mut self.tamper {
            Some(tamper) => tamper(from, to, message),
            None => vec![message],
        };
        for message in arriving {
            let bytes = PeerLink::encode(&self.view, message);
            let verified = PeerLink::authenticated(&self.view, from).open(&bytes).unwrap();
            self.replicas[to].handle_peer_message(self.now, verified);
        }
        true
    }

    /// Lets time pass, firing timers on the way.
    pub fn wait(&mut self, duration: Duration) {
        let end = self.now.instant + duration;
        loop {
            self.run();
            let due = self
                .replicas
                .iter()
                .filter_map(Replica::next_deadline)
                .min()
                .filter(|&due| due <= end);
            let at = due.unwrap_or(end).max(self.now.instant);
            self.now.unix = self.now.unix + at.since(self.now.instant);
            self.now.instant = at;
            if due.is_none() {
                return;
            }
            for index in 0..self.replicas.len() {
                if self.replicas[index].next_deadline().is_some_and(|due| due <= at) {
                    self.replicas[index].handle_deadline(self.now);
                }
            }
        }
    }

    pub fn wait_ms(&mut self, ms: u64) {
        self.wait(Duration::from_millis(ms));
    }

    /// A new client with links to all replicas; gives its index.
    pub fn client(&mut self) -> usize {
        let index = self.clients.len();
        let identity = ClientIdentity::from_secret([200 + u8::try_from(index).unwrap(); 32]);
        let mut links = Vec::new();
        for replica in 0..self.replicas.len() {
            self.next_link += 1;
            let link = LinkId(self.next_link);
            let seed = [u8::try_from(self.next_link).unwrap(); 32];
            let (handshake, hello) = ClientHandshake::begin(&self.view, replica, &identity, seed);
            let keypair = noise_key(replica);
            let server = ServerHandshake { view: &self.view, keypair: &keypair };
            let welcome = self.replicas[replica].welcome(self.now);
            let accepted = server.accept(&hello, &welcome, seed).unwrap();
            let (at_client, _) = handshake.finish(&accepted.reply).unwrap();
            self.replicas[replica].handle_client_connected(self.now, link, accepted.link.client());
            links.push((link, at_client, accepted.link));
        }
        let received = vec![Vec::new(); links.len()];
        let session = SessionId([u8::try_from(index).unwrap(); 16]);
        let born = self.now.unix;
        self.clients.push(TestClient { identity, session, born, links, received });
        index
    }

    pub fn id(&self, client: usize, number: u64) -> RequestId {
        let client = &self.clients[client];
        RequestId { client: client.identity.id(), session: client.session, number }
    }

    /// The bytes of a request; its session was born when the client was made.
    pub fn request(&self, client: usize, number: u64, operation: Operation) -> Bytes {
        let born = self.clients[client].born;
        let id = self.id(client, number);
        Request { service: self.view.service, id, born, operation }.encode()
    }

    /// Sends a frame on one link, as a client with a valid MAC does.
    pub fn send(
        &mut self,
        client: usize,
        replica: usize,
        frame: &ClientFrame,
    ) -> Result<(), ClientFault> {
        let (link, at_client, at_replica) = &mut self.clients[client].links[replica];
        let bytes = Bytes::from(at_client.seal(frame));
        let verified = at_replica.open(&bytes).unwrap();
        self.replicas[replica].handle_client_frame(self.now, *link, verified)
    }

    /// Sends a request to some replicas.
    pub fn submit(&mut self, client: usize, body: &Bytes, to: &[usize]) {
        for &replica in to {
            let frame = Frame::new(ClientHeader::Request { full: true }, body.clone());
            self.send(client, replica, &frame).unwrap();
        }
    }

    /// Sends an operation to all replicas.
    pub fn invoke(&mut self, client: usize, number: u64, payload: &'static str) {
        self.invoke_bytes(client, number, Bytes::from_static(payload.as_bytes()));
    }

    /// Sends an operation of any length to all replicas.
    pub fn invoke_bytes(&mut self, client: usize, number: u64, payload: Bytes) {
        let operation = Operation::Execute(payload);
        let body = self.request(client, number, operation);
        let all: Vec<usize> = (0..self.replicas.len()).collect();
        self.submit(client, &body, &all);
    }

    pub fn execute(payload: &'static str) -> Operation {
        Operation::Execute(Bytes::from_static(payload.as_bytes()))
    }

    /// What each replica has executed.
    pub fn logs(&self) -> Vec<Vec<&str>> {
        self.replicas
            .iter()
            .map(|replica| {
                let log = &replica.service().0;
                log.iter().map(|operation| std::str::from_utf8(operation).unwrap()).collect()
            })
            .collect()
    }

    /// The replies that a client got from one replica: number, instance, body.
    pub fn replies(&self, client: usize, replica: usize) -> Vec<(u64, Cid, Bytes)> {
        self.clients[client].received[replica]
            .iter()
            .filter_map(|frame| match frame.header {
                ReplicaHeader::Reply { number, cid, .. } => Some((number, cid, frame.body.clone())),
                _ => None,
            })
            .collect()
    }

    pub fn suspicions(&self) -> usize {
        let suspected = |notice: &&Notice| matches!(notice, Notice::LeaderSuspected { .. });
        self.notices.iter().flatten().filter(suspected).count()
    }
}
