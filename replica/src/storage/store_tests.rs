use std::path::Path;

use rand::{Rng, RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use redb::ReadableTable as _;
use webbft_protocol::membership::{Cid, ReplicaId, ServiceId, ViewNumber};
use webbft_protocol::replica::Record;

use super::Votes;
use super::error::{Identity, StorageError};
use super::faulty::FaultyDisk;
use super::rows::{FORMAT, META};
use super::seal::seal;
use super::store::{Changes, Contents, SnapshotParts, Store, StoredSnapshot};
use super::testing::{IDENTITY, accepted, checkpoint, regency, snapshot};

fn records(records: &[Record]) -> Changes {
    Changes { records: records.to_vec(), votes: None }
}

fn stored(parts: SnapshotParts) -> StoredSnapshot {
    let SnapshotParts { certificate, manifest, chunks } = parts;
    StoredSnapshot { certificate, manifest, chunks }
}

fn on(disk: &FaultyDisk) -> Result<(Store, Contents), StorageError> {
    Store::open_with(Path::new("state.redb"), IDENTITY, |builder| {
        builder.create_with_backend(disk.clone())
    })
}

fn created_on(disk: &FaultyDisk) -> Store {
    let create = |builder: &mut redb::Builder| builder.create_with_backend(disk.clone());
    Store::begin(Path::new("state.redb"), IDENTITY, Votes::Complete, create).unwrap()
}

/// Commits until nothing is left to do.
fn settle(store: &mut Store) {
    while store.has_work() {
        store.commit(&Changes::default()).unwrap();
    }
}

#[test]
fn what_was_committed_is_read_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::create(dir.path(), IDENTITY, Votes::Complete).unwrap();
    let first = [accepted(1, 10), regency(3), accepted(2, 300_000)];
    store.commit(&records(&first)).unwrap();
    drop(store);
    let (mut store, contents) = Store::open(dir.path(), IDENTITY).unwrap();
    let expected = Contents { votes: Votes::Complete, snapshot: None, records: first.to_vec() };
    assert_eq!(contents, expected);

    let second = [accepted(3, 10), accepted(4, 10)];
    let votes = Some(Votes::Doubtful);
    store.commit(&Changes { records: second.to_vec(), votes }).unwrap();
    store.close().unwrap();
    let (_, contents) = Store::open(dir.path(), IDENTITY).unwrap();
    assert_eq!(contents.votes, Votes::Doubtful);
    assert_eq!(contents.records, [&first[..], &second].concat());
}

#[test]
fn a_snapshot_comes_back_whole_and_a_part_of_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::create(dir.path(), IDENTITY, Votes::Complete).unwrap();
    let old = snapshot(100, &[1 << 20, 1 << 20, 65_000, 130_001, 0, 1]);
    store.keep_snapshot(old.clone());
    assert!(store.is_keeping());
    assert_eq!(store.commit(&records(&[accepted(101, 10)])).unwrap(), Some(Cid(100)));
    let new = snapshot(200, &[1 << 20; 9]);
    store.keep_snapshot(new.clone());
    assert_eq!(store.commit(&records(&[accepted(102, 10)])).unwrap(), None, "9 MiB take longer");
    drop(store);

    let (mut store, contents) = Store::open(dir.path(), IDENTITY).unwrap();
    assert_eq!(contents.snapshot, Some(stored(old)));
    assert_eq!(contents.records, [accepted(101, 10), accepted(102, 10)]);
    assert!(store.has_work(), "the pieces of the unfinished one are to be removed");
    settle(&mut store);
    store.keep_snapshot(new.clone());
    settle(&mut store);
    assert!(store.has_snapshot(Cid(200)) && store.has_snapshot(Cid(100)));
    drop(store);
    let (_, contents) = Store::open(dir.path(), IDENTITY).unwrap();
    assert_eq!(contents.snapshot, Some(stored(new)));
}

