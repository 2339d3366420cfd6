//! The clocks that the protocol is given.

use std::time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH};

use webbft_protocol::time::{Instant, Now, UnixMicros};

/// A monotonic origin, and both clocks read from it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    origin: StdInstant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { origin: StdInstant::now() }
    }

    pub(super) fn now(self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { instant: Instant::ZERO + self.origin.elapsed(), unix: UnixMicros::ZERO + unix }
    }

    /// How long from `now` to `deadline`, rounded up to what a poll can wait.
    pub(super) fn until(now: Now, deadline: Instant) -> Duration {
        let wait = deadline.since(now.instant);
        // A poll that wakes too early would only be repeated.
        Duration::from_millis(u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
    }
}
