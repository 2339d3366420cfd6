//! Who wants which regency (rules S2 and S4).

use crate::membership::{Cid, Quorums, Regency};

/// One member's STOP: it wants `regency`, and wanted it while `cid` was its open instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) regency: Regency,
    pub(super) cid: Cid,
}

/// The STOPs that stand, one a member: a later regency takes the place of an earlier (rule S4).
#[derive(Debug)]
pub(super) struct Stops {
    by_member: Vec<Option<Stop>>,
    quorums: Quorums,
}

impl Stops {
    pub(super) fn new(quorums: Quorums) -> Self {
        Self { by_member: vec![None; quorums.n()], quorums }
    }

    /// A member wants a regency, again or anew.
    pub(super) fn insert(&mut self, member: usize, stop: Stop) {
        let known = &mut self.by_member[member];
        if known.is_none_or(|known| (stop.regency, stop.cid) >= (known.regency, known.cid)) {
            *known = Some(stop);
        }
    }

    /// A member voted in regency `current` about instance `cid`: its STOP of an earlier instance
    /// no longer stands, for what it waited for has come. Without this an old STOP of a correct
    /// member and one liar could end a regency at will.
    pub(super) fn voted(&mut self, member: usize, current: Regency, cid: Cid) {
        let known = &mut self.by_member[member];
        if known.is_some_and(|known| known.regency > current && known.cid < cid) {
            *known = None;
        }
    }

    /// The STOP of one member.
    pub(super) fn of(&self, member: usize) -> Option<Stop> {
        self.by_member[member]
    }

    /// The highest regency that at least `count` members want; regency 0 needs nobody.
    fn wanted_by(&self, count: usize) -> Regency {
        let mut wanted: Vec<Regency> = self
            .by_member
            .iter()
            .map(|stop| stop.map_or(Regency(0), |stop| stop.regency))
            .collect();
        wanted.sort_unstable_by(|a, b| b.cmp(a));
        wanted.get(count - 1).copied().unwrap_or(Regency(0))
    }

    /// The regency that one correct member wants for certain: join it.
    pub(super) fn to_join(&self) -> Regency {
        self.wanted_by(self.quorums.one_correct())
    }

    /// The regency that a quorum wants: install it.
    pub(super) fn to_install(&self) -> Regency {
        self.wanted_by(self.quorums.quorum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(regency: u32, cid: u64) -> Stop {
        Stop { regency: Regency(regency), cid: Cid(cid) }
    }

    fn wants(stops: &Stops) -> (u32, u32) {
        (stops.to_join().0, stops.to_install().0)
    }

    #[test]
    fn a_stop_counts_for_every_regency_up_to_its_own() {
        let mut stops = Stops::new(Quorums::new(4, 1).unwrap());
        assert_eq!(wants(&stops), (0, 0));
        stops.insert(0, stop(1, 5));
        stops.insert(3, stop(7, 5));
        assert_eq!(wants(&stops), (1, 0));
        stops.insert(1, stop(2, 5));
        assert_eq!(wants(&stops), (2, 1));
        // An earlier one does not take the place of a later.
        stops.insert(3, stop(1, 9));
        assert_eq!(stops.of(3), Some(stop(7, 5)));
    }

    #[test]
    fn a_vote_about_a_later_instance_voids_a_stop() {
        let mut stops = Stops::new(Quorums::new(4, 1).unwrap());
        stops.insert(1, stop(3, 5));
        stops.voted(1, Regency(2), Cid(5));
        assert_eq!(stops.of(1), Some(stop(3, 5)));
        // A STOP for a regency that has come about is history, not a wish.
        stops.voted(1, Regency(3), Cid(6));
        assert_eq!(stops.of(1), Some(stop(3, 5)));
        stops.voted(1, Regency(2), Cid(6));
        assert_eq!(stops.of(1), None);
    }
}
