//! Who wants which regency (rules S2 and S4).
//!
//! A STOP is a level, not an event: it stands while its sender has a reason, and is taken back by
//! naming the regency that the sender has installed. What counts is what each member said last.

use crate::membership::{Quorums, Regency};

/// What each member wants; regency 0 is nothing.
#[derive(Debug)]
pub(super) struct Stops {
    wanted: Vec<Regency>,
    quorums: Quorums,
}

impl Stops {
    pub(super) fn new(quorums: Quorums) -> Self {
        Self { wanted: vec![Regency(0); quorums.n()], quorums }
    }

    /// A member wants a regency, which takes the place of what it wanted before.
    pub(super) fn set(&mut self, member: usize, regency: Regency) {
        self.wanted[member] = regency;
    }

    /// What a member wants.
    pub(super) fn of(&self, member: usize) -> Regency {
        self.wanted[member]
    }

    /// The highest regency that f + 1 members other than `me` want, one of whom is correct: join
    /// it. A STOP counts for every regency up to its own (rule S4).
    pub(super) fn to_join(&self, me: usize) -> Regency {
        let others = self.wanted.iter().enumerate().filter(|(member, _)| *member != me);
        nth_highest(others.map(|(_, regency)| *regency), self.quorums.one_correct())
    }

    /// The highest regency that a quorum wants: install it.
    pub(super) fn to_install(&self) -> Regency {
        nth_highest(self.wanted.iter().copied(), self.quorums.quorum())
    }
}

fn nth_highest(regencies: impl Iterator<Item = Regency>, n: usize) -> Regency {
    let mut regencies: Vec<Regency> = regencies.collect();
    regencies.sort_unstable_by(|a, b| b.cmp(a));
    regencies.get(n - 1).copied().unwrap_or(Regency(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(stops: &Stops) -> (u32, u32) {
        (stops.to_join(2).0, stops.to_install().0)
    }

    #[test]
    fn a_stop_counts_for_every_regency_up_to_its_own() {
        let mut stops = Stops::new(Quorums::new(4, 1).unwrap());
        assert_eq!(wants(&stops), (0, 0));
        stops.set(0, Regency(1));
        stops.set(3, Regency(7));
        assert_eq!(wants(&stops), (1, 0));
        stops.set(1, Regency(2));
        assert_eq!(wants(&stops), (2, 1));
    }

    #[test]
    fn what_was_said_last_counts() {
        let mut stops = Stops::new(Quorums::new(4, 1).unwrap());
        stops.set(0, Regency(1));
        stops.set(1, Regency(1));
        assert_eq!(wants(&stops), (1, 0));
        stops.set(1, Regency(0));
        assert_eq!(wants(&stops), (0, 0));
        // One's own wish is no reason to join.
        stops.set(2, Regency(1));
        assert_eq!(wants(&stops), (0, 0));
    }

    #[test]
    fn one_alone_installs_what_it_wants() {
        let mut stops = Stops::new(Quorums::new(1, 0).unwrap());
        stops.set(0, Regency(3));
        assert_eq!((stops.to_join(0).0, stops.to_install().0), (0, 3));
    }
}
