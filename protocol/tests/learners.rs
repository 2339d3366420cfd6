//! Replicas that lost their memory (rule D3), and the proofs of decisions that they rest on.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{Net, START, signing_key};
use webbft_protocol::auth::{
    CertificateError, sign_accept, sign_checkpoint, sign_propose, sign_stop_data,
};
use webbft_protocol::membership::{Cid, Digest, Epoch, Regency, ReplicaId, SessionId};
use webbft_protocol::replica::{Notice, PeerFault};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{
    Batch, Certificate, CheckpointCertificate, CheckpointId, Decision, LastProof, PeerMessage,
    StopData,
};

/// The replica under test.
const ME: usize = 3;

/// D3: a replica that restarted without memory follows, then votes again once the others have
/// gone on by two instances, for which the leader orders empty batches.
#[test]
fn a_restarted_replica_learns_and_votes_again() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    net.invoke(client, 1, "a");
    net.run();
    net.restart(3);
    assert!(net.replicas[3].status().learner);
    net.wait_ms(3000);
    assert!(!net.replicas[3].status().learner);
    // Its vote counts: without replica 2 a quorum needs it.
    net.isolate(2);
    let body = net.request(client, 2, Net::execute("b"));
    net.submit(client, &body, &[0, 1]);
    net.wait_ms(1000);
    assert_eq!(net.logs()[3], ["a", "b"]);
}

/// D3: while it learns, it does not vote.
#[test]
fn a_learner_does_not_vote() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    net.invoke(client, 1, "a");
    net.run();
    net.restart(3);
    net.isolate(2);
    let body = net.request(client, 2, Net::execute("b"));
    net.submit(client, &body, &[0, 1]);
    net.wait_ms(10_000);
    assert_eq!(net.logs()[0], ["a"]);
    assert!(net.replicas[3].status().learner);
}

/// D3: nor does a learner vouch for what clients send it.
#[test]
fn a_learner_does_not_vouch() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    net.invoke(client, 1, "a");
    net.run();
    // Nothing is ordered while replica 2 is away, so that replica 3 goes on learning.
    net.isolate(2);
    net.restart(ME);
    net.disconnect(ME, 2);
    let other = net.client();
    net.clients[other].session = SessionId([77; 16]);
    let body = net.request(other, 1, Net::execute("b"));
    net.submit(other, &body, &[ME]);
    net.wait_ms(1000);
    assert!(net.replicas[ME].status().learner);
    let pending: Vec<usize> = net.replicas.iter().map(|r| r.status().pending).collect();
    assert_eq!(pending[..2], [0, 0]);
}

fn id(index: usize) -> ReplicaId {
    ReplicaId(u16::try_from(index).unwrap())
}

/// A certificate with the signatures of these members, each in its own name.
fn certificate(net: &Net, signers: &[usize], cid: Cid, hash: Digest) -> Certificate {
    let epoch = Epoch(1);
    let sign =
        |&peer: &usize| (id(peer), sign_accept(&signing_key(peer), &net.view, cid, epoch, hash));
    Certificate { epoch, signatures: signers.iter().map(sign).collect() }
}

/// D3: a report of what was not decided counts as none. It would keep the learner from voting for
/// ever, and with it the group from losing another replica.
#[test]
fn a_report_without_proof_does_not_count() {
    const LIAR: usize = 5;
    const LEARNER: usize = 6;
    let far = Cid(u64::MAX);
    let hash = Digest([9; 32]);
    let too_few = |valid| CertificateError::TooFew { valid, needed: 5 };
    let checkpoint = CheckpointId { cid: far, hash, digest: hash };
    type Lie = fn(&Net, CheckpointId, LastProof) -> LastProof;
    let lies: [(Lie, CertificateError); 5] = [
        (|_, _, _| LastProof::Genesis, CertificateError::Other),
        // What it would have said: of another instance.
        (|_, _, proof| proof, too_few(0)),
        (
            |net, lie, _| LastProof::Certificate(certificate(net, &[LIAR], lie.cid, lie.hash)),
            too_few(1),
        ),
        (
            |net, checkpoint, _| {
                let signature = sign_checkpoint(&signing_key(LIAR), &net.view, &checkpoint);
                let signatures = (0..7).map(|index| (id(index), signature.clone())).collect();
                LastProof::Checkpoint(CheckpointCertificate { checkpoint, signatures })
            },
            too_few(1),
        ),
        (
            |_, checkpoint, _| {
                let checkpoint = CheckpointId { cid: Cid(1), ..checkpoint };
                let signatures = Vec::new();
                LastProof::Checkpoint(CheckpointCertificate { checkpoint, signatures })
            },
            CertificateError::Other,
        ),
    ];
    for (lie, error) in lies {
        let mut net = Net::new(7, 2);
        let client = net.client();
        net.invoke(client, 1, "a");
        net.run();
        let outside = Net::new(7, 2);
        net.tamper = Some(Box::new(move |from, to, message| {
            vec![match message {
                PeerMessage::Report { proof, .. } if (from, to) == (LIAR, LEARNER) => {
                    let proof = lie(&outside, checkpoint, proof);
                    PeerMessage::Report { last_cid: far, last_hash: hash, proof }
                }
                PeerMessage::Status { learner, .. } if from == LIAR => {
                    PeerMessage::Status { last_cid: far, learner }
                }
                message => message,
            }]
        }));
        net.restart(LEARNER);
        net.wait_ms(3000);
        let caught = Notice::PeerMisbehaved { peer: LIAR, fault: PeerFault::Report(error) };
        assert!(net.notices[LEARNER].contains(&caught), "{error:?}: {:?}", net.notices[LEARNER]);
        assert!(!net.replicas[LEARNER].status().learner, "{error:?}");
    }
}

