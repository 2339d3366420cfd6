//! The thread that writes: group commit, and word to the core of what is on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::debug;
use webbft_protocol::membership::Cid;
use webbft_protocol::replica::{LogPosition, Record};

use super::Votes;
use super::error::StorageError;
use super::store::{Changes, SnapshotParts, Store};

/// While more than this waits for the disk, the core keeps its records: it gets slower, not
/// larger.
const MAX_WAITING: usize = 32 << 20;
/// What one commit takes, unless a single record is larger.
const MAX_COMMIT: usize = 16 << 20;

/// How long records that nobody waits for may wait for one that somebody does: a commit less for
/// each instance.
const PATIENCE: Duration = Duration::from_millis(25);

/// What the thread tells the core.
#[derive(Debug)]
pub(crate) enum Report {
    /// All records up to this one are on disk.
    Durable(LogPosition),
    /// The snapshot of this checkpoint is on disk, and may be asked for in the log.
    SnapshotDurable(Cid),
    /// Nothing is written any more.
    Failed(StorageError),
}

#[derive(Debug)]
enum Job {
    Record(Record, usize),
    Snapshot(SnapshotParts),
    Votes(Votes),
    /// Write what is queued, then end and leave a clean file.
    Finish,
}

/// The core's end of the thread. Dropped without [`finish`](Writer::finish), the thread writes
/// what is queued and ends.
#[derive(Debug)]
pub(crate) struct Writer {
    jobs: Sender<Job>,
    waiting: Arc<AtomicUsize>,
    thread: JoinHandle<Result<(), StorageError>>,
}

impl Writer {
    /// Starts the thread. The first record has the position 1: positions count from this start
    /// on, those in the file go on.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub(crate) fn start(
        store: Store,
        report: impl FnMut(Report) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let written = Arc::clone(&waiting);
        let thread = std::thread::Builder::new()
            .name("storage".to_owned())
            .spawn(move || Thread { store, queue, waiting: written, report }.run())?;
        Ok(Self { jobs, waiting, thread })
    }

    /// Is there room for another record? Where there is not, a [`Report::Durable`] will come.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < MAX_WAITING
    }

    /// Queues the next record of the log.
    pub(crate) fn append(&self, record: Record) {
        let size = size_of_record(&record);
        self.waiting.fetch_add(size, Ordering::Relaxed);
        self.send(Job::Record(record, size));
    }

    /// Queues a snapshot. Of several that wait, only the last is written.
    pub(crate) fn keep_snapshot(&self, parts: SnapshotParts) {
        self.send(Job::Snapshot(parts));
    }

    /// Notes, after the records queued so far, whether the log holds all votes.
    pub(crate) fn set_votes(&self, votes: Votes) {
        self.send(Job::Votes(votes));
    }

    /// Writes what is queued and ends; waits for it.
    ///
    /// # Errors
    /// What was reported as [`Report::Failed`].
    pub(crate) fn finish(self) -> Result<(), StorageError> {
        self.send(Job::Finish);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn send(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            debug!("the storage thread has ended");
        }
    }
}

/// About how many bytes a record will have: a bound on memory needs no more.
fn size_of_record(record: &Record) -> usize {
    let value = match record {
        Record::Written { value, .. } | Record::Decided { value: Some(value), .. } => value,
        _ => return 1024,
    };
    value.bodies.iter().map(|body| body.len() + 128).sum::<usize>() + 1024
}

struct Thread<R> {
    store: Store,
    queue: Receiver<Job>,
    waiting: Arc<AtomicUsize>,
    report: R,
}

