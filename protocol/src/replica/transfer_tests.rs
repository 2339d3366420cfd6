use super::*;
use crate::auth::{SigningKey, sign_checkpoint};
use crate::membership::{MacAlgorithm, Member, ReplicaId, ServiceId, View, ViewNumber};
use crate::wire::CheckpointCertificate;
use crate::wire::limits::CHUNK_BYTES;

const RETRY: Duration = Duration::from_secs(2);

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}

fn key(index: u8) -> SigningKey {
    SigningKey::from_secret(&[index + 1; 32])
}

fn view() -> View {
    let member = |index: u8| Member {
        id: ReplicaId(index.into()),
        url: "ws://r".to_owned(),
        peer_address: String::new(),
        public_key: key(index).public(),
        noise_key: Digest([index; 32]),
    };
    View {
        service: ServiceId([1; 16]),
        number: ViewNumber(0),
        f: 1,
        mac: MacAlgorithm::HmacSha256,
        activation: Cid(1),
        previous: Digest::default(),
        members: (0..4).map(member).collect(),
    }
}

fn chunk(fill: u8) -> Bytes {
    Bytes::from(vec![fill; CHUNK_BYTES])
}

/// A manifest of full chunks with these fillings, and its proof.
fn stable(cid: u64, fills: &[u8]) -> (Manifest, VerifiedCheckpoint) {
    let manifest = Manifest {
        cid: Cid(cid),
        hash: Digest([2; 32]),
        service_bytes: (fills.len() * CHUNK_BYTES) as u64,
        protocol_bytes: 0,
        chunks: fills.iter().map(|fill| Digest::of(&chunk(*fill))).collect(),
    };
    let (view, checkpoint) = (view(), manifest.id());
    let sign =
        |index: u8| (ReplicaId(index.into()), sign_checkpoint(&key(index), &view, &checkpoint));
    let certificate = CheckpointCertificate { checkpoint, signatures: (0..3).map(sign).collect() };
    let verified = VerifiedCheckpoint::check(&view, &certificate).unwrap();
    (manifest, verified)
}

fn peers(of: &[usize]) -> ReplicaSet {
    of.iter().copied().collect()
}

