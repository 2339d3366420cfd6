//! Byzantine clients. They speak the protocol by hand, one link to each replica.

use std::sync::Arc;

use bytes::Bytes;
use webbft_protocol::auth::{ClientHandshake, ClientIdentity, ClientLink};
use webbft_protocol::membership::{Cid, ReplicaSet, ServiceId, SessionId, View, ViewNumber};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::limits::{MAX_CLIENT_FRAME, SESSION_WINDOW};
use webbft_protocol::wire::{ClientHeader, Frame, Operation, Request, RequestId, Topic};

use super::draw_plan::draw_subset;
use super::history::Fact;
use super::invariants::FIRST_ATTACKER;
use super::network::Owner;
use super::plan::{Attack, Attacker, S};
use super::service::{Action, Op, Query, Tag, topic_of};
use super::world::{Event, Phase, World};

/// Requests in one session before the attacker begins another.
const SESSION_LENGTH: u64 = 20;
/// Unread messages on a link beyond which the replica's kernel takes no more.
const SOCKET_BUFFER: usize = 256;
/// Own frames kept for replays.
const RECORDED: usize = 50;

enum Link {
    Closed,
    Opening,
    Shaking(u64, ClientHandshake),
    Up(u64, ClientLink),
}

/// A Byzantine client.
pub struct AttackerNode {
    identity: ClientIdentity,
    habits: Attacker,
    links: Vec<Link>,
    recorded: Vec<Bytes>,
    /// The agreed time as the leader last told it.
    time: UnixMicros,
    session: SessionId,
    session_index: u32,
    /// The birth of the session: the same in every copy of its number 1, else a copy would be a
    /// session of its own once the first has been evicted (rule A9).
    born: UnixMicros,
    number: u64,
}

impl AttackerNode {
    pub(super) fn new(world: &mut World, me: usize) -> Self {
        let mut session = [0; 16];
        session.copy_from_slice(&world.draw.bytes(16));
        Self {
            identity: ClientIdentity::from_secret(world.draw.bytes32()),
            habits: world.plan.attackers[me],
            links: (0..world.plan.n).map(|_| Link::Closed).collect(),
            recorded: Vec::new(),
            time: UnixMicros(1),
            session: SessionId(session),
            session_index: 0,
            born: UnixMicros(1),
            number: 0,
        }
    }
}

/// How a frame leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mac {
    Right,
    Wrong,
}

impl World {
    fn attacker_hello(&mut self, me: usize, replica: usize, id: u64) {
        let seed = self.draw.bytes32();
        let view: Arc<View> = Arc::clone(&self.view);
        let garbage = self.attackers[me].habits.attack == Attack::Garbage;
        let node = &mut self.attackers[me];
        let mut wrong = (*view).clone();
        if garbage {
            match self.draw.below(8) {
                0 => {
                    let len = self.draw.below(200);
                    let bytes = self.draw.bytes(len);
                    self.send_conn(id, 0, bytes.into());
                    return;
                }
                1 => wrong.number = ViewNumber(self.draw.number()),
                2 => wrong.service = ServiceId([0; 16]),
                3 => wrong.members.swap(0, replica),
                _ => {}
            }
        }
        let (handshake, hello) = ClientHandshake::begin(&wrong, replica, &node.identity, seed);
        let mut hello = Bytes::from(hello);
        if garbage && self.draw.chance(1, 8) {
            hello = hello.slice(..self.draw.below(hello.len()));
        }
        node.links[replica] = Link::Shaking(id, handshake);
        self.send_conn(id, 0, hello);
    }

    pub(super) fn attacker_opened(&mut self, me: usize, replica: usize, id: u64) {
        self.attacker_hello(me, replica, id);
    }

