//! Byzantine replicas: a real replica whose words are falsified on their way out, and which adds
//! some of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use webbft_protocol::auth::{PeerLink, SigningKey, sign_accept, sign_checkpoint, sign_propose};
use webbft_protocol::membership::{Cid, Digest, Epoch, Regency, ReplicaSet, View};
use webbft_protocol::replica::ToPeers;
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{
    Batch, BatchEntry, Certificate, CheckpointCertificate, CheckpointId, ClientFrame, ClientHeader,
    Decision, ExecutionResult, Frame, Operation, PeerMessage, Refusal, ReplicaFrame, ReplicaHeader,
    Request, RequestId, SignedStopData, Vouch, VouchGroup, Welcome, encode,
};

use super::draw::Draw;
use super::plan::Misdeed;
use super::service::{Action, Op, Tag};

/// Own messages kept for replays.
const RECORDED: usize = 200;
/// Requests of others remembered.
const OVERHEARD: usize = 50;

/// What makes a replica Byzantine.
#[derive(Debug)]
pub struct Byzantine {
    pub(super) view: Arc<View>,
    pub(super) me: usize,
    pub(super) key: SigningKey,
    misdeeds: Vec<Misdeed>,
    /// Lie about results only, and like all others of this kind.
    consistent: bool,
    recorded: Vec<Bytes>,
    overheard: Vec<Request>,
    forged: BTreeMap<Digest, Bytes>,
    pub(super) last_cid: Cid,
    /// The highest regency that it has heard of.
    pub(super) regency: Regency,
    /// The replicas that a selective one talks to.
    pub(super) favoured: ReplicaSet,
    /// Of two batches proposed for one instance: the one that the others got.
    pub(super) others_of: BTreeMap<Digest, Digest>,
    pub(super) stop_datas: Vec<SignedStopData>,
}

/// A frame to the member at a position.
pub type Addressed = (usize, Bytes);

impl Byzantine {
    /// The misdeeds of the replica at position `me`.
    #[must_use]
    pub fn new(
        view: Arc<View>,
        me: usize,
        key: SigningKey,
        misdeeds: Vec<Misdeed>,
        favoured: ReplicaSet,
    ) -> Self {
        Self {
            view,
            me,
            key,
            misdeeds,
            consistent: false,
            recorded: Vec::new(),
            overheard: Vec::new(),
            forged: BTreeMap::new(),
            last_cid: Cid::ZERO,
            regency: Regency(0),
            favoured,
            others_of: BTreeMap::new(),
            stop_datas: Vec::new(),
        }
    }

    /// One of several that lie about all results, all in the same way.
    #[must_use]
    pub fn conspirator(view: Arc<View>, me: usize, key: SigningKey) -> Self {
        let misdeeds = vec![Misdeed::LieToClients];
        Self { consistent: true, ..Self::new(view, me, key, misdeeds, ReplicaSet::EMPTY) }
    }

    pub(super) fn does(&self, misdeed: Misdeed) -> bool {
        self.misdeeds.contains(&misdeed)
    }

    fn others(&self) -> Vec<usize> {
        (0..self.view.n()).filter(|&other| other != self.me).collect()
    }

    fn encode(&self, message: PeerMessage) -> Bytes {
        PeerLink::encode(&self.view, message)
    }

