//! A replica's disk: what of its log survives when its process ends.

use webbft_protocol::replica::{LogPosition, Record};

use super::draw::Draw;

/// How long one write takes that makes records durable, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpeed {
    /// At least this long.
    pub base: u64,
    /// And a random time of about this size, with a tail.
    pub jitter: u64,
}

/// The log of one replica, over all its lives.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    records: Vec<Record>,
    /// So many of them are durable.
    durable: usize,
    /// So many are part of the write under way or durable.
    submitted: usize,
    /// So many there were when the process started: its positions begin after them.
    base: usize,
    writing: bool,
}

impl Disk {
    /// The process hands in a record.
    pub fn push(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Begins a write of everything handed in, unless one is under way or there is nothing.
    pub fn begin_write(&mut self) -> bool {
        let begins = !self.writing && self.submitted < self.records.len();
        if begins {
            self.writing = true;
            self.submitted = self.records.len();
        }
        begins
    }

    /// The write is done. Gives the records that are durable now and were not before.
    pub fn end_write(&mut self) -> &[Record] {
        self.writing = false;
        let before = std::mem::replace(&mut self.durable, self.submitted);
        &self.records[before..self.durable]
    }

    /// The position of the last durable record, as the process counts.
    #[must_use]
    pub const fn durable(&self) -> LogPosition {
        LogPosition((self.durable - self.base) as u64)
    }

    /// The process, or the machine, ends: of what was not durable a part survives, in order; the
    /// record that was torn is no record.
    pub fn crash(&mut self, draw: &mut Draw) {
        let undone = self.records.len() - self.durable;
        let kept = self.durable + draw.below(undone + 1);
        self.records.truncate(kept);
        self.writing = false;
    }

    /// Everything is lost.
    pub fn lose(&mut self) {
        *self = Self::default();
    }

    /// The process starts and reads what there is, which is durable from then on.
    pub fn read(&mut self) -> Vec<Record> {
        self.base = self.records.len();
        self.durable = self.base;
        self.submitted = self.base;
        self.records.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use webbft_protocol::membership::Regency;

    fn record(number: u32) -> Record {
        Record::Regency { regency: Regency(number.into()), stop_data: None }
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
            let read = disk.read();
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
}
