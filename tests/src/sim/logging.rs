//! The driver of a simulated replica, its log's part: records go to the disk, and what waits for them
//! leaves when they are durable; processes end at the worst moments.

use std::sync::Arc;

use webbft_protocol::replica::{LogPosition, Record, StableSnapshot, StateJob};

use super::history::Fact;
use super::plan::{CrashPoint, RecordKind, Stage, Storage};
use super::service::Recorder;
use super::words::word_of_record;
use super::world::{Event, Phase, World};

impl World {
    /// Shows the invariants what a replica has done once the record `after` is durable: as long as
    /// nobody else can know of it, it has not happened if the process ends.
    pub(super) fn observe_after(&mut self, me: usize, after: LogPosition, fact: Fact) {
        let node = &mut self.replicas[me];
        let free = after <= node.known_durable && node.held.is_empty();
        if free || !matches!(self.plan.storage, Storage::Sync(_)) {
            self.observe(&fact);
        } else {
            node.held.push_back((after, fact));
        }
    }

    fn show_held(&mut self, me: usize) {
        while let Some((after, _)) = self.replicas[me].held.front() {
            if *after > self.replicas[me].known_durable {
                break;
            }
            if let Some((_, fact)) = self.replicas[me].held.pop_front() {
                self.observe(&fact);
            }
        }
    }

    pub(super) fn keep_record(&mut self, me: usize, position: LogPosition, record: Record) {
        self.trace(|| format!("r{me} records {record:?}"));
        let node = &mut self.replicas[me];
        if let Some(kind) = kind_of(&record) {
            let count = node.recorded.entry(kind).or_default();
            *count += 1;
            node.marks.push((kind, *count, position));
        }
        match &record {
            Record::Accepted { cid, .. } => drop(node.accepted.insert(*cid, position)),
            Record::Regency { .. } => node.regency_recorded = position,
            _ => {}
        }
        node.disk.push(record.clone());
        if matches!(self.plan.storage, Storage::Async(_)) {
            // The replica takes it for durable.
            let now = self.clocks_of(me);
            self.replicas[me].replica.handle_durable(now, position);
            self.show_records(me, &[record]);
        }
    }

    pub(super) fn begin_disk_write(&mut self, me: usize) {
        let (Storage::Sync(speed) | Storage::Async(speed)) = self.plan.storage else { return };
        let node = &mut self.replicas[me];
        if node.running && node.disk.begin_write() {
            let life = node.life;
            let takes = 1 + speed.base + self.draw.tailed(speed.jitter);
            self.queue.push(self.now + takes, Event::DiskDone(me, life));
        }
    }

    /// The write under way is done.
    pub(super) fn disk_done(&mut self, me: usize, life: u32) {
        let node = &mut self.replicas[me];
        if node.life != life {
            return;
        }
        if self.now < node.paused_until {
            // The disk has done its part; the process hears of it when it wakes up.
            self.queue.push(node.paused_until, Event::DiskDone(me, life));
            return;
        }
        let records = node.disk.end_write();
        self.show_records(me, &records);
        if self.crash_if_due(me, Stage::Durable) {
            return;
        }
        let durable = self.replicas[me].disk.durable();
        if matches!(self.plan.storage, Storage::Sync(_)) {
            let now = self.clocks_of(me);
            self.replicas[me].replica.handle_durable(now, durable);
        }
        self.replicas[me].known_durable = durable;
        self.drain(me);
        self.show_held(me);
        self.crash_if_due(me, Stage::Told);
    }

    /// Another thread works on the replica's state, which takes a while.
    pub(super) fn begin_job(&mut self, me: usize, job: StateJob<Recorder>) {
        let node = &mut self.replicas[me];
        node.job = Some(job);
        let life = node.life;
        let takes = 1 + self.draw.tailed(self.plan.job_time);
        self.queue.push(self.now + takes, Event::JobDone(me, life));
    }

    /// It has done its work.
    pub(super) fn job_done(&mut self, me: usize, life: u32) {
        let node = &mut self.replicas[me];
        if node.life != life {
            return;
        }
        if self.now < node.paused_until {
            self.queue.push(node.paused_until, Event::JobDone(me, life));
            return;
        }
        let Some(job) = node.job.take() else { return };
        let now = self.clocks_of(me);
        self.replicas[me].replica.handle_job_done(now, job.run());
        self.drain(me);
    }

    /// A snapshot is to be stored, which takes as long as a few writes, after those before it.
    pub(super) fn begin_snapshot_write(&mut self, me: usize, snapshot: Arc<StableSnapshot>) {
        let (Storage::Sync(speed) | Storage::Async(speed)) = self.plan.storage else {
            self.stuck(format!("replica {me} wants a snapshot stored and has no disk"));
            return;
        };
        let takes = 1 + 3 * speed.base + self.draw.tailed(3 * speed.jitter);
        let node = &mut self.replicas[me];
        let at = node.storing_until.max(self.now) + takes;
        node.storing_until = at;
        self.queue.push(at, Event::SnapshotStored(me, node.life, snapshot));
    }

    /// It is stored.
    pub(super) fn snapshot_stored(&mut self, me: usize, life: u32, snapshot: Arc<StableSnapshot>) {
        let node = &mut self.replicas[me];
        if node.life != life {
            return;
        }
        if self.now < node.paused_until {
            let event = Event::SnapshotStored(me, life, snapshot);
            self.queue.push(node.paused_until, event);
            return;
        }
        let cid = snapshot.cid();
        node.disk.keep(snapshot);
        self.trace(|| format!("r{me} has stored the snapshot of {cid:?}"));
        let now = self.clocks_of(me);
        self.replicas[me].replica.handle_snapshot_durable(now, cid);
        self.drain(me);
    }

    /// Shows the invariants what has become durable.
    pub(super) fn show_records(&mut self, me: usize, records: &[Record]) {
        if !self.replicas[me].correct {
            return;
        }
        for record in records {
            if let Some(word) = word_of_record(&self.view, record) {
                self.observe(&Fact::Recorded { replica: me, word });
            }
        }
    }

    /// Lets a crash happen that waits for how far a record of this replica has come; true where it
    /// has hit this replica.
    pub(super) fn crash_if_due(&mut self, me: usize, stage: Stage) -> bool {
        let node = &mut self.replicas[me];
        let durable = node.disk.durable();
        let due = self.plan.faults.crashes.iter().position(|crash| match crash.when {
            CrashPoint::At(_) => false,
            CrashPoint::Record { replica, nth, kind, stage: at } => {
                replica == me
                    && at == stage
                    && node.marks.iter().any(|(other, count, position)| {
                        (*other, *count) == (kind, nth)
                            && (stage == Stage::HandedIn || *position <= durable)
                    })
            }
        });
        match stage {
            Stage::Told => node.marks.retain(|(.., position)| *position > durable),
            Stage::HandedIn | Stage::Durable => {}
        }
        let (Some(index), Phase::One) = (due, self.phase) else { return false };
        node.marks.clear();
        self.crash(index);
        self.replicas[me].is_down()
    }
}

const fn kind_of(record: &Record) -> Option<RecordKind> {
    Some(match record {
        Record::Written { .. } => RecordKind::Written,
        Record::Accepted { .. } => RecordKind::Accepted,
        Record::Decided { .. } => RecordKind::Decided,
        Record::Regency { .. } => RecordKind::Regency,
        Record::Sync(_) => RecordKind::Sync,
        Record::Proof { .. } | Record::Checkpoint(_) => return None,
    })
}
