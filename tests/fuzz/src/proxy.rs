//! A real client among replicas all of which are hostile, which know what it asks for.

use std::sync::Arc;

use bytes::Bytes;
use webbft_protocol::auth::{ReplicaLink, ServerHandshake};
use webbft_protocol::client::{CallId, Endpoint, EndpointConfig, EndpointOptions, Transmit};
use webbft_protocol::membership::{Cid, ClientId, Digest, ReplicaId, SessionId, View, ViewNumber};
use webbft_protocol::time::{Instant, Now, UnixMicros};
use webbft_protocol::wire::{
    ClientHeader, ExecutionResult, Frame, HelloRefusal, Refusal, ReplicaHeader, Request,
    ServerHello, SessionKey, Topic, Welcome, encode,
};

use crate::choices::Choices;
use crate::group::{START, identity, noise_key, view};
use crate::messages::time;

/// Choices made at most.
const STEPS: usize = 1_500;
/// What one input may make a client say, at most.
const OUTPUTS: usize = 20_000;
const KEPT: usize = 16;

struct World {
    view: Arc<View>,
    endpoint: Endpoint,
    now: u64,
    sockets: Vec<Socket>,
    calls: Vec<CallId>,
    /// Session, number and digest of requests that replicas have seen.
    requests: Vec<(SessionId, u64, Digest)>,
    nonces: Vec<u64>,
    /// Results: bodies and their digests, so that several replicas can agree on one.
    bodies: Vec<Bytes>,
}

/// What a replica holds of a client's link.
#[derive(Default)]
enum Socket {
    #[default]
    Closed,
    Opening,
    /// The client's hello.
    Hello(Bytes),
    Open(Box<ReplicaLink>),
}

/// Whatever all replicas say, the client does not panic, does not talk without end, and its
/// deadlines move.
pub fn proxy(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let view = view([1, 4, 4, 7][choices.below(4)]);
    let options = EndpointOptions { max_pending: 32, events_ahead: 8, ..Default::default() };
    let config =
        EndpointConfig { view: View::clone(&view), identity: identity(0), seed: [5; 32], options };
    let now = Now { instant: Instant::from_micros(1), unix: UnixMicros(START) };
    let endpoint = Endpoint::new(config, now).expect("a valid view");
    let mut world = World {
        sockets: (0..view.n()).map(|_| Socket::Closed).collect(),
        view,
        endpoint,
        now: 1,
        calls: Vec::new(),
        requests: Vec::new(),
        nonces: Vec::new(),
        bodies: vec![Bytes::new(), Bytes::from_static(b"result")],
    };
    let now = world.clock();
    world.endpoint.start(now);
    world.drain();
    for _ in 0..STEPS {
        if choices.is_over() {
            break;
        }
        world.step(&mut choices);
        world.drain();
        world.fire();
    }
    let now = world.clock();
    world.endpoint.close(now);
    world.drain();
    assert_eq!(world.endpoint.next_deadline(), None, "a closed client wants to be called back");
}

fn keep<T>(list: &mut Vec<T>, value: T) {
    if list.len() >= KEPT {
        list.remove(0);
    }
    list.push(value);
}

impl World {
    fn clock(&self) -> Now {
        let unix = UnixMicros(START.saturating_add(self.now));
        Now { instant: Instant::from_micros(self.now), unix }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let now = self.clock();
        let replica = choices.below(self.view.n());
        match choices.byte() % 24 {
            0..=2 => self.open(choices, replica),
            3 => {
                for replica in 0..self.view.n() {
                    self.open(choices, replica);
                    self.open(choices, replica);
                }
            }
            4 => {
                self.sockets[replica] = Socket::Closed;
                self.endpoint.handle_closed(now, replica);
            }
            5 => self.endpoint.handle_message(now, replica, choices.bytes(100).into()),
            6..=12 => {
                let (header, body) = self.frame(choices);
                self.say(replica, header, body);
            }
            13..=16 => {
                // Several agree.
                let (header, body) = self.frame(choices);
                for replica in 0..=replica {
                    self.say(replica, header.clone(), body.clone());
                }
            }
            17 | 18 => self.call(choices),
            19 => self.endpoint.cancel(now, choices.of(&self.calls).unwrap_or(CallId(0))),
            20 => self.endpoint.handle_network_change(now),
            21 => self.endpoint.handle_opened(now, choices.below(9)),
            22 => {
                self.now = self.now.saturating_add(u64::from(choices.byte()) * 20_000);
            }
            _ => {
                self.now = self.now.saturating_add(choices.number(0) >> 8 >> (choices.byte() % 56));
            }
        }
    }

