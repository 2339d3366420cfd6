//! Checkpoints and state transfer (rules C1 to C7) at whole replicas.
#![allow(clippy::unwrap_used)]

mod common;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use common::{Log, Net, signing_key};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use webbft_protocol::auth::{CertificateError, PeerLink, sign_checkpoint};
use webbft_protocol::execution::{ExecutionLimits, Executor, SnapshotError};
use webbft_protocol::membership::{Cid, Digest, ReplicaId};
use webbft_protocol::ordering::CheckpointFault;
use webbft_protocol::replica::{
    Durability, Notice, Parameters, PeerFault, Recovered, Replica, ReplicaConfig, StableSnapshot,
    StableSnapshotError, Start, TransferFault, VotesMemory,
};
use webbft_protocol::wire::{
    CheckpointCertificate, CheckpointId, ClientHeader, ExecutionResult, Frame, Manifest, Operation,
    PeerMessage, ReplicaHeader, Topic, encode,
};

/// A checkpoint after every `every`th instance.
fn parameters(every: u64) -> Parameters {
    let execution = ExecutionLimits {
        checkpoint_every: every,
        checkpoint_pause: Duration::ZERO,
        ..ExecutionLimits::default()
    };
    Parameters { execution, ..Parameters::default() }
}

fn net(every: u64) -> Net {
    Net::with(4, 1, parameters(every))
}

/// Orders operations one at a time: numbers `numbers` of `client`.
fn order(net: &mut Net, client: usize, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        net.invoke(client, number, "x");
        net.run();
    }
}

/// Orders operations of half a chunk each.
fn order_much(net: &mut Net, client: usize, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let fill = u8::try_from(number % 251).unwrap();
        net.invoke_bytes(client, number, Bytes::from(vec![fill; 512 << 10]));
        net.run();
    }
}

fn transferred(net: &Net, replica: usize) -> Vec<(Cid, Cid)> {
    net.notices[replica]
        .iter()
        .filter_map(|notice| match notice {
            Notice::StateTransferred { from, cid, .. } => Some((*from, *cid)),
            _ => None,
        })
        .collect()
}

fn stable(net: &Net, replica: usize) -> Vec<CheckpointId> {
    net.notices[replica]
        .iter()
        .filter_map(|notice| match notice {
            Notice::CheckpointStable { checkpoint } => Some(*checkpoint),
            _ => None,
        })
        .collect()
}

fn faults(net: &Net, replica: usize) -> Vec<(usize, PeerFault)> {
    net.notices[replica]
        .iter()
        .filter_map(|notice| match notice {
            Notice::PeerMisbehaved { peer, fault } => Some((*peer, *fault)),
            _ => None,
        })
        .collect()
}

fn assert_equal_states(net: &Net) {
    let first = net.replicas[0].executor().snapshot();
    for (index, replica) in net.replicas.iter().enumerate() {
        assert_eq!(replica.executor().snapshot(), first, "replica {index}");
    }
}

/// C1, C2, C3: every fourth instance; stable once a quorum has the same state.
#[test]
fn checkpoints_become_stable_at_a_quorum() {
    for (n, f) in [(1, 0), (4, 1), (7, 2)] {
        let mut net = Net::with(n, f, parameters(4));
        let client = net.client();
        order(&mut net, client, 1..=11);
        let all: Vec<_> = (0..n).map(|replica| stable(&net, replica)).collect();
        assert_eq!(all[0].iter().map(|id| id.cid).collect::<Vec<_>>(), [Cid(4), Cid(8)]);
        assert_eq!(all, vec![all[0].clone(); n]);
        assert_eq!(net.replicas[0].status().stable, Cid(8));
    }
}

/// C1: nothing but what was ordered makes a checkpoint due; enough bytes do, but never sooner
/// than the pause after the one before.
#[test]
fn the_schedule_counts_instances_bytes_and_agreed_time() {
    let execution = ExecutionLimits {
        checkpoint_every: 3,
        checkpoint_bytes: 1 << 20,
        checkpoint_pause: Duration::from_secs(10),
        ..ExecutionLimits::default()
    };
    let mut net = Net::with(4, 1, Parameters { execution, ..Parameters::default() });
    let client = net.client();
    order(&mut net, client, 1..=6);
    let cids = |net: &Net| stable(net, 1).iter().map(|id| id.cid.0).collect::<Vec<_>>();
    assert_eq!(cids(&net), [3]);
    net.wait_ms(10_001);
    assert_eq!(cids(&net), [3]);
    order(&mut net, client, 7..=9);
    assert_eq!(cids(&net), [3, 7]);
    net.wait_ms(10_001);
    order_much(&mut net, client, 10..=10);
    assert_eq!(cids(&net), [3, 7, 10]);
    order_much(&mut net, client, 11..=13);
    assert_eq!(cids(&net), [3, 7, 10]);
}

