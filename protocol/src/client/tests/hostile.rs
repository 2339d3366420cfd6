//! One replica says whatever it likes, the others do their work: nothing wrong is believed,
//! nothing stops.

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

use crate::client::testing::{Net, value};
use crate::client::{ClientEvent, SuspectReason};
use crate::membership::{Cid, Digest, ReplicaId, SessionId, ViewNumber};
use crate::time::UnixMicros;
use crate::wire::{ExecutionResult, Refusal, ReplicaHeader, Topic};

const LIAR: usize = 3;

/// Draws numbers near the interesting ones, and far away.
fn number(rng: &mut ChaCha20Rng, near: u64) -> u64 {
    match rng.next_u32() % 4 {
        0 => rng.next_u64(),
        1 => u64::MAX,
        _ => near.saturating_sub(2) + u64::from(rng.next_u32() % 5),
    }
}

fn lie(net: &mut Net, rng: &mut ChaCha20Rng, session: SessionId, near: u64) {
    let topic = Topic::new(if rng.next_u32().is_multiple_of(4) { "u" } else { "t" }).unwrap();
    let body = [0; 3].map(|_: u8| rng.next_u32().to_le_bytes()[0]);
    let view = ViewNumber(u64::from(rng.next_u32() % 2));
    let cid = Cid(number(rng, near));
    let digest =
        if rng.next_u32().is_multiple_of(4) { Digest::default() } else { Digest::of(&body) };
    let full = !rng.next_u32().is_multiple_of(4);
    let refusal = match rng.next_u32() % 5 {
        0 => Refusal::SessionExpired,
        1 => Refusal::Service("lie".to_owned()),
        2 => Refusal::Equivocation,
        3 => Refusal::Window,
        _ => Refusal::Queries,
    };
    let n = number(rng, near);
    let header = match rng.next_u32() % 8 {
        0 => ReplicaHeader::Reply { session, number: n, view, cid, digest, full },
        1 => {
            let (nonce, as_of, executed) = (n, cid, Cid(u64::MAX));
            ReplicaHeader::QueryReply { nonce, view, as_of, executed, digest, full }
        }
        2 => ReplicaHeader::Event { session, topic, number: n, view, cid, digest, full },
        3 => ReplicaHeader::Gap { session, topic, first: n },
        4 => ReplicaHeader::Refused { session, number: n, request: digest, refusal },
        5 => ReplicaHeader::QueryRefused { nonce: n, refusal },
        6 => ReplicaHeader::Pong {
            nonce: n,
            last_cid: cid,
            time: UnixMicros(number(rng, near)),
            leader: ReplicaId(9),
        },
        _ => ReplicaHeader::Heads { session, heads: vec![(topic.clone(), n), (topic, 0)] },
    };
    net.say(LIAR, header, &body);
}

/// What a correct client shows: everything but what concerns the liar.
fn shown(net: &mut Net) -> Vec<ClientEvent> {
    let mut events = net.events();
    events.retain(|event| match event {
        ClientEvent::Suspect { replica, .. } => {
            assert_eq!(*replica, LIAR, "only the liar is suspected");
            false
        }
        ClientEvent::Votes { number, evidence, .. } => {
            assert!(evidence.matching.len() >= number.map_or(3, |_| 2));
            false
        }
        _ => true,
    });
    events
}

#[test]
fn a_replica_that_says_anything_changes_nothing() {
    for seed in 0..20 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut net = Net::connected();
        let now = net.now();
        let topic = Topic::new("t").unwrap();
        let subscription = net.endpoint.subscribe(now, topic.clone()).unwrap();
        net.drain();
        let request = net.request();
        let session = request.id.session;
        for replica in 0..3 {
            lie(&mut net, &mut rng, session, 1);
            net.reply(replica, &request, 1, &ExecutionResult::Subscribed { next: 1 }, true);
        }
        let subscribed = shown(&mut net);
        assert!(
            matches!(subscribed[..], [ClientEvent::Subscribed { subscription: s, next: 1, .. }] if s == subscription)
        );
        for round in 1..=20 {
            let mut lies = |net: &mut Net| {
                for _ in 0..rng.next_u32() % 8 {
                    lie(net, &mut rng, session, round + 1);
                }
            };
            for replica in 0..4 {
                net.headers(replica);
            }
            let call = net.invoke(b"op");
            let sent = net.request();
            assert_eq!((sent.id.session, sent.id.number), (session, round + 1));
            let read = net.query(b"q");
            for replica in 0..3 {
                lies(&mut net);
                net.reply(replica, &sent, round + 1, &value(b"right"), true);
                net.answer(replica, round, round, b"read");
                let header = ReplicaHeader::Event {
                    session,
                    topic: topic.clone(),
                    number: round,
                    view: ViewNumber(0),
                    cid: Cid(round),
                    digest: Digest::of(b"event"),
                    full: true,
                };
                net.say(replica, header, b"event");
            }
            lies(&mut net);
            net.millis(20);
            let events = shown(&mut net);
            let (mut results, mut numbers) = (Vec::new(), Vec::new());
            for event in &events {
                match event {
                    ClientEvent::Completed { call, result, .. } => {
                        results.push((*call, result.clone()));
                    }
                    ClientEvent::Event { number, payload, .. } => {
                        numbers.push((*number, payload.clone()));
                    }
                    other => panic!("seed {seed}, round {round}: {other:?}"),
                }
            }
            results.sort();
            let (right, answer) = (Bytes::from_static(b"right"), Bytes::from_static(b"read"));
            assert_eq!(results, [(call, right), (read, answer)], "seed {seed}, round {round}");
            assert_eq!(numbers, [(round, Bytes::from_static(b"event"))]);
        }
        let status = net.endpoint.status();
        assert_eq!((status.pending, status.connected), (0, 4));
        let suspects = status.replicas.iter().map(|replica| replica.suspect.is_some());
        assert_eq!(suspects.collect::<Vec<_>>(), [false, false, false, true]);
        let reason = status.replicas[LIAR].suspect.map(|suspect| suspect.reason);
        assert!(matches!(reason, Some(SuspectReason::Divergent | SuspectReason::Protocol)));
    }
}