    fn call(&mut self, choices: &mut Choices<'_>) {
        let now = self.clock();
        let topic = Topic::new(if choices.flag() { "t" } else { "u" }).expect("a topic");
        let timeout =
            choices.flag().then(|| std::time::Duration::from_micros(choices.number(1_000_000)));
        let payload = choices.bytes(20).into();
        let call = match choices.byte() % 6 {
            0 | 1 => self.endpoint.invoke(now, payload, timeout),
            2 | 3 => self.endpoint.query(now, payload, timeout),
            4 => self.endpoint.subscribe(now, topic),
            _ => {
                let subscription = choices.of(&self.calls).unwrap_or(CallId(0));
                self.endpoint.unsubscribe(now, subscription)
            }
        };
        if let Ok(call) = call {
            keep(&mut self.calls, call);
        }
    }

    /// The next step of a link's beginning: the socket opens, or the hello is answered.
    fn open(&mut self, choices: &mut Choices<'_>, replica: usize) {
        let now = self.clock();
        match std::mem::take(&mut self.sockets[replica]) {
            Socket::Opening => {
                self.sockets[replica] = Socket::Hello(Bytes::new());
                self.endpoint.handle_opened(now, replica);
                self.drain();
            }
            Socket::Hello(hello) => {
                let keypair = noise_key(replica);
                let server = ServerHandshake { view: &self.view, keypair: &keypair };
                let last_cid = Cid(choices.number(1));
                let welcome = Welcome { last_cid, time: time(choices) };
                let Ok(accepted) = server.accept(&hello, &welcome, [2; 32]) else { return };
                let answer = match choices.byte() % 16 {
                    0 => encode(&ServerHello::Refused(HelloRefusal::Busy)),
                    1 => {
                        let mut damaged = accepted.reply.clone();
                        choices.damage(&mut damaged);
                        damaged
                    }
                    _ => accepted.reply,
                };
                self.sockets[replica] = Socket::Open(Box::new(accepted.link));
                self.endpoint.handle_message(now, replica, answer.into());
            }
            socket => self.sockets[replica] = socket,
        }
    }

    fn say(&mut self, replica: usize, header: ReplicaHeader, body: Bytes) {
        let now = self.clock();
        if let Socket::Open(link) = &mut self.sockets[replica] {
            let bytes = link.seal(&Frame::new(header, body));
            self.endpoint.handle_message(now, replica, bytes.into());
            self.drain();
        }
    }

    fn session(&self, choices: &mut Choices<'_>) -> SessionId {
        match self.requests.last() {
            Some((latest, ..)) if !choices.byte().is_multiple_of(8) => *latest,
            _ => choices.of(&self.requests).map_or(SessionId([0; 16]), |(session, ..)| session),
        }
    }

