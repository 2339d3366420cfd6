//! Who takes part: identifiers, views, and all quorum arithmetic.

mod id;
mod quorum;
mod replica_set;
mod view;

pub use id::{Cid, ClientId, Digest, Epoch, Regency, ReplicaId, ServiceId, SessionId, ViewNumber};
pub use quorum::{QuorumError, Quorums};
pub use replica_set::ReplicaSet;
pub use view::{MacAlgorithm, Member, View, ViewError};