    pub(super) fn attacker_received(&mut self, me: usize, replica: usize, bytes: &Bytes) {
        let node = &mut self.attackers[me];
        match std::mem::replace(&mut node.links[replica], Link::Closed) {
            Link::Shaking(id, handshake) => {
                if let Ok((link, welcome)) = handshake.finish(bytes) {
                    if replica == 0 {
                        node.time = node.time.max(welcome.time);
                    }
                    node.links[replica] = Link::Up(id, link);
                }
            }
            other => node.links[replica] = other,
        }
    }

    pub(super) fn attacker_closed(&mut self, me: usize, replica: usize) {
        self.attackers[me].links[replica] = Link::Closed;
    }

    /// Sends a frame to one replica, where the link is up and takes it.
    fn attack_with(
        &mut self,
        me: usize,
        replica: usize,
        header: ClientHeader,
        body: Bytes,
        mac: Mac,
    ) {
        let Link::Up(id, link) = &mut self.attackers[me].links[replica] else { return };
        let id = *id;
        if self.conns.get(&id).is_none_or(|conn| conn.inbox.len() >= SOCKET_BUFFER) {
            return;
        }
        let mut bytes = link.seal(&Frame::new(header, body));
        if mac == Mac::Wrong
            && let Some(last) = bytes.last_mut()
        {
            *last ^= 1;
            self.stats.count("frame with a wrong MAC sent");
        }
        let bytes = Bytes::from(bytes);
        let recorded = &mut self.attackers[me].recorded;
        if recorded.len() < RECORDED {
            recorded.push(bytes.clone());
        }
        self.send_conn(id, 0, bytes);
    }

    fn attack_raw(&mut self, me: usize, replica: usize, bytes: Bytes) {
        if let Link::Up(id, _) = self.attackers[me].links[replica] {
            self.send_conn(id, 0, bytes);
        }
    }

    fn new_attack_session(&mut self, me: usize) {
        let bytes = self.draw.bytes(16);
        let node = &mut self.attackers[me];
        node.session.0.copy_from_slice(&bytes);
        node.session_index += 1;
        node.number = 0;
    }

    fn attack_request(&mut self, me: usize, number: u64, variant: u32, born: UnixMicros) -> Bytes {
        let author = FIRST_ATTACKER + u32::try_from(me).unwrap_or(0);
        let node = &self.attackers[me];
        let tag = Tag { author, session: node.session_index, number, variant };
        let action = Action::Add { key: 0, amount: 1 + variant };
        let payload = Op { tag, action }.encode();
        let client = node.identity.id();
        let request = Request {
            service: self.view.service,
            id: RequestId { client, session: node.session, number },
            born,
            operation: Operation::Execute(payload.clone()),
        };
        self.observe(&Fact::Sent { client, payload });
        request.encode()
    }

    /// Are all links up, or have they failed so often that waiting is of no use?
    fn attack_links(&mut self, me: usize) -> bool {
        let mut up = 0;
        for replica in 0..self.plan.n {
            match self.attackers[me].links[replica] {
                Link::Closed => {
                    self.open_conn(Owner::Attacker(me), replica);
                    self.attackers[me].links[replica] = Link::Opening;
                }
                Link::Up(..) => up += 1,
                Link::Opening | Link::Shaking(..) => {}
            }
        }
        up == self.plan.n || self.draw.chance(1, 4)
    }

    pub(super) fn attack(&mut self, me: usize) {
        if self.phase == Phase::Quiet {
            return;
        }
        let period = self.attackers[me].habits.period;
        self.queue.push(self.now + period, Event::Attack(me));
        if !self.attack_links(me) {
            return;
        }
        let n = self.plan.n;
        let all: ReplicaSet = (0..n).collect();
        match self.attackers[me].habits.attack {
            Attack::WrongMac(subset) => self.attack_subset(me, subset, Some(Mac::Wrong), false),
            Attack::Withhold(subset) => self.attack_subset(me, subset, None, false),
            Attack::TwoBodies(subset) => self.attack_subset(me, subset, Some(Mac::Right), true),
            Attack::AnySubset => {
                let subset = draw_subset(&mut self.draw, n);
                let (rest, two) = *self.draw.pick(&[
                    (Some(Mac::Wrong), false),
                    (None, false),
                    (Some(Mac::Right), true),
                ]);
                self.attack_subset(me, subset, rest, two);
            }
            Attack::SkipNumbers => self.attack_numbers(me, all),
            Attack::Flood => self.attack_flood(me, all),
            Attack::Replay => self.attack_replay(me),
            Attack::Garbage => self.attack_garbage(me),
            Attack::Sessions => self.attack_sessions(me, all),
        }
    }