impl<R: FnMut(Report)> Thread<R> {
    fn run(self) -> Result<(), StorageError> {
        let Self { mut store, queue, waiting, mut report } = self;
        let mut position = 0;
        let mut next_snapshot: Option<SnapshotParts> = None;
        let mut end = None;
        while end.is_none() {
            // What has come since the last commit.
            let mut changes = Changes::default();
            let mut size = 0;
            let mut wait = if store.has_work() || next_snapshot.is_some() {
                Wait::No
            } else {
                Wait::ForAnything
            };
            while end.is_none() && size < MAX_COMMIT {
                let job = match wait {
                    Wait::ForAnything => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                    Wait::Until(at) => {
                        queue.recv_timeout(at.saturating_duration_since(Instant::now()))
                    }
                    Wait::No => queue.recv_timeout(Duration::ZERO),
                };
                match job {
                    Ok(Job::Record(record, bytes)) => {
                        wait = match wait {
                            Wait::ForAnything if can_wait(&record) => {
                                Wait::Until(Instant::now() + PATIENCE)
                            }
                            Wait::Until(at) if can_wait(&record) => Wait::Until(at),
                            _ => Wait::No,
                        };
                        changes.records.push(record);
                        size += bytes;
                        continue;
                    }
                    Ok(Job::Snapshot(parts)) => next_snapshot = Some(parts),
                    Ok(Job::Votes(votes)) => changes.votes = Some(votes),
                    Ok(Job::Finish) => end = Some(End::Clean),
                    Err(RecvTimeoutError::Disconnected) => end = Some(End::Abandoned),
                    Err(RecvTimeoutError::Timeout) => break,
                }
                wait = Wait::No;
            }
            if !store.is_keeping()
                && end.is_none()
                && let Some(parts) = next_snapshot.take()
            {
                let cid = parts.certificate.checkpoint.cid;
                if store.has_snapshot(cid) {
                    report(Report::SnapshotDurable(cid));
                } else {
                    store.keep_snapshot(parts);
                }
            }
            if changes.is_empty() && !store.has_work() {
                continue;
            }
            let outcome = store.commit(&changes);
            waiting.fetch_sub(size, Ordering::Relaxed);
            match outcome {
                Ok(snapshot) => {
                    if !changes.records.is_empty() {
                        position += changes.records.len() as u64;
                        report(Report::Durable(LogPosition(position)));
                    }
                    if let Some(cid) = snapshot {
                        report(Report::SnapshotDurable(cid));
                    }
                }
                Err(error) => {
                    report(Report::Failed(error.clone()));
                    return Err(error);
                }
            }
        }
        match end {
            Some(End::Clean) => store.close(),
            _ => Ok(()),
        }
    }
}

/// Does no message of the replica wait until this record is on disk? That something was decided
/// can be found out again.
const fn can_wait(record: &Record) -> bool {
    matches!(record, Record::Decided { .. } | Record::Checkpoint(_))
}

/// What to do while nothing is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Nothing is to be written.
    ForAnything,
    /// Only what [`can_wait`] is.
    Until(Instant),
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Clean,
    Abandoned,
}

#[cfg(test)]
mod tests {
    use webbft_protocol::membership::{Digest, Epoch};

    use super::super::error::StorageError;
    use super::super::faulty::FaultyDisk;
    use super::super::store::Contents;
    use super::super::testing::{IDENTITY, accepted, checkpoint, snapshot};
    use super::*;

    const TEST_PATIENCE: Duration = Duration::from_secs(60);

    fn open(disk: &FaultyDisk) -> (Store, Contents) {
        let open = |builder: &mut redb::Builder| builder.create_with_backend(disk.clone());
        Store::open_with("state.redb".as_ref(), IDENTITY, open).unwrap()
    }

    fn start(disk: &FaultyDisk) -> (Writer, Receiver<Report>) {
        let create = |builder: &mut redb::Builder| builder.create_with_backend(disk.clone());
        let store = if disk.bytes().is_empty() {
            Store::begin("state.redb".as_ref(), IDENTITY, Votes::Complete, create).unwrap()
        } else {
            open(disk).0
        };
        let (reports, received) = channel();
        // The test may have ended.
        let writer = Writer::start(store, move |report| drop(reports.send(report))).unwrap();
        (writer, received)
    }

