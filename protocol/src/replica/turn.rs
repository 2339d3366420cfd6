//! The end of a turn: propose, vote, execute.

use std::time::Duration;

use super::timers::Timer;
use super::{Notice, PeerFault, Replica};
use crate::execution::{Executed, Service};
use crate::membership::Regency;
use crate::ordering::{ConsensusOutput, Decided};
use crate::wire::limits::MAX_BATCH_REQUESTS;
use crate::wire::{PeerMessage, SessionKey};

impl<S: Service> Replica<S> {
    /// Does all that the inputs since the last drain allow.
    pub(super) fn settle(&mut self) {
        if !self.dirty {
            return;
        }
        self.dirty = false;
        self.advance_transfer();
        // First, what the inputs have led to: a regency that has just begun has its full time.
        self.flush();
        self.consensus.set_overdue(self.leader_timer.is_overdue());
        // A state that is wrong decides nothing (rule C4).
        while !self.suspended {
            let decided =
                self.consensus.advance(self.now.unix, &self.admission, self.executor.sessions());
            self.flush();
            if let Some(decided) = decided {
                self.execute(&decided);
            } else if !self.try_propose() {
                break;
            }
        }
        self.flush();
        if !self.suspended {
            self.clients.answer_waiting(&self.executor);
        }
        while let Some((peer, fault)) = self.consensus.poll_fault() {
            self.misbehaved(peer, PeerFault::Consensus(fault));
        }
        self.hold_client_frames();
        for key in self.admission.take_newly_admitted() {
            self.update_leader_timer(key);
        }
        self.send_vouches_to_leader();
        if self.admission.outbox().has_others() {
            self.set_timer(Timer::SendVouches, self.parameters.vouch_delay);
        }
        if self.admission.wants_bodies() {
            self.set_timer(Timer::FetchBodies, self.parameters.fetch_delay);
        }
        self.watch_progress();
        if self.consensus.should_prove() {
            self.set_timer(Timer::Prove, Duration::ZERO);
        }
        let ahead = self.consensus.waits_for_clock(self.now.unix);
        self.leader_timer.set_ahead(self.now.instant, ahead.is_some());
        if let Some(ahead) = ahead {
            self.set_timer(Timer::ProposalClock, ahead);
        }
    }

    /// Lets the fetch timer run while there is a sign that others are further, from anew for each
    /// instance: a replica that keeps deciding fetches nothing (rule N5).
    pub(super) fn watch_progress(&mut self) {
        if !self.consensus.lags() {
            self.lagging_at = None;
            self.timers.clear(Timer::FetchDecisions);
        } else if self.lagging_at != Some(self.consensus.last()) {
            self.lagging_at = Some(self.consensus.last());
            let at = self.now.instant + self.parameters.fetch_delay;
            self.timers.set(Timer::FetchDecisions, at);
        }
    }

    /// Hands on what consensus wants done. Vouches go with the WRITEs and ACCEPTs (DESIGN 10).
    pub(super) fn flush(&mut self) {
        let mut voted = false;
        while let Some(output) = self.consensus.poll_output() {
            match output {
                ConsensusOutput::Record(record) => self.log.push(record),
                ConsensusOutput::Send { to, message } => {
                    voted |=
                        matches!(message, PeerMessage::Write { .. } | PeerMessage::Accept { .. });
                    self.send(to, message);
                }
                ConsensusOutput::Installed(regency) => self.begin_regency(regency),
                ConsensusOutput::Synchronised(regency) => {
                    self.notices.push_back(Notice::Synchronised { regency });
                }
            }
        }
        if voted {
            self.send_vouches_to_others();
        }
    }

    /// A regency begins: every request gets its full time again (rule S8), and the new leader
    /// what the old one was told.
    fn begin_regency(&mut self, regency: Regency) {
        self.leader_timer.begin_regency(self.now.instant);
        let leader = self.consensus.leader();
        self.notices.push_back(Notice::RegencyInstalled { regency, leader });
        for groups in self.admission.outbox().take_all() {
            self.send(self.others(), PeerMessage::Vouches { replace: false, groups });
        }
    }

    /// What clients are told waits for the votes that it rests on (rule N4).
    pub(super) fn hold_client_frames(&mut self) {
        while let Some(frame) = self.clients.poll() {
            self.to_clients.push(self.log.word(), frame);
        }
    }

    /// Executes a decision; tells nobody.
    pub(super) fn apply(&mut self, decided: &Decided) -> Executed {
        let Decided { cid, hash, ref batch, ref requests } = *decided;
        let executed = self.executor.execute(self.view.number, cid, hash, batch.time, requests);
        let sessions = self.executor.sessions();
        self.admission.handle_executed(&batch.entries, &executed.evicted, sessions);
        executed
    }

    pub(super) fn execute(&mut self, decided: &Decided) {
        let Decided { cid, hash, ref batch, .. } = *decided;
        let executed = self.apply(decided);
        for key in self.admission.take_expired() {
            self.clients.forget_session(&key);
        }
        self.leader_timer.handle_decided();
        if batch.entries.len() == MAX_BATCH_REQUESTS {
            self.leader_timer.restart(self.now.instant);
        }
        for entry in &batch.entries {
            self.update_leader_timer(entry.id.session_key());
        }
        for &key in &executed.evicted {
            self.update_leader_timer(key);
        }
        for &request in &executed.faults {
            self.notices.push_back(Notice::ServiceFaulted { request, cid });
        }
        self.clients.handle_executed(&executed, &self.executor);
        self.hold_client_frames();
        self.notices.push_back(Notice::Decided { cid, hash, entries: batch.entries.clone() });
        self.try_vote_again();
        if executed.checkpoint_due {
            self.take_checkpoint();
        }
    }

    /// A learner becomes a voter once no vote it may have forgotten can matter (rule D3).
    pub(super) fn try_vote_again(&mut self) {
        let (last, quorum) = (self.consensus.last(), self.view.quorums().quorum());
        if self.learner.as_ref().is_some_and(|learner| learner.may_vote(last, quorum)) {
            self.learner = None;
            self.consensus.begin_voting();
            self.admission.begin_vouching(self.executor.sessions());
            self.notices.push_back(Notice::Voting { last_cid: last });
            self.send(self.others(), self.status_message());
        }
    }

    /// Proposes what is admitted, or an empty batch where agreed time must move (rule A8) or a
    /// learner waits (rule D3).
    pub(super) fn try_propose(&mut self) -> bool {
        if !self.consensus.may_propose() {
            return false;
        }
        let entries = self.admission.next_batch(self.executor.sessions());
        if entries.is_empty() && !self.consensus.must_propose() && !self.wants_empty_batch() {
            return false;
        }
        if entries.is_empty() {
            self.empty_batches = self.empty_batches.saturating_sub(1);
        }
        self.consensus.propose(self.now.unix, entries, &self.admission);
        true
    }

    pub(super) fn wants_empty_batch(&mut self) -> bool {
        if self.empty_batches > 0 {
            return true;
        }
        let Some(oldest) = self.admission.oldest_birth() else { return false };
        let expires = oldest + self.parameters.execution.session_idle;
        if self.now.unix >= expires {
            return self.executor.time() < expires;
        }
        let wait = Duration::from_micros(expires.0 - self.now.unix.0);
        self.set_timer(Timer::StaleSessions, wait);
        false
    }

    pub(super) fn update_leader_timer(&mut self, key: SessionKey) {
        let next = self.admission.admitted_next(&key, self.executor.sessions());
        self.leader_timer.set(self.now.instant, key, next.map(|vouch| vouch.id));
    }
}
