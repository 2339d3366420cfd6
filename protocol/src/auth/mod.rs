//! Who said it: the Noise handshake, MACs, signatures, and the proof of having checked.
//!
//! The rest of the protocol takes messages only as [`Verified`], which nothing outside this
//! module can make: a skipped check does not compile.

#[cfg(feature = "replica")]
mod checkpoint;
mod link;
mod mac;
mod noise;
#[cfg(feature = "replica")]
mod peer;
#[cfg(feature = "replica")]
mod signature;
mod verified;

#[cfg(test)]
mod tests;

#[cfg(feature = "replica")]
pub(crate) use checkpoint::verify_checkpoint;
#[cfg(feature = "replica")]
pub use checkpoint::{VerifiedCheckpoint, sign_checkpoint};
pub use link::{
    Accepted, ClientHandshake, ClientLink, LinkError, ReplicaLink, ServerHandshake, VerifyError,
};
pub use mac::{MacError, MacKey};
pub use noise::{ClientIdentity, NoiseKeypair};
#[cfg(feature = "replica")]
pub use peer::{FromPeer, PeerError, PeerLink};
#[cfg(feature = "replica")]
pub(crate) use signature::check_last;
#[cfg(feature = "replica")]
pub use signature::{
    CertificateError, SigningKey, StopDataError, VerifiedAccept, VerifiedCertificate,
    VerifiedStopData, proves_leader_faulty, sign_accept, sign_propose, sign_stop_data,
};
pub use verified::Verified;