    fn durable(report: Report) -> u64 {
        match report {
            Report::Durable(LogPosition(position)) => position,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_waits_goes_into_one_commit_in_its_order() {
        let disk = FaultyDisk::default();
        let (writer, reports) = start(&disk);
        // While the disk is held, everything queued has to wait for the commit before.
        let held = disk.hold();
        for cid in 1..=100 {
            writer.append(accepted(cid, 10));
        }
        drop(held);
        let mut commits = Vec::new();
        while commits.last() != Some(&100) {
            commits.push(durable(reports.recv_timeout(TEST_PATIENCE).unwrap()));
        }
        assert!(commits.len() <= 2, "group commit: {commits:?}");
        writer.append(accepted(101, 10));
        assert_eq!(durable(reports.recv_timeout(TEST_PATIENCE).unwrap()), 101);
        writer.set_votes(Votes::Doubtful);
        writer.append(accepted(102, 10));
        writer.finish().unwrap();
        let all: Vec<_> = (1..=102).map(|cid| accepted(cid, 10)).collect();
        let contents = open(&disk).1;
        assert_eq!(contents, Contents { votes: Votes::Doubtful, snapshot: None, records: all });

        // Positions count from the start; the log goes on.
        let (writer, reports) = start(&disk);
        writer.append(accepted(103, 10));
        assert_eq!(durable(reports.recv_timeout(TEST_PATIENCE).unwrap()), 1);
        writer.finish().unwrap();
        assert_eq!(open(&disk).1.records.len(), 103);
    }

    #[test]
    fn a_decision_waits_for_the_next_vote_but_not_for_long() {
        let decided = || Record::Decided {
            cid: Cid(1),
            hash: Digest::of(b"hash"),
            epoch: Epoch(1),
            accepts: Vec::new(),
            value: None,
        };
        let disk = FaultyDisk::default();
        let (writer, reports) = start(&disk);
        writer.append(decided());
        writer.append(decided());
        assert_eq!(durable(reports.recv_timeout(TEST_PATIENCE).unwrap()), 2, "alone, in the end");
        writer.append(decided());
        writer.append(accepted(2, 10));
        assert_eq!(durable(reports.recv_timeout(TEST_PATIENCE).unwrap()), 4, "with the vote");
        writer.finish().unwrap();
        assert_eq!(open(&disk).1.records.len(), 4);
    }

    #[test]
    fn a_dropped_writer_leaves_what_was_queued() {
        let disk = FaultyDisk::default();
        let (writer, reports) = start(&disk);
        for cid in 1..=10 {
            writer.append(accepted(cid, 10));
        }
        let Writer { jobs, thread, .. } = writer;
        drop(jobs);
        thread.join().unwrap().unwrap();
        assert_eq!(reports.iter().map(durable).last(), Some(10));
        assert_eq!(open(&disk).1.records.len(), 10);
    }

    #[test]
    fn the_queue_is_bounded_and_empties() {
        let disk = FaultyDisk::default();
        let (writer, reports) = start(&disk);
        let held = disk.hold();
        let mut queued = 0;
        while writer.has_room() {
            queued += 1;
            writer.append(accepted(queued, 1000));
            assert!(queued <= MAX_WAITING as u64 / 1024 + 1, "each counts with 1 KiB at least");
        }
        drop(held);
        while durable(reports.recv_timeout(TEST_PATIENCE).unwrap()) < queued {}
        assert!(writer.has_room());
        writer.finish().unwrap();
    }

    #[test]
    fn votes_do_not_wait_for_a_whole_snapshot() {
        let disk = FaultyDisk::default();
        let (writer, reports) = start(&disk);
        let held = disk.hold();
        writer.keep_snapshot(snapshot(7, &[1 << 20; 20]));
        writer.append(accepted(8, 10));
        drop(held);
        assert_eq!(durable(reports.recv_timeout(TEST_PATIENCE).unwrap()), 1, "first the vote");
        let Report::SnapshotDurable(cid) = reports.recv_timeout(TEST_PATIENCE).unwrap() else {
            panic!("then the snapshot");
        };
        assert_eq!(cid, Cid(7));
        writer.append(checkpoint(7));
        assert_eq!(durable(reports.recv_timeout(TEST_PATIENCE).unwrap()), 2);
        writer.keep_snapshot(snapshot(7, &[1 << 20; 20]));
        assert!(matches!(
            reports.recv_timeout(TEST_PATIENCE).unwrap(),
            Report::SnapshotDurable(Cid(7))
        ));
        writer.finish().unwrap();
        let snapshot = open(&disk).1.snapshot.unwrap();
        assert_eq!((snapshot.certificate.checkpoint.cid, snapshot.chunks.len()), (Cid(7), 20));
    }

    #[test]
    fn a_failing_disk_is_reported_once_and_nothing_is_confirmed_after() {
        let disk = FaultyDisk::default();
        let (writer, reports) = start(&disk);
        writer.append(accepted(1, 10));
        assert_eq!(durable(reports.recv_timeout(TEST_PATIENCE).unwrap()), 1);
        disk.set_capacity(Some(disk.bytes().len() as u64));
        writer.append(accepted(2, 5_000_000));
        let Report::Failed(error) = reports.recv_timeout(TEST_PATIENCE).unwrap() else {
            panic!("there is no room for it");
        };
        assert_eq!(error, StorageError::Full { file: "state.redb".into() });
        writer.append(accepted(3, 10));
        assert_eq!(writer.finish().unwrap_err(), error);
        assert!(reports.recv_timeout(TEST_PATIENCE).is_err(), "the thread has ended");
        disk.set_capacity(None);
        assert_eq!(open(&disk).1.records, [accepted(1, 10)]);
    }
}
