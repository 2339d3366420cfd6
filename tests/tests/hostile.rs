//! Bad input at the level of the protocol: every kind of hostile frame and client is refused for
//! the right reason, and none stops, slows beyond its share, or misleads anybody else.

#![allow(clippy::unwrap_used, reason = "a test that fails is to panic")]

use std::sync::Arc;

use bytes::Bytes;
use webbft_protocol::auth::{
    ClientHandshake, ClientIdentity, ClientLink, LinkError, NoiseKeypair, ReplicaLink,
    ServerHandshake, SigningKey, VerifyError,
};
use webbft_protocol::membership::{
    Cid, Digest, ReplicaSet, ServiceId, SessionId, View, ViewNumber,
};
use webbft_protocol::replica::{ClientFault, LinkId, Parameters, Replica, ReplicaConfig, Start};
use webbft_protocol::time::{Instant, Now, UnixMicros};
use webbft_protocol::wire::limits::{MAX_CLIENT_FRAME, MAX_PAYLOAD, SESSION_WINDOW};
use webbft_protocol::wire::{
    ClientFrame, ClientHeader, DecodeError, Frame, HelloRefusal, Operation, Refusal, ReplicaHeader,
    Request, RequestId, ServerHello, Welcome, decode,
};
use webbft_tests::sim::service::{Action, Op, Recorder, Tag};
use webbft_tests::sim::{
    Attack, Attacker, Client, Draw, MS, Outcome, Plan, S, make_view, run_plan,
};

// Hostile clients beside a correct one, in the simulator.

/// Four correct replicas, a correct client that works steadily, and an attacker. The invariants,
/// `zero_leader_changes` among them, judge the run.
fn besieged(attack: Attack, period: u64) -> Outcome {
    let plan = Plan {
        clients: vec![Client { outstanding: 1, ..Client::steady() }],
        attackers: vec![Attacker { attack, period }],
        phase_one: 3 * S,
        phase_two: S,
        bound: 10 * S,
        ..Plan::calm(11, 4, 1)
    };
    let outcome = run_plan(plan, false);
    assert!(outcome.is_clean(), "{attack:?}: {outcome}");
    let (calls, longest) = (&outcome.statistics.calls, outcome.statistics.longest_call);
    assert!(calls.get("invoked").is_some_and(|count| *count > 10), "{attack:?}: {calls:?}");
    // Undisturbed a call takes a few milliseconds; a read that falls back to ordering 200 more.
    assert!(longest < 500 * MS, "{attack:?}: a call took {longest} µs");
    outcome
}

/// How many operations of the attacker were executed.
fn executed_for_attacker(outcome: &Outcome) -> usize {
    let author = |payload: &Bytes| Op::decode(payload).map_or(0, |op| op.tag.author);
    outcome.log.iter().filter(|entry| author(&entry.payload) >= 1000).count()
}

fn subsets() -> impl Iterator<Item = ReplicaSet> {
    (0..16_usize).map(|bits| (0..4).filter(|replica| bits >> replica & 1 == 1).collect())
}

#[test]
fn macs_valid_at_any_subset_of_the_replicas() {
    for subset in subsets() {
        let outcome = besieged(Attack::WrongMac(subset), 30 * MS);
        // f + 1 replicas can convince the others; fewer cannot.
        assert_eq!(executed_for_attacker(&outcome) > 0, subset.len() >= 2, "{subset:?}");
        if subset.len() < 4 {
            let refused = outcome.statistics.deeds.get("frame refused by a replica");
            assert!(refused.is_some_and(|count| *count > 0), "{subset:?}");
        }
    }
}

#[test]
fn requests_sent_to_any_subset_of_the_replicas() {
    for subset in subsets() {
        let outcome = besieged(Attack::Withhold(subset), 30 * MS);
        assert_eq!(executed_for_attacker(&outcome) > 0, subset.len() >= 2, "{subset:?}");
    }
}

#[test]
fn two_bodies_under_one_number_split_in_any_way() {
    for subset in subsets() {
        let outcome = besieged(Attack::TwoBodies(subset), 30 * MS);
        // One of the two always reaches f + 1 replicas; `exactly_once` says that only one counts.
        assert!(executed_for_attacker(&outcome) > 0, "{subset:?}");
    }
}

#[test]
fn skipped_numbers() {
    let outcome = besieged(Attack::SkipNumbers, 30 * MS);
    assert!(executed_for_attacker(&outcome) > 0, "numbers without a hole before them count");
}