    /// What leaves instead of a message of the real replica.
    pub fn to_peers(&mut self, out: &ToPeers, draw: &mut Draw) -> Vec<Addressed> {
        if self.does(Misdeed::MuteToPeers) {
            return Vec::new();
        }
        let mut frames = Vec::new();
        for to in out.to.iter() {
            let message = out.message.clone();
            if self.does(Misdeed::Selective) && !self.favoured.contains(to) {
                continue;
            }
            match message {
                PeerMessage::Write { cid, epoch, .. } | PeerMessage::Accept { cid, epoch, .. }
                    if self.does(Misdeed::EquivocateVotes) && !draw.chance(1, 4) =>
                {
                    self.last_cid = cid;
                    for message in self.false_votes(cid, epoch, draw) {
                        frames.push((to, self.encode(message)));
                    }
                }
                PeerMessage::Accept { cid, epoch, hash, .. }
                    if self.does(Misdeed::EquivocateVotes) =>
                {
                    // The right vote with a signature that is worth nothing.
                    let signature = Self::bad_signature(draw);
                    let message = PeerMessage::Accept { cid, epoch, hash, signature };
                    frames.push((to, self.encode(message)));
                }
                PeerMessage::Vouches { .. }
                    if self.does(Misdeed::LieInVouches) && draw.chance(1, 2) => {}
                message => {
                    for message in self.bend(to, message, draw) {
                        frames.push((to, self.encode(message)));
                    }
                }
            }
        }
        if self.does(Misdeed::Replay) {
            for (_, bytes) in &frames {
                if self.recorded.len() == RECORDED {
                    let oldest = draw.below(RECORDED);
                    self.recorded.swap_remove(oldest);
                }
                self.recorded.push(bytes.clone());
            }
        }
        frames
    }

    fn false_votes(&self, cid: Cid, epoch: Epoch, draw: &mut Draw) -> Vec<PeerMessage> {
        let hash = Digest(draw.bytes32());
        let cid = *draw.pick(&[cid, cid, cid, cid.next(), Cid(cid.0 + 1000), Cid::ZERO]);
        let epoch = *draw.pick(&[epoch, epoch, epoch, Epoch(0), Epoch(epoch.0 + 1)]);
        let signature = if draw.chance(1, 2) {
            sign_accept(&self.key, &self.view, cid, epoch, hash)
        } else {
            Self::bad_signature(draw)
        };
        vec![
            PeerMessage::Write { cid, epoch, hash },
            PeerMessage::Accept { cid, epoch, hash, signature },
        ]
    }

    /// What it says in answer to a peer's message, beside what the real replica says.
    pub fn heard(&mut self, from: usize, message: &PeerMessage, draw: &mut Draw) -> Vec<Addressed> {
        if self.does(Misdeed::MuteToPeers) {
            return Vec::new();
        }
        self.hear_of_regency(message);
        if let PeerMessage::Propose { cid, .. } = message {
            self.last_cid = *cid;
        }
        let PeerMessage::FetchBodies(wanted) = message else { return Vec::new() };
        if !self.does(Misdeed::LieInVouches) && !self.does(Misdeed::VouchForEverything) {
            return Vec::new();
        }
        wanted
            .iter()
            .map(|vouch| {
                let body = self.forged.get(&vouch.digest).cloned();
                let body = body.unwrap_or_else(|| Bytes::from(draw.bytes(40)));
                (from, self.encode(PeerMessage::Body(body)))
            })
            .collect()
    }

    /// Takes note of a client's frame, and may vouch for more than was asked.
    pub fn overhear(&mut self, frame: &ClientFrame, draw: &mut Draw) -> Vec<Addressed> {
        if !matches!(frame.header, ClientHeader::Request { .. }) {
            return Vec::new();
        }
        let Ok(request) = Request::decode(&frame.body) else { return Vec::new() };
        let mut frames = Vec::new();
        if self.does(Misdeed::VouchForEverything) && !self.does(Misdeed::MuteToPeers) {
            let forged: Vec<Request> = (0..3)
                .map(|variant| {
                    let number = request.id.number + draw.between(0..=1);
                    self.forge(RequestId { number, ..request.id }, request.born, variant)
                })
                .collect();
            frames = self.vouch(&forged, false);
        }
        if self.overheard.len() == OVERHEARD {
            let oldest = draw.below(OVERHEARD);
            self.overheard.swap_remove(oldest);
        }
        self.overheard.push(request);
        frames
    }

    /// A request that nobody sent. The same inputs give the same one at every accomplice.
    fn forge(&self, id: RequestId, born: UnixMicros, variant: u32) -> Request {
        let tag = Tag { author: 0, session: 0, number: id.number, variant: 1 + variant };
        let payload = Op { tag, action: Action::Add { key: 0, amount: 1_000_000 } }.encode();
        Request { service: self.view.service, id, born, operation: Operation::Execute(payload) }
    }

