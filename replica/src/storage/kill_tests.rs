//! A process that is killed while it writes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::Votes;
use super::store::Store;
use super::testing::{IDENTITY, accepted, checkpoint, snapshot};
use super::writer::{Report, Writer};

const DIRECTORY: &str = "WEBBFT_TEST_DIRECTORY";

/// Not a test: the process that is killed. It says which positions are on disk.
#[test]
#[ignore = "run by the test below"]
fn the_writing_process() {
    let dir = std::env::var(DIRECTORY).unwrap();
    let (store, contents) = Store::open(Path::new(&dir), IDENTITY).unwrap();
    let before = contents.records.len() as u64;
    let (reports, received) = channel();
    let writer = Writer::start(store, move |report| reports.send(report).unwrap()).unwrap();
    for cid in before + 1.. {
        writer.append(accepted(cid, 2000));
        if cid % 50 == 0 {
            writer.keep_snapshot(snapshot(cid, &[1 << 20; 3]));
        }
        // A few are in flight at any time.
        if cid % 4 == 0 {
            match received.recv().unwrap() {
                Report::Durable(position) => {
                    writeln!(std::io::stdout(), "durable {}", before + position.0).unwrap();
                }
                Report::SnapshotDurable(_) => {}
                Report::Failed(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn killed_while_writing_it_loses_nothing_confirmed() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let dir = tempfile::tempdir().unwrap();
    drop(Store::create(dir.path(), IDENTITY, Votes::Complete).unwrap());
    let mut total = 0;
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storage::kill_tests::the_writing_process"])
            .args(["--ignored", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut durable = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("durable ")?.parse::<u64>().ok());
        // Killed between two commits or within one, as it happens.
        let mut confirmed = durable.nth(rng.random_range(0..40)).expect("it writes");
        child.kill().unwrap();
        // What it had said before it died counts as well.
        confirmed = durable.last().unwrap_or(confirmed);
        child.wait().unwrap();

        let (_, contents) = Store::open(dir.path(), IDENTITY).unwrap();
        let found = contents.records.len() as u64;
        assert!(found >= confirmed, "round {round}: {found} of {confirmed}");
        let expected: Vec<_> = (1..=found).map(|cid| accepted(cid, 2000)).collect();
        assert!(contents.records == expected, "round {round}: not what was written");
        assert!(found > total, "round {round} wrote something");
        total = found;
    }
    let (mut store, contents) = Store::open(dir.path(), IDENTITY).unwrap();
    if let Some(kept) = contents.snapshot {
        let cid = kept.certificate.checkpoint.cid.0;
        assert_eq!(kept.chunks, snapshot(cid, &[1 << 20; 3]).chunks);
        let changes = super::store::Changes { records: vec![checkpoint(cid)], votes: None };
        store.commit(&changes).unwrap();
    }
}
