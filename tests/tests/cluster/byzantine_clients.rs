//! Byzantine clients against real replicas: while the leader is correct, none of them makes the
//! replicas change it (rules A), and a correct client's calls complete.

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tungstenite::{Message, WebSocket};
use webbft_protocol::auth::{ClientHandshake, ClientIdentity, ClientLink};
use webbft_protocol::membership::{SessionId, View};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{ClientHeader, Frame, Operation, Request, RequestId};

use crate::support::{Cluster, Options, PATIENCE, check_put_and_get, put};

/// Who gets which request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    /// The paper's (4.3): one random replica can check each request's MAC, the others cannot.
    OneValidMac,
    /// One random replica gets each request at all.
    OneReplica,
    /// The leader alone.
    LeaderOnly,
    /// All but the leader.
    AllButLeader,
    /// Two replicas get one body under a number, two another.
    TwoBodies,
    /// Every number of the window at once, to all, and nothing read.
    Flood,
    /// A new session with each request.
    Sessions,
}

const ATTACKS: [Attack; 7] = [
    Attack::OneValidMac,
    Attack::OneReplica,
    Attack::LeaderOnly,
    Attack::AllButLeader,
    Attack::TwoBodies,
    Attack::Flood,
    Attack::Sessions,
];
/// Numbers in flight that a session may have.
const WINDOW: u64 = 32;
/// Requests in a session before the attacker begins another.
const SESSION_LENGTH: u64 = 200;

/// A link to one replica; what comes on it is thrown away.
struct Socket {
    socket: WebSocket<TcpStream>,
    link: ClientLink,
    time: UnixMicros,
}

impl Socket {
    fn open(
        view: &View,
        replica: usize,
        identity: &ClientIdentity,
        seed: [u8; 32],
    ) -> Option<Self> {
        let url = &view.members[replica].url;
        let address = url.trim_start_matches("ws://").trim_end_matches("/ws");
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(Duration::from_millis(500))).ok()?;
        let mut raw = stream.try_clone().ok()?;
        let (mut socket, _) = tungstenite::client(url.as_str(), stream).ok()?;
        let (handshake, hello) = ClientHandshake::begin(view, replica, identity, seed);
        socket.send(Message::Binary(hello.into())).ok()?;
        let Ok(Message::Binary(answer)) = socket.read() else { return None };
        let (link, welcome) = handshake.finish(&answer).ok()?;
        // Ends when the replica closes the link, or its end is shut down below.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while matches!(raw.read(&mut buffer), Ok(1..)) {}
        });
        Some(Self { socket, link, time: welcome.time })
    }

    fn send(&mut self, body: &Bytes, valid: bool) -> bool {
        let frame = Frame::new(ClientHeader::Request { full: true }, body.clone());
        let mut bytes = self.link.seal(&frame);
        if !valid && let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        self.socket.send(Message::Binary(bytes.into())).is_ok()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = self.socket.get_ref().shutdown(std::net::Shutdown::Both);
    }
}

struct Attacker {
    view: View,
    attack: Attack,
    leader: usize,
    identity: ClientIdentity,
    links: Vec<Option<Socket>>,
    rng: ChaCha8Rng,
    session: SessionId,
    born: UnixMicros,
    number: u64,
    sent: Arc<AtomicU64>,
}

impl Attacker {
    fn start(
        view: &View,
        attack: Attack,
        seed: u64,
        stop: &Arc<AtomicBool>,
    ) -> (JoinHandle<()>, Arc<AtomicU64>) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let sent = Arc::new(AtomicU64::new(0));
        let mut attacker = Self {
            view: view.clone(),
            attack,
            leader: 0,
            identity: ClientIdentity::from_secret(rng.random()),
            links: (0..4).map(|_| None).collect(),
            rng,
            session: SessionId([0; 16]),
            born: UnixMicros(0),
            number: 0,
            sent: Arc::clone(&sent),
        };
        let stop = Arc::clone(stop);
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                attacker.step();
            }
        });
        (thread, sent)
    }

    fn connect(&mut self) {
        for replica in 0..4 {
            if self.links[replica].is_none() {
                let seed = self.rng.random();
                let link = Socket::open(&self.view, replica, &self.identity, seed);
                if let Some(link) = &link
                    && self.number == 0
                {
                    self.born = self.born.max(link.time);
                }
                self.links[replica] = link;
            }
        }
    }

    fn request(&self, variant: u64) -> Bytes {
        let operation = put("attacked", &format!("{} {variant}", self.number));
        let request = Request {
            service: self.view.service,
            id: RequestId {
                client: self.identity.id(),
                session: self.session,
                number: self.number,
            },
            born: self.born,
            operation: Operation::Execute(operation.into()),
        };
        request.encode()
    }

    fn send(&mut self, replica: usize, body: &Bytes, valid: bool) {
        let sent = self.links[replica].as_mut().is_some_and(|link| link.send(body, valid));
        // After a wrong MAC the replica closes the link.
        if !sent || !valid {
            self.links[replica] = None;
        }
    }

    fn step(&mut self) {
        self.connect();
        if self.number >= SESSION_LENGTH || self.number == 0 || self.attack == Attack::Sessions {
            self.session = SessionId(self.rng.random());
            self.number = 0;
        }
        let requests = if self.attack == Attack::Flood { WINDOW } else { 1 };
        for _ in 0..requests {
            self.number += 1;
            let (body, other) = (self.request(0), self.request(1));
            let chosen = self.rng.random_range(0..4);
            for replica in 0..4 {
                match self.attack {
                    Attack::OneValidMac => self.send(replica, &body, replica == chosen),
                    Attack::OneReplica if replica != chosen => {}
                    Attack::LeaderOnly if replica != self.leader => {}
                    Attack::AllButLeader if replica == self.leader => {}
                    Attack::TwoBodies if (replica + chosen) % 4 < 2 => {
                        self.send(replica, &other, true);
                    }
                    _ => self.send(replica, &body, true),
                }
            }
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Each attack lasts for more than two time-outs, so that a request that only some replicas can
/// verify has the time to make them suspect the leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_makes_the_replicas_change_the_leader() {
    const TIMEOUT: Duration = Duration::from_millis(800);
    let options = Options { setting: "request_timeout_ms = 800", ..Options::default() };
    let cluster = Cluster::start(&options);
    let client = cluster.client().await;
    check_put_and_get(&client, "calm", "before").await;
    for (seed, attack) in (1..).zip(ATTACKS) {
        let stop = Arc::new(AtomicBool::new(false));
        let (thread, sent) = Attacker::start(&cluster.view, attack, seed, &stop);
        let began = Instant::now();
        let (mut rounds, mut longest) = (0, Duration::ZERO);
        while began.elapsed() < 5 * TIMEOUT / 2 || sent.load(Ordering::Relaxed) < 20 {
            let round = Instant::now();
            check_put_and_get(&client, "calm", &format!("{attack:?} {rounds}")).await;
            longest = longest.max(round.elapsed());
            rounds += 1;
            assert!(began.elapsed() < PATIENCE, "{attack:?} sends nothing");
        }
        stop.store(true, Ordering::Relaxed);
        thread.join().unwrap();
        println!(
            "{attack:?}: {} requests, {rounds} rounds of a correct client, the longest {longest:?}",
            sent.load(Ordering::Relaxed)
        );
        for index in 0..4 {
            let status = cluster.status(index).expect("it answers");
            assert_eq!(status["regency"], 0, "{attack:?}: replica {index} has changed the leader");
        }
    }
}