#[test]
fn a_checkpoint_takes_what_it_covers_and_leaves_the_newest_regency() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::create(dir.path(), IDENTITY, Votes::Complete).unwrap();
    store.commit(&records(&[regency(1), accepted(1, 9), regency(2), accepted(2, 9)])).unwrap();
    store.commit(&records(&[accepted(3, 9), checkpoint(2)])).unwrap();
    settle(&mut store);
    let (_, contents) = {
        drop(store);
        Store::open(dir.path(), IDENTITY).unwrap()
    };
    assert_eq!(contents.records.len(), 6, "there is no snapshot for that checkpoint");

    let (mut store, _) = Store::open(dir.path(), IDENTITY).unwrap();
    store.keep_snapshot(snapshot(2, &[70_000]));
    settle(&mut store);
    store.commit(&records(&[checkpoint(2)])).unwrap();
    settle(&mut store);
    drop(store);
    let (mut store, contents) = Store::open(dir.path(), IDENTITY).unwrap();
    let tail = [regency(2), accepted(3, 9), checkpoint(2), checkpoint(2)];
    assert_eq!(contents.records, tail);

    // The next one takes the older snapshot, too.
    store.keep_snapshot(snapshot(5, &[70_000, 1]));
    settle(&mut store);
    let more = [accepted(4, 9), accepted(5, 9), regency(7), checkpoint(5), accepted(6, 9)];
    store.commit(&records(&more)).unwrap();
    settle(&mut store);
    assert!(!store.has_snapshot(Cid(2)));
    drop(store);
    let (_, contents) = Store::open(dir.path(), IDENTITY).unwrap();
    assert_eq!(contents.records, [regency(7), accepted(6, 9)]);
    assert_eq!(contents.snapshot, Some(stored(snapshot(5, &[70_000, 1]))));
}

#[test]
fn the_file_does_not_grow_without_bound_and_is_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::create(dir.path(), IDENTITY, Votes::Complete).unwrap();
    let size = || std::fs::metadata(Store::path(dir.path())).unwrap().len();
    let mut largest = Vec::new();
    for round in 1..=5 {
        let last = round * 20;
        for cid in last - 19..=last {
            store.commit(&records(&[accepted(cid, 1_000_000)])).unwrap();
        }
        store.keep_snapshot(snapshot(last, &[1 << 20; 10]));
        settle(&mut store);
        store.commit(&records(&[checkpoint(last)])).unwrap();
        settle(&mut store);
        largest.push(size());
    }
    // 20 MiB of log and two snapshots of 10 MiB are alive at most.
    assert!(largest[4] < 200 << 20, "{largest:?}");
    assert!(largest[4] <= largest[2], "{largest:?}");
    drop(store);
    let before = size();
    assert!(before > 32 << 20, "there is something to compact");
    drop(Store::open(dir.path(), IDENTITY).unwrap());
    assert!(size() < 40 << 20, "{before} bytes became {}", size());
    let (_, contents) = Store::open(dir.path(), IDENTITY).unwrap();
    assert_eq!(contents.snapshot, Some(stored(snapshot(100, &[1 << 20; 10]))));
}

#[test]
fn storage_of_another_replica_service_or_view_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::create(dir.path(), IDENTITY, Votes::Complete).unwrap());
    for wanted in [
        Identity { replica: ReplicaId(3), ..IDENTITY },
        Identity { service: ServiceId([8; 16]), ..IDENTITY },
        Identity { view: ViewNumber(1), ..IDENTITY },
    ] {
        let file = Store::path(dir.path());
        let error = Store::open(dir.path(), wanted).unwrap_err();
        assert_eq!(error, StorageError::NotOurs { file, found: IDENTITY, wanted });
        assert!(error.to_string().contains("this is the storage of replica 2 in view 0"));
    }
    assert!(Store::open(dir.path(), IDENTITY).is_ok());
}