/// Whom it asks for which chunks.
fn asked(requests: &[(usize, PeerMessage)]) -> Vec<(usize, u32)> {
    requests
        .iter()
        .map(|(peer, message)| match message {
            PeerMessage::FetchChunk { cid: Cid(8), index } => (*peer, *index),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// A transfer from members 0, 1 and 2 of a state of `count` chunks that has its manifest.
fn begun(count: u8) -> (Transfer, VerifiedCheckpoint) {
    let (manifest, target) = stable(8, &(0..count).collect::<Vec<_>>());
    let mut transfer = Transfer::new(target.clone(), 4, RETRY);
    let all = peers(&[0, 1, 2]);
    let fetch = PeerMessage::FetchManifest { cid: Cid(8) };
    assert_eq!(transfer.requests(at(0), all), [(0, fetch)]);
    assert_eq!(transfer.requests(at(0), all), []);
    assert_eq!(transfer.handle_manifest(0, manifest), Ok(()));
    (transfer, target)
}

#[test]
fn a_window_of_each_peer_in_turn() {
    let (mut transfer, target) = begun(14);
    let all = peers(&[0, 1, 2]);
    let first = asked(&transfer.requests(at(0), all));
    assert_eq!(first.len(), 3 * WINDOW);
    for peer in 0..3 {
        assert_eq!(first.iter().filter(|(asked, _)| *asked == peer).count(), WINDOW);
    }
    assert_eq!(transfer.requests(at(0), all), []);
    // Each answer makes room for one more.
    let (peer, index) = first[5];
    let fill = u8::try_from(index).unwrap();
    assert_eq!(transfer.handle_chunk(at(1), peer, Cid(8), index, chunk(fill)), Ok(()));
    assert_eq!(asked(&transfer.requests(at(1), all)), [(peer, 12)]);
    assert_eq!(transfer.progress(), (1, 14));
    for index in 0..14 {
        assert!(!transfer.is_complete());
        if index != u8::try_from(first[5].1).unwrap() {
            let outcome = transfer.handle_chunk(at(2), 2, Cid(8), index.into(), chunk(index));
            assert_eq!(outcome, Ok(()));
        }
    }
    assert!(transfer.is_complete());
    let (certificate, manifest, chunks) = transfer.finish().unwrap();
    assert_eq!(certificate, target);
    assert!(Snapshot::from_parts(manifest, chunks).is_ok());
}

#[test]
fn a_mute_peer_is_asked_last_and_for_little() {
    let (mut transfer, _) = begun(12);
    let all = peers(&[0, 1, 2]);
    let first = asked(&transfer.requests(at(0), all));
    assert_eq!(transfer.next_deadline(), Some(at(2000)));
    let of = |peer: usize| first.iter().filter(move |(asked, _)| *asked == peer);
    for &(peer, index) in of(0).chain(of(2)) {
        let fill = u8::try_from(index).unwrap();
        transfer.handle_chunk(at(1000), peer, Cid(8), index, chunk(fill)).unwrap();
    }
    assert_eq!(transfer.requests(at(1000), all), []);
    assert_eq!(transfer.next_deadline(), Some(at(2000)));
    transfer.handle_deadline(at(1999));
    assert_eq!(transfer.requests(at(1999), all), []);
    transfer.handle_deadline(at(2000));
    let again = asked(&transfer.requests(at(2000), all));
    assert_eq!(again.len(), WINDOW);
    assert_eq!(again.iter().filter(|(peer, _)| *peer == 1).count(), 1);
    assert_ne!(again[0].0, 1);
    // What comes late counts, but what was not asked for makes nobody quick.
    let (_, late) = *of(1).next().unwrap();
    let fill = u8::try_from(late).unwrap();
    transfer.handle_chunk(at(2100), 1, Cid(8), late, chunk(fill)).unwrap();
    transfer.handle_chunk(at(2100), 1, Cid(8), 0, chunk(0)).unwrap();
    assert!(transfer.sources[1].slow);
    assert_eq!(transfer.progress().0, 9);
}

#[test]
fn wrong_content_excludes_the_sender_only() {
    let (mut transfer, _) = begun(6);
    let all = peers(&[0, 1, 2]);
    let first = asked(&transfer.requests(at(0), all));
    let mine: Vec<u32> =
        first.iter().filter(|(peer, _)| *peer == 1).map(|(_, index)| *index).collect();
    let outcome = transfer.handle_chunk(at(1), 1, Cid(8), mine[0], chunk(99));
    assert_eq!(outcome, Err(TransferFault::Chunk(mine[0])));
    let again = asked(&transfer.requests(at(1), all));
    assert_eq!(again.iter().map(|(_, index)| *index).collect::<Vec<_>>(), mine);
    assert!(again.iter().all(|(peer, _)| *peer != 1));
    // A chunk that does not exist is wrong, one of another state is late.
    let outcome = transfer.handle_chunk(at(1), 2, Cid(8), 6, chunk(6));
    assert_eq!(outcome, Err(TransferFault::Chunk(6)));
    assert_eq!(transfer.handle_chunk(at(1), 0, Cid(7), 0, chunk(99)), Ok(()));
    assert!(transfer.has_source(all) && !transfer.has_source(peers(&[1, 2])));
}

#[test]
fn a_wrong_manifest_is_asked_for_elsewhere() {
    let (manifest, target) = stable(8, &[1, 2]);
    let mut transfer = Transfer::new(target, 4, RETRY);
    let all = peers(&[0, 1, 2]);
    transfer.requests(at(0), all);
    let (other, _) = stable(8, &[1, 3]);
    assert_eq!(transfer.handle_manifest(0, other), Err(TransferFault::Manifest));
    let fetch = PeerMessage::FetchManifest { cid: Cid(8) };
    assert_eq!(transfer.requests(at(0), all), [(1, fetch.clone())]);
    // A mute one is passed over in time.
    transfer.handle_deadline(at(2000));
    assert_eq!(transfer.requests(at(2000), all), [(2, fetch.clone())]);
    // Those who do not have it are asked again after a while, the liar is not.
    transfer.handle_gone(2, Cid(8));
    assert_eq!(transfer.requests(at(2000), all), [(1, fetch.clone())]);
    transfer.handle_gone(1, Cid(8));
    assert_eq!(transfer.gone(), peers(&[1, 2]));
    assert_eq!(transfer.requests(at(2000), all), []);
    assert_eq!(transfer.next_deadline(), Some(at(4000)));
    transfer.handle_deadline(at(4000));
    assert_eq!(transfer.requests(at(4000), all), [(2, fetch)]);
    assert_eq!(transfer.handle_manifest(1, manifest), Ok(()));
    assert_eq!(transfer.progress(), (0, 2));
}

#[test]
fn a_lost_stream_gives_back_what_was_asked() {
    let (mut transfer, _) = begun(2);
    assert_eq!(asked(&transfer.requests(at(0), peers(&[1]))), [(1, 0), (1, 1)]);
    transfer.handle_chunk(at(1), 1, Cid(8), 0, chunk(0)).unwrap();
    transfer.handle_disconnected(1);
    assert_eq!(transfer.requests(at(1), peers(&[])), []);
    assert_eq!(asked(&transfer.requests(at(2), peers(&[2]))), [(2, 1)]);
}

#[test]
fn equal_chunks_of_an_older_state_are_not_fetched() {
    let (mut transfer, _) = begun(4);
    transfer.handle_chunk(at(1), 1, Cid(8), 0, chunk(0)).unwrap();
    transfer.handle_chunk(at(1), 1, Cid(8), 3, chunk(3)).unwrap();
    let (manifest, later) = stable(12, &[3, 5, 0, 1, 0]);
    let mut transfer = transfer.retarget(later);
    let (own, _) = stable(4, &[5]);
    transfer.reuse(&Snapshot::from_parts(own, vec![chunk(5)]).unwrap());
    assert_eq!(transfer.target().id().cid, Cid(12));
    transfer.handle_manifest(0, manifest).unwrap();
    assert_eq!(transfer.progress(), (4, 5));
    let requests = transfer.requests(at(2), peers(&[0]));
    assert_eq!(requests, [(0, PeerMessage::FetchChunk { cid: Cid(12), index: 3 })]);
}

#[test]
fn an_empty_state_needs_no_chunk() {
    let (manifest, target) = stable(8, &[]);
    let mut transfer = Transfer::new(target, 4, RETRY);
    transfer.handle_manifest(2, manifest).unwrap();
    assert!(transfer.is_complete());
    assert_eq!(transfer.requests(at(0), peers(&[0, 1, 2])), []);
    assert_eq!(transfer.next_deadline(), None);
}