#[test]
fn a_flood() {
    let outcome = besieged(Attack::Flood, 5 * MS);
    assert!(executed_for_attacker(&outcome) > 500, "the flood gets its share");
}

#[test]
fn replayed_frames() {
    let outcome = besieged(Attack::Replay, 10 * MS);
    assert!(outcome.statistics.deeds.contains_key("frame refused by a replica"));
    assert!(outcome.statistics.deeds.contains_key("client link closed for a fault"));
}

#[test]
fn garbage_before_and_after_the_handshake() {
    let outcome = besieged(Attack::Garbage, 10 * MS);
    for kind in
        ["handshake refused", "frame refused by a replica", "client link closed for a fault"]
    {
        assert!(outcome.statistics.deeds.contains_key(kind), "{kind}");
    }
}

#[test]
fn sessions_without_end() {
    besieged(Attack::Sessions, 5 * MS);
}

// One replica and one client by hand: each frame is refused for the right reason.

struct Pair {
    view: Arc<View>,
    noise: NoiseKeypair,
    identity: ClientIdentity,
    replica: Replica<Recorder>,
    client_end: ClientLink,
    replica_end: ReplicaLink,
    now: Now,
}

const LINK: LinkId = LinkId(1);

impl Pair {
    fn new() -> Self {
        let mut draw = Draw::new(1);
        let (view, mut keys) = make_view(4, 1, &mut draw);
        let view = Arc::new(view);
        let (signing_key, noise): (SigningKey, NoiseKeypair) = keys.remove(0);
        let wall = UnixMicros(1_750_000_000_000_000);
        let now = Now { instant: Instant::from_micros(5), unix: wall };
        let identity = ClientIdentity::from_secret([9; 32]);
        let config = ReplicaConfig {
            view: Arc::clone(&view),
            me: 0,
            signing_key,
            start: Start::Genesis,
            parameters: Parameters::default(),
        };
        let mut replica = Replica::new(config, Recorder::default(), now);
        let (client_end, replica_end) = connect(&view, &noise, &identity, &replica.welcome(now));
        replica.handle_client_connected(now, LINK, identity.id());
        Self { view, noise, identity, replica, client_end, replica_end, now }
    }

    fn request(&self, number: u64, amount: u32) -> Request {
        let tag = Tag { author: 0, session: 0, number, variant: amount };
        let payload = Op { tag, action: Action::Add { key: 0, amount } }.encode();
        Request {
            service: self.view.service,
            id: RequestId { client: self.identity.id(), session: SessionId([3; 16]), number },
            born: self.replica.welcome(self.now).time,
            operation: Operation::Execute(payload),
        }
    }

    /// Sends a frame with a valid MAC; gives the verdict and what the replica answers.
    fn send(&mut self, frame: &ClientFrame) -> (Result<(), ClientFault>, Vec<ReplicaHeader>) {
        let bytes = Bytes::from(self.client_end.seal(frame));
        let frame = self.replica_end.open(&bytes).expect("a frame as it was sealed");
        let verdict = self.replica.handle_client_frame(self.now, LINK, frame);
        let answers = std::iter::from_fn(|| self.replica.poll_client());
        (verdict, answers.map(|answer| answer.frame.header).collect())
    }

    fn send_request(&mut self, body: Bytes) -> (Result<(), ClientFault>, Vec<ReplicaHeader>) {
        self.send(&Frame::new(ClientHeader::Request { full: true }, body))
    }

    fn ping(&mut self) -> ClientFrame {
        Frame::bare(ClientHeader::Ping { nonce: 7 })
    }
}

fn connect(
    view: &View,
    noise: &NoiseKeypair,
    identity: &ClientIdentity,
    welcome: &Welcome,
) -> (ClientLink, ReplicaLink) {
    let (handshake, hello) = ClientHandshake::begin(view, 0, identity, [1; 32]);
    let server = ServerHandshake { view, keypair: noise };
    let accepted = server.accept(&hello, welcome, [2; 32]).expect("a good handshake");
    let (link, _) = handshake.finish(&accepted.reply).expect("a good answer");
    (link, accepted.link)
}

fn refusal(answers: &[ReplicaHeader]) -> Option<&Refusal> {
    match answers {
        [ReplicaHeader::Refused { refusal, .. }] => Some(refusal),
        _ => None,
    }
}

