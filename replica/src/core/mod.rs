//! The core thread: the sockets of peers and clients and the state machine, by plain borrow.
//!
//! A turn reads every ready socket once, feeds the state machine, drains what it wants sent into
//! one buffer a link, and writes peers first, then clients, one write each (DESIGN 10: writing
//! message by message, or a task a socket, costs a multiple).

mod clients;
mod clock;
mod disk;
mod jobs;
mod peers;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel};
use std::time::Duration;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use tracing::{debug, error, info, warn};
use webbft_protocol::auth::{NoiseKeypair, PeerLink, SigningKey};
use webbft_protocol::execution::Service;
use webbft_protocol::membership::View;
use webbft_protocol::ordering::Dissent;
use webbft_protocol::replica::{
    Notice, Parameters, Replica, ReplicaConfig, Start, Suspicion, ToClient, ToPeers,
};
use webbft_protocol::time::{Instant, Now};

use crate::Durability;
use crate::byzantine::{Distortion, Misbehaviour};
use crate::status::{ClientLinks, Shared, Snapshot};
use crate::storage::writer::Report;
use crate::storage::{StorageError, Store};
use crate::tls::PeerTls;
pub(crate) use clients::Newcomer;
use clients::{ClientEvent, Clients};
use clock::Clock;
use disk::Disk;
use jobs::Jobs;
use peers::{PeerEvent, Peers};

const WAKER: usize = 0;
const PEER_LISTENER: usize = 1;
/// How much is read from one socket in one turn: what makes turns fair.
const READ_BYTES: usize = 64 << 10;
/// How often the status for pages and metrics is renewed.
const PUBLISH_EVERY: Duration = Duration::from_millis(250);
/// How long a shutdown waits for the last bytes to leave.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// What other threads tell the core.
#[derive(Debug)]
pub(crate) enum ToCore {
    /// A client's link, opened.
    Client(Newcomer),
    /// There is something to be done on the HTTP link with this number.
    LinkReady(usize),
    /// The address of a member was looked up.
    Resolved { peer: usize, address: Option<SocketAddr> },
    /// What became of what was to be stored.
    Storage(Report),
    /// Stop cleanly.
    Stop,
}

/// The sending end of the core's inbox. Each message starts a turn.
#[derive(Debug, Clone)]
pub(crate) struct ToCoreSender {
    sender: Sender<ToCore>,
    waker: Arc<Waker>,
}

impl ToCoreSender {
    /// One whose messages the test receives, as long as it keeps the poll.
    #[cfg(test)]
    pub(crate) fn for_test() -> (Self, Receiver<ToCore>, Poll) {
        let poll = Poll::new().expect("the operating system has polls");
        let waker = Waker::new(poll.registry(), Token(WAKER)).expect("and wakers");
        let (sender, receiver) = channel();
        (Self { sender, waker: Arc::new(waker) }, receiver, poll)
    }

    /// Delivers `message`, unless the core has ended.
    pub(crate) fn send(&self, message: ToCore) {
        if self.sender.send(message).is_ok()
            && let Err(error) = self.waker.wake()
        {
            warn!(%error, "cannot wake the core thread");
        }
    }
}

/// Numbers for streams and links, never used twice.
#[derive(Debug)]
struct Tokens(usize);

impl Tokens {
    const fn next(&mut self) -> usize {
        self.0 += 1;
        self.0
    }
}

/// What the core of one replica is made of.
#[derive(Debug)]
pub(crate) struct CoreSetup {
    pub(crate) view: Arc<View>,
    pub(crate) me: usize,
    pub(crate) signing_key: SigningKey,
    pub(crate) keypair: NoiseKeypair,
    pub(crate) start: Start,
    /// Where the log goes, unless the durability is `memory`.
    pub(crate) store: Option<Store>,
    pub(crate) durability: Durability,
    pub(crate) parameters: Parameters,
    pub(crate) misbehaviour: Option<Misbehaviour>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) inbox: CoreInbox,
    pub(crate) shared: Arc<Shared>,
    /// Told once, when the first status is published.
    pub(crate) ready: SyncSender<()>,
}

/// The core's poll and its inbox, made before the thread so that others can hold the sender.
#[derive(Debug)]
pub(crate) struct CoreInbox {
    poll: Poll,
    receiver: Receiver<ToCore>,
    sender: ToCoreSender,
    peer_listener: TcpListener,
}