    fn vouch(&mut self, requests: &[Request], replace: bool) -> Vec<Addressed> {
        let vouches: Vec<(Vouch, UnixMicros)> = requests
            .iter()
            .map(|request| {
                let body = request.encode();
                let digest = Digest::of(&body);
                self.forged.insert(digest, body);
                (Vouch { id: request.id, digest }, request.born)
            })
            .collect();
        let message = PeerMessage::Vouches { replace, groups: VouchGroup::gather(vouches) };
        let bytes = self.encode(message);
        self.others().into_iter().map(|to| (to, bytes.clone())).collect()
    }

    /// What it says of its own accord, now and then.
    pub fn spontaneous(&mut self, draw: &mut Draw) -> Vec<Addressed> {
        if self.does(Misdeed::MuteToPeers) || self.consistent {
            return Vec::new();
        }
        let mut frames = Vec::new();
        if self.does(Misdeed::LieInVouches) && !self.overheard.is_empty() {
            let victim = draw.pick(&self.overheard).clone();
            let number = victim.id.number + draw.between(0..=2);
            let request = self.forge(RequestId { number, ..victim.id }, victim.born, 0);
            let replace = draw.chance(1, 10);
            frames.extend(self.vouch(&[request], replace));
        }
        if self.does(Misdeed::VouchForEverything) && draw.chance(1, 3) {
            let mut id = RequestId::default_of(draw);
            if let Some(known) = self.overheard.first() {
                id.client = known.id.client;
            }
            let born = UnixMicros(draw.number());
            let group = VouchGroup::gather([(Vouch { id, digest: Digest(draw.bytes32()) }, born)]);
            let bytes = self.encode(PeerMessage::Vouches { replace: false, groups: group });
            frames.extend(self.others().into_iter().map(|to| (to, bytes.clone())));
        }
        let to = *draw.pick(&self.others());
        if self.does(Misdeed::Replay) && !self.recorded.is_empty() {
            for _ in 0..3 {
                frames.push((to, draw.pick(&self.recorded).clone()));
            }
        }
        if self.does(Misdeed::EquivocateVotes) {
            let epoch = self.regency.epoch();
            for message in self.false_votes(self.last_cid.next(), epoch, draw) {
                frames.push((to, self.encode(message)));
            }
        }
        if self.does(Misdeed::EarlyStops) && draw.chance(1, 3) {
            let bytes = self.encode(self.early_stop(draw));
            let to = self.others().into_iter().filter(|_| !draw.chance(1, 4));
            frames.extend(to.map(|to| (to, bytes.clone())));
        }
        if self.does(Misdeed::ForgeDecisions) {
            let message = self.forged_decision(draw);
            frames.push((to, self.encode(message)));
        }
        if self.does(Misdeed::Garbage) && draw.chance(1, 20) {
            let len = draw.below(300);
            frames.push((to, draw.bytes(len).into()));
        }
        frames
    }

