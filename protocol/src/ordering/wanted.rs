//! Bodies that are missing here, and when to ask for them (rule A1).
//!
//! The client sends each body to all replicas itself, and its copy usually comes a moment after
//! the vouches. So a body is asked for when it has not come for a while, of one voucher at a time,
//! and of another one the next time: at most f of them are faulty.

use std::collections::BTreeMap;

use crate::membership::{Digest, ReplicaSet};
use crate::wire::{RequestId, Vouch};

/// How long a missing body may take to come on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Without it this replica cannot write the open proposal, or its client has no link here.
    Little,
    /// Its client has a link here, and nothing waits for it yet.
    Much,
}

impl Patience {
    const fn ticks(self) -> u32 {
        match self {
            Self::Little => 2,
            Self::Much => 10,
        }
    }
}

/// Ticks until it is asked of the next one. The last of f + 1 vouchers must have been asked well
/// before anybody's time-out is over (rule S8).
const SOON: u32 = 4;
/// After so many times nobody seems to have it to give, and it is asked for less often.
const PATIENT_AFTER: u32 = 8;
const LATER: u32 = 16;

#[derive(Debug, Default)]
struct Wait {
    /// Since it was missed, or asked for last.
    ticks: u32,
    asked: u32,
}

/// A body to be asked for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Whose.
    pub vouch: Vouch,
    /// Who has ever vouched for it.
    pub vouchers: ReplicaSet,
    /// How often it has been asked for before.
    pub asked: u32,
}

impl Wanted {
    /// The one to ask: `first` the first time, where that is one of those who have it and can be
    /// reached, and then one after the other, beginning anywhere.
    #[must_use]
    pub fn choose(&self, first: Option<usize>, reachable: ReplicaSet) -> Option<usize> {
        let candidates: Vec<usize> =
            self.vouchers.iter().filter(|&peer| reachable.contains(peer)).collect();
        if self.asked == 0
            && let Some(first) = first.filter(|first| candidates.contains(first))
        {
            return Some(first);
        }
        let turn = usize::from(self.vouch.digest.0[0]).wrapping_add(self.asked as usize);
        candidates.get(turn.checked_rem(candidates.len())?).copied()
    }
}

/// The digests whose bodies are missing.
#[derive(Debug, Default)]
pub(super) struct WantedBodies(BTreeMap<(RequestId, Digest), Wait>);

impl WantedBodies {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, id: RequestId, digest: Digest) {
        self.0.entry((id, digest)).or_default();
    }

    pub(super) fn remove(&mut self, id: RequestId, digest: Digest) {
        if !self.0.is_empty() {
            self.0.remove(&(id, digest));
        }
    }

    /// Time has passed. Gives what is to be asked for now, and how often it has been before.
    pub(super) fn tick(&mut self, patience: impl Fn(&Vouch) -> Patience) -> Vec<(Vouch, u32)> {
        let mut due = Vec::new();
        for (&(id, digest), wait) in &mut self.0 {
            wait.ticks += 1;
            let vouch = Vouch { id, digest };
            let ticks = match wait.asked {
                0 => patience(&vouch).ticks(),
                1..=PATIENT_AFTER => SOON,
                _ => LATER,
            };
            if wait.ticks >= ticks {
                due.push((vouch, wait.asked));
                *wait = Wait { ticks: 0, asked: wait.asked.saturating_add(1) };
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::{ClientId, SessionId};

    fn vouch(number: u64) -> Vouch {
        let (client, session) = (ClientId([1; 16]), SessionId([2; 16]));
        Vouch { id: RequestId { client, session, number }, digest: Digest([7; 32]) }
    }

    #[test]
    fn what_is_needed_now_is_asked_for_first_and_then_less_and_less_often() {
        let mut wanted = WantedBodies::default();
        for number in [1, 2] {
            wanted.insert(vouch(number).id, vouch(number).digest);
        }
        let patience =
            |it: &Vouch| if it.id.number == 1 { Patience::Little } else { Patience::Much };
        let mut asked = Vec::new();
        for tick in 1..=60 {
            asked.extend(wanted.tick(patience).iter().map(|(it, _)| (it.id.number, tick)));
        }
        let times = |number| asked.iter().filter(move |it| it.0 == number).map(|it| it.1);
        assert_eq!(times(1).collect::<Vec<_>>(), [2, 6, 10, 14, 18, 22, 26, 30, 34, 50]);
        assert_eq!(times(2).collect::<Vec<_>>(), [10, 14, 18, 22, 26, 30, 34, 38, 42, 58]);
        wanted.remove(vouch(1).id, vouch(1).digest);
        wanted.remove(vouch(2).id, vouch(2).digest);
        assert!(wanted.is_empty());
    }

    #[test]
    fn everybody_who_has_it_is_asked_in_turn() {
        let vouchers: ReplicaSet = [0, 1, 3].into_iter().collect();
        let ask = |asked, first, reachable| {
            Wanted { vouch: vouch(1), vouchers, asked }.choose(first, reachable)
        };
        let all = ReplicaSet::first(4);
        assert_eq!(ask(0, Some(0), all), Some(0));
        assert_eq!(ask(0, Some(2), all), Some(1), "the seventh in turn: 2 has not vouched");
        let turns: Vec<_> = (1..=4).map(|asked| ask(asked, Some(0), all)).collect();
        assert_eq!(turns, [Some(3), Some(0), Some(1), Some(3)]);
        assert_eq!(ask(1, None, all.without(0).without(1)), Some(3));
        assert_eq!(ask(1, None, ReplicaSet::EMPTY), None);
    }
}
