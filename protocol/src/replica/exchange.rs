//! What replicas tell and ask each other besides votes: progress, vouches, bodies, decisions.

use std::collections::BTreeSet;

use super::timers::Timer;
use super::{PeerFault, Replica};
use crate::auth::check_last;
use crate::execution::Service;
use crate::membership::{Cid, Digest, ReplicaSet};
use crate::ordering::Patience;
use crate::wire::limits::{MAX_FETCH, MAX_SERVED_BYTES};
use crate::wire::{LastProof, PeerMessage, RequestId, Vouch};

impl<S: Service> Replica<S> {
    pub(super) fn handle_status(&mut self, peer: usize, last_cid: Cid, learner: bool) {
        self.consensus.handle_progress(peer, last_cid);
        if learner {
            // Three empty batches take it past its target (rule D3); asking again is bounded by
            // the interval at which a learner reports.
            self.empty_batches = self.empty_batches.max(3);
            if let Some(report) = self.consensus.report() {
                self.send(ReplicaSet::one(peer), report);
            }
        }
        if peer == self.consensus.leader() {
            self.consensus.set_leader_learns(learner);
        }
    }

    /// What a member can prove to be decided. A number without proof could be so large that this
    /// replica would never vote again (rule D3).
    pub(super) fn handle_report(
        &mut self,
        peer: usize,
        (last_cid, last_hash): (Cid, Digest),
        proof: &LastProof,
    ) {
        let Some(learner) = self.learner.as_mut().filter(|learner| learner.needs(peer)) else {
            return;
        };
        match check_last(&self.view, last_cid, last_hash, proof) {
            Ok(_) => learner.handle_report(peer, last_cid),
            Err(error) => self.misbehaved(peer, PeerFault::Report(error)),
        }
    }

    pub(super) fn send_vouches_to_leader(&mut self) {
        let leader = self.consensus.leader();
        for groups in self.admission.outbox().take_leader() {
            if leader != self.me {
                let message = PeerMessage::Vouches { replace: false, groups };
                self.send(ReplicaSet::one(leader), message);
            }
        }
    }

    pub(super) fn send_vouches_to_others(&mut self) {
        self.timers.clear(Timer::SendVouches);
        let to = self.others().without(self.consensus.leader());
        for groups in self.admission.outbox().take_others() {
            self.send(to, PeerMessage::Vouches { replace: false, groups });
        }
    }

    pub(super) fn send_complete_set(&mut self, to: ReplicaSet) {
        let frames = self.admission.complete_set();
        if frames.is_empty() {
            self.send(to, PeerMessage::Vouches { replace: true, groups: Vec::new() });
        }
        for (index, groups) in frames.into_iter().enumerate() {
            self.send(to, PeerMessage::Vouches { replace: index == 0, groups });
        }
    }

    /// Asks for bodies that have not come from their clients: one of those who vouch for each,
    /// and the leader first where it has proposed it.
    pub(super) fn fetch_bodies(&mut self) {
        let proposed: BTreeSet<(RequestId, Digest)> = self
            .consensus
            .incomplete()
            .into_iter()
            .flat_map(|batch| batch.entries.iter().map(|entry| (entry.id, entry.digest)))
            .collect();
        let is_proposed = |vouch: &Vouch| proposed.contains(&(vouch.id, vouch.digest));
        let clients = &self.clients;
        let due = self.admission.tick_wanted(|vouch| {
            if is_proposed(vouch) || !clients.is_attached(&vouch.id.session_key()) {
                Patience::Little
            } else {
                Patience::Much
            }
        });
        let reachable = self.connected.without(self.me);
        let mut wanted: Vec<Vec<Vouch>> = vec![Vec::new(); self.view.n()];
        for body in due {
            let leader = is_proposed(&body.vouch).then(|| self.consensus.leader());
            if let Some(peer) = body.choose(leader, reachable) {
                wanted[peer].push(body.vouch);
            }
        }
        for (peer, mut wanted) in wanted.into_iter().enumerate() {
            // What is left out is asked of another one, with the delay of one that was asked.
            wanted.truncate(MAX_FETCH);
            if !wanted.is_empty() {
                self.send(ReplicaSet::one(peer), PeerMessage::FetchBodies(wanted));
            }
        }
    }

    pub(super) fn serve_bodies(&mut self, peer: usize, wanted: &[Vouch]) {
        let mut served = 0;
        for vouch in wanted {
            if let Some(body) = self.admission.body(&vouch.id, &vouch.digest) {
                let bytes = body.bytes.clone();
                served += bytes.len();
                self.send(ReplicaSet::one(peer), PeerMessage::Body(bytes));
            }
            // The peer asks again for what is missing.
            if served > MAX_SERVED_BYTES {
                return;
            }
        }
    }

    /// Asks one of the members that are ahead for decisions, another one each time, until this
    /// replica has caught up (rule N5).
    pub(super) fn fetch_decisions(&mut self) {
        // The ACCEPTs that were still waited for have not come (rule N3).
        self.consensus.prove();
        if !self.consensus.lags() {
            return;
        }
        // Every other time anybody: the vote that is missing may be that of a member who has not
        // been heard from.
        self.fetches = self.fetches.wrapping_add(1);
        let ahead = self.consensus.ahead();
        let anybody = ahead.is_empty() || self.fetches.is_multiple_of(2);
        let candidates = if anybody { self.others() } else { ahead };
        let next = (1..=self.view.n())
            .map(|step| (self.asked + step) % self.view.n())
            .find(|&peer| candidates.contains(peer) && self.connected.contains(peer));
        if let Some((cid, hash)) = self.consensus.wanted_value() {
            // Anyone may have it, and not everyone who says so has.
            let to = self.connected.iter().filter(|&peer| peer != self.me).collect();
            self.send(to, PeerMessage::FetchValue { cid, hash });
        }
        if let Some(peer) = next {
            self.asked = peer;
            let from = self.consensus.proven().next();
            self.send(ReplicaSet::one(peer), PeerMessage::FetchDecisions { from });
        }
        self.set_timer(Timer::FetchDecisions, self.parameters.fetch_retry);
    }
}