    fn forged_decision(&self, draw: &mut Draw) -> PeerMessage {
        let far = Cid(draw.number() >> draw.below(64));
        let cid = *draw.pick(&[self.last_cid, self.last_cid.next(), Cid(self.last_cid.0 + 2), far]);
        let known = self.overheard_or_forged(draw);
        let body = draw.pick(&known).clone();
        let entry = BatchEntry { id: body.id, digest: Digest::of(&body.encode()) };
        let time = UnixMicros(draw.number() >> draw.below(64));
        let batch = Batch { time, entries: vec![entry] };
        let epoch = self.regency.epoch();
        match draw.below(8) {
            0 => PeerMessage::Status { last_cid: far, learner: draw.chance(1, 2) },
            1 => {
                let digest = Digest::of(&draw.number().to_be_bytes());
                let checkpoint = CheckpointId { cid: far, hash: digest, digest };
                let signature = sign_checkpoint(&self.key, &self.view, &checkpoint);
                let names = self.view.members.iter().map(|member| member.id);
                let signatures = names.map(|id| (id, signature.clone())).collect();
                let certificate = CheckpointCertificate { checkpoint, signatures };
                PeerMessage::StableCheckpoint { certificate, first: far }
            }
            2 => PeerMessage::FetchDecisions { from: *draw.pick(&[Cid::ZERO, Cid(1), far]) },
            3 => {
                let hash = batch.hash(self.view.service, self.view.number, cid);
                let signature = if draw.chance(1, 2) {
                    sign_propose(&self.key, &self.view, cid, epoch, hash)
                } else {
                    Self::bad_signature(draw)
                };
                PeerMessage::Propose { cid, epoch, batch, signature }
            }
            4 => PeerMessage::FetchValue { cid, hash: Digest(draw.bytes32()) },
            5 => PeerMessage::Value { cid, batch, bodies: vec![body.encode()] },
            _ => {
                // A certificate of its own signature, in many names and many times over.
                let hash = batch.hash(self.view.service, self.view.number, cid);
                let signature = sign_accept(&self.key, &self.view, cid, epoch, hash);
                let signatures = self
                    .view
                    .members
                    .iter()
                    .flat_map(|member| {
                        [member.id, self.view.members[self.me].id].map(|id| (id, signature.clone()))
                    })
                    .collect();
                let certificate = Certificate { epoch, signatures };
                PeerMessage::Decided(Decision {
                    cid,
                    batch,
                    certificate,
                    bodies: vec![body.encode()],
                })
            }
        }
    }

    fn overheard_or_forged(&self, draw: &mut Draw) -> Vec<Request> {
        if self.overheard.is_empty() {
            return vec![self.forge(RequestId::default_of(draw), UnixMicros(1), 0)];
        }
        self.overheard.clone()
    }

    /// What a client is told instead.
    pub fn to_client(&mut self, frame: ReplicaFrame, draw: &mut Draw) -> Vec<ReplicaFrame> {
        if self.does(Misdeed::MuteToClients) {
            return Vec::new();
        }
        if !self.does(Misdeed::LieToClients) {
            return vec![frame];
        }
        if self.consistent {
            return vec![falsify(frame)];
        }
        let mut frames = Vec::new();
        if draw.chance(1, 10) {
            frames.extend(extra(&frame, draw));
        }
        let frame = match draw.below(4) {
            0 | 1 => falsify(frame),
            2 => distort(frame, draw),
            _ => frame,
        };
        frames.push(frame);
        frames
    }

    /// What a client is told in the handshake instead.
    #[must_use]
    pub fn welcome(&self, welcome: Welcome, draw: &mut Draw) -> Welcome {
        if !self.does(Misdeed::LieToClients) || self.consistent {
            return welcome;
        }
        let shift = draw.below(64);
        Welcome { last_cid: Cid(1 << 60), time: UnixMicros(draw.number() >> shift) }
    }
}

/// Makes ids where nothing better is known.
trait DefaultOf {
    fn default_of(draw: &mut Draw) -> Self;
}

impl DefaultOf for RequestId {
    fn default_of(draw: &mut Draw) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&draw.bytes(16));
        let mut session = [0; 16];
        session.copy_from_slice(&draw.bytes(16));
        Self {
            client: webbft_protocol::membership::ClientId(id),
            session: webbft_protocol::membership::SessionId(session),
            number: draw.between(1..=3),
        }
    }
}