#[test]
fn truncated_damaged_and_oversized_frames_are_refused() {
    let mut pair = Pair::new();
    let frame = pair.ping();
    let good = Bytes::from(pair.client_end.seal(&frame));
    for len in 0..good.len() {
        assert!(pair.replica_end.open(&good.slice(..len)).is_err(), "cut to {len} bytes");
    }
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut damaged = good.to_vec();
            damaged[at] ^= 1 << bit;
            assert!(pair.replica_end.open(&damaged.into()).is_err(), "bit {bit} of byte {at}");
        }
    }
    let long = Bytes::from(vec![0; MAX_CLIENT_FRAME + 1]);
    let expected = DecodeError::TooLong { len: MAX_CLIENT_FRAME + 1, limit: MAX_CLIENT_FRAME };
    assert_eq!(pair.replica_end.open(&long).unwrap_err(), VerifyError::Decode(expected));
    // A driver closes the link at the first of these. Even if it did not, the good frame counts.
    assert!(pair.replica_end.open(&good).is_ok());
}

#[test]
fn replayed_and_reordered_frames_are_refused() {
    let mut pair = Pair::new();
    let ping = pair.ping();
    let [first, second, third] = [(); 3].map(|()| Bytes::from(pair.client_end.seal(&ping)));
    assert!(pair.replica_end.open(&first).is_ok());
    assert!(matches!(pair.replica_end.open(&first), Err(VerifyError::Mac(_))), "replayed");
    assert!(matches!(pair.replica_end.open(&third), Err(VerifyError::Mac(_))), "out of order");
    assert!(pair.replica_end.open(&second).is_ok());
    // Another link of the same client has other keys.
    let welcome = pair.replica.welcome(pair.now);
    let (handshake, hello) = ClientHandshake::begin(&pair.view, 0, &pair.identity, [8; 32]);
    let server = ServerHandshake { view: &pair.view, keypair: &pair.noise };
    let mut accepted = server.accept(&hello, &welcome, [9; 32]).expect("a good handshake");
    drop(handshake);
    assert!(matches!(accepted.link.open(&first), Err(VerifyError::Mac(_))));
}

#[test]
fn handshakes_that_do_not_fit_are_refused_and_say_why() {
    let pair = Pair::new();
    let server = ServerHandshake { view: &pair.view, keypair: &pair.noise };
    let welcome = pair.replica.welcome(pair.now);
    let refuse = |view: &View| {
        let (handshake, hello) = ClientHandshake::begin(view, 0, &pair.identity, [1; 32]);
        let (error, reply) = server.accept(&hello, &welcome, [2; 32]).unwrap_err();
        // The client learns the same; nothing authenticates it.
        let told = handshake.finish(&reply).unwrap_err();
        (error, told)
    };
    let mut unknown_view = (*pair.view).clone();
    unknown_view.number = ViewNumber(41);
    let refusal = LinkError::Refused(HelloRefusal::View(ViewNumber(0)));
    assert_eq!(refuse(&unknown_view), (refusal.clone(), refusal));

    let mut other_service = (*pair.view).clone();
    other_service.service = ServiceId([0; 16]);
    let refusal = LinkError::Refused(HelloRefusal::Service(pair.view.service));
    assert_eq!(refuse(&other_service), (refusal.clone(), refusal));

    let mut other_key = (*pair.view).clone();
    other_key.members.swap(0, 1);
    assert_eq!(refuse(&other_key), (LinkError::Key, LinkError::Refused(HelloRefusal::Key)));
}

#[test]
fn hellos_that_are_cut_or_damaged_are_refused() {
    let pair = Pair::new();
    let server = ServerHandshake { view: &pair.view, keypair: &pair.noise };
    let welcome = pair.replica.welcome(pair.now);
    let (_, hello) = ClientHandshake::begin(&pair.view, 0, &pair.identity, [1; 32]);
    for len in 0..hello.len() {
        let (_, reply) = server.accept(&hello[..len], &welcome, [2; 32]).unwrap_err();
        assert!(matches!(decode::<ServerHello>(&reply), Ok(ServerHello::Refused(_))), "{len}");
    }
    for at in 0..hello.len() {
        let mut damaged = hello.clone();
        damaged[at] ^= 0x40;
        assert!(server.accept(&damaged, &welcome, [2; 32]).is_err(), "byte {at}");
    }
    let mut longer = hello;
    longer.push(0);
    assert!(server.accept(&longer, &welcome, [2; 32]).is_err());
}

