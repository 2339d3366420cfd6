//! A stream between replicas. Authentication is the transport's (TLS 1.3, both keys from the
//! view); this binds its verdict to the messages.

use bytes::Bytes;

use super::verified::Verified;
use crate::membership::{ServiceId, View, ViewNumber};
use crate::wire::{DecodeError, PeerEnvelope, PeerMessage};

/// Why a frame from another replica is not accepted: the peer misbehaved or is incompatible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Malformed.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Meant for another service.
    #[error("the message belongs to service {0}")]
    Service(ServiceId),
    /// Sent in another view.
    #[error("the message belongs to view {0}")]
    View(ViewNumber),
}

/// The receiving end of an authenticated stream from one member of a view.
#[derive(Debug, Clone, Copy)]
pub struct PeerLink {
    service: ServiceId,
    view: ViewNumber,
    peer: usize,
}

/// A message from the member at position `peer` of the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromPeer {
    /// The sender's position in the view.
    pub peer: usize,
    /// What it said.
    pub message: PeerMessage,
}

impl PeerLink {
    /// To be called by a driver once the transport has proven that the other end holds the
    /// private key of the member at position `peer`.
    #[must_use]
    pub const fn authenticated(view: &View, peer: usize) -> Self {
        Self { service: view.service, view: view.number, peer }
    }

    /// The bytes of a message to any member, without the stream's length prefix.
    #[must_use]
    pub fn encode(view: &View, message: PeerMessage) -> Bytes {
        PeerEnvelope { service: view.service, view: view.number, message }.encode()
    }

    /// Decodes a frame that arrived on the stream.
    ///
    /// # Errors
    /// Where it is malformed or not of this service and view.
    pub fn open(&self, bytes: &[u8]) -> Result<Verified<FromPeer>, PeerError> {
        let envelope = PeerEnvelope::decode(bytes)?;
        if envelope.service != self.service {
            return Err(PeerError::Service(envelope.service));
        }
        if envelope.view != self.view {
            return Err(PeerError::View(envelope.view));
        }
        Ok(Verified::new(FromPeer { peer: self.peer, message: envelope.message }))
    }
}
