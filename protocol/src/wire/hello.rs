//! The first frames of a client link, before there are MAC keys.
//!
//! Client: a [`ClientHello`] whose `noise` is the first message of Noise IK; its other fields are
//! the handshake's prologue. Replica: a [`ServerHello`]; `Accepted` carries the second Noise
//! message, whose encrypted payload is a [`Welcome`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::membership::{Cid, ServiceId, ViewNumber};
use crate::time::UnixMicros;

/// Both sides must speak the same version.
pub const PROTOCOL_VERSION: u16 = 1;

/// A client's first frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientHello {
    /// [`PROTOCOL_VERSION`] of the client.
    pub version: u16,
    /// The service it wants.
    pub service: ServiceId,
    /// The view it has.
    pub view: ViewNumber,
    /// The first message of the Noise handshake.
    pub noise: Bytes,
}

/// A replica's first frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerHello {
    /// The second message of the Noise handshake; MACed frames follow.
    Accepted {
        /// The Noise message.
        noise: Bytes,
    },
    /// No link. Nothing authenticates this: a hint for a person, not for the protocol.
    Refused(HelloRefusal),
}

/// Why a replica refuses a link: the peer is incompatible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum HelloRefusal {
    /// Another version of the protocol.
    #[error("the replica speaks protocol version {0}, not {PROTOCOL_VERSION}")]
    Version(u16),
    /// Another service lives here.
    #[error("the replica belongs to another service, {0}")]
    Service(ServiceId),
    /// Another view is current here.
    #[error("the replica is in view {0}")]
    View(ViewNumber),
    /// The Noise message does not decrypt: the client has another key for this replica.
    #[error("the handshake failed: the client expects another key for this replica")]
    Key,
    /// Too many links at present.
    #[error("the replica has no room for another link")]
    Busy,
}

/// What an accepted client learns at once. One replica's word: clients vote on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The replica's last executed instance.
    pub last_cid: Cid,
    /// The replica's clock, or the agreed time where that is later: what a session's birth time
    /// is chosen from (rule A9). In a quiet service agreed time may be hours old.
    pub time: UnixMicros,
}
