//! What must hold in every run, one invariant a file.
//!
//! None of them calls a predicate of `protocol/`: they judge from what clients sent, what correct
//! replicas executed, and what correct clients were told.

mod agreement;
mod announcements_genuine;
mod event_order;
mod exactly_once;
mod link_integrity;
mod no_false_suspect;
mod no_forged_operation;
mod no_vote_twice;
mod nothing_lost;
mod reads_linearizable;
mod recorded_before_said;
mod regency_order;
mod reply_validity;
mod session_order;
mod zero_leader_changes;

use super::history::{Fact, Setting};
use super::service::Executed;

pub use agreement::Agreement;
pub use announcements_genuine::AnnouncementsGenuine;
pub use event_order::EventOrder;
pub use exactly_once::ExactlyOnce;
pub use link_integrity::LinkIntegrity;
pub use no_false_suspect::NoFalseSuspect;
pub use no_forged_operation::NoForgedOperation;
pub use no_vote_twice::NoVoteTwice;
pub use nothing_lost::NothingLost;
pub use reads_linearizable::ReadsLinearizable;
pub use recorded_before_said::RecordedBeforeSaid;
pub use regency_order::RegencyOrder;
pub use reply_validity::ReplyValidity;
pub use session_order::{FIRST_ATTACKER, SessionOrder};
pub use zero_leader_changes::ZeroLeaderChanges;

/// One invariant.
pub trait Invariant {
    /// Its name, as in the file's.
    fn name(&self) -> &'static str;

    /// Judges one fact, given the log that the correct replicas agree on so far (the fact itself
    /// included).
    ///
    /// # Errors
    /// What is wrong, in words.
    fn check(&mut self, fact: &Fact, log: &[Executed], setting: &Setting) -> Result<(), String>;
}

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: &'static str,
    /// What is wrong.
    pub what: String,
}

/// All invariants over one run.
pub struct Oracle {
    setting: Setting,
    log: Vec<Executed>,
    invariants: Vec<Box<dyn Invariant>>,
    violations: Vec<Violation>,
}

impl std::fmt::Debug for Oracle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Oracle").field("violations", &self.violations).finish_non_exhaustive()
    }
}

impl Oracle {
    /// All invariants, before the run.
    #[must_use]
    pub fn new(setting: Setting) -> Self {
        let invariants: Vec<Box<dyn Invariant>> = vec![
            Box::new(Agreement::default()),
            Box::new(ExactlyOnce::default()),
            Box::new(SessionOrder::default()),
            Box::new(NoForgedOperation::default()),
            Box::new(ReplyValidity::default()),
            Box::new(ReadsLinearizable::default()),
            Box::new(EventOrder::default()),
            Box::new(AnnouncementsGenuine::default()),
            Box::new(ZeroLeaderChanges),
            Box::new(RegencyOrder::default()),
            Box::new(NoVoteTwice::default()),
            Box::new(RecordedBeforeSaid::default()),
            Box::new(NothingLost::default()),
            Box::new(NoFalseSuspect),
            Box::new(LinkIntegrity),
        ];
        Self { setting, log: Vec::new(), invariants, violations: Vec::new() }
    }

    /// Judges a fact; gives the violations that it shows.
    pub fn observe(&mut self, fact: &Fact) -> Vec<Violation> {
        if let Fact::Executed { place, entry, .. } = fact
            && *place == self.log.len()
        {
            self.log.push(entry.clone());
        }
        let mut found = Vec::new();
        for invariant in &mut self.invariants {
            if let Err(what) = invariant.check(fact, &self.log, &self.setting) {
                found.push(Violation { invariant: invariant.name(), what });
            }
        }
        for violation in &found {
            // One of a kind says enough.
            if self.violations.iter().all(|known| known.invariant != violation.invariant) {
                self.violations.push(violation.clone());
            }
        }
        found
    }

    /// Everything found so far.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// The log that the correct replicas agree on.
    #[must_use]
    pub fn log(&self) -> &[Executed] {
        &self.log
    }

    /// The log, once the run is over.
    #[must_use]
    pub fn into_log(self) -> Vec<Executed> {
        self.log
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Facts by hand.

    use bytes::Bytes;
    use webbft_protocol::client::Evidence;
    use webbft_protocol::membership::{Cid, ClientId, Digest, Epoch, ReplicaSet, ViewNumber};
    use webbft_protocol::time::UnixMicros;

    use super::super::history::{Fact, Saying, Setting, Word};
    use super::super::service::{Action, Executed, Op, Tag};

    pub(crate) fn setting() -> Setting {
        Setting {
            byzantine: vec![3],
            leader_may_be_suspected: false,
            recorded: false,
            tampering: false,
            events_kept: 16,
            few_sessions: false,
        }
    }

    pub(crate) fn payload(author: u32, number: u64, variant: u32, action: Action) -> Bytes {
        Op { tag: Tag { author, session: 0, number, variant }, action }.encode()
    }

    pub(crate) fn entry(cid: u64, payload: Bytes, result: &[u8]) -> Executed {
        Executed {
            client: ClientId([1; 16]),
            cid: Cid(cid),
            time: UnixMicros(cid),
            seed: [0; 32],
            payload,
            result: Bytes::copy_from_slice(result),
            published: Vec::new(),
        }
    }

    pub(crate) fn executed(replica: usize, place: usize, entry: Executed) -> Fact {
        Fact::Executed { replica, place, entry }
    }

    pub(crate) fn said(replica: usize, kind: Saying, cid: u64, epoch: u32, of: &[u8]) -> Fact {
        let hash = Digest::of(of);
        Fact::Said { replica, word: Word { kind, cid: Cid(cid), epoch: Epoch(epoch), hash } }
    }

    pub(crate) fn evidence(cid: u64) -> Evidence {
        Evidence {
            view: ViewNumber(0),
            needed: 3,
            matching: ReplicaSet::first(3),
            differing: ReplicaSet::EMPTY,
            silent: ReplicaSet::EMPTY,
            cid: Some(Cid(cid)),
        }
    }
}
