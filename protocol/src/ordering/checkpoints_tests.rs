use super::*;
use crate::membership::{MacAlgorithm, Member, ReplicaId, ServiceId, ViewNumber};

fn key(index: u8) -> SigningKey {
    SigningKey::from_secret(&[index + 1; 32])
}

fn view() -> Arc<View> {
    let member = |index: u8| Member {
        id: ReplicaId(u16::from(index) + 10),
        url: "ws://r".to_owned(),
        peer_address: String::new(),
        public_key: key(index).public(),
        noise_key: Digest([index; 32]),
    };
    Arc::new(View {
        service: ServiceId([1; 16]),
        number: ViewNumber(0),
        f: 1,
        mac: MacAlgorithm::HmacSha256,
        activation: Cid(1),
        previous: Digest::default(),
        members: (0..4).map(member).collect(),
    })
}

fn state(cid: u64, digest: u8) -> CheckpointId {
    CheckpointId { cid: Cid(cid), hash: Digest([7; 32]), digest: Digest([digest; 32]) }
}

fn signed(by: u8, checkpoint: &CheckpointId) -> Bytes {
    sign_checkpoint(&key(by), &view(), checkpoint)
}

/// At member 0.
fn checkpoints() -> Checkpoints {
    Checkpoints::new(view(), 0, key(0))
}

fn say(checkpoints: &mut Checkpoints, by: u8, checkpoint: CheckpointId) {
    let signature = signed(by, &checkpoint);
    checkpoints.handle_checkpoint(by.into(), checkpoint, signature).unwrap();
}

fn advance(checkpoints: &mut Checkpoints) -> (Option<CheckpointId>, Vec<usize>) {
    let mut liars = Vec::new();
    (checkpoints.advance(&mut liars).map(|stable| stable.id()), liars)
}

#[test]
fn a_quorum_of_one_state_makes_it_stable_once() {
    let mut checkpoints = checkpoints();
    let own = state(4, 1);
    let message = checkpoints.claim(own);
    let signature = signed(0, &own);
    assert_eq!(message, PeerMessage::Checkpoint { checkpoint: own, signature });
    assert_eq!(checkpoints.resend(), [message]);
    say(&mut checkpoints, 1, own);
    say(&mut checkpoints, 1, own);
    say(&mut checkpoints, 2, state(4, 2));
    assert_eq!(advance(&mut checkpoints), (None, vec![]));
    say(&mut checkpoints, 3, own);
    assert_eq!(advance(&mut checkpoints), (Some(own), vec![]));
    assert_eq!(advance(&mut checkpoints), (None, vec![]));
    let stable = checkpoints.stable().unwrap();
    let signers: Vec<u16> = stable.certificate().signatures.iter().map(|(id, _)| id.0).collect();
    assert_eq!(signers, [10, 11, 13]);
    assert_eq!(checkpoints.resend(), []);
    assert_eq!(checkpoints.stable_at(Cid(4)).map(VerifiedCheckpoint::id), Some(own));
}

#[test]
fn a_bad_signature_is_left_out_and_its_sender_named() {
    let mut checkpoints = checkpoints();
    let own = state(4, 1);
    checkpoints.claim(own);
    say(&mut checkpoints, 1, own);
    checkpoints.handle_checkpoint(2, own, signed(3, &own)).unwrap();
    assert_eq!(advance(&mut checkpoints), (None, vec![2]));
    let long = Bytes::from(vec![0; 65]);
    assert_eq!(checkpoints.handle_checkpoint(3, own, long), Err(CheckpointFault::Signature));
    // Once is enough: it is not looked at again, and the good one counts.
    assert_eq!(advance(&mut checkpoints), (None, vec![]));
    say(&mut checkpoints, 2, own);
    assert_eq!(advance(&mut checkpoints), (Some(own), vec![]));
}

#[test]
fn two_states_of_one_instance_are_a_fault() {
    let mut checkpoints = checkpoints();
    say(&mut checkpoints, 1, state(4, 1));
    let other = state(4, 2);
    let outcome = checkpoints.handle_checkpoint(1, other, signed(1, &other));
    assert_eq!(outcome, Err(CheckpointFault::TwoStates));
}

/// A liar fills its own two places and nobody else's.
#[test]
fn what_one_member_says_is_bounded() {
    let mut checkpoints = checkpoints();
    for cid in 1..100 {
        say(&mut checkpoints, 3, state(cid, 9));
    }
    say(&mut checkpoints, 3, state(u64::MAX, 9));
    assert_eq!(checkpoints.claims[3].len(), CLAIMS);
    let own = state(4, 1);
    checkpoints.claim(own);
    say(&mut checkpoints, 1, own);
    say(&mut checkpoints, 2, own);
    assert_eq!(advance(&mut checkpoints), (Some(own), vec![]));
}

/// Others may be further: the latest that is stable counts, and certificates do not go back.
#[test]
fn the_latest_stable_one_counts() {
    let mut checkpoints = checkpoints();
    for by in 1..4 {
        say(&mut checkpoints, by, state(4, 1));
        say(&mut checkpoints, by, state(8, 2));
    }
    assert_eq!(advance(&mut checkpoints), (Some(state(8, 2)), vec![]));
    let certificate = |checkpoint, by: &[u8]| CheckpointCertificate {
        checkpoint,
        signatures: by
            .iter()
            .map(|&by| (ReplicaId(u16::from(by) + 10), signed(by, &checkpoint)))
            .collect(),
    };
    let earlier = certificate(state(4, 1), &[1, 2, 3]);
    assert_eq!(checkpoints.handle_certificate(&earlier), Ok(None));
    let few = certificate(state(12, 1), &[1, 2, 2]);
    let error = CertificateError::TooFew { valid: 2, needed: 3 };
    assert_eq!(checkpoints.handle_certificate(&few), Err(CheckpointFault::Certificate(error)));
    let later = certificate(state(12, 1), &[1, 2, 3]);
    let stable = checkpoints.handle_certificate(&later).unwrap().unwrap();
    assert_eq!(stable.id(), state(12, 1));
    assert_eq!(checkpoints.previous().map(VerifiedCheckpoint::id), Some(state(8, 2)));
    // Two are remembered.
    checkpoints.handle_certificate(&certificate(state(16, 1), &[1, 2, 3])).unwrap();
    assert_eq!(checkpoints.stable_at(Cid(8)), None);
}

#[test]
fn dissent_of_a_correct_replica_is_seen() {
    let mut checkpoints = checkpoints();
    checkpoints.claim(state(4, 1));
    say(&mut checkpoints, 1, state(4, 2));
    assert_eq!(checkpoints.dissent(), None);
    say(&mut checkpoints, 2, state(4, 3));
    let digest = Digest([1; 32]);
    assert_eq!(checkpoints.dissent(), Some(Dissent { cid: Cid(4), digest, others: 2 }));
    checkpoints.withdraw();
    assert_eq!(checkpoints.dissent(), None);
}
