//! The change of the leader at whole replicas (rules S1 to S9), and restarts with a log (N4).
#![allow(clippy::unwrap_used)]

mod common;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;
use common::{Net, START, signing_key};
use webbft_protocol::auth::{sign_accept, sign_stop_data};
use webbft_protocol::membership::{Cid, Digest, Epoch, Regency, ReplicaId, ReplicaSet};
use webbft_protocol::ordering::{ProposalFault, SyncFault};
use webbft_protocol::replica::{Notice, PeerFault};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{
    Batch, BatchEntry, Certificate, LastProof, PeerMessage, Request, SignedStopData, StopData, Sync,
};

fn regencies(net: &Net) -> Vec<u32> {
    net.replicas.iter().map(|replica| replica.status().regency.0).collect()
}

/// A batch of one request, at a time that every replica takes.
fn batch_of(net: &Net, client: usize, body: &Bytes) -> Batch {
    let entry = BatchEntry { id: net.id(client, 1), digest: Request::digest(body) };
    Batch { time: UnixMicros(START), entries: vec![entry] }
}

fn hash_of(net: &Net, cid: Cid, batch: &Batch) -> Digest {
    batch.hash(net.view.service, net.view.number, cid)
}

/// What a replica that has decided nothing says when a regency begins.
fn stop_data(
    net: &Net,
    replica: usize,
    regency: u32,
    accepted: Option<(Epoch, Digest)>,
    writeset: Vec<(Epoch, Digest)>,
) -> SignedStopData {
    let data = StopData {
        service: net.view.service,
        view: net.view.number,
        regency: Regency(regency),
        replica: ReplicaId(u16::try_from(replica).unwrap()),
        last_cid: Cid::ZERO,
        last_hash: Digest::default(),
        proof: LastProof::Genesis,
        accepted,
        writeset,
    };
    sign_stop_data(&signing_key(replica), &data)
}

#[test]
fn a_crashed_leader_is_replaced() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    net.invoke(client, 1, "before");
    net.run();
    net.isolate(0);
    net.invoke(client, 2, "after");
    net.wait_ms(2100);
    assert_eq!(regencies(&net), [0, 1, 1, 1]);
    let both = vec!["before", "after"];
    assert_eq!(net.logs(), [vec!["before"], both.clone(), both.clone(), both.clone()]);
    // The old leader comes back, follows, and is needed.
    net.rejoin(0);
    net.wait_ms(500);
    assert_eq!(net.logs()[0], both);
    net.isolate(3);
    net.invoke(client, 3, "with the old leader");
    net.wait_ms(100);
    assert_eq!(net.logs()[1], ["before", "after", "with the old leader"]);
    assert_eq!(regencies(&net), [1, 1, 1, 1]);
}

#[test]
fn one_leader_after_another_crashes() {
    let mut net = Net::new(7, 2);
    let client = net.client();
    net.isolate(0);
    net.isolate(1);
    net.invoke(client, 1, "x");
    net.wait_ms(20_000);
    assert_eq!(net.logs()[2..], vec![vec!["x"]; 5]);
    assert_eq!(regencies(&net)[2..], [2; 5]);
}

/// S7: what a quorum may have accepted is what the next leader has to propose, though nobody of
/// those left has vouched for it.
#[test]
fn an_accepted_value_is_bound() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("bound"));
    let batch = batch_of(&net, client, &body);
    let (cid, epoch) = (Cid(1), Epoch(1));
    let hash = hash_of(&net, cid, &batch);
    // Replicas 0, 1 and 2 write and accept; nobody sees a quorum of ACCEPTs.
    net.submit(client, &body, &[0, 1, 2]);
    net.isolate(3);
    net.run();
    assert_eq!(net.logs()[1], ["bound"], "it decides where all three are heard");

    let mut net = Net::new(4, 1);
    let client = net.client();
    net.submit(client, &body, &[1, 2]);
    net.isolate(0);
    net.isolate(3);
    net.run();
    // The leader's words, to each of the two; their own ACCEPTs reach each other, the third's
    // reach nobody.
    for to in [1, 2] {
        net.inject_proposal(0, to, cid, epoch, batch.clone());
        net.inject(0, to, PeerMessage::Write { cid, epoch, hash });
    }
    net.run();
    assert_eq!(net.logs(), vec![Vec::<&str>::new(); 4]);
    net.connect(1, 3);
    net.connect(2, 3);
    // A request that makes all of them suspect the silent leader.
    let other = net.client();
    net.invoke(other, 1, "another");
    net.wait_ms(4000);
    assert_eq!(net.logs()[1..], vec![vec!["bound", "another"]; 3]);
}

