//! The replicas as the proxy knows them: who is connected, and what speaks against whom.

use super::event::{CallId, ClientEvent, SuspectReason};
use super::proxy::ServiceProxy;
use super::status::Suspicion;
use crate::membership::ReplicaSet;
use crate::time::{Instant, UnixMicros};

/// One replica.
#[derive(Debug, Clone, Default)]
pub(super) struct Replica {
    /// Is its link open?
    pub(super) open: bool,
    /// The latest agreed time that it reported.
    pub(super) time: Option<UnixMicros>,
    pub(super) suspicion: Option<Suspicion>,
    /// Pongs in a row that no heads of the session's topics came with.
    pub(super) heads_missing: u32,
    /// Calls completed without it since it last answered one, and since when.
    missed: u32,
    missed_since: Instant,
}

impl ServiceProxy {
    /// Records what speaks against a replica, and tells the application.
    pub(super) fn accuse(
        &mut self,
        now: Instant,
        replica: usize,
        reason: SuspectReason,
        call: Option<CallId>,
    ) {
        let count = self.replicas[replica].suspicion.map_or(0, |suspicion| suspicion.count);
        self.replicas[replica].suspicion =
            Some(Suspicion { reason, count: count.saturating_add(1), last: now });
        self.events.push_back(ClientEvent::Suspect { replica, reason, call });
    }

    /// The replica answered something: it is not silent.
    pub(super) fn answered(&mut self, replica: usize) {
        let replica = &mut self.replicas[replica];
        replica.missed = 0;
        if matches!(replica.suspicion, Some(Suspicion { reason: SuspectReason::Silent, .. })) {
            replica.suspicion = None;
            self.status_changed();
        }
    }

    /// A call was completed with the votes of `voters`. Whoever is connected and answers none of
    /// many calls, for longer than a slow link explains, is suspected of silence.
    pub(super) fn completed_by(&mut self, now: Instant, voters: ReplicaSet, call: CallId) {
        for index in 0..self.replicas.len() {
            let replica = &mut self.replicas[index];
            if !replica.open || voters.contains(index) {
                continue;
            }
            if replica.missed == 0 {
                replica.missed_since = now;
            }
            replica.missed = replica.missed.saturating_add(1);
            if replica.missed >= self.options.silent_after
                && now.since(replica.missed_since) >= self.options.silent_for
                && replica.suspicion.is_none()
            {
                self.accuse(now, index, SuspectReason::Silent, Some(call));
            }
        }
    }

    /// Starts to count anew, on a new link.
    pub(super) fn forgive_silence(&mut self, replica: usize) {
        self.replicas[replica].missed = 0;
        self.replicas[replica].heads_missing = 0;
    }

    /// The connected replicas.
    pub(super) fn open(&self) -> ReplicaSet {
        (0..self.replicas.len()).filter(|&index| self.replicas[index].open).collect()
    }

    /// The replica that is to send a body in full: by rotation among the connected ones that
    /// nothing speaks against, else among the connected ones.
    pub(super) fn choose_full(&self, rotation: u64) -> usize {
        let n = self.replicas.len();
        let start = usize::try_from(rotation % n as u64).unwrap_or(0);
        let order = || (0..n).map(|step| (start + step) % n).filter(|&r| self.replicas[r].open);
        order()
            .find(|&replica| self.replicas[replica].suspicion.is_none())
            .or_else(|| order().next())
            .unwrap_or(start)
    }
}
