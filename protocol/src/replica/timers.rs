//! All timers of a replica but those of requests, in one table.

use crate::time::Instant;

/// Why a timer fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// Vouches have waited long enough for a WRITE or ACCEPT to travel with (rule A1).
    SendVouches,
    /// Bodies that f + 1 replicas vouch for have not come from the client (rule A1).
    FetchBodies,
    /// Others have decided what this replica has not (rule N5).
    FetchDecisions,
    /// Vouches had to be ignored: ask for the complete sets (rule A3).
    AskForVouches,
    /// A learner repeats that it is one (rule D3).
    LearnerStatus,
    /// A proposal's time is no longer ahead of the clock (rule N6).
    ProposalClock,
    /// What was decided has been answered, and more ACCEPTs will hardly come: verify (rule N3).
    Prove,
    /// A pending session's birth has become old enough to fall behind the horizon (rule A8).
    StaleSessions,
    /// What was asked of a peer for a state transfer has not come (rule C6).
    Transfer,
}

const TABLE: [Timer; 9] = [
    Timer::SendVouches,
    Timer::FetchBodies,
    Timer::FetchDecisions,
    Timer::AskForVouches,
    Timer::LearnerStatus,
    Timer::ProposalClock,
    Timer::Prove,
    Timer::StaleSessions,
    Timer::Transfer,
];

/// At most one deadline a kind.
#[derive(Debug, Default)]
pub(super) struct Timers([Option<Instant>; TABLE.len()]);

impl Timers {
    /// Lets the timer fire at `at`, unless it fires earlier anyway.
    pub(super) fn set_earliest(&mut self, timer: Timer, at: Instant) {
        let slot = &mut self.0[timer as usize];
        *slot = Some(slot.map_or(at, |earlier| earlier.min(at)));
    }

    /// Lets the timer fire at `at` and no earlier.
    pub(super) const fn set(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize] = Some(at);
    }

    pub(super) const fn clear(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    /// A timer that is due; it is cleared.
    pub(super) fn fire(&mut self, now: Instant) -> Option<Timer> {
        let timer =
            TABLE.into_iter().find(|&timer| self.0[timer as usize].is_some_and(|at| at <= now))?;
        self.clear(timer);
        Some(timer)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.0.iter().copied().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earliest_wins_and_fires_once() {
        for (index, timer) in TABLE.into_iter().enumerate() {
            assert_eq!(timer as usize, index);
        }
        let mut timers = Timers::default();
        timers.set_earliest(Timer::FetchBodies, Instant::from_micros(20));
        timers.set_earliest(Timer::FetchBodies, Instant::from_micros(30));
        timers.set_earliest(Timer::SendVouches, Instant::from_micros(25));
        assert_eq!(timers.next_deadline(), Some(Instant::from_micros(20)));
        assert_eq!(timers.fire(Instant::from_micros(19)), None);
        assert_eq!(timers.fire(Instant::from_micros(25)), Some(Timer::SendVouches));
        assert_eq!(timers.fire(Instant::from_micros(25)), Some(Timer::FetchBodies));
        assert_eq!(timers.fire(Instant::from_micros(25)), None);
        assert_eq!(timers.next_deadline(), None);
    }
}