#[test]
fn requests_that_no_correct_client_sends_close_the_link() {
    let mut pair = Pair::new();
    let (verdict, _) = pair.send_request(Bytes::from_static(b"\xff\xff"));
    assert!(matches!(verdict, Err(ClientFault::Malformed(_))), "{verdict:?}");

    let zero = pair.request(0, 1).encode();
    let (verdict, _) = pair.send_request(zero);
    assert!(matches!(verdict, Err(ClientFault::Malformed(_))), "{verdict:?}");

    let mut followed = pair.request(1, 1).encode().to_vec();
    followed.push(0);
    let (verdict, _) = pair.send_request(followed.into());
    assert_eq!(verdict, Err(ClientFault::Malformed(DecodeError::Trailing(1))));

    let mut borrowed = pair.request(1, 1);
    borrowed.id.client.0 = [1; 16];
    let (verdict, _) = pair.send_request(borrowed.encode());
    assert_eq!(verdict, Err(ClientFault::OtherClient(borrowed.id.client)));

    let mut foreign = pair.request(1, 1);
    foreign.service = ServiceId([0; 16]);
    let (verdict, _) = pair.send_request(foreign.encode());
    assert_eq!(verdict, Err(ClientFault::OtherService));

    let mut large = pair.request(1, 1);
    large.operation = Operation::Execute(vec![0; MAX_PAYLOAD + 1].into());
    let (verdict, _) = pair.send_request(large.encode());
    assert!(matches!(verdict, Err(ClientFault::Malformed(DecodeError::FieldTooLong))));

    let header = ClientHeader::Query { nonce: 1, min_cid: Cid::ZERO, full: true };
    let query = Frame::new(header, vec![0; MAX_PAYLOAD + 1].into());
    assert_eq!(pair.send(&query).0, Err(ClientFault::QueryTooLong(MAX_PAYLOAD + 1)));

    // After all that the replica still takes a good request.
    let good = pair.request(1, 1).encode();
    assert_eq!(pair.send_request(good), (Ok(()), Vec::new()));
}

#[test]
fn numbers_and_bodies_that_do_not_fit_are_refused() {
    let mut pair = Pair::new();
    let skipped = pair.request(2, 1).encode();
    let (verdict, answers) = pair.send_request(skipped);
    assert_eq!((verdict, refusal(&answers)), (Ok(()), Some(&Refusal::NotBegun)));

    let mut old = pair.request(SESSION_WINDOW + 1, 1);
    old.born = UnixMicros::ZERO;
    let (_, answers) = pair.send_request(old.encode());
    assert_eq!(refusal(&answers), Some(&Refusal::SessionExpired));

    let first = pair.request(1, 1).encode();
    assert_eq!(pair.send_request(first.clone()), (Ok(()), Vec::new()));
    assert_eq!(pair.send_request(first), (Ok(()), Vec::new()), "sent again");

    let other_body = pair.request(1, 2).encode();
    let digest = Digest::of(&other_body);
    let (verdict, answers) = pair.send_request(other_body);
    assert_eq!(verdict, Ok(()));
    assert_eq!(
        answers,
        [ReplicaHeader::Refused {
            session: SessionId([3; 16]),
            number: 1,
            request: digest,
            refusal: Refusal::Equivocation,
        }]
    );

    let far = pair.request(SESSION_WINDOW + 1, 1).encode();
    let (_, answers) = pair.send_request(far);
    assert_eq!(refusal(&answers), Some(&Refusal::Window));

    let mut future = pair.request(1, 1);
    future.id.session = SessionId([4; 16]);
    future.born = UnixMicros(u64::MAX);
    let (_, answers) = pair.send_request(future.encode());
    assert_eq!(refusal(&answers), Some(&Refusal::BornInFuture));

    let mut refused = pair.request(2, 1);
    refused.operation = Operation::Execute(Bytes::from_static(b"no operation of the service"));
    let (_, answers) = pair.send_request(refused.encode());
    assert!(matches!(refusal(&answers), Some(Refusal::Service(_))), "{answers:?}");
}

#[test]
fn a_link_with_too_much_in_flight_is_not_read() {
    let mut pair = Pair::new();
    for session in 0..3_u8 {
        for number in 1..=SESSION_WINDOW {
            if !pair.replica.accepts_more(LINK) {
                assert!(session >= 2, "two windows fit");
                return;
            }
            let mut request = pair.request(number, 1);
            request.id.session = SessionId([session; 16]);
            let (verdict, _) = pair.send_request(request.encode());
            assert_eq!(verdict, Ok(()));
        }
    }
    panic!("three windows were taken in without an end");
}