/// S5: a liar who alone knows that an instance is decided cannot stop the next leader with it.
#[test]
fn a_certificate_that_comes_with_a_stop_data_is_used() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("x"));
    net.submit(client, &body, &[1, 2, 3]);
    net.isolate(0);
    let batch = batch_of(&net, client, &body);
    let (cid, epoch) = (Cid(1), Epoch(1));
    let hash = hash_of(&net, cid, &batch);
    // All three accept, and only the liar hears of it.
    net.lost = |_, _, message| matches!(message, PeerMessage::Accept { .. });
    for to in 1..4 {
        net.inject_proposal(0, to, cid, epoch, batch.clone());
    }
    net.run();
    assert_eq!(net.logs(), vec![Vec::<&str>::new(); 4]);
    let signature = |replica: usize| {
        let id = ReplicaId(u16::try_from(replica).unwrap());
        (id, sign_accept(&signing_key(replica), &net.view, cid, epoch, hash))
    };
    let certificate = Certificate { epoch, signatures: (1..4).map(signature).collect() };
    let data = StopData {
        service: net.view.service,
        view: net.view.number,
        regency: Regency(1),
        replica: ReplicaId(0),
        last_cid: cid,
        last_hash: hash,
        proof: LastProof::Certificate(certificate),
        accepted: None,
        writeset: Vec::new(),
    };
    net.inject(0, 1, PeerMessage::StopData(sign_stop_data(&signing_key(0), &data)));
    net.wait_ms(500);
    assert_eq!(net.logs()[1..], vec![vec!["x"]; 3]);
    net.lost = |_, _, _| false;
    let second = net.request(client, 2, Net::execute("y"));
    net.submit(client, &second, &[1, 2, 3]);
    net.wait_ms(2500);
    assert_eq!(net.logs()[1..], vec![vec!["x", "y"]; 3]);
    assert_eq!(regencies(&net)[1..], [1; 3]);
}

/// S6: a SYNC with another batch than the bound one, or one that leaves the choice open, proves
/// the new leader wrong, at once.
#[test]
fn a_wrong_sync_is_refused() {
    let (bound, epoch) = (Digest([9; 32]), Epoch(1));
    let datas = |net: &Net, accepted| {
        (1..4).map(|me| stop_data(net, me, 1, accepted, vec![(epoch, bound)])).collect::<Vec<_>>()
    };
    type Forge = fn(&Net, &mut Sync);
    let cases: [(Forge, SyncFault); 4] = [
        (|_, _| {}, SyncFault::NotBound),
        (
            |_, sync| {
                sync.stop_datas.pop();
            },
            SyncFault::Undetermined,
        ),
        (
            |_, sync| {
                let first = sync.stop_datas[0].clone();
                sync.stop_datas.push(first);
            },
            SyncFault::Repeated,
        ),
        (
            |net, sync| {
                let foreign = stop_data(net, 0, 2, None, Vec::new());
                sync.stop_datas.push(foreign);
            },
            SyncFault::Regency,
        ),
    ];
    for (forge, expected) in cases {
        let mut net = Net::new(4, 1);
        let stop_datas = datas(&net, Some((epoch, bound)));
        let batch = Batch { time: UnixMicros(START), entries: vec![] };
        let mut sync = Sync { regency: Regency(1), stop_datas, batch };
        forge(&net, &mut sync);
        for from in [0, 2, 3] {
            for to in (1..4).filter(|&to| to != from) {
                let regency = Regency(1);
                net.inject(from, to, PeerMessage::Stop { regency, evidence: None });
            }
        }
        net.isolate(1);
        net.inject(1, 3, PeerMessage::Sync(sync));
        net.run();
        let fault = PeerFault::Consensus(ProposalFault::Sync(expected));
        let expected = Notice::PeerMisbehaved { peer: 1, fault };
        assert!(net.notices[3].contains(&expected), "{expected:?} not in {:?}", net.notices[3]);
    }
}

