//! Execution of what was ordered: the service, sessions, cached replies, topics and events.
//!
//! Everything here is replicated state, a function of the decided prefix alone.

mod executor;
#[cfg(feature = "json")]
mod json;
mod service;
mod sessions;
mod snapshot;
mod topics;

pub use executor::{Executed, ExecutionLimits, Executor, OrderedRequest, QueryFault, Reply};
#[cfg(feature = "json")]
pub use json::{Json, JsonService};
pub use service::{Answer, Context, Publication, RestoreError, Service};
pub use sessions::{CachedReply, Sessions};
pub use snapshot::{Snapshot, SnapshotError};
pub use topics::{Event, Resumption, Topics};
