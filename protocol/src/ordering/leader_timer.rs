//! How long admitted requests have been waiting for the leader (rules A5 and S8).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::time::Instant;
use crate::wire::{RequestId, SessionKey};

#[derive(Debug, Clone, Copy)]
struct Waiting {
    id: RequestId,
    since: Instant,
    resent: bool,
    due: Instant,
}

/// What a timer that fired asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// Half the time is over: send the request to the leader again.
    Resend(RequestId),
    /// The leader has not ordered this request in time.
    Suspect(RequestId),
}

/// One timer per session: of its next number, while that is admitted.
#[derive(Debug)]
pub struct LeaderTimer {
    timeout: Duration,
    waiting: BTreeMap<SessionKey, Waiting>,
    by_due: BTreeSet<(Instant, SessionKey)>,
    /// When the last full batch was decided: load alone must not depose a leader who takes
    /// requests in order of admission (rule S8).
    last_full_batch: Instant,
}

impl LeaderTimer {
    /// No timer runs. `timeout` is T of rule S8.
    #[must_use]
    pub const fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            waiting: BTreeMap::new(),
            by_due: BTreeSet::new(),
            last_full_batch: Instant::ZERO,
        }
    }

    /// The session's next admitted request is now `next`; a running timer of the same request
    /// goes on, any other ends.
    pub fn set(&mut self, now: Instant, key: SessionKey, next: Option<RequestId>) {
        match (self.waiting.get(&key), next) {
            (Some(waiting), Some(id)) if waiting.id == id => {}
            (_, Some(id)) => {
                self.clear(&key);
                let due = now + self.timeout / 2;
                self.waiting.insert(key, Waiting { id, since: now, resent: false, due });
                self.by_due.insert((due, key));
            }
            (_, None) => self.clear(&key),
        }
    }

    fn clear(&mut self, key: &SessionKey) {
        if let Some(waiting) = self.waiting.remove(key) {
            self.by_due.remove(&(waiting.due, *key));
        }
    }

    /// A full batch was decided: every running clock restarts.
    pub const fn restart(&mut self, now: Instant) {
        self.last_full_batch = now;
    }

    /// When to call [`LeaderTimer::fire`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// The next timer that has run out. One that fired runs again.
    pub fn fire(&mut self, now: Instant) -> Option<Overdue> {
        loop {
            let &(due, key) = self.by_due.first()?;
            if due > now {
                return None;
            }
            self.by_due.pop_first();
            let waiting = self.waiting.get_mut(&key).expect("both indices hold the same timers");
            if waiting.since < self.last_full_batch {
                waiting.since = self.last_full_batch;
                waiting.resent = false;
            }
            let half = waiting.since + self.timeout / 2;
            let full = waiting.since + self.timeout;
            let fired = if now >= full {
                waiting.since = now;
                waiting.resent = false;
                Some(Overdue::Suspect(waiting.id))
            } else if now >= half && !waiting.resent {
                waiting.resent = true;
                Some(Overdue::Resend(waiting.id))
            } else {
                None
            };
            let wait = if waiting.resent { self.timeout } else { self.timeout / 2 };
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
