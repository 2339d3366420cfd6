//! The time.

use std::time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH};

use webbft_protocol::time::{Instant, Now, UnixMicros};

/// Both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: StdInstant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { origin: StdInstant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            instant: Instant::from_micros(micros(self.origin.elapsed())),
            unix: UnixMicros(micros(unix)),
        }
    }

    pub(super) fn deadline(&self, instant: Instant) -> StdInstant {
        self.origin + Duration::from_micros(instant.as_micros())
    }
}
