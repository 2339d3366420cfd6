//! Which outputs wait for which records (rule N4).
//!
//! A message that gives this replica's word (a proposal, a vote, a STOPDATA, a SYNC) and what a
//! client is told leave only once the records before them are durable. The driver need not know
//! the protocol to be safe: it is given nothing too early.

use std::collections::VecDeque;

use super::record::{LogPosition, Record};

/// The replica's log as far as it is in memory.
#[derive(Debug, Default)]
pub(super) struct Log {
    last: LogPosition,
    /// The last record that an output waits for.
    word: LogPosition,
    durable: LogPosition,
    out: VecDeque<(LogPosition, Record)>,
}

impl Log {
    pub(super) fn push(&mut self, record: Record) {
        self.last.0 += 1;
        // That something was decided can be found out again from the votes of a quorum.
        if !matches!(record, Record::Decided { .. } | Record::Checkpoint(_)) {
            self.word = self.last;
        }
        self.out.push_back((self.last, record));
    }

    pub(super) fn poll(&mut self) -> Option<(LogPosition, Record)> {
        self.out.pop_front()
    }

    /// What an output that gives this replica's word has to wait for now.
    pub(super) const fn word(&self) -> LogPosition {
        self.word
    }

    /// Everything up to `up_to` will survive a crash.
    ///
    /// # Panics
    /// Where there is no such record: the driver is to blame.
    pub(super) fn handle_durable(&mut self, up_to: LogPosition) {
        assert!(up_to <= self.last, "only what was recorded can be durable");
        self.durable = self.durable.max(up_to);
    }

    pub(super) fn is_durable(&self, position: LogPosition) -> bool {
        position <= self.durable
    }
}

/// Outputs in order, each with what it waits for.
#[derive(Debug)]
pub(super) struct Held<T>(VecDeque<(LogPosition, T)>);

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Held<T> {
    pub(super) fn push(&mut self, after: LogPosition, output: T) {
        self.0.push_back((after, output));
    }

    pub(super) fn poll(&mut self, log: &Log) -> Option<T> {
        let (after, _) = self.0.front()?;
        if log.is_durable(*after) { self.0.pop_front().map(|(_, output)| output) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::{Cid, Digest, Epoch, Regency};

    #[test]
    fn outputs_leave_in_order_and_not_too_early() {
        let mut log = Log::default();
        let mut held = Held::default();
        held.push(log.word(), "free");
        log.push(Record::Regency { regency: Regency(1), stop_data: None });
        held.push(log.word(), "after the first");
        let (cid, epoch, hash) = (Cid(1), Epoch(2), Digest::default());
        log.push(Record::Decided { cid, hash, epoch, accepts: Vec::new(), value: None });
        held.push(log.word(), "decisions hold nothing up");
        assert_eq!(held.poll(&log), Some("free"));
        assert_eq!(held.poll(&log), None);
        assert_eq!(log.poll().map(|(position, _)| position), Some(LogPosition(1)));
        assert_eq!(log.poll().map(|(position, _)| position), Some(LogPosition(2)));
        log.handle_durable(LogPosition(1));
        assert_eq!(held.poll(&log), Some("after the first"));
        assert_eq!(held.poll(&log), Some("decisions hold nothing up"));
        assert_eq!(held.poll(&log), None);
    }
}
