//! The proxy's timers, all in one table.

use super::event::CallId;
use super::table::Table;
use crate::time::Instant;

/// Why a timer fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The caller waits no longer.
    CallExpires(CallId),
    /// A fast read has had no quorum: ask in order.
    ReadFallsBack(CallId),
    /// Replicas that have not replied get the request once more.
    Retransmit(CallId),
    /// A quorum agrees on a digest, and the body has not come: ask another replica.
    BodyMissing(CallId),
    /// The next event of a subscription exists, and cannot be delivered: fetch, resume or skip.
    EventMissing(CallId),
}

/// At most one time per timer.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_timer: Table<Timer, Instant>,
    by_time: Table<(Instant, Timer), ()>,
}

impl Timers {
    /// Sets a timer, in place of its earlier time.
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        self.cancel(timer);
        self.by_timer.insert(timer, at);
        self.by_time.insert((at, timer), ());
    }

    /// Sets a timer unless it is set already.
    pub(super) fn set_once(&mut self, timer: Timer, at: Instant) {
        if !self.is_set(timer) {
            self.set(timer, at);
        }
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.by_timer.get(&timer).is_some()
    }

    pub(super) fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.by_timer.remove(&timer) {
            self.by_time.remove(&(at, timer));
        }
    }

    /// Cancels all timers of a call.
    pub(super) fn cancel_call(&mut self, call: CallId) {
        self.cancel(Timer::CallExpires(call));
        self.cancel_attempt(call);
    }

    /// Cancels the timers of a call except the caller's own.
    pub(super) fn cancel_attempt(&mut self, call: CallId) {
        self.cancel(Timer::ReadFallsBack(call));
        self.cancel(Timer::Retransmit(call));
        self.cancel(Timer::BodyMissing(call));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| at)
    }

    /// Takes out a timer that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = self.by_time.first()?;
        if at > now {
            return None;
        }
        self.cancel(timer);
        Some(timer)
    }

    pub(super) fn clear(&mut self) {
        self.by_timer.clear();
        self.by_time.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_time_per_timer() {
        let at = Instant::from_micros;
        let (call, other) = (CallId(1), CallId(2));
        let mut timers = Timers::default();
        timers.set(Timer::Retransmit(call), at(5));
        timers.set(Timer::Retransmit(call), at(7));
        timers.set_once(Timer::Retransmit(call), at(1));
        timers.set(Timer::CallExpires(call), at(9));
        timers.set(Timer::EventMissing(other), at(6));
        assert_eq!(timers.next(), Some(at(6)));
        assert_eq!(timers.pop_due(at(5)), None);
        assert_eq!(timers.pop_due(at(8)), Some(Timer::EventMissing(other)));
        assert_eq!(timers.pop_due(at(8)), Some(Timer::Retransmit(call)));
        assert_eq!(timers.pop_due(at(8)), None);
        timers.cancel_call(call);
        assert_eq!(timers.next(), None);
    }
}