#[test]
fn two_processes_cannot_use_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let _store = Store::create(dir.path(), IDENTITY, Votes::Complete).unwrap();
    let file = Store::path(dir.path());
    let error = Store::open(dir.path(), IDENTITY).unwrap_err();
    assert_eq!(error, StorageError::InUse { file });
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::create(dir.path(), IDENTITY, Votes::Complete).unwrap());
    let file = Store::path(dir.path());
    let database = redb::Database::open(&file).unwrap();
    let transaction = database.begin_write().unwrap();
    let row = seal("meta", b"format", &webbft_protocol::wire::encode(&(FORMAT + 1)));
    transaction.open_table(META).unwrap().insert("format", row.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = Store::open(dir.path(), IDENTITY).unwrap_err();
    assert_eq!(error, StorageError::Format { file, found: FORMAT + 1 });
}

/// A store with a log, something kept and a snapshot.
fn filled(disk: &FaultyDisk) -> Contents {
    let mut store = created_on(disk);
    store.keep_snapshot(snapshot(2, &[100_000, 1]));
    settle(&mut store);
    store.commit(&records(&[regency(1), accepted(1, 9), accepted(2, 9), checkpoint(2)])).unwrap();
    for cid in 3..40 {
        store.commit(&records(&[accepted(cid, 700)])).unwrap();
    }
    settle(&mut store);
    store.close().unwrap();
    let (store, contents) = on(disk).unwrap();
    assert_eq!(contents.records.len(), 38);
    store.close().unwrap();
    contents
}

#[test]
fn damage_is_named_or_harmless_wherever_it_is() {
    // A panic inside the database is caught; what it prints is of no interest here.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let disk = FaultyDisk::default();
    let whole = filled(&disk);
    let bytes = disk.bytes();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (mut named, mut harmless) = (0, 0);
    let mut judge = |damage: &str, bytes: Vec<u8>| match on(&FaultyDisk::of(bytes)) {
        Ok((_, contents)) => {
            assert_eq!(contents, whole, "{damage}");
            harmless += 1;
        }
        Err(error) => {
            assert!(matches!(error, StorageError::Damaged { .. }), "{damage}: {error}");
            named += 1;
        }
    };
    for _ in 0..600 {
        let index = rng.random_range(0..bytes.len());
        let mut damaged = bytes.clone();
        damaged[index] ^= 1 << rng.random_range(0..8);
        judge(&format!("bit flipped in byte {index}"), damaged);
    }
    for index in 0..512 {
        let mut damaged = bytes.clone();
        damaged[index] ^= 0xff;
        judge(&format!("byte {index} inverted"), damaged);
    }
    for _ in 0..100 {
        let at = rng.random_range(0..bytes.len() / 512) * 512;
        let mut damaged = bytes.clone();
        rng.fill_bytes(&mut damaged[at..at + 512]);
        judge(&format!("sector at {at} replaced"), damaged);
    }
    for _ in 0..100 {
        let len = rng.random_range(1..bytes.len());
        judge(&format!("cut to {len} bytes"), bytes[..len].to_vec());
    }
    std::panic::set_hook(hook);
    assert!(named > 100 && harmless > 100, "{named} named, {harmless} harmless");
}

#[test]
fn damage_after_a_crash_costs_at_most_the_last_commit() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let disk = FaultyDisk::default();
    let mut store = created_on(&disk);
    let all: Vec<_> = (1..=30).map(|cid| accepted(cid, 700)).collect();
    for record in &all {
        store.commit(&records(std::slice::from_ref(record))).unwrap();
    }
    let bytes = disk.bytes();
    drop(store);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (mut named, mut one_less) = (0, 0);
    let anywhere: Vec<_> = (0..300).map(|_| rng.random_range(0..bytes.len())).collect();
    for index in (0..320).chain(anywhere) {
        let mut damaged = bytes.clone();
        damaged[index] ^= 1 << rng.random_range(0..8);
        match on(&FaultyDisk::of(damaged)) {
            Ok((_, contents)) => {
                let found = contents.records.len();
                assert!(found >= all.len() - 1, "byte {index}: {found} records");
                assert_eq!(contents.records, all[..found], "byte {index}");
                one_less += usize::from(found < all.len());
            }
            Err(StorageError::Damaged { .. }) => named += 1,
            Err(error) => panic!("byte {index}: {error}"),
        }
    }
    std::panic::set_hook(hook);
    // The database cannot tell a last commit that rotted from one that was never finished.
    assert!(named > 10 && one_less > 0, "{named} named, {one_less} one less");
}

