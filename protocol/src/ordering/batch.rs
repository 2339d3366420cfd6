//! What makes a batch valid: a function of the decided prefix and the bodies, so that every
//! replica judges alike (rules A6 and N6).

use std::collections::BTreeMap;

use crate::execution::Sessions;
use crate::time::UnixMicros;
use crate::wire::limits::{MAX_BATCH_BYTES, MAX_BATCH_REQUESTS};
use crate::wire::{Batch, RequestId};

use super::pending::Body;

/// A batch that no correct leader proposes: its proposer misbehaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// More requests than [`MAX_BATCH_REQUESTS`].
    #[error("the batch has too many requests")]
    TooMany,
    /// More bytes than [`MAX_BATCH_BYTES`].
    #[error("the batch's bodies are too large together")]
    TooLarge,
    /// Agreed time does not move forward.
    #[error("the batch's time is not later than the one before")]
    Time,
    /// A session's numbers do not continue its last ordered number.
    #[error("request {0:?} does not continue its session")]
    Number(RequestId),
    /// A new session born at or before the horizon.
    #[error("request {0:?} begins a session born before the horizon")]
    Expired(RequestId),
}

/// Judges everything but what is in the bodies.
pub(super) fn check_ids(
    batch: &Batch,
    last_time: UnixMicros,
    sessions: &Sessions,
) -> Result<(), BatchError> {
    if batch.entries.len() > MAX_BATCH_REQUESTS {
        return Err(BatchError::TooMany);
    }
    if batch.time <= last_time {
        return Err(BatchError::Time);
    }
    let mut last_numbers = BTreeMap::new();
    for entry in &batch.entries {
        let key = entry.id.session_key();
        let last =
            last_numbers.entry(key).or_insert_with(|| sessions.last_number(&key).unwrap_or(0));
        if entry.id.number != *last + 1 {
            return Err(BatchError::Number(entry.id));
        }
        *last = entry.id.number;
    }
    Ok(())
}

/// Judges what is in the bodies, given in the batch's order.
pub(super) fn check_bodies<'a>(
    bodies: impl Iterator<Item = &'a Body>,
    sessions: &Sessions,
) -> Result<(), BatchError> {
    let mut bytes = 0;
    for body in bodies {
        bytes += body.bytes.len();
        let id = body.request.id;
        let new = sessions.last_number(&id.session_key()).is_none();
        if new && id.number == 1 && body.request.born <= sessions.horizon() {
            return Err(BatchError::Expired(id));
        }
    }
    // A single body of any legal size fits into an empty batch.
    if bytes > MAX_BATCH_BYTES { Err(BatchError::TooLarge) } else { Ok(()) }
}
