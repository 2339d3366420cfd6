//! The cost of a commit, beside that of a plain log. docs/architecture.md has the figures.
//!
//! `cargo test -p webbft-replica --lib storage::bench -- --ignored --nocapture`

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use super::Votes;
use super::store::{Changes, Store};
use super::testing::{IDENTITY, accepted, checkpoint, snapshot};

const COMMITS: u64 = 300;

#[test]
#[ignore = "a measurement"]
fn commits_beside_a_plain_log() {
    // Not in a directory that may be in memory.
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    for (records, size) in [(1, 200), (8, 200), (64, 200), (4, 20_000), (1, 300_000)] {
        let mut file = File::create(dir.path().join("plain.log")).unwrap();
        let plain = measure(|commit| {
            let mut bytes = Vec::new();
            for cid in 0..records {
                bytes.extend_from_slice(&accepted(commit * records + cid, size).encode());
            }
            file.write_all(&bytes).unwrap();
            file.sync_data().unwrap();
        });
        let redb = dir.path().join(format!("{records}-{size}"));
        std::fs::create_dir(&redb).unwrap();
        let mut store = Store::create(&redb, IDENTITY, Votes::Complete).unwrap();
        let stored = measure(|commit| {
            let records = (0..records).map(|cid| accepted(commit * records + cid, size)).collect();
            store.commit(&Changes { records, votes: None }).unwrap();
        });
        eprintln!("{records:2} records of {size:6} bytes: plain {plain}; store {stored}");
    }
}

#[test]
#[ignore = "a measurement"]
fn snapshots() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let mut store = Store::create(dir.path(), IDENTITY, Votes::Complete).unwrap();
    for (cid, mebibytes) in [(1, 100), (2, 100), (3, 100)] {
        store.keep_snapshot(snapshot(cid, &vec![1 << 20; mebibytes]));
        let begun = Instant::now();
        let mut longest = Duration::ZERO;
        let mut commits = 0;
        while store.has_work() {
            let commit = Instant::now();
            store.commit(&Changes { records: vec![accepted(cid, 200)], votes: None }).unwrap();
            longest = longest.max(commit.elapsed());
            commits += 1;
        }
        eprintln!(
            "{mebibytes} MiB in {:?}, {commits} commits, longest {longest:?}",
            begun.elapsed()
        );
        store.commit(&Changes { records: vec![checkpoint(cid)], votes: None }).unwrap();
        while store.has_work() {
            store.commit(&Changes::default()).unwrap();
        }
        let size = std::fs::metadata(Store::path(dir.path())).unwrap().len();
        eprintln!(
            "    with what it replaced removed {:?}; file {} MiB",
            begun.elapsed(),
            size >> 20
        );
    }
    drop(store);
    let begun = Instant::now();
    let (_, contents) = Store::open(dir.path(), IDENTITY).unwrap();
    assert!(contents.snapshot.is_some());
    eprintln!("opened, checked and read in {:?}", begun.elapsed());
}

fn measure(mut commit: impl FnMut(u64)) -> String {
    let mut times: Vec<_> = (0..COMMITS)
        .map(|number| {
            let begun = Instant::now();
            commit(number);
            begun.elapsed()
        })
        .collect();
    times.sort();
    let sum: Duration = times.iter().sum();
    let median = times[times.len() / 2].as_secs_f64() * 1e3;
    let high = times[times.len() * 99 / 100].as_secs_f64() * 1e3;
    let rate = times.len() as f64 / sum.as_secs_f64();
    format!("{rate:4.0} commits/s, median {median:.2} ms, p99 {high:.2} ms")
}