/// S2: a STOP is taken back when its reason is gone: with an old one and a liar no leader is
/// deposed.
#[test]
fn an_old_stop_does_not_count() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("a"));
    // Replica 3 alone gets to admit it, and stops a leader who cannot.
    net.lost = |from, to, message| (from == 3 || to == 0) && mentions(message, 0);
    net.submit(client, &body, &[1, 2, 3]);
    net.wait_ms(2100);
    assert_eq!(net.suspicions(), 1);
    net.lost = |_, _, _| false;
    net.isolate(3);
    net.isolate(0);
    net.rejoin(3);
    net.rejoin(0);
    net.wait_ms(1000);
    assert_eq!(net.logs(), vec![vec!["a"]; 4]);
    assert_eq!(regencies(&net), [0; 4]);
    // A liar's, one of three that it takes.
    for to in [0, 1, 3] {
        net.inject(2, to, PeerMessage::Stop { regency: Regency(1), evidence: None });
    }
    net.wait_ms(5000);
    assert_eq!(regencies(&net), [0; 4]);
}

/// S8: a leader who starves one client while it orders others' requests is deposed.
#[test]
fn a_leader_that_starves_a_client_is_deposed() {
    let mut net = Net::new(4, 1);
    let (starved, busy) = (net.client(), net.client());
    let body = net.request(starved, 1, Net::execute("starved"));
    // The leader will not hear of it, whoever tells.
    net.lost = |_, to, message| to == 0 && mentions(message, 0);
    net.submit(starved, &body, &[1, 2, 3]);
    for number in 1..60 {
        let body = net.request(busy, number, Net::execute("busy"));
        net.submit(busy, &body, &[0, 1, 2, 3]);
        net.wait_ms(100);
    }
    assert!(net.logs()[1].contains(&"starved"), "{:?}", net.logs()[1]);
    assert!(net.replicas[1].status().regency > Regency(0));
}

fn mentions(message: &PeerMessage, client: usize) -> bool {
    let session = [u8::try_from(client).unwrap(); 16];
    match message {
        PeerMessage::Vouches { groups, .. } => {
            groups.iter().any(|group| group.session.0 == session)
        }
        PeerMessage::Body(bytes) => {
            Request::decode(bytes).is_ok_and(|request| request.id.session.0 == session)
        }
        _ => false,
    }
}

/// N3: one bad signature in a quorum of ACCEPTs poisons nothing; the others are collected.
#[test]
fn a_bad_signature_is_left_out() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("x"));
    // Replica 2 hears nothing of votes, and replica 3 is a liar, whose words are injected.
    net.lost = |from, to, message| {
        let vote = matches!(message, PeerMessage::Write { .. } | PeerMessage::Accept { .. });
        from == 3 || (to == 2 && vote) || (from == 2 && vote)
    };
    net.submit(client, &body, &[0, 1, 2]);
    net.run();
    let (cid, epoch) = (Cid(1), Epoch(1));
    let hash = hash_of(&net, cid, &net.proposed[0]);
    for to in [0, 1] {
        let signature = Bytes::from_static(&[7; 64]);
        net.inject(3, to, PeerMessage::Write { cid, epoch, hash });
        net.inject(3, to, PeerMessage::Accept { cid, epoch, hash, signature });
    }
    net.wait_ms(10);
    assert_eq!(net.logs()[..2], vec![vec!["x"]; 2]);
    // Until the third good one is there, nothing more is voted on.
    let second = net.request(client, 2, Net::execute("y"));
    net.submit(client, &second, &[0, 1, 2]);
    net.wait_ms(10);
    assert_eq!(net.logs()[0], ["x"]);
    let fault = PeerFault::Consensus(ProposalFault::AcceptSignature);
    assert!(net.notices[0].contains(&Notice::PeerMisbehaved { peer: 3, fault }));
    net.lost = |from, _, _| from == 3;
    net.wait_ms(1000);
    assert_eq!(net.logs()[..3], vec![vec!["x", "y"]; 3]);
}

#[test]
fn nothing_is_said_before_it_is_durable() {
    let mut net = Net::logged(4, 1);
    let client = net.client();
    net.slow_disks = vec![2, 3];
    net.invoke(client, 1, "x");
    net.wait_ms(500);
    // Two disks hold up two votes, and two are no quorum.
    assert_eq!(net.logs(), vec![Vec::<&str>::new(); 4]);
    net.slow_disks = vec![3];
    net.make_durable(2);
    net.wait_ms(500);
    assert_eq!(net.logs()[..3], vec![vec!["x"]; 3]);
    // The fourth decides with the others' votes, and tells no client.
    assert_eq!(net.logs()[3], ["x"]);
    assert_eq!(net.replies(client, 3), []);
    net.make_durable(3);
    net.wait_ms(500);
    assert_eq!(net.replies(client, 3).len(), 1);
}

