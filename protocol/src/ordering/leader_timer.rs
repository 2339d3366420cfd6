//! How long admitted requests have been waiting for the leader, and how long a proposal that is ahead
//! of the clock has (rules A5 and S8).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::time::Instant;
use crate::wire::{RequestId, SessionKey};

/// T doubles with each regency, this many times at most.
const MAX_LEVEL: u32 = 5;
/// Decided instances after which T is halved again.
const DECAY: u32 = 64;

#[derive(Debug, Clone, Copy)]
struct Waiting {
    id: RequestId,
    since: Instant,
    resent: bool,
    /// Has it waited for the whole time, and waits still?
    overdue: bool,
    due: Instant,
}

/// What a timer that fired asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// Half the time is over: send the request to the leader again.
    Resend(RequestId),
    /// The leader has not ordered this request in time.
    Suspect(RequestId),
    /// The leader's proposal has been ahead of this replica's clock for the whole time.
    SuspectClock,
}

/// A proposal of the present regency waits for this replica's clock (rule N6).
#[derive(Debug, Clone, Copy)]
struct Ahead {
    since: Instant,
    /// Has it waited for the whole time, and waits still?
    overdue: bool,
}

/// One timer per session: of its next number, while that is admitted.
#[derive(Debug)]
pub struct LeaderTimer {
    /// T while leaders are good.
    base: Duration,
    /// How often it has been doubled.
    level: u32,
    /// Instances decided at this level.
    decided: u32,
    waiting: BTreeMap<SessionKey, Waiting>,
    by_due: BTreeSet<(Instant, SessionKey)>,
    overdue: usize,
    ahead: Option<Ahead>,
    /// When the last full batch was decided, for load alone must not depose a leader who takes
    /// requests in order of admission; or when the regency began (rule S8).
    restarted: Instant,
}

impl LeaderTimer {
    /// No timer runs. `timeout` is T of rule S8.
    #[must_use]
    pub const fn new(base: Duration) -> Self {
        Self {
            base,
            level: 0,
            decided: 0,
            waiting: BTreeMap::new(),
            by_due: BTreeSet::new(),
            overdue: 0,
            ahead: None,
            restarted: Instant::ZERO,
        }
    }

    /// T at present.
    fn timeout(&self) -> Duration {
        self.base * 2_u32.pow(self.level)
    }