#[test]
fn a_damaged_row_is_named_even_where_the_database_is_content() {
    for (change, expected) in [
        ("checksum", "record 5 of the log has a wrong checksum"),
        ("gap", "record 5 of the log is missing"),
        ("end", "record 39 of the log is missing"),
        ("moved", "record 5 of the log has a wrong checksum"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::create(dir.path(), IDENTITY, Votes::Complete).unwrap();
        let all: Vec<_> = (1..40).map(|cid| accepted(cid, 9)).collect();
        store.commit(&records(&all)).unwrap();
        store.close().unwrap();
        let database = redb::Database::open(Store::path(dir.path())).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut log = transaction.open_table(super::rows::LOG).unwrap();
            let mut row = log.get(6).unwrap().unwrap().value().to_vec();
            match change {
                "gap" => drop(log.remove(5).unwrap()),
                "end" => drop(log.remove(39).unwrap()),
                "moved" => drop(log.insert(5, row.as_slice()).unwrap()),
                _ => {
                    *row.last_mut().unwrap() ^= 1;
                    drop(log.insert(5, row.as_slice()).unwrap());
                }
            }
        }
        transaction.commit().unwrap();
        drop(database);
        let error = Store::open(dir.path(), IDENTITY).unwrap_err();
        let file = Store::path(dir.path());
        assert_eq!(error, StorageError::Damaged { file, what: expected.to_owned() }, "{change}");
        assert!(error.to_string().contains("--rejoin"));
    }
}

#[test]
fn a_power_cut_at_any_moment_leaves_a_prefix_that_has_all_that_was_confirmed() {
    let all: Vec<_> = (1..=30).map(|cid| accepted(cid, 700)).collect();
    for seed in 0..60 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let disk = FaultyDisk::default();
        let mut store = created_on(&disk);
        let mut confirmed = 0;
        disk.fail_after(rng.random_range(0..60));
        while confirmed < all.len() {
            let end = (confirmed + rng.random_range(1..4)).min(all.len());
            if store.commit(&records(&all[confirmed..end])).is_err() {
                break;
            }
            confirmed = end;
        }
        // Also where nothing failed: the power goes while the file is open.
        let after = disk.power_cut(&mut rng);
        drop(store);
        let (mut store, contents) = on(&after).unwrap();
        let found = contents.records.len();
        assert!(found >= confirmed, "seed {seed}: {found} of {confirmed} records");
        assert_eq!(contents.records, all[..found], "seed {seed}");
        store.commit(&records(&all[found..])).unwrap();
        drop(store);
        assert_eq!(on(&after).unwrap().1.records, all, "seed {seed}");
    }
}

#[test]
fn a_full_disk_is_named_and_left_as_it_was() {
    let disk = FaultyDisk::default();
    let mut store = created_on(&disk);
    disk.set_capacity(Some(2 << 20));
    let mut confirmed = Vec::new();
    let error = loop {
        let record = accepted(confirmed.len() as u64 + 1, 100_000);
        match store.commit(&records(std::slice::from_ref(&record))) {
            Ok(_) => confirmed.push(record),
            Err(error) => break error,
        }
    };
    assert_eq!(error, StorageError::Full { file: "state.redb".into() });
    assert!(!confirmed.is_empty());
    assert!(store.commit(&Changes::default()).is_err(), "it stays failed until it is opened again");
    drop(store);
    disk.set_capacity(None);
    let (mut store, contents) = on(&disk).unwrap();
    assert_eq!(contents.records, confirmed);
    store.commit(&records(&[accepted(99, 100_000)])).unwrap();
}
