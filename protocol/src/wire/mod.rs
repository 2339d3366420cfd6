//! Messages and their bytes.
//!
//! Everything is [`postcard`] over exactly the bytes received: digests and MACs are computed over
//! those, never over a re-encoding. Decoders bound every length before they allocate, reject
//! trailing bytes and never panic.

mod checkpoint;
mod client;
mod codec;
mod hello;
pub mod limits;
mod peer;
mod request;
mod synchronisation;

pub use checkpoint::{CheckpointCertificate, CheckpointId, Manifest};
pub use client::{
    ClientFrame, ClientHeader, ExecutionResult, Frame, Refusal, ReplicaFrame, ReplicaHeader,
    WITHHELD,
};
pub use codec::{DecodeError, decode, encode};
pub use hello::{ClientHello, HelloRefusal, PROTOCOL_VERSION, ServerHello, Welcome};
pub use peer::{
    Batch, BatchEntry, Certificate, Decision, PeerEnvelope, PeerMessage, Vouch, VouchGroup,
};
pub use request::{Operation, Request, RequestId, SessionKey, Topic, TopicError};
pub use synchronisation::{Evidence, LastProof, SignedStopData, StopData, Sync};
