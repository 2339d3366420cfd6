//! An endpoint whose replicas are played by the test, over real handshakes and MACs.

use std::time::Duration;

use bytes::Bytes;

use super::{ClientEvent, Endpoint, EndpointConfig, EndpointOptions, Evidence, Transmit};
use crate::auth::{ClientIdentity, NoiseKeypair, ReplicaLink, ServerHandshake};
use crate::membership::{
    Cid, ClientId, Digest, MacAlgorithm, Member, ReplicaId, ReplicaSet, ServiceId, SessionId, View,
    ViewNumber,
};
use crate::time::{Instant, Now, UnixMicros};
use crate::wire::{
    ClientFrame, ClientHeader, ExecutionResult, Frame, Operation, ReplicaHeader, Request, Welcome,
    encode,
};

/// The view in which the replica at `index` has the key pair [`keypair`] gives.
pub(super) fn view(n: u16, f: usize) -> View {
    View {
        service: ServiceId([7; 16]),
        number: ViewNumber(0),
        f,
        mac: MacAlgorithm::HmacSha256,
        activation: Cid(1),
        previous: Digest::default(),
        members: (0..n)
            .map(|id| Member {
                id: ReplicaId(id),
                url: format!("ws://127.0.0.1:{}", 7000 + id),
                peer_address: String::new(),
                public_key: Digest([u8::try_from(id).unwrap(); 32]),
                noise_key: Digest(*keypair(usize::from(id)).public()),
            })
            .collect(),
    }
}

pub(super) fn keypair(index: usize) -> NoiseKeypair {
    NoiseKeypair::from_secret([100 + u8::try_from(index).unwrap(); 32])
}

pub(super) fn set(members: &[usize]) -> ReplicaSet {
    members.iter().copied().collect()
}

/// Evidence of view 0 of four replicas.
pub(super) fn evidence(
    needed: usize,
    [matching, differing, silent]: [&[usize]; 3],
    cid: Option<u64>,
) -> Evidence {
    Evidence {
        view: ViewNumber(0),
        needed,
        matching: set(matching),
        differing: set(differing),
        silent: set(silent),
        cid: cid.map(Cid),
    }
}

/// One endpoint and its replicas.
pub(super) struct Net {
    pub(super) endpoint: Endpoint,
    pub(super) view: View,
    pub(super) now: Instant,
    /// The agreed time that each replica names when it welcomes the client.
    pub(super) times: Vec<u64>,
    links: Vec<Option<ReplicaLink>>,
    /// What each replica has received and not yet looked at.
    pub(super) inbox: Vec<Vec<ClientFrame>>,
    /// Sockets the endpoint wants opened.
    pub(super) dialled: Vec<usize>,
    /// Sockets it closed.
    pub(super) closed: Vec<usize>,
    seeds: u8,
}

impl Net {
    pub(super) fn new(options: EndpointOptions) -> Self {
        Self::of(view(4, 1), options)
    }

    pub(super) fn of(view: View, options: EndpointOptions) -> Self {
        let config = EndpointConfig {
            view: view.clone(),
            identity: ClientIdentity::from_secret([1; 32]),
            seed: [2; 32],
            options,
        };
        let n = view.n();
        let endpoint = Endpoint::new(config, Now::default()).unwrap();
        let mut net = Self {
            endpoint,
            view,
            now: Instant::ZERO,
            times: vec![0; n],
            links: (0..n).map(|_| None).collect(),
            inbox: vec![Vec::new(); n],
            dialled: Vec::new(),
            closed: Vec::new(),
            seeds: 0,
        };
        let now = net.now();
        net.endpoint.start(now);
        net.drain();
        net
    }

    /// All four links open, nothing said yet.
    pub(super) fn connected() -> Self {
        let mut net = Self::new(EndpointOptions::default());
        for replica in 0..4 {
            net.open(replica);
        }
        net.events();
        net
    }

    pub(super) fn now(&self) -> Now {
        Now { instant: self.now, unix: UnixMicros::ZERO }
    }

