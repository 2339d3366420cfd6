//! Time-outs and limits of a replica.

use std::time::Duration;

use crate::execution::ExecutionLimits;
use crate::ordering::AdmissionConfig;

/// What may be tuned. `execution` and `admission` must be the same at all replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// T of rule S8: how long an admitted request may wait for the leader.
    pub request_timeout: Duration,
    /// How long vouches for replicas other than the leader wait for a vote to travel with; well
    /// under half of `request_timeout`.
    pub vouch_delay: Duration,
    /// How long a missing decision may take to come on its own before it is asked for; a missing
    /// body is asked for after one to two times this where it is needed at once, or will not come
    /// from its client, and otherwise after ten times (rule A1).
    pub fetch_delay: Duration,
    /// How long after asking this replica asks again.
    pub fetch_retry: Duration,
    /// How long after a decision was fetched the next ones are asked for.
    pub fetch_more: Duration,
    /// How long a peer may take for the next chunk of a state before others are asked for what
    /// it has not sent (rule C6): more than a chunk's time on the slowest link.
    pub transfer_retry: Duration,
    /// How often a learner says that it is one.
    pub learner_interval: Duration,
    /// Bounds on replicated state.
    pub execution: ExecutionLimits,
    /// Quotas of admission.
    pub admission: AdmissionConfig,
    /// Does this replica keep a log?
    pub durability: Durability,
}

/// Does a replica keep a log (rule N4)?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It records nothing. After a restart it is a learner (rule D3).
    Volatile,
    /// It records its word before it gives it, and has stable snapshots stored (rule C5).
    Logged,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_millis(800),
            vouch_delay: Duration::from_millis(20),
            fetch_delay: Duration::from_millis(15),
            fetch_retry: Duration::from_millis(200),
            fetch_more: Duration::from_millis(2),
            transfer_retry: Duration::from_secs(2),
            learner_interval: Duration::from_secs(1),
            execution: ExecutionLimits::default(),
            admission: AdmissionConfig::default(),
            durability: Durability::Volatile,
        }
    }
}
