//! Encoding and bounded decoding.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are not a message. On an authenticated link this is the peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame is larger than its kind may be.
    #[error("{len} bytes where at most {limit} are allowed")]
    TooLong {
        /// Bytes received.
        len: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not an encoding of the expected type, or cut short.
    #[error("malformed message")]
    Malformed,
    /// A valid encoding, and more.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
    /// A list or string inside is longer than allowed.
    #[error("a field of the message exceeds its limit")]
    FieldTooLong,
}

/// The encoding of a message.
///
/// # Panics
/// Never for the types of this crate: they hold nothing that postcard cannot encode.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_allocvec(message).expect("wire types encode without error")
}

/// Decodes a message that takes up all of `bytes`.
///
/// No allocation exceeds the input's length by more than a small factor: postcard checks lengths
/// against what is left of the input.
///
/// # Errors
/// Where the bytes are not exactly one message. Per-field limits are the messages' own `check`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes::<T>(bytes) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(DecodeError::Trailing(rest.len())),
        Err(_) => Err(DecodeError::Malformed),
    }
}
