//! The client: invokes operations, votes on what replicas say, delivers events in order.
//!
//! [`Endpoint`] is what drivers use: bytes in, bytes out. It keeps a link to every replica and
//! composes them with the [`ServiceProxy`], which does the voting and knows no bytes.

mod announcements;
mod calls;
mod endpoint;
mod event;
mod links;
mod options;
mod proxy;
mod reads;
mod session;
mod status;
mod subscriptions;
mod suspects;
mod table;
mod timers;
mod votes;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use endpoint::{Endpoint, EndpointConfig, Transmit};
pub use event::{CallError, CallId, ClientEvent, Evidence, InvokeError, Outcome, SuspectReason};
pub use options::EndpointOptions;
pub use proxy::ServiceProxy;
pub use status::{LinkState, Phase, ReplicaInfo, Status, Suspicion};