/// C3: with a replica away the others go on; it learns what is stable from its new streams.
#[test]
fn a_replica_learns_what_is_stable_from_a_new_stream() {
    let mut net = net(4);
    let client = net.client();
    order(&mut net, client, 1..=3);
    net.disconnect(0, 3);
    net.disconnect(1, 3);
    net.disconnect(2, 3);
    order(&mut net, client, 4..=5);
    assert_eq!(stable(&net, 0).len(), 1);
    assert_eq!(stable(&net, 3), []);
    net.rejoin(3);
    net.wait_ms(500);
    assert_eq!(stable(&net, 3), stable(&net, 0));
    assert_eq!(transferred(&net, 3), []);
    assert_equal_states(&net);
}

/// C3: two CHECKPOINTs are not enough.
#[test]
fn nothing_is_stable_below_a_quorum() {
    let mut net = net(4);
    let client = net.client();
    net.tamper = Some(Box::new(|from, _, message| match message {
        PeerMessage::Checkpoint { .. } if from >= 2 => vec![],
        other => vec![other],
    }));
    order(&mut net, client, 1..=8);
    // Replicas 2 and 3 have three: their own and two others'.
    assert_eq!(stable(&net, 0), []);
    assert_eq!(stable(&net, 2).len(), 2);
}

/// C2: a liar's digests, foreign and bad signatures cost only itself, and it is caught.
#[test]
fn false_checkpoints_poison_nothing() {
    let mut net = net(4);
    let client = net.client();
    order(&mut net, client, 1..=3);
    let view = std::sync::Arc::clone(&net.view);
    net.tamper = Some(Box::new(move |from, to, message| match message {
        PeerMessage::Checkpoint { checkpoint, signature } if from == 3 => match to {
            // Another digest, and more of them than anybody keeps.
            0 => {
                let checkpoint = CheckpointId { digest: Digest([9; 32]), ..checkpoint };
                let signature = sign_checkpoint(&signing_key(3), &view, &checkpoint);
                (0..99)
                    .map(|n| PeerMessage::Checkpoint {
                        checkpoint: CheckpointId { cid: Cid(4 + n * n), ..checkpoint },
                        signature: signature.clone(),
                    })
                    .collect()
            }
            // Somebody else's signature.
            1 => {
                let signature = sign_checkpoint(&signing_key(2), &view, &checkpoint);
                vec![PeerMessage::Checkpoint { checkpoint, signature }]
            }
            // Its own alone, often, as a certificate.
            _ => {
                let checkpoint = CheckpointId { cid: Cid(400), ..checkpoint };
                let own = (ReplicaId(3), sign_checkpoint(&signing_key(3), &view, &checkpoint));
                let signatures = vec![own.clone(), own.clone(), own, (ReplicaId(9), signature)];
                let certificate = CheckpointCertificate { checkpoint, signatures };
                vec![PeerMessage::StableCheckpoint { certificate, first: Cid(u64::MAX) }]
            }
        },
        // The good ones of replica 2 are lost on the way to the others.
        PeerMessage::Checkpoint { .. } if from == 2 => vec![],
        other => vec![other],
    }));
    order(&mut net, client, 4..=4);
    assert_eq!((0..3).map(|replica| stable(&net, replica).len()).collect::<Vec<_>>(), [0, 0, 1]);
    let signature = PeerFault::Checkpoint(CheckpointFault::Signature);
    assert_eq!(faults(&net, 1), [(3, signature)]);
    let few = CertificateError::TooFew { valid: 1, needed: 3 };
    let certificate = PeerFault::Checkpoint(CheckpointFault::Certificate(few));
    assert_eq!(faults(&net, 2), [(3, certificate)]);
    net.tamper = None;
    for other in [0, 1] {
        net.disconnect(2, other);
        net.connect(2, other);
    }
    net.run();
    assert_eq!(stable(&net, 2).len(), 1);
    assert_eq!((stable(&net, 0), stable(&net, 1)), (stable(&net, 2), stable(&net, 2)));
    for replica in 0..3 {
        assert_eq!(transferred(&net, replica), []);
        assert!(faults(&net, replica).iter().all(|(peer, _)| *peer == 3));
    }
}