impl CoreInbox {
    /// # Errors
    /// Where the operating system refuses.
    pub(crate) fn new(peer_listener: std::net::TcpListener) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), Token(WAKER))?);
        let (sender, receiver) = channel();
        peer_listener.set_nonblocking(true)?;
        let mut peer_listener = TcpListener::from_std(peer_listener);
        poll.registry().register(&mut peer_listener, Token(PEER_LISTENER), Interest::READABLE)?;
        Ok(Self { poll, receiver, sender: ToCoreSender { sender, waker }, peer_listener })
    }

    pub(crate) fn sender(&self) -> ToCoreSender {
        self.sender.clone()
    }
}

/// One replica at work.
struct Core<S: Service> {
    view: Arc<View>,
    replica: Replica<S>,
    jobs: Jobs<S>,
    clock: Clock,
    poll: Poll,
    receiver: Receiver<ToCore>,
    disk: Disk,
    peers: Peers,
    clients: Clients,
    tokens: Tokens,
    distortion: Distortion,
    shared: Arc<Shared>,
    published: Instant,
    /// The links that were there then.
    published_links: ClientLinks,
    unpublished: bool,
}

/// Runs a replica of `service` on this thread until it is told to stop.
///
/// # Errors
/// Where the operating system takes the poll away, a key is unusable, or the storage fails.
pub(crate) fn run<S: Service>(setup: CoreSetup, service: S) -> anyhow::Result<()> {
    let clock = Clock::start();
    let tls = PeerTls::new(Arc::clone(&setup.view), setup.me, &setup.signing_key)?;
    let CoreInbox { poll, receiver, sender, peer_listener } = setup.inbox;
    let config = ReplicaConfig {
        view: Arc::clone(&setup.view),
        me: setup.me,
        signing_key: setup.signing_key,
        start: setup.start,
        parameters: setup.parameters,
    };
    let mut core = Core {
        replica: Replica::new(config, service, clock.now()),
        jobs: Jobs::start(Arc::clone(&sender.waker))?,
        clock,
        poll,
        receiver,
        disk: Disk::start(setup.store, setup.durability, sender.clone())?,
        peers: Peers::new(Arc::clone(&setup.view), setup.me, tls, peer_listener, sender),
        clients: Clients::new(Arc::clone(&setup.view), setup.keypair, setup.handshake_timeout),
        tokens: Tokens(PEER_LISTENER),
        distortion: Distortion::new(setup.misbehaviour),
        shared: setup.shared,
        published: Instant::ZERO,
        published_links: ClientLinks::default(),
        unpublished: true,
        view: setup.view,
    };
    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; READ_BYTES];
    core.publish(clock.now());
    if setup.ready.send(()).is_err() {
        debug!("nobody waited for the start");
    }
    loop {
        let timeout = core.timeout();
        match core.poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        match core.turn(&events, &mut scratch) {
            Ok(Turn::Go) => {}
            Ok(Turn::Stop) => return core.shut_down(&mut events),
            Err(error) => {
                // At once: what waits for the disk must never leave.
                error!(%error, "the storage has failed: this replica stops");
                return Err(error.into());
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Go,
    Stop,
}

impl<S: Service> Core<S> {
    /// How long the next poll may wait; `None` without end.
    fn timeout(&self) -> Option<Duration> {
        if self.peers.any_readable()
            || self.clients.any_readable(|link| self.replica.accepts_more(link))
        {
            return Some(Duration::ZERO);
        }
        let publish = self.unpublished.then(|| self.published + PUBLISH_EVERY);
        let deadline = [
            self.replica.next_deadline(),
            self.peers.next_deadline(),
            self.clients.next_deadline(),
            self.distortion.next_deadline(),
            publish,
        ]
        .into_iter()
        .flatten()
        .min()?;
        Some(Clock::until(self.clock.now(), deadline))
    }

    fn turn(&mut self, events: &Events, scratch: &mut [u8]) -> Result<Turn, StorageError> {
        let now = self.clock.now();
        let mut turn = Turn::Go;
        for event in events {
            match event.token().0 {
                WAKER => {}
                PEER_LISTENER => self.peers.listener_ready(),
                token if self.peers.owns(token) => self.peers.ready(token, event),
                token => self.clients.ready(token, event),
            }
        }
        loop {
            match self.receiver.try_recv() {
                Ok(ToCore::Client(newcomer)) => {
                    self.clients.add(now, self.poll.registry(), &mut self.tokens, newcomer);
                }
                Ok(ToCore::LinkReady(token)) => self.clients.link_ready(token),
                Ok(ToCore::Resolved { peer, address }) => {
                    self.peers.resolved(now, self.poll.registry(), &mut self.tokens, peer, address);
                }
                Ok(ToCore::Storage(report)) => self.disk.handle(now, report, &mut self.replica)?,
                Ok(ToCore::Stop) => turn = Turn::Stop,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        while let Some(done) = self.jobs.poll_done() {
            self.replica.handle_job_done(now, done);
        }
        self.read(now, scratch);
        if self.replica.next_deadline().is_some_and(|deadline| deadline <= now.instant) {
            self.replica.handle_deadline(now);
        }
        self.write(now);
        self.unpublished |= self.clients.counts() != self.published_links;
        if self.unpublished && now.instant >= self.published + PUBLISH_EVERY {
            self.publish(now);
        }
        Ok(turn)
    }

    /// Reads every ready socket once and feeds the state machine.
    fn read(&mut self, now: Now, scratch: &mut [u8]) {
        let mut from_peers = Vec::new();
        let registry = self.poll.registry();
        self.peers.drive(now, registry, &mut self.tokens, scratch, &mut from_peers);
        let mut from_clients = Vec::new();
        self.clients.sweep(now, registry, &mut from_clients);
        self.clients.read(
            now,
            registry,
            scratch,
            || self.replica.welcome(now),
            |link| self.replica.accepts_more(link),
            &mut from_clients,
        );
        self.feed(now, from_peers, from_clients);
    }

    fn feed(&mut self, now: Now, from_peers: Vec<PeerEvent>, from_clients: Vec<ClientEvent>) {
        self.unpublished |= !from_peers.is_empty() || !from_clients.is_empty();
        for event in from_peers {
            match event {
                PeerEvent::Up(peer) => self.replica.handle_peer_connected(now, peer),
                PeerEvent::Message(message) => self.replica.handle_peer_message(now, message),
                PeerEvent::Down(peer) => self.replica.handle_peer_disconnected(now, peer),
            }
        }
        for event in from_clients {
            match event {
                ClientEvent::Connected(link, client) => {
                    self.replica.handle_client_connected(now, link, client);
                }
                ClientEvent::Frame(link, frame) => {
                    if let Err(fault) = self.replica.handle_client_frame(now, link, frame) {
                        self.clients.close(now, link, &fault);
                        self.replica.handle_client_disconnected(now, link);
                    }
                }
                ClientEvent::Disconnected(link) => {
                    self.replica.handle_client_disconnected(now, link);
                }
            }
        }
    }

    /// Drains the state machine into the links' buffers and writes each once.
    fn write(&mut self, now: Now) {
        self.disk.take(now, &mut self.replica);
        while let Some(ToPeers { to, message }) = self.replica.poll_peer() {
            let frame = PeerLink::encode(&self.view, message);
            for peer in to.iter() {
                self.peers.send(peer, &frame);
            }
        }
        while let Some(output) = self.replica.poll_client() {
            if let Some(ToClient { link, frame }) = self.distortion.pass(now, output) {
                self.clients.send(link, &frame);
            }
        }
        while let Some(ToClient { link, frame }) = self.distortion.due(now) {
            self.clients.send(link, &frame);
        }
        if let Some(job) = self.replica.poll_job() {
            self.jobs.run(job);
        }
        while let Some(notice) = self.replica.poll_notice() {
            self.unpublished = true;
            self.log(&notice);
            if matches!(notice, Notice::Voting { .. }) {
                self.disk.votes_again();
            }
        }
        let (mut from_peers, mut from_clients) = (Vec::new(), Vec::new());
        self.peers.flush(now, self.poll.registry(), &mut from_peers);
        self.clients.flush(self.poll.registry(), &mut from_clients);
        self.feed(now, from_peers, from_clients);
    }

    fn log(&self, notice: &Notice) {
        let id = |peer: usize| self.view.members[peer].id;
        match notice {
            Notice::Decided { cid, hash, entries } => {
                debug!(%cid, %hash, requests = entries.len(), "decided");
            }
            Notice::ServiceFaulted { request, cid } => error!(
                client = %request.client, number = request.number, %cid,
                "the service panicked; the operation is answered as faulted and had no effect",
            ),
            Notice::PeerMisbehaved { peer, fault } => {
                warn!(peer = %id(*peer), %fault, "a replica misbehaved");
            }
            Notice::LeaderSuspected { leader, cause: Suspicion::NotOrdered(request) } => warn!(
                leader = %id(*leader), client = %request.client, number = request.number,
                "the leader has not ordered an admitted request in time",
            ),
            Notice::LeaderSuspected { leader, cause: Suspicion::AheadOfClock } => warn!(
                leader = %id(*leader),
                "the leader proposes a time that is ahead of this replica's clock; one of the two \
                 clocks is wrong",
            ),
            Notice::RegencyInstalled { regency, leader } => warn!(
                %regency, leader = %id(*leader), "the leader changes",
            ),
            Notice::Synchronised { regency } => info!(%regency, "the new leader is at work"),
            Notice::Learning => warn!(
                "this replica may have forgotten votes: it follows the others without voting until \
                 that is safe"
            ),
            Notice::Voting { last_cid } => {
                info!(%last_cid, "caught up: this replica votes again");
            }
            Notice::CheckpointTaken { checkpoint, bytes } => {
                debug!(cid = %checkpoint.cid, digest = %checkpoint.digest, bytes, "checkpoint");
            }
            Notice::CheckpointStable { checkpoint } => {
                info!(cid = %checkpoint.cid, digest = %checkpoint.digest, "checkpoint is stable");
            }
            Notice::CheckpointSkipped { cid } => warn!(
                %cid,
                "a checkpoint was due while this replica was still busy with an earlier one; if \
                 this happens often, make the pause between checkpoints longer"
            ),
            Notice::SnapshotFailed { cid } => {
                error!(%cid, "the service panicked when asked for its state");
            }
            Notice::CheckpointDisputed(Dissent { cid, digest, others }) => error!(
                %cid, own = %digest, others,
                "other replicas have another state than this one: the service is not \
                 deterministic, or somebody's memory is damaged"
            ),
            Notice::StateDiverged { cid, own, stable } => error!(
                %cid, %own, quorum = %stable,
                "this replica's state is wrong: its service is not deterministic or its memory is \
                 damaged; it stops voting and answering and fetches the state of the others"
            ),
            Notice::TransferStarted { cid } => {
                info!(%cid, "the decisions that this replica misses are gone: fetching the state");
            }
            Notice::StateTransferred { from, cid, .. } => {
                info!(%from, %cid, "has the state of the others");
            }
            Notice::TransferFailed { cid, error } => error!(
                %cid, %error,
                "the state of the others cannot be restored; do all replicas run the same version?"
            ),
        }
    }

    fn publish(&mut self, now: Now) {
        let status = self.replica.status();
        let clients = self.clients.counts();
        self.shared.publish(Snapshot { status, peers: self.peers.connected(), clients });
        self.published_links = clients;
        self.published = now.instant;
        self.unpublished = false;
    }

    /// Tells everyone goodbye and waits a moment for the last bytes to leave.
    fn shut_down(mut self, events: &mut Events) -> anyhow::Result<()> {
        info!(clients = self.clients.counts().all(), "stopping");
        let deadline = self.clock.now().instant + SHUTDOWN;
        self.clients.close_all(self.clock.now());
        loop {
            let now = self.clock.now();
            let (mut from_peers, mut from_clients) = (Vec::new(), Vec::new());
            self.peers.flush(now, self.poll.registry(), &mut from_peers);
            self.clients.flush(self.poll.registry(), &mut from_clients);
            if self.clients.all_sent() || now.instant >= deadline {
                break;
            }
            let wait = Clock::until(now, deadline);
            match self.poll.poll(events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &*events {
                self.clients.ready(event.token().0, event);
            }
            while let Ok(message) = self.receiver.try_recv() {
                if let ToCore::LinkReady(token) = message {
                    self.clients.link_ready(token);
                }
            }
        }
        self.peers.finish();
        Ok(self.disk.finish(&mut self.replica)?)
    }
}
