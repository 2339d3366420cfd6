//! Execution of what was ordered: the service, sessions, cached replies, topics and events.

#[cfg(feature = "json")]
mod json;
mod service;

#[cfg(feature = "json")]
pub use json::{Json, JsonService};
pub use service::{Answer, Context, Publication, RestoreError, Service};