/// C5, C6, C7: decisions are gone, the state comes instead, while load goes on; nothing is
/// executed twice, cached replies and subscriptions come along, events keep their numbers.
#[test]
fn a_replica_that_was_away_for_long_fetches_the_state() {
    let mut net = net(4);
    let (busy, reader, waiting) = (net.client(), net.client(), net.client());
    order(&mut net, busy, 1..=2);
    net.isolate(3);
    let topic = Topic::new("t").unwrap();
    // Replica 3 has heard these requests from the clients, and cannot order them.
    let subscribe = net.request(reader, 1, Operation::Subscribe(topic.clone()));
    net.submit(reader, &subscribe, &[0, 1, 2, 3]);
    net.run();
    net.invoke(waiting, 1, "publish one");
    net.run();
    order(&mut net, busy, 3..=40);
    assert_eq!(net.replicas[3].status().last_cid, Cid(2));
    assert_eq!(net.replies(waiting, 3), []);
    net.rejoin(3);
    for number in 41..=60 {
        net.invoke(busy, number, "x");
        net.wait_ms(20);
    }
    net.wait_ms(1000);
    assert_eq!(transferred(&net, 3).len(), 1, "{:?}", net.notices[3].last());
    assert_eq!(net.logs(), vec![net.logs()[0].clone(); 4]);
    assert_eq!(net.logs()[0].iter().filter(|entry| **entry == "publish one").count(), 1);
    assert_equal_states(&net);
    // The awaited replies were sent, from the cache of the state.
    assert_eq!(net.replies(waiting, 3), net.replies(waiting, 0));
    assert_eq!(net.replies(reader, 3), net.replies(reader, 0));
    // A retransmission is answered alike.
    let body = net.request(waiting, 1, Net::execute("publish one"));
    net.submit(waiting, &body, &[0, 3]);
    net.run();
    assert_eq!(net.replies(waiting, 3).last(), net.replies(waiting, 0).last());
    // The subscriber is told how far the topic has come, and gets the event it lacks.
    let session = net.clients[reader].session;
    let heads = ReplicaHeader::Heads { session, heads: vec![(topic.clone(), 1)] };
    assert!(net.clients[reader].received[3].iter().any(|frame| frame.header == heads));
    let resume = ClientHeader::Resume { session, topic, next: 1 };
    net.send(reader, 3, &Frame::bare(resume)).unwrap();
    net.run();
    net.invoke(waiting, 2, "publish two");
    net.run();
    let events: Vec<(u64, Bytes)> = net.clients[reader].received[3]
        .iter()
        .filter_map(|frame| match frame.header {
            ReplicaHeader::Event { number, .. } => Some((number, frame.body.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(events, [(1, Bytes::from_static(b"one")), (2, Bytes::from_static(b"two"))]);
    // It votes: without replica 2 a quorum needs it.
    net.isolate(2);
    net.invoke(busy, 61, "together");
    net.wait_ms(1000);
    assert_eq!(net.logs()[3].last(), Some(&"together"));
}

/// A replica can be left behind again and again.
#[test]
fn transfers_repeat() {
    let mut net = net(4);
    let client = net.client();
    for round in 0..5 {
        // Longer than a state is kept for one who has fetched it.
        net.wait_ms(11_000);
        net.isolate(3);
        order(&mut net, client, round * 20 + 1..=round * 20 + 20);
        net.rejoin(3);
        net.wait_ms(1000);
        assert_equal_states(&net);
        assert_eq!(transferred(&net, 3).len(), usize::try_from(round).unwrap() + 1);
    }
}

/// D3, C6: a replica that lost its memory gets the state, learns, and votes again.
#[test]
fn a_learner_fetches_the_state() {
    let mut net = net(4);
    let client = net.client();
    order(&mut net, client, 1..=30);
    net.restart(3);
    net.wait_ms(3000);
    assert_eq!(transferred(&net, 3).len(), 1);
    assert!(!net.replicas[3].status().learner);
    net.isolate(2);
    // The client has no link to the new replica 3.
    let body = net.request(client, 31, Net::execute("together"));
    net.submit(client, &body, &[0, 1]);
    net.wait_ms(1000);
    assert_eq!(net.logs()[3].len(), 31);
    assert_eq!(net.logs()[3], net.logs()[0]);
}

/// C5: a fetched state is served on: then the others may go.
#[test]
fn a_fetched_state_is_served_on() {
    let mut net = net(4);
    let client = net.client();
    order(&mut net, client, 1..=30);
    net.restart(3);
    net.wait_ms(900);
    let last = net.replicas[3].status().last_cid.0;
    // No checkpoint of its own yet.
    assert!(!last.is_multiple_of(4) && last < 36, "{last}");
    net.isolate(1);
    net.restart(1);
    net.disconnect(0, 1);
    net.disconnect(2, 1);
    net.wait_ms(1000);
    assert_eq!(net.logs()[1].len(), 30);
}

type Served = Rc<RefCell<BTreeMap<usize, usize>>>;

/// Lets a test tamper with what replica 3 is told, and counts the chunks that each peer sent it.
fn counting(
    net: &mut Net,
    mut tamper: impl FnMut(usize, PeerMessage) -> Vec<PeerMessage> + 'static,
) -> Served {
    let served = Served::default();
    let count = Rc::clone(&served);
    net.tamper = Some(Box::new(move |from, to, message| {
        if to != 3 {
            return vec![message];
        }
        if matches!(message, PeerMessage::Chunk { .. }) {
            *count.borrow_mut().entry(from).or_default() += 1;
        }
        tamper(from, message)
    }));
    served
}

/// A net in which replica 3 has missed a state of ten chunks.
fn behind_by_much() -> (Net, usize) {
    let mut net = net(10);
    let client = net.client();
    net.isolate(3);
    order_much(&mut net, client, 1..=20);
    order(&mut net, client, 21..=40);
    assert_eq!(stable(&net, 0).len(), 4);
    (net, client)
}

/// C6: the load is shared.
#[test]
fn chunks_come_from_several_peers() {
    let (mut net, _) = behind_by_much();
    let served = counting(&mut net, |_, message| vec![message]);
    net.rejoin(3);
    net.wait_ms(1000);
    assert_equal_states(&net);
    let served = served.borrow();
    assert_eq!(served.len(), 3, "{served:?}");
    assert_eq!(served.values().sum::<usize>(), 12, "{served:?}");
}

/// C6: wrong manifests and chunks are noticed, and asked for elsewhere.
#[test]
fn a_liar_cannot_spoil_a_transfer() {
    for liar in 0..3 {
        let (mut net, _) = behind_by_much();
        counting(&mut net, move |from, message| match message {
            PeerMessage::Chunk { cid, index, bytes } if from == liar => {
                let mut wrong = bytes.to_vec();
                wrong[0] ^= 1;
                vec![PeerMessage::Chunk { cid, index, bytes: wrong.into() }]
            }
            PeerMessage::Manifest(manifest) if from == liar => {
                let chunks = vec![Digest([3; 32]); manifest.chunks.len()];
                vec![PeerMessage::Manifest(Manifest { chunks, ..manifest })]
            }
            PeerMessage::StableCheckpoint { certificate, .. } if from == liar => {
                let checkpoint = CheckpointId { cid: Cid(1 << 40), ..certificate.checkpoint };
                let certificate = CheckpointCertificate { checkpoint, ..certificate };
                vec![PeerMessage::StableCheckpoint { certificate, first: Cid(1 << 40) }]
            }
            other => vec![other],
        });
        net.rejoin(3);
        net.wait_ms(1000);
        assert_equal_states(&net);
        let caught = faults(&net, 3);
        assert!(caught.iter().all(|(peer, _)| *peer == liar), "{caught:?}");
        assert!(caught.iter().any(|(_, fault)| matches!(
            fault,
            PeerFault::Transfer(TransferFault::Manifest | TransferFault::Chunk(_))
        )));
    }
}

/// C6: a peer that answers nothing costs one time-out.
#[test]
fn a_mute_peer_delays_a_transfer_by_a_time_out() {
    let (mut net, _) = behind_by_much();
    counting(&mut net, |from, message| match message {
        PeerMessage::Chunk { .. } | PeerMessage::Manifest(_) if from == 1 => vec![],
        other => vec![other],
    });
    net.rejoin(3);
    net.wait_ms(5000);
    assert_equal_states(&net);
    assert_eq!(transferred(&net, 3).len(), 1);
}

/// C6: a peer that says it has nothing is passed over, and asked again later.
#[test]
fn peers_that_have_no_state_are_asked_again() {
    let (mut net, _) = behind_by_much();
    let deaf = Rc::new(RefCell::new(true));
    let still = Rc::clone(&deaf);
    counting(&mut net, move |_, message| match message {
        PeerMessage::Manifest(Manifest { cid, .. }) if *still.borrow() => {
            vec![PeerMessage::CheckpointGone { cid }]
        }
        other => vec![other],
    });
    net.rejoin(3);
    net.wait_ms(5000);
    assert_eq!(transferred(&net, 3), []);
    *deaf.borrow_mut() = false;
    net.wait_ms(5000);
    assert_equal_states(&net);
}

/// C6: streams break in the middle, again and again; what is held is not fetched twice.
#[test]
fn a_transfer_survives_broken_streams() {
    let (mut net, _) = behind_by_much();
    let passed = Rc::new(RefCell::new(0));
    let count = Rc::clone(&passed);
    let served = counting(&mut net, move |_, message| match message {
        // One chunk a stream, then silence.
        PeerMessage::Chunk { .. } => {
            *count.borrow_mut() += 1;
            if *count.borrow() % 3 == 1 { vec![message] } else { vec![] }
        }
        other => vec![other],
    });
    net.rejoin(3);
    for _ in 0..40 {
        net.run();
        for peer in 0..3 {
            net.disconnect(peer, 3);
            net.connect(peer, 3);
        }
    }
    net.wait_ms(100);
    assert_equal_states(&net);
    assert_eq!(transferred(&net, 3).len(), 1);
    assert!(served.borrow().values().sum::<usize>() >= 12);
}

/// C6: the checkpoint that is being fetched is kept for the one who fetches it, although there
/// are later ones.
#[test]
fn a_slow_transfer_is_not_overtaken() {
    let (mut net, client) = behind_by_much();
    // Every message to replica 3 takes its time: chunks are held back.
    let held = Rc::new(RefCell::new(Vec::new()));
    let keep = Rc::clone(&held);
    counting(&mut net, move |from, message| match message {
        PeerMessage::Chunk { .. } => {
            keep.borrow_mut().push((from, message));
            vec![]
        }
        other => vec![other],
    });
    net.rejoin(3);
    net.run();
    let target = net.notices[3].iter().rev().find_map(|notice| match notice {
        Notice::TransferStarted { cid } => Some(*cid),
        _ => None,
    });
    assert_eq!(target, Some(Cid(40)));
    // Five more checkpoints meanwhile.
    for round in 0..5 {
        order(&mut net, client, 41 + round * 10..=50 + round * 10);
        net.wait_ms(1000);
    }
    net.tamper = None;
    for (from, message) in held.take() {
        net.inject(from, 3, message);
    }
    net.wait_ms(3000);
    assert_equal_states(&net);
    assert_eq!(transferred(&net, 3), [(Cid(0), Cid(40))]);
}

/// C6: where the checkpoint that is being fetched is gone everywhere, the latest one is fetched,
/// and chunks that are the same are not fetched again.
#[test]
fn a_later_checkpoint_takes_over() {
    let (mut net, client) = behind_by_much();
    let blocked = Rc::new(RefCell::new(true));
    let still = Rc::clone(&blocked);
    let mut first = true;
    let served = counting(&mut net, move |_, message| match message {
        PeerMessage::Chunk { cid, .. } if *still.borrow() && !std::mem::take(&mut first) => {
            vec![PeerMessage::CheckpointGone { cid }]
        }
        other => vec![other],
    });
    net.rejoin(3);
    net.run();
    net.isolate(3);
    // Kept for a peer that asks no more: not for ever.
    net.wait_ms(60_000);
    order(&mut net, client, 41..=80);
    net.rejoin(3);
    *blocked.borrow_mut() = false;
    served.borrow_mut().clear();
    net.wait_ms(3000);
    assert_equal_states(&net);
    assert_eq!(transferred(&net, 3), [(Cid(0), Cid(80))]);
    let fetched: usize = served.borrow().values().sum();
    assert!((1..12).contains(&fetched), "{fetched} chunks");
}

/// C5: what one peer can make a replica send in a turn is bounded, and nobody is sent chunks that
/// do not exist.
#[test]
fn serving_is_bounded() {
    let (mut net, _) = behind_by_much();
    net.connect(0, 3);
    net.run();
    let sent = Rc::new(RefCell::new(0));
    let count = Rc::clone(&sent);
    net.tamper = Some(Box::new(move |_, to, message| {
        if to == 3 && matches!(message, PeerMessage::Chunk { .. }) {
            *count.borrow_mut() += 1;
        }
        vec![message]
    }));
    let view = std::sync::Arc::clone(&net.view);
    let link = PeerLink::authenticated(&view, 3);
    let ask = |index| {
        let message = PeerMessage::FetchChunk { cid: Cid(40), index };
        let bytes = PeerLink::encode(&view, message);
        link.open(&bytes).unwrap()
    };
    for _ in 0..1000 {
        net.replicas[0].handle_peer_message(net.now, ask(0));
    }
    net.run();
    assert_eq!(*sent.borrow(), 8);
    net.replicas[0].handle_peer_message(net.now, ask(12));
    net.replicas[0].handle_peer_message(net.now, ask(u32::MAX));
    net.run();
    assert_eq!(*sent.borrow(), 8);
}

/// C4: a replica whose state is not the quorum's notices, does not answer from it, fetches the
/// right state, and votes again.
#[test]
fn a_replica_with_a_wrong_state_replaces_it() {
    let wrong = |me: usize| {
        if me == 3 { Log(vec![Bytes::from_static(b"wrong")], Cid(0)) } else { Log::default() }
    };
    let mut net = Net::with_services(4, 1, parameters(4), wrong);
    let client = net.client();
    order(&mut net, client, 1..=3);
    assert_eq!(net.replies(client, 3).len(), 3);
    net.tamper = Some(Box::new(|_, to, message| match message {
        PeerMessage::Chunk { .. } if to == 3 => vec![],
        other => vec![other],
    }));
    order(&mut net, client, 4..=4);
    assert!(net.notices[3].iter().any(|notice| matches!(
        notice,
        Notice::StateDiverged { cid: Cid(4), own, stable } if own != stable
    )));
    assert!(net.replicas[3].status().learner);
    // It answers nothing, and executes nothing, until it has the state.
    let answered = net.replies(client, 3).len();
    let query = ClientHeader::Query { nonce: 7, min_cid: Cid(0), full: true };
    net.send(client, 3, &Frame::bare(query)).unwrap();
    order(&mut net, client, 5..=6);
    assert_eq!(net.replies(client, 3).len(), answered);
    assert_eq!(net.clients[client].received[3].len(), answered);
    assert_eq!(net.replicas[3].status().last_cid, Cid(4));
    net.tamper = None;
    net.wait_ms(10_000);
    assert_equal_states(&net);
    assert!(!net.replicas[3].status().learner);
    assert_eq!(transferred(&net, 3), [(Cid(4), Cid(4))]);
    net.isolate(2);
    net.invoke(client, 7, "together");
    net.wait_ms(1000);
    assert_eq!(net.logs()[3].last(), Some(&"together"));
    let value: Bytes = encode(&ExecutionResult::Value(Bytes::from_static(b"7"))).into();
    assert_eq!(
        net.replies(client, 3).last().map(|(number, _, body)| (*number, body.clone())),
        Some((7, value))
    );
}

/// C4: a replica that had a wrong state follows without voting at first, also with the right one:
/// it completes no quorum.
#[test]
fn a_replica_that_had_a_wrong_state_does_not_vote_at_once() {
    let wrong = |me: usize| {
        if me == 3 { Log(vec![Bytes::from_static(b"wrong")], Cid(0)) } else { Log::default() }
    };
    let mut net = Net::with_services(4, 1, parameters(4), wrong);
    let client = net.client();
    // The others go no further for its sake, and it gets no state yet.
    net.tamper = Some(Box::new(|from, to, message| match message {
        PeerMessage::Status { .. } if from == 3 => vec![],
        PeerMessage::Chunk { .. } if to == 3 => vec![],
        other => vec![other],
    }));
    order(&mut net, client, 1..=4);
    assert!(
        net.notices[3]
            .iter()
            .any(|notice| matches!(notice, Notice::StateDiverged { cid: Cid(4), .. }))
    );
    net.isolate(2);
    net.tamper = None;
    net.wait_ms(10_000);
    assert_eq!(transferred(&net, 3), [(Cid(4), Cid(4))]);
    assert!(net.replicas[3].status().learner);
    // Two of a quorum of three vote.
    net.invoke(client, 5, "together");
    net.wait_ms(1000);
    let last = |net: &Net| {
        net.replicas.iter().map(|replica| replica.status().last_cid).collect::<Vec<_>>()
    };
    assert_eq!(last(&net), [Cid(4); 4]);
    net.rejoin(2);
    net.wait_ms(10_000);
    assert_eq!(net.logs()[3].last(), Some(&"together"));
    assert!(!net.replicas[3].status().learner);
    assert_equal_states(&net);
}

/// C4: where no quorum agrees, every replica says that something is wrong with the service.
#[test]
fn a_service_that_is_not_deterministic_is_reported() {
    let own = |me: usize| Log(vec![vec![u8::try_from(me).unwrap()].into()], Cid(0));
    let mut net = Net::with_services(4, 1, parameters(4), own);
    let client = net.client();
    order(&mut net, client, 1..=6);
    for replica in 0..4 {
        assert_eq!(stable(&net, replica), []);
        let disputed = net.notices[replica].iter().filter(
            |notice| matches!(notice, Notice::CheckpointDisputed(dissent) if dissent.cid == Cid(4)),
        );
        assert_eq!(disputed.count(), 1);
    }
}

/// C6, C7: decisions that come while a fetched state is being restored are executed, and the state,
/// which is older by then, replaces nothing.
#[test]
fn a_fetched_state_that_was_overtaken_is_dropped() {
    let mut net = net(4);
    let client = net.client();
    order(&mut net, client, 1..=2);
    net.isolate(3);
    order(&mut net, client, 3..=6);
    // The decisions are late, and whoever tells the checkpoint claims that they are gone.
    let held = Rc::new(RefCell::new(Vec::new()));
    let keep = Rc::clone(&held);
    net.tamper = Some(Box::new(move |from, to, message| match message {
        PeerMessage::Decided(_) if to == 3 => {
            keep.borrow_mut().push((from, message));
            vec![]
        }
        PeerMessage::StableCheckpoint { certificate, .. } if to == 3 => {
            vec![PeerMessage::StableCheckpoint { certificate, first: Cid(5) }]
        }
        other => vec![other],
    }));
    net.slow_jobs = true;
    net.rejoin(3);
    net.wait_ms(2000);
    assert_eq!(stable(&net, 3).last().map(|id| id.cid), Some(Cid(4)));
    assert!(net.jobs[3].is_some(), "the state is being restored");
    assert_eq!(net.replicas[3].status().last_cid, Cid(2));
    net.tamper = None;
    for (from, message) in held.take() {
        net.inject(from, 3, message);
    }
    net.run();
    assert!(net.jobs[3].is_some(), "the state is still being restored");
    assert_eq!(net.replicas[3].status().last_cid, Cid(6));
    net.finish_job(3);
    assert_eq!(net.replicas[3].status().last_cid, Cid(6));
    assert_eq!(transferred(&net, 3), []);
    assert_equal_states(&net);
}

/// C5: the driver stores the latest stable snapshot; then the log needs nothing before it.
#[test]
fn a_log_needs_nothing_before_a_stored_snapshot() {
    let mut net = Net::with(4, 1, Parameters { durability: Durability::Logged, ..parameters(4) });
    let (client, reader) = (net.client(), net.client());
    let topic = Topic::new("t").unwrap();
    let subscribe = net.request(reader, 1, Operation::Subscribe(topic));
    net.submit(reader, &subscribe, &[0, 1, 2, 3]);
    order(&mut net, client, 1..=9);
    let kept = net.stored[1].clone().unwrap();
    assert_eq!(kept.cid(), Cid(8));
    assert_eq!(net.replicas[1].status().durable, Cid(8));
    let parts = (kept.snapshot().manifest().clone(), kept.snapshot().chunks().to_vec());
    let certificate = kept.certificate().certificate();
    let again = StableSnapshot::from_parts(&net.view, certificate, parts.0.clone(), parts.1);
    assert_eq!(again.as_ref(), Ok(&*kept));
    let other = StableSnapshot::from_parts(
        &net.view,
        certificate,
        Manifest { cid: Cid(9), ..parts.0 },
        kept.snapshot().chunks().to_vec(),
    );
    assert_eq!(other, Err(StableSnapshotError::Other));
    assert!(net.records[1].iter().all(|record| record.cid() >= Some(Cid(8))));
    // All at once: the state is in the snapshots and what follows them.
    let before = net.replicas[0].executor().snapshot();
    for replica in 0..4 {
        net.restart_from_log(replica);
    }
    net.wait_ms(100);
    for replica in 0..4 {
        assert_eq!(net.replicas[replica].executor().snapshot(), before, "replica {replica}");
        assert!(!net.replicas[replica].status().learner);
        assert_eq!(net.replicas[replica].status().stable, Cid(8));
    }
    // Nobody has links to them any more but new clients.
    let next = net.client();
    net.invoke(next, 1, "together");
    net.wait_ms(1000);
    assert_eq!(net.logs(), vec![net.logs()[0].clone(); 4]);
    assert_eq!(net.logs()[0].last(), Some(&"together"));
}

/// C5: a stored snapshot that this program cannot read makes a learner, which fetches the state.
#[test]
fn a_snapshot_that_cannot_be_read_is_fetched() {
    let logged = Parameters { durability: Durability::Logged, ..parameters(4) };
    // A table of sessions smaller than the stored one.
    let mut net = Net::with(4, 1, logged);
    let client = net.client();
    order(&mut net, client, 1..=9);
    let stable = net.stored[3].clone().unwrap();
    let execution = ExecutionLimits { sessions: 0, ..parameters(4).execution };
    assert_eq!(
        Executor::<Log>::restore(stable.snapshot(), execution.clone()).unwrap_err(),
        SnapshotError::Invalid("session")
    );
    let parameters = Parameters { execution, ..parameters(4) };
    let start = Start::Recovered(Box::new(Recovered {
        snapshot: Some(stable),
        records: net.records[3].clone(),
        votes: VotesMemory::Complete,
    }));
    let config = ReplicaConfig {
        view: std::sync::Arc::clone(&net.view),
        me: 3,
        signing_key: signing_key(3),
        start,
        parameters,
    };
    let mut replica = Replica::new(config, Log::default(), net.now);
    let error = StableSnapshotError::Snapshot(SnapshotError::Invalid("session"));
    assert_eq!(replica.poll_notice(), Some(Notice::TransferFailed { cid: Cid(8), error }));
    assert_eq!(replica.poll_notice(), Some(Notice::Learning));
    assert_eq!(replica.status().last_cid, Cid(0));
}

/// Replicas that lose each other, restart without memory, and take and restore snapshots slowly, in
/// any order: in the end all have executed everything once, and have the same state.
#[test]
fn any_order_of_faults_ends_in_one_state() {
    let mut transfers = 0;
    for seed in 0..40 {
        let mut draw = ChaCha8Rng::seed_from_u64(seed);
        let mut net = net(3);
        net.slow_jobs = true;
        let client = net.client();
        let mut linked = vec![0, 1, 2, 3];
        let mut number = 0;
        for _ in 0..150 {
            match draw.next_u32() % 16 {
                0..6 => {
                    number += 1;
                    let text = Bytes::from(format!("{number}"));
                    let body = net.request(client, number, Operation::Execute(text));
                    net.submit(client, &body, &linked);
                }
                6..9 => {
                    for _ in 0..draw.next_u32() % 60 {
                        net.step(draw.next_u32() as usize);
                    }
                }
                9 | 10 => {
                    let (a, b) = (draw.next_u32() as usize % 4, draw.next_u32() as usize % 4);
                    if a != b {
                        net.disconnect(a, b);
                    }
                }
                11 => {
                    let a = draw.next_u32() as usize % 4;
                    net.rejoin(a);
                }
                12 => (0..4).for_each(|replica| net.finish_job(replica)),
                13 => {
                    // One at a time forgets its votes, and one keeps its links to the client.
                    let me = draw.next_u32() as usize % 4;
                    let learning = net.replicas.iter().any(|replica| replica.status().learner);
                    if !learning && me < 2 {
                        linked.retain(|&other| other != me);
                        net.restart(me);
                    }
                }
                14 => net.wait_ms(u64::from(draw.next_u32() % 40)),
                _ => {
                    (0..4).for_each(|replica| net.finish_job(replica));
                    net.wait_ms(u64::from(draw.next_u32() % 3000));
                }
            }
            // The session's window.
            if number % 100 == 0 {
                net.run();
            }
        }
        net.slow_jobs = false;
        for replica in 0..4 {
            net.finish_job(replica);
            net.rejoin(replica);
        }
        net.wait_ms(60_000);
        for replica in 0..4 {
            assert_eq!(faults(&net, replica), [], "seed {seed}, replica {replica}");
            let wrong = |notice: &&Notice| {
                matches!(
                    notice,
                    Notice::StateDiverged { .. }
                        | Notice::CheckpointDisputed(_)
                        | Notice::TransferFailed { .. }
                )
            };
            assert_eq!(net.notices[replica].iter().find(wrong), None, "seed {seed}");
            let status = net.replicas[replica].status();
            assert!(!status.learner, "seed {seed}, replica {replica}: {status:?}");
        }
        let expected: Vec<String> = (1..=number).map(|number| number.to_string()).collect();
        for (replica, log) in net.logs().into_iter().enumerate() {
            assert_eq!(log, expected, "seed {seed}, replica {replica}");
        }
        assert_equal_states(&net);
        transfers += (0..4).map(|replica| transferred(&net, replica).len()).sum::<usize>();
    }
    assert!(transfers > 20, "{transfers} state transfers");
}

/// N3, S5: what a replica has by transfer alone proves its last decision in a leader change.
#[test]
fn a_fetched_state_proves_the_last_decision() {
    let mut net = net(4);
    let client = net.client();
    net.isolate(3);
    order(&mut net, client, 1..=8);
    net.rejoin(3);
    net.wait_ms(500);
    assert_eq!(transferred(&net, 3), [(Cid(0), Cid(8))]);
    // The leader stops: a quorum needs replica 3's STOPDATA.
    net.isolate(0);
    net.invoke(client, 9, "together");
    net.wait_ms(20_000);
    for replica in 1..4 {
        assert_eq!(net.logs()[replica].last(), Some(&"together"), "replica {replica}");
        assert!(net.replicas[replica].status().regency.0 > 0);
        assert_eq!(faults(&net, replica), []);
    }
}

/// N3, C6: a replica decided on a bad signature, and the decision that would prove it to others is
/// forgotten everywhere: the state that follows helps it on.
#[test]
fn a_decision_without_proof_is_left_behind_by_a_transfer() {
    let mut net = net(6);
    let client = net.client();
    order(&mut net, client, 1..=5);
    net.tamper = Some(Box::new(|from, to, message| match message {
        PeerMessage::Accept { cid: Cid(6), epoch, hash, .. } if (from, to) == (0, 3) => {
            let signature = Bytes::from_static(&[7; 64]);
            vec![PeerMessage::Accept { cid: Cid(6), epoch, hash, signature }]
        }
        PeerMessage::Accept { cid: Cid(6), .. } if (from, to) == (2, 3) => vec![],
        PeerMessage::Decided(_) if to == 3 => vec![],
        other => vec![other],
    }));
    order(&mut net, client, 6..=11);
    assert_eq!(net.replicas[3].status().last_cid, Cid(6));
    assert_eq!(stable(&net, 0).last().map(|id| id.cid), Some(Cid(6)));
    order(&mut net, client, 12..=13);
    net.wait_ms(1000);
    assert_eq!(transferred(&net, 3), [(Cid(6), Cid(12))]);
    net.tamper = None;
    net.wait_ms(1000);
    assert_equal_states(&net);
}