    fn next_attack_number(&mut self, me: usize) -> u64 {
        if self.attackers[me].number >= SESSION_LENGTH {
            self.new_attack_session(me);
        }
        let node = &mut self.attackers[me];
        if node.number == 0 {
            node.born = node.time;
        }
        node.number += 1;
        node.number
    }

    /// The next request, valid at `subset`; what the others get is said by `rest` and `two`.
    fn attack_subset(&mut self, me: usize, subset: ReplicaSet, rest: Option<Mac>, two: bool) {
        self.stats.count("request for a subset of the replicas");
        let number = self.next_attack_number(me);
        let born = self.attackers[me].born;
        let body = self.attack_request(me, number, 0, born);
        let other = if two { self.attack_request(me, number, 1, born) } else { body.clone() };
        for replica in 0..self.plan.n {
            let header = ClientHeader::Request { full: false };
            if subset.contains(replica) {
                self.attack_with(me, replica, header, body.clone(), Mac::Right);
            } else if let Some(mac) = rest {
                self.attack_with(me, replica, header, other.clone(), mac);
            }
        }
    }

    fn attack_everyone(&mut self, me: usize, to: ReplicaSet, body: &Bytes) {
        for replica in to.iter() {
            let header = ClientHeader::Request { full: true };
            self.attack_with(me, replica, header, body.clone(), Mac::Right);
        }
    }

    fn attack_numbers(&mut self, me: usize, all: ReplicaSet) {
        self.stats.count("request with a skipped number");
        let next = self.next_attack_number(me);
        let skipped = *self.draw.pick(&[
            0,
            next + 1,
            next + 5,
            next + SESSION_WINDOW - 1,
            next + SESSION_WINDOW,
            u64::MAX,
        ]);
        let born = self.attackers[me].born;
        for number in [skipped, next] {
            let body = self.attack_request(me, number, 0, born);
            self.attack_everyone(me, all, &body);
        }
    }

    fn attack_flood(&mut self, me: usize, all: ReplicaSet) {
        self.stats.count("flood");
        for _ in 0..20 {
            let number = self.next_attack_number(me);
            let born = self.attackers[me].born;
            let body = self.attack_request(me, number, 0, born);
            self.attack_everyone(me, all, &body);
        }
        let session = self.attackers[me].session;
        let topic = Topic::new(topic_of(0)).expect("a short name");
        for replica in all.iter() {
            for nonce in 0..10 {
                let query = Query::Counter(0).encode();
                let min_cid = Cid(if nonce < 5 { 0 } else { u64::MAX });
                let header = ClientHeader::Query { nonce, min_cid, full: true };
                self.attack_with(me, replica, header, query, Mac::Right);
                let header = ClientHeader::Ping { nonce };
                self.attack_with(me, replica, header, Bytes::new(), Mac::Right);
            }
            let header = ClientHeader::Resume { session, topic: topic.clone(), next: 0 };
            self.attack_with(me, replica, header, Bytes::new(), Mac::Right);
            let topic = topic.clone();
            let header = ClientHeader::FetchEvent { session, topic, number: u64::MAX };
            self.attack_with(me, replica, header, Bytes::new(), Mac::Right);
        }
    }