    /// Does anything wait that has waited for the whole time?
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.overdue > 0 || self.ahead.is_some_and(|ahead| ahead.overdue)
    }

    /// A regency begins: every request gets its full time again, and a longer one, lest leaders
    /// change faster than any of them can do its work.
    pub fn begin_regency(&mut self, now: Instant) {
        self.level = (self.level + 1).min(MAX_LEVEL);
        self.decided = 0;
        self.restart(now);
    }

    /// An instance was decided: the longer time decays.
    pub const fn handle_decided(&mut self) {
        self.decided += 1;
        if self.decided >= DECAY {
            self.decided = 0;
            self.level = self.level.saturating_sub(1);
        }
    }

    /// The session's next admitted request is now `next`; a running timer of the same request
    /// goes on, any other ends.
    pub fn set(&mut self, now: Instant, key: SessionKey, next: Option<RequestId>) {
        match (self.waiting.get(&key), next) {
            (Some(waiting), Some(id)) if waiting.id == id => {}
            (_, Some(id)) => {
                self.clear(&key);
                let due = now + self.timeout() / 2;
                let waiting = Waiting { id, since: now, resent: false, overdue: false, due };
                self.waiting.insert(key, waiting);
                self.by_due.insert((due, key));
            }
            (_, None) => self.clear(&key),
        }
    }

    /// Does the open proposal wait for this replica's clock? Nobody's request need be in it: without
    /// this timer a leader whose clock is far ahead could stop a quiet service.
    pub fn set_ahead(&mut self, now: Instant, is_ahead: bool) {
        self.ahead = is_ahead.then(|| self.ahead.unwrap_or(Ahead { since: now, overdue: false }));
    }

    fn clear(&mut self, key: &SessionKey) {
        if let Some(waiting) = self.waiting.remove(key) {
            self.by_due.remove(&(waiting.due, *key));
            self.overdue -= usize::from(waiting.overdue);
        }
    }

    /// A full batch was decided: every running clock restarts.
    pub fn restart(&mut self, now: Instant) {
        self.restarted = now;
        self.ahead = self.ahead.map(|_| Ahead { since: now, overdue: false });
        if self.overdue > 0 {
            for waiting in self.waiting.values_mut() {
                waiting.overdue = false;
            }
            self.overdue = 0;
        }
    }

    /// When to call [`LeaderTimer::fire`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let request = self.by_due.first().map(|(due, _)| *due);
        request.into_iter().chain(self.ahead_due()).min()
    }

    fn ahead_due(&self) -> Option<Instant> {
        let ahead = self.ahead.filter(|ahead| !ahead.overdue)?;
        Some(ahead.since + self.timeout())
    }

    /// The next timer that has run out. One that fired runs again.
    pub fn fire(&mut self, now: Instant) -> Option<Overdue> {
        let timeout = self.timeout();
        if let Some(ahead) = &mut self.ahead
            && !ahead.overdue
            && now >= ahead.since + timeout
        {
            ahead.overdue = true;
            return Some(Overdue::SuspectClock);
        }
        loop {
            let &(due, key) = self.by_due.first()?;
            if due > now {
                return None;
            }
            self.by_due.pop_first();
            let waiting = self.waiting.get_mut(&key).expect("both indices hold the same timers");
            if waiting.since < self.restarted {
                waiting.since = self.restarted;
                waiting.resent = false;
            }
            let half = waiting.since + timeout / 2;
            let full = waiting.since + timeout;
            let fired = if now >= full {
                waiting.since = now;
                waiting.resent = false;
                self.overdue += usize::from(!waiting.overdue);
                waiting.overdue = true;
                Some(Overdue::Suspect(waiting.id))
            } else if now >= half && !waiting.resent {
                waiting.resent = true;
                Some(Overdue::Resend(waiting.id))
            } else {
                None
            };
            let wait = if waiting.resent { timeout } else { timeout / 2 };
            waiting.due = waiting.since + wait;
            let again = (waiting.due, key);
            self.by_due.insert(again);
            if fired.is_some() {
                return fired;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::{ClientId, SessionId};

    const KEY: SessionKey = SessionKey { client: ClientId([1; 16]), session: SessionId([2; 16]) };

    fn ms(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    #[test]
    fn resends_at_half_time_and_suspects_at_full() {
        let mut timer = LeaderTimer::new(Duration::from_secs(2));
        let id = KEY.request(1);
        timer.set(ms(0), KEY, Some(id));
        timer.set(ms(500), KEY, Some(id));
        assert_eq!(timer.next_deadline(), Some(ms(1000)));
        assert_eq!(timer.fire(ms(999)), None);
        assert_eq!(timer.fire(ms(1000)), Some(Overdue::Resend(id)));
        assert_eq!(timer.fire(ms(1000)), None);
        assert_eq!(timer.fire(ms(2000)), Some(Overdue::Suspect(id)));
        assert_eq!(timer.next_deadline(), Some(ms(3000)));
        timer.set(ms(2500), KEY, None);
        assert_eq!(timer.next_deadline(), None);
    }

    #[test]
    fn the_time_doubles_with_each_regency_and_decays() {
        let mut timer = LeaderTimer::new(Duration::from_secs(2));
        timer.set(ms(0), KEY, Some(KEY.request(1)));
        assert_eq!(timer.fire(ms(1000)), Some(Overdue::Resend(KEY.request(1))));
        assert_eq!(timer.fire(ms(2000)), Some(Overdue::Suspect(KEY.request(1))));
        assert!(timer.is_overdue());
        timer.begin_regency(ms(2100));
        assert!(!timer.is_overdue());
        assert_eq!(timer.fire(ms(4099)), None);
        assert_eq!(timer.fire(ms(4100)), Some(Overdue::Resend(KEY.request(1))));
        assert_eq!(timer.fire(ms(6100)), Some(Overdue::Suspect(KEY.request(1))));
        timer.set(ms(6200), KEY, Some(KEY.request(2)));
        assert!(!timer.is_overdue());
        for _ in 0..DECAY {
            timer.handle_decided();
        }
        timer.set(ms(7000), KEY, Some(KEY.request(3)));
        assert_eq!(timer.next_deadline(), Some(ms(8000)));
        for _ in 0..10 {
            timer.begin_regency(ms(7000));
        }
        assert_eq!(timer.timeout(), Duration::from_secs(64));
    }

    #[test]
    fn a_proposal_ahead_of_the_clock_is_suspected_after_the_whole_time() {
        let mut timer = LeaderTimer::new(Duration::from_secs(2));
        timer.set_ahead(ms(100), true);
        timer.set_ahead(ms(900), true);
        assert_eq!((timer.next_deadline(), timer.fire(ms(2099))), (Some(ms(2100)), None));
        assert_eq!(timer.fire(ms(2100)), Some(Overdue::SuspectClock));
        assert_eq!((timer.is_overdue(), timer.next_deadline()), (true, None));
        assert_eq!(timer.fire(ms(9000)), None);
        timer.begin_regency(ms(9000));
        assert_eq!((timer.is_overdue(), timer.next_deadline()), (false, Some(ms(13_000))));
        timer.set_ahead(ms(9100), false);
        assert_eq!(timer.next_deadline(), None);
        timer.set_ahead(ms(9200), true);
        assert_eq!(timer.next_deadline(), Some(ms(13_200)));
    }

    #[test]
    fn a_full_batch_restarts_the_clock() {
        let mut timer = LeaderTimer::new(Duration::from_secs(2));
        timer.set(ms(0), KEY, Some(KEY.request(1)));
        timer.restart(ms(900));
        assert_eq!(timer.fire(ms(1000)), None);
        assert_eq!(timer.fire(ms(1900)), Some(Overdue::Resend(KEY.request(1))));
        assert_eq!(timer.fire(ms(2899)), None);
        assert_eq!(timer.fire(ms(2900)), Some(Overdue::Suspect(KEY.request(1))));
    }
}