    fn frame(&mut self, choices: &mut Choices<'_>) -> (ReplicaHeader, Bytes) {
        let session = self.session(choices);
        let topic = Topic::new(if choices.flag() { "t" } else { "u" }).expect("a topic");
        let view = ViewNumber(choices.number(0) & if choices.flag() { 0 } else { u64::MAX });
        let cid = Cid(choices.number(1));
        let number = choices.number(1);
        let full = choices.flag();
        if choices.byte().is_multiple_of(4) {
            let result = match choices.byte() % 6 {
                0 => ExecutionResult::Subscribed { next: choices.number(1) },
                1 => ExecutionResult::Unsubscribed,
                2 => ExecutionResult::Forgotten,
                3 => ExecutionResult::Faulted,
                4 => ExecutionResult::TooManySubscriptions,
                _ => ExecutionResult::Value(choices.bytes(90).into()),
            };
            keep(&mut self.bodies, encode(&result).into());
        }
        let body = choices.of(&self.bodies).unwrap_or_default();
        let digest =
            if choices.byte().is_multiple_of(16) { Digest([7; 32]) } else { Digest::of(&body) };
        let given = if full { body } else { Bytes::new() };
        let request = choices.of(&self.requests);
        let refusal = self.refusal(choices);
        match choices.byte() % 13 {
            0..=2 => {
                let (session, number, _) = request.unwrap_or((session, number, digest));
                (ReplicaHeader::Reply { session, number, view, cid, digest, full }, given)
            }
            3 | 4 => {
                let nonce = choices.of(&self.nonces).unwrap_or(number);
                let executed = Cid(choices.number(cid.0));
                let header =
                    ReplicaHeader::QueryReply { nonce, view, as_of: cid, executed, digest, full };
                (header, given)
            }
            5 | 6 => {
                let header =
                    ReplicaHeader::Event { session, topic, number, view, cid, digest, full };
                (header, given)
            }
            7 => (ReplicaHeader::Gap { session, topic, first: number }, given),
            8 => {
                let (session, number, request) = request.unwrap_or((session, number, digest));
                (ReplicaHeader::Refused { session, number, request, refusal }, given)
            }
            9 => {
                let nonce = choices.of(&self.nonces).unwrap_or(number);
                (ReplicaHeader::QueryRefused { nonce, refusal }, given)
            }
            10 => {
                let (time, leader) = (time(choices), ReplicaId(u16::from(choices.byte())));
                (ReplicaHeader::Pong { nonce: number, last_cid: cid, time, leader }, given)
            }
            11 => (ReplicaHeader::Heads { session, heads: vec![(topic, number)] }, given),
            _ => {
                let client = ClientId([choices.byte() % 4; 16]);
                let sender = SessionKey { client, session: SessionId([choices.byte() % 4; 16]) };
                (ReplicaHeader::Announcement { session, topic, sender, number }, given)
            }
        }
    }

    fn refusal(&self, choices: &mut Choices<'_>) -> Refusal {
        match choices.byte() % 8 {
            0 => Refusal::SessionExpired,
            1 => Refusal::Window,
            2 => Refusal::Sessions,
            3 => Refusal::Equivocation,
            4 => Refusal::BornInFuture,
            5 => Refusal::Queries,
            6 => Refusal::NotBegun,
            _ => Refusal::Service("no".to_owned()),
        }
    }

    /// Does what the client wants done; what it sends tells the replicas what it asks for.
    fn drain(&mut self) {
        let mut outputs = 0;
        let mut count = || {
            outputs += 1;
            assert!(outputs < OUTPUTS, "one input, outputs without end");
        };
        while let Some(transmit) = self.endpoint.poll_transmit() {
            count();
            match transmit {
                Transmit::Open { replica } => self.sockets[replica] = Socket::Opening,
                Transmit::Close { replica } => self.sockets[replica] = Socket::Closed,
                Transmit::Send { replica, bytes } => match &mut self.sockets[replica] {
                    Socket::Hello(hello) => *hello = bytes,
                    Socket::Open(link) => {
                        // A link whose answer was damaged is out of step.
                        let Ok(frame) = link.open(&bytes) else { continue };
                        let frame = frame.into_inner();
                        match frame.header {
                            ClientHeader::Request { .. } => {
                                let request = Request::decode(&frame.body).expect("a request");
                                let seen =
                                    (request.id.session, request.id.number, frame.body_digest);
                                if !self.requests.contains(&seen) {
                                    keep(&mut self.requests, seen);
                                }
                            }
                            ClientHeader::Query { nonce, .. } => keep(&mut self.nonces, nonce),
                            _ => {}
                        }
                    }
                    Socket::Closed | Socket::Opening => {}
                },
            }
        }
        while self.endpoint.poll_event().is_some() {
            count();
        }
        assert!(self.endpoint.status().pending <= 32, "more calls than allowed");
    }

    fn fire(&mut self) {
        for _ in 0..64 {
            let now = self.clock();
            if self.endpoint.next_deadline().is_none_or(|at| at > now.instant) {
                return;
            }
            self.endpoint.handle_deadline(now);
            self.drain();
        }
        panic!("the deadline does not move");
    }
}
