//! Codes: what a program matches on, the same in every language's client.

use std::fmt;

/// What went wrong, in one word. Every error of this crate has one.
///
/// The npm package uses the same codes, and has a page on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// Cancelled by the application.
    Aborted,
    /// A quorum was connected, but too few matching answers came in time.
    Timeout,
    /// Fewer replicas than a quorum could be reached in time.
    NoQuorum,
    /// There is no quorum and the caller did not want to wait for one, or no replica answers.
    Offline,
    /// Too many calls are unfinished.
    QueueFull,
    /// The client is closed.
    Closed,
    /// The replicas do not hold the keys of the view, so that no quorum is left.
    Auth,
    /// The view is not one, or not that of the replicas, or has changed.
    View,
    /// The caller passed something that cannot be used.
    Input,
    /// The agreed bytes are not what the application expects.
    Decode,
    /// Replicas and client are incompatible.
    Protocol,
    /// The service answers with an error.
    Service,
    /// The replicas refuse the call.
    Refused,
    /// The session is no longer known.
    Expired,
    /// The service failed while executing the operation, which was undone.
    Fault,
    /// The result exceeds the limit.
    TooLarge,
    /// The replicas no longer keep the result.
    Forgotten,
    /// A subscriber did not take its events in time.
    Overflow,
}

impl Code {
    /// All codes.
    pub const ALL: [Self; 18] = [
        Self::Aborted,
        Self::Timeout,
        Self::NoQuorum,
        Self::Offline,
        Self::QueueFull,
        Self::Closed,
        Self::Auth,
        Self::View,
        Self::Input,
        Self::Decode,
        Self::Protocol,
        Self::Service,
        Self::Refused,
        Self::Expired,
        Self::Fault,
        Self::TooLarge,
        Self::Forgotten,
        Self::Overflow,
    ];

    /// Its name, such as `NO_QUORUM`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aborted => "ABORTED",
            Self::Timeout => "TIMEOUT",
            Self::NoQuorum => "NO_QUORUM",
            Self::Offline => "OFFLINE",
            Self::QueueFull => "QUEUE_FULL",
            Self::Closed => "CLOSED",
            Self::Auth => "AUTH",
            Self::View => "VIEW",
            Self::Input => "INPUT",
            Self::Decode => "DECODE",
            Self::Protocol => "PROTOCOL",
            Self::Service => "SERVICE",
            Self::Refused => "REFUSED",
            Self::Expired => "EXPIRED",
            Self::Fault => "FAULT",
            Self::TooLarge => "TOO_LARGE",
            Self::Forgotten => "FORGOTTEN",
            Self::Overflow => "OVERFLOW",
        }
    }

    /// May the same call, unchanged, succeed later? Where its outcome is
    /// [`Unknown`](crate::Outcome::Unknown) it may then be executed twice: retry only what may be.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Timeout
                | Self::NoQuorum
                | Self::Offline
                | Self::QueueFull
                | Self::Expired
                | Self::Overflow
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