    fn attack_replay(&mut self, me: usize) {
        self.stats.count("replay");
        let replica = self.draw.below(self.plan.n);
        match self.draw.below(4) {
            // An old frame of its own, which the counter gives away.
            0 if !self.attackers[me].recorded.is_empty() => {
                let bytes = self.draw.pick(&self.attackers[me].recorded).clone();
                self.attack_raw(me, replica, bytes);
            }
            // A frame of somebody else, as it was.
            1 if !self.wiretap.is_empty() => {
                let bytes = self.draw.pick(&self.wiretap).clone();
                self.attack_raw(me, replica, bytes);
            }
            // Somebody else's request in a frame of its own.
            2 if !self.wiretap.is_empty() => {
                let body = body_of(self.draw.pick(&self.wiretap));
                let header = ClientHeader::Request { full: true };
                self.attack_with(me, replica, header, body, Mac::Right);
            }
            // A request of its own that may have been executed long ago.
            _ => {
                let most = self.next_attack_number(me);
                let number = self.draw.between(1..=most);
                let all: ReplicaSet = (0..self.plan.n).collect();
                let born = self.attackers[me].born;
                let body = self.attack_request(me, number, 0, born);
                self.attack_everyone(me, all, &body);
            }
        }
    }

    fn attack_garbage(&mut self, me: usize) {
        self.stats.count("garbage");
        let replica = self.draw.below(self.plan.n);
        let len = self.draw.below(300);
        let noise = Bytes::from(self.draw.bytes(len));
        match self.draw.below(6) {
            0 => self.attack_raw(me, replica, noise),
            1 if self.draw.chance(1, 50) => {
                self.attack_raw(me, replica, Bytes::from(vec![0; MAX_CLIENT_FRAME + 1]));
            }
            2 => {
                let header = ClientHeader::Request { full: true };
                self.attack_with(me, replica, header, noise, Mac::Right);
            }
            3 => {
                let header = ClientHeader::Query { nonce: 0, min_cid: Cid::ZERO, full: true };
                self.attack_with(me, replica, header, noise, Mac::Right);
            }
            4 => {
                // A truncated frame of its own.
                if let Some(frame) = self.attackers[me].recorded.last().cloned() {
                    let end = self.draw.below(frame.len().max(1));
                    self.attack_raw(me, replica, frame.slice(..end));
                }
            }
            _ => {
                // A request with a foreign service, or an operation that the service refuses.
                let number = self.next_attack_number(me);
                let node = &self.attackers[me];
                let service =
                    if self.draw.chance(1, 2) { ServiceId([1; 16]) } else { self.view.service };
                let request = Request {
                    service,
                    id: RequestId { client: node.identity.id(), session: node.session, number },
                    born: node.born,
                    operation: Operation::Execute(noise),
                };
                let header = ClientHeader::Request { full: true };
                self.attack_with(me, replica, header, request.encode(), Mac::Right);
            }
        }
    }

    fn attack_sessions(&mut self, me: usize, all: ReplicaSet) {
        self.stats.count("new session");
        self.new_attack_session(me);
        let time = self.attackers[me].time;
        let born = *self.draw.pick(&[
            time,
            time,
            UnixMicros(0),
            UnixMicros(1),
            UnixMicros(time.0 + 3600 * S),
            UnixMicros(u64::MAX),
        ]);
        let body = self.attack_request(me, 1, 0, born);
        let to =
            if self.draw.chance(1, 2) { all } else { draw_subset(&mut self.draw, self.plan.n) };
        self.attack_everyone(me, to, &body);
        (self.attackers[me].number, self.attackers[me].born) = (1, born);
    }
}

/// The body of a frame seen on the network: frames are authenticated, not encrypted, here.
fn body_of(frame: &Bytes) -> Bytes {
    let header = frame.first_chunk::<2>().map_or(0, |len| usize::from(u16::from_le_bytes(*len)));
    let start = (2 + header).min(frame.len());
    let end = frame.len().saturating_sub(32).max(start);
    frame.slice(start..end)
}
