//! Timeouts and bounds of a client.

use std::time::Duration;

/// Timeouts and bounds. [`Default`] suits a page on the open internet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointOptions {
    /// How long a call may take when the caller does not say.
    pub call_timeout: Duration,
    /// How long a fast read waits for a quorum before it is re-invoked in the total order.
    pub read_timeout: Duration,
    /// How long an ordered request waits before it is sent once more to replicas that have not
    /// replied. Doubles with each time.
    pub retransmit: Duration,
    /// How long matching digests of a result or event wait for the full body before it is asked
    /// for elsewhere.
    pub body_timeout: Duration,
    /// The first pause before a lost link is dialled again; doubles up to `backoff_max`, with
    /// jitter. Attempts are never given up.
    pub backoff_min: Duration,
    /// The longest such pause.
    pub backoff_max: Duration,
    /// How long opening a link may take, handshake included.
    pub connect_timeout: Duration,
    /// Time between pings on an open link. A link on which nothing arrives for three of them is
    /// closed and dialled again.
    pub ping_interval: Duration,
    /// Unfinished calls, beyond which new ones are refused.
    pub max_pending: usize,
    /// Completed calls whose late replies still count as evidence.
    pub late_calls: usize,
    /// How long they do.
    pub late_votes: Duration,
    /// A replica with an open link that answered none of this many completed calls is suspected
    /// of silence,
    pub silent_after: u32,
    /// if the first of them is this long ago.
    pub silent_for: Duration,
    /// Events of one subscription that each replica may send ahead of the next one to deliver.
    pub events_ahead: usize,
}

impl Default for EndpointOptions {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_millis(200),
            retransmit: Duration::from_secs(1),
            body_timeout: Duration::from_millis(100),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(2),
            max_pending: 1024,
            late_calls: 64,
            late_votes: Duration::from_secs(5),
            silent_after: 8,
            silent_for: Duration::from_secs(2),
            events_ahead: 256,
        }
    }
}
