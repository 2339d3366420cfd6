//! A replica's disk: what of its log survives when its process ends.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use webbft_protocol::membership::Digest;
use webbft_protocol::replica::{LogPosition, Record, StableSnapshot};

use super::draw::Draw;

/// How long one write takes that makes records durable, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpeed {
    /// At least this long.
    pub base: u64,
    /// And a random time of about this size, with a tail.
    pub jitter: u64,
}

/// The log and the snapshot of one replica, over all its lives.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    /// Each with its number, over all lives, from 1.
    records: VecDeque<(u64, Record)>,
    /// The number of the last record handed in, of the last one in a write under way or done, and
    /// of the last durable one.
    last: u64,
    submitted: u64,
    durable: u64,
    /// The last one there was when the process started: its positions begin after that.
    base: u64,
    writing: bool,
    snapshot: Option<Arc<StableSnapshot>>,
    /// A record as it stands there now, and the checksum that it was written with.
    damaged: Option<(Bytes, Digest)>,
}

impl Disk {
    /// The process hands in a record.
    pub fn push(&mut self, record: Record) {
        self.last += 1;
        self.records.push_back((self.last, record));
    }

    /// Begins a write of everything handed in, unless one is under way or there is nothing.
    pub fn begin_write(&mut self) -> bool {
        let begins = !self.writing && self.submitted < self.last;
        if begins {
            self.writing = true;
            self.submitted = self.last;
        }
        begins
    }

    /// The write is done. Gives the records that are durable now and were not before. A stable
    /// checkpoint among them makes those about earlier instances superfluous.
    pub fn end_write(&mut self) -> Vec<Record> {
        self.writing = false;
        let before = std::mem::replace(&mut self.durable, self.submitted);
        let written = self
            .records
            .iter()
            .filter(|(number, _)| *number > before && *number <= self.durable)
            .map(|(_, record)| record.clone())
            .collect();
        let covered = |number: u64, record: &Record| match record {
            Record::Checkpoint(certificate) if number <= self.durable => {
                Some(certificate.checkpoint.cid)
            }
            _ => None,
        };
        let covered =
            self.records.iter().filter_map(|(number, record)| covered(*number, record)).max();
        if let Some(covered) = covered {
            self.records.retain(|(_, record)| record.cid().is_none_or(|cid| cid > covered));
        }
        written
    }

    /// The position of the last durable record, as the process counts.
    #[must_use]
    pub const fn durable(&self) -> LogPosition {
        LogPosition(self.durable - self.base)
    }

    /// A snapshot has been written, durably.
    pub fn keep(&mut self, snapshot: Arc<StableSnapshot>) {
        self.snapshot = Some(snapshot);
    }

    /// The process, or the machine, ends: of what was not durable a part survives, in order; the
    /// record that was torn is no record.
    pub fn crash(&mut self, draw: &mut Draw) {
        self.last = draw.between(self.durable..=self.last);
        self.records.retain(|(number, _)| *number <= self.last);
        self.writing = false;
    }

    /// A bit of a durable record turns, where there is one.
    pub fn damage(&mut self, draw: &mut Draw) {
        let durable = self.records.partition_point(|(number, _)| *number <= self.durable);
        if durable > 0 {
            let (_, record) = &self.records[draw.below(durable)];
            let mut bytes = record.encode().to_vec();
            let checksum = Digest::of(&bytes);
            let at = draw.below(bytes.len());
            bytes[at] ^= 1 << draw.below(8);
            self.damaged = Some((bytes.into(), checksum));
        }
    }

    /// Everything is lost.
    pub fn lose(&mut self) {
        *self = Self::default();
    }

    /// The process starts and reads what there is, which is durable from then on; `None` where it
    /// finds that damaged.
    pub fn read(&mut self) -> Option<(Option<Arc<StableSnapshot>>, Vec<Record>)> {
        if let Some((bytes, checksum)) = &self.damaged
            && Digest::of(bytes) != *checksum
        {
            return None;
        }
        self.base = self.last;
        self.durable = self.last;
        self.submitted = self.last;
        let records = self.records.iter().map(|(_, record)| record.clone()).collect();
        Some((self.snapshot.clone(), records))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use webbft_protocol::membership::Regency;

    fn record(number: u32) -> Record {
        Record::Regency { regency: Regency(number), stop_data: None }
    }

    #[test]
    fn what_was_durable_survives_and_of_the_rest_a_prefix() {
        let mut lengths = Vec::new();
        for seed in 0..50 {
            let mut disk = Disk::default();
            for number in 1..=2 {
                disk.push(record(number));
            }
            assert!(disk.begin_write() && !disk.begin_write());
            disk.push(record(3));
            assert_eq!(disk.end_write(), [record(1), record(2)]);
            assert_eq!(disk.durable(), LogPosition(2));
            disk.crash(&mut Draw::new(seed));
            let (_, read) = disk.read().unwrap();
            assert_eq!(read[..2], [record(1), record(2)]);
            lengths.push(read.len());
            disk.push(record(4));
            assert!(disk.begin_write());
            assert_eq!(disk.end_write(), [record(4)]);
            assert_eq!(disk.durable(), LogPosition(1), "positions begin anew");
        }
        lengths.sort_unstable();
        lengths.dedup();
        assert_eq!(lengths, [2, 3]);
    }

    #[test]
    fn a_damaged_record_is_noticed() {
        let mut disk = Disk::default();
        disk.damage(&mut Draw::new(1));
        assert!(disk.read().is_some(), "there is nothing to be damaged");
        for number in 1..=3 {
            disk.push(record(number));
        }
        assert!(disk.begin_write());
        disk.end_write();
        disk.damage(&mut Draw::new(1));
        assert!(disk.read().is_none());
        disk.lose();
        assert_eq!(disk.read().unwrap().1, []);
    }
}