/// What the replica under test reports.
fn report(net: &mut Net) -> (Cid, Digest) {
    net.said(ME);
    net.tell(0, ME, PeerMessage::Status { last_cid: Cid(0), learner: true });
    let reports: Vec<(Cid, Digest)> = net
        .said(ME)
        .into_iter()
        .filter_map(|(_, message)| match message {
            PeerMessage::Report { last_cid, last_hash, .. } => Some((last_cid, last_hash)),
            _ => None,
        })
        .collect();
    assert_eq!(reports.len(), 1);
    reports[0]
}

/// N3, N4: a replica decides with the ACCEPT of a liar, whose signature is worth nothing, and gets
/// the proof from others, with a decision or in a leader change. Then it votes on the next
/// instance: after a restart it must still be able to prove this one, or it would forget that vote
/// in a STOPDATA.
#[test]
fn a_proof_that_came_from_others_survives_a_restart() {
    for in_leader_change in [false, true] {
        let mut net = Net::logged(4, 1);
        let (cid, epoch) = (Cid(1), Epoch(1));
        let batch = Batch { time: UnixMicros(START + 1), entries: vec![] };
        let hash = batch.hash(net.view.service, net.view.number, cid);
        let signature = sign_propose(&signing_key(0), &net.view, cid, epoch, hash);
        let proposal = PeerMessage::Propose { cid, epoch, batch: batch.clone(), signature };
        net.tell(0, ME, proposal);
        let signature = Bytes::from_static(&[7; 64]);
        net.tell(0, ME, PeerMessage::Accept { cid, epoch, hash, signature });
        let signature = sign_accept(&signing_key(1), &net.view, cid, epoch, hash);
        net.tell(1, ME, PeerMessage::Accept { cid, epoch, hash, signature });
        net.drain(ME);
        net.replicas[ME].handle_deadline(net.now);
        net.drain(ME);
        assert_eq!(net.replicas[ME].status().last_cid, cid);
        assert_eq!(report(&mut net), (Cid(0), Digest::default()));
        let certificate = certificate(&net, &[0, 1, 2], cid, hash);
        if in_leader_change {
            // Regency 3 is its own to lead.
            for from in 0..3 {
                let stop = PeerMessage::Stop { regency: Regency(3), evidence: None };
                net.tell(from, ME, stop);
            }
            let data = StopData {
                service: net.view.service,
                view: net.view.number,
                regency: Regency(3),
                replica: id(1),
                last_cid: cid,
                last_hash: hash,
                proof: LastProof::Certificate(certificate),
                accepted: None,
                writeset: Vec::new(),
            };
            let signed = sign_stop_data(&signing_key(1), &data);
            net.tell(1, ME, PeerMessage::StopData(signed));
        } else {
            let decision = Decision { cid, batch, certificate, bodies: vec![] };
            net.tell(2, ME, PeerMessage::Decided(decision));
        }
        net.drain(ME);
        assert_eq!(report(&mut net), (cid, hash));
        net.restart_from_log(ME);
        assert_eq!(report(&mut net), (cid, hash), "in a leader change: {in_leader_change}");
    }
}