    /// Takes what the endpoint sends.
    pub(super) fn drain(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            match transmit {
                Transmit::Open { replica } => self.dialled.push(replica),
                Transmit::Close { replica } => {
                    self.links[replica] = None;
                    self.closed.push(replica);
                }
                Transmit::Send { replica, bytes } => self.receive(replica, &bytes),
            }
        }
    }

    fn receive(&mut self, replica: usize, bytes: &Bytes) {
        if let Some(link) = &mut self.links[replica] {
            let frame = link.open(bytes).expect("the client seals well").into_inner();
            if !matches!(frame.header, ClientHeader::Ping { .. }) {
                self.inbox[replica].push(frame);
            }
            return;
        }
        self.seeds += 1;
        let welcome = Welcome { last_cid: Cid(0), time: UnixMicros(self.times[replica]) };
        let keypair = keypair(replica);
        let handshake = ServerHandshake { view: &self.view, keypair: &keypair };
        let reply = match handshake.accept(bytes, &welcome, [self.seeds; 32]) {
            Ok(accepted) => {
                self.links[replica] = Some(accepted.link);
                accepted.reply
            }
            Err((_, reply)) => reply,
        };
        self.hand_in(replica, reply.into());
    }

    /// Opens the socket to a replica; handshakes run by themselves.
    pub(super) fn open(&mut self, replica: usize) {
        let position = self.dialled.iter().position(|&dialled| dialled == replica);
        self.dialled.remove(position.expect("the endpoint dials it"));
        let now = self.now();
        self.endpoint.handle_opened(now, replica);
        self.drain();
    }

    /// The socket breaks.
    pub(super) fn lose(&mut self, replica: usize) {
        self.links[replica] = None;
        let now = self.now();
        self.endpoint.handle_closed(now, replica);
        self.drain();
    }

    pub(super) fn hand_in(&mut self, replica: usize, bytes: Bytes) {
        let now = self.now();
        self.endpoint.handle_message(now, replica, bytes);
        self.drain();
    }

    /// A replica says something.
    pub(super) fn say(&mut self, replica: usize, header: ReplicaHeader, body: &[u8]) {
        let frame = Frame::new(header, Bytes::copy_from_slice(body));
        let bytes = self.links[replica].as_mut().expect("an open link").seal(&frame);
        self.hand_in(replica, bytes.into());
    }

    /// Time passes; deadlines fire as they come.
    pub(super) fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(at) = self.endpoint.next_deadline().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            let now = self.now();
            self.endpoint.handle_deadline(now);
            self.drain();
            // Replicas that are there answer pings, so that links stay up.
            for replica in 0..self.links.len() {
                if self.links[replica].is_some() {
                    let (nonce, last_cid) = (0, Cid(0));
                    let (time, leader) = (UnixMicros(self.times[replica]), ReplicaId(0));
                    self.say(replica, ReplicaHeader::Pong { nonce, last_cid, time, leader }, b"");
                }
            }
        }
        self.now = until;
    }

    pub(super) fn millis(&mut self, millis: u64) {
        self.pass(Duration::from_millis(millis));
    }

    /// The events since the last time, without status changes.
    pub(super) fn events(&mut self) -> Vec<ClientEvent> {
        let mut events = Vec::new();
        while let Some(event) = self.endpoint.poll_event() {
            if event != ClientEvent::StatusChanged {
                events.push(event);
            }
        }
        events
    }

    /// The requests a replica received since the last time: do they ask for the full result, and
    /// what are they.
    pub(super) fn requests(&mut self, replica: usize) -> Vec<(bool, Request)> {
        std::mem::take(&mut self.inbox[replica])
            .into_iter()
            .map(|frame| match frame.header {
                ClientHeader::Request { full } => (full, Request::decode(&frame.body).unwrap()),
                header => panic!("a request was expected, not {header:?}"),
            })
            .collect()
    }

    /// The headers a replica received since the last time.
    pub(super) fn headers(&mut self, replica: usize) -> Vec<ClientHeader> {
        std::mem::take(&mut self.inbox[replica]).into_iter().map(|frame| frame.header).collect()
    }

    /// The latest request of a kind that any replica received; empties the inboxes.
    pub(super) fn request(&mut self) -> Request {
        let mut found = None;
        for replica in 0..self.inbox.len() {
            for (_, request) in self.requests(replica) {
                found = Some(request);
            }
        }
        found.expect("a request")
    }

    /// A replica answers a request. `full`: with the result itself.
    pub(super) fn reply(
        &mut self,
        replica: usize,
        request: &Request,
        cid: u64,
        result: &ExecutionResult,
        full: bool,
    ) {
        let body = encode(result);
        let header = ReplicaHeader::Reply {
            session: request.id.session,
            number: request.id.number,
            view: ViewNumber(0),
            cid: Cid(cid),
            digest: Digest::of(&body),
            full,
        };
        self.say(replica, header, if full { &body } else { b"" });
    }

    /// A replica answers a query.
    pub(super) fn answer(&mut self, replica: usize, nonce: u64, as_of: u64, result: &[u8]) {
        let header = ReplicaHeader::QueryReply {
            nonce,
            view: ViewNumber(0),
            as_of: Cid(as_of),
            executed: Cid(u64::MAX),
            digest: Digest::of(result),
            full: true,
        };
        self.say(replica, header, result);
    }

    pub(super) fn invoke(&mut self, payload: &'static [u8]) -> super::CallId {
        let now = self.now();
        let call = self.endpoint.invoke(now, Bytes::from_static(payload), None).unwrap();
        self.drain();
        call
    }

    pub(super) fn query(&mut self, payload: &'static [u8]) -> super::CallId {
        let now = self.now();
        let call = self.endpoint.query(now, Bytes::from_static(payload), None).unwrap();
        self.drain();
        call
    }

    pub(super) fn client(&self) -> ClientId {
        self.endpoint.client()
    }
}

pub(super) fn value(bytes: &'static [u8]) -> ExecutionResult {
    ExecutionResult::Value(Bytes::from_static(bytes))
}

/// The request as the replicas should see it, apart from the session's random name.
pub(super) fn request(
    net: &Net,
    session: SessionId,
    number: u64,
    born: u64,
    operation: Operation,
) -> Request {
    Request {
        service: net.view.service,
        id: crate::wire::RequestId { client: net.client(), session, number },
        born: UnixMicros(born),
        operation,
    }
}