/// S8: who installs a regency gives its leader the full time, though requests were overdue in the
/// one before.
#[test]
fn a_new_leader_is_not_stopped_at_once() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let wanted = Rc::new(RefCell::new(BTreeSet::new()));
    let seen = Rc::clone(&wanted);
    net.tamper = Some(Box::new(move |_, _, message| {
        if let PeerMessage::Stop { regency, .. } = &message {
            seen.borrow_mut().insert(*regency);
        }
        vec![message]
    }));
    net.isolate(0);
    net.invoke(client, 1, "x");
    net.wait_ms(2500);
    assert_eq!(regencies(&net), [0, 1, 1, 1]);
    assert_eq!(*wanted.borrow(), [Regency(1)].into());
}

/// N4: a STOPDATA that is asked for in the turn in which it is made waits for its record, too.
#[test]
fn what_is_repeated_waits_for_the_disk() {
    let mut net = Net::logged(4, 1);
    net.slow_disks = vec![3];
    for from in 0..3 {
        let stop = PeerMessage::Stop { regency: Regency(1), evidence: None };
        net.tell(from, 3, stop);
    }
    net.tell(1, 3, PeerMessage::FetchDecisions { from: Cid(1) });
    let stop_datas = |said: Vec<(ReplicaSet, PeerMessage)>| {
        said.iter().filter(|(_, message)| matches!(message, PeerMessage::StopData(_))).count()
    };
    net.drain(3);
    assert!(net.wires.values().flatten().all(|sent| !matches!(sent, PeerMessage::StopData(_))));
    net.make_durable(3);
    assert_eq!(stop_datas(net.said(3)), 2);
}

#[test]
fn all_restart_at_once_and_nothing_is_lost() {
    let mut net = Net::logged(4, 1);
    let client = net.client();
    for number in 1..=5 {
        net.invoke(client, number, "x");
        net.run();
    }
    for me in 0..4 {
        net.restart_from_log(me);
    }
    net.wait_ms(100);
    assert_eq!(net.logs(), vec![vec!["x"; 5]; 4]);
    let client = net.client();
    net.invoke(client, 1, "after");
    net.wait_ms(500);
    assert_eq!(net.logs(), vec![vec!["x", "x", "x", "x", "x", "after"]; 4]);
    assert_eq!(regencies(&net), [0; 4]);
}

/// N4 and S3: a regency, votes in it and the leader's choice survive a restart.
#[test]
fn a_leader_change_survives_restarts() {
    let mut net = Net::logged(4, 1);
    let client = net.client();
    net.isolate(0);
    net.invoke(client, 1, "x");
    net.wait_ms(2100);
    for me in 1..4 {
        net.restart_from_log(me);
        net.disconnect(0, me);
    }
    assert_eq!(regencies(&net), [0, 1, 1, 1]);
    net.wait_ms(500);
    assert_eq!(net.logs()[1..], vec![vec!["x"]; 3]);
    let client = net.client();
    net.invoke(client, 1, "y");
    net.wait_ms(1000);
    assert_eq!(net.logs()[1..], vec![vec!["x", "y"]; 3]);
    assert_eq!(regencies(&net), [0, 1, 1, 1]);
}

/// N4: a value that a quorum had accepted before all lost power is decided afterwards.
#[test]
fn an_accepted_value_survives_a_power_cut() {
    let mut net = Net::logged(4, 1);
    let client = net.client();
    net.isolate(0);
    let body = net.request(client, 1, Net::execute("x"));
    net.submit(client, &body, &[1, 2, 3]);
    net.run();
    let batch = batch_of(&net, client, &body);
    let (cid, epoch) = (Cid(1), Epoch(1));
    for to in 1..4 {
        net.inject_proposal(0, to, cid, epoch, batch.clone());
    }
    // All three write and accept; the power goes before an ACCEPT arrives.
    net.lost = |_, _, message| matches!(message, PeerMessage::Accept { .. });
    net.run();
    assert_eq!(net.logs(), vec![Vec::<&str>::new(); 4]);
    net.lost = |_, _, _| false;
    for me in 1..4 {
        net.restart_from_log(me);
        net.disconnect(0, me);
    }
    net.wait_ms(1000);
    assert_eq!(net.logs()[1..], vec![vec!["x"]; 3]);
}

/// D3: a leader that lost its memory is replaced, and then learns.
#[test]
fn a_leader_that_lost_its_memory_is_replaced() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    net.invoke(client, 1, "x");
    net.run();
    net.restart(0);
    net.wait_ms(3000);
    assert_eq!(regencies(&net), [1; 4]);
    assert!(!net.replicas[0].status().learner);
    assert_eq!(net.logs(), vec![vec!["x"]; 4]);
}