/// A plausible lie, the same at every liar: another value under a digest that fits it.
fn falsify(frame: ReplicaFrame) -> ReplicaFrame {
    let body = if frame.body.is_empty() {
        Bytes::new()
    } else {
        let mut body = frame.body.to_vec();
        if let Some(last) = body.last_mut() {
            *last ^= 1;
        }
        Bytes::from(body)
    };
    let lie = |full: bool, digest: Digest| {
        if full { Digest::of(&body) } else { Digest::of(&digest.0) }
    };
    let mut header = frame.header;
    match &mut header {
        ReplicaHeader::Reply { digest, full, .. } => {
            // The same value at every replica, whether it sends it in full or not.
            let value = encode(&ExecutionResult::Value(Bytes::from_static(b"lie")));
            *digest = Digest::of(&value);
            let body = if *full { Bytes::from(value) } else { Bytes::new() };
            return Frame::new(header, body);
        }
        ReplicaHeader::QueryReply { digest, full, .. } => {
            *digest = Digest::of(b"lie");
            let body = if *full { Bytes::from_static(b"lie") } else { Bytes::new() };
            return Frame::new(header, body);
        }
        ReplicaHeader::Event { digest, full, .. } => *digest = lie(*full, *digest),
        ReplicaHeader::Gap { first, .. } => *first += 100,
        ReplicaHeader::Refused { refusal, .. } | ReplicaHeader::QueryRefused { refusal, .. } => {
            *refusal = Refusal::SessionExpired;
        }
        ReplicaHeader::Pong { last_cid, time, .. } => {
            *last_cid = Cid(1 << 60);
            *time = UnixMicros(1 << 62);
        }
        ReplicaHeader::Heads { heads, .. } => {
            for (_, head) in heads {
                *head += 1000;
            }
        }
        // The same other payload from every liar.
        ReplicaHeader::Announcement { .. } => {}
    }
    Frame::new(header, body)
}

/// A change that breaks the frame's sense.
fn distort(frame: ReplicaFrame, draw: &mut Draw) -> ReplicaFrame {
    let mut header = frame.header;
    let mut body = frame.body;
    match &mut header {
        ReplicaHeader::Reply { number, view, cid, full, .. } => match draw.below(4) {
            0 => *number = number.wrapping_add(1),
            1 => view.0 += 1,
            2 => *cid = Cid(1 << 60),
            _ => *full = !*full,
        },
        ReplicaHeader::QueryReply { nonce, as_of, executed, .. } => match draw.below(4) {
            0 => *nonce = nonce.wrapping_add(1),
            1 => *as_of = Cid(1 << 60),
            2 => *executed = Cid(1 << 60),
            _ => body = Bytes::from(draw.bytes(10)),
        },
        ReplicaHeader::Event { number, cid, full, .. } => match draw.below(4) {
            0 => *number = number.wrapping_add(1),
            1 => *cid = Cid(1 << 60),
            2 => *full = !*full,
            _ => body = Bytes::from(draw.bytes(10)),
        },
        ReplicaHeader::Announcement { number, sender, .. } => match draw.below(3) {
            0 => *number = number.wrapping_add(1),
            1 => sender.client.0[0] ^= 1,
            _ => body = Bytes::from(draw.bytes(10)),
        },
        _ => body = Bytes::from(draw.bytes(10)),
    }
    Frame::new(header, body)
}

/// A frame that nothing called for.
fn extra(frame: &ReplicaFrame, draw: &mut Draw) -> Vec<ReplicaFrame> {
    match &frame.header {
        ReplicaHeader::Event { session, topic, number, view, cid, .. } => {
            let payload = Bytes::from_static(b"never published");
            let number = number + draw.between(0..=2);
            let event = ReplicaHeader::Event {
                session: *session,
                topic: topic.clone(),
                number,
                view: *view,
                cid: *cid,
                digest: Digest::of(&payload),
                full: true,
            };
            let gap =
                ReplicaHeader::Gap { session: *session, topic: topic.clone(), first: number + 50 };
            vec![Frame::new(event, payload), Frame::bare(gap)]
        }
        ReplicaHeader::Reply { session, number, digest, .. } => {
            let refusal = draw
                .pick(&[Refusal::SessionExpired, Refusal::Equivocation, Refusal::Window])
                .clone();
            vec![Frame::bare(ReplicaHeader::Refused {
                session: *session,
                number: number + draw.between(0..=1),
                request: *digest,
                refusal,
            })]
        }
        _ => vec![frame.clone()],
    }
}
