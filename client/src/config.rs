//! What a client is made of.

use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use webbft_protocol::auth::ClientIdentity;
use webbft_protocol::client::EndpointOptions;
use webbft_protocol::membership::View;

use crate::error::StartError;

/// What a client is made of; see the table of options in the [crate's documentation](crate).
#[derive(Debug, Clone)]
pub struct Config {
    /// The replicas: what `webbft init` wrote.
    pub view: View,
    /// The client's key. The replicas know a client by it.
    pub identity: Identity,
    /// How replicas are reached.
    pub transport: Transport,
    /// Who vouches for the certificates of `wss://` members.
    pub roots: Roots,
    /// Timeouts and bounds.
    pub options: EndpointOptions,
}

impl Config {
    /// Everything as it is by default: a new identity, WebSockets or else HTTP, the system's
    /// certificates.
    #[must_use]
    pub fn new(view: View) -> Self {
        Self {
            view,
            identity: Identity::default(),
            transport: Transport::default(),
            roots: Roots::default(),
            options: EndpointOptions::default(),
        }
    }
}

/// The client's key.
#[derive(Debug, Clone, Default)]
pub enum Identity {
    /// A new one, forgotten with the client.
    #[default]
    Ephemeral,
    /// The caller's.
    Supplied(ClientIdentity),
    /// The one in this file, which is made if there is none: readable by its owner only, and locked
    /// for as long as the client lives. A second client with the same file does not start.
    Stored(PathBuf),
}

impl From<ClientIdentity> for Identity {
    fn from(identity: ClientIdentity) -> Self {
        Self::Supplied(identity)
    }
}

/// How replicas are reached. The protocol, and what it promises, is the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Transport {
    /// For each replica a WebSocket; where none has ever opened and two attempts failed, or one did
    /// not open within four seconds, HTTP.
    #[default]
    Auto,
    /// WebSockets only.
    WebSocket,
    /// HTTP only: server-sent events one way, POST the other.
    Http,
}

/// Which certification authorities are trusted for `wss://` members. A wrong certificate can stop
/// the traffic but not forge it: replicas prove the key that the view names in any case.
#[derive(Debug, Clone, Default)]
pub enum Roots {
    /// Those of the operating system.
    #[default]
    System,
    /// These only.
    Custom(Vec<CertificateDer<'static>>),
}

impl Roots {
    /// The certificates in a PEM file.
    ///
    /// # Errors
    /// Where the text is not PEM or has no certificate in it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, StartError> {
        let certificates = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| StartError::Roots(error.to_string()))?;
        if certificates.is_empty() {
            return Err(StartError::Roots("there is no certificate in it".to_owned()));
        }
        Ok(Self::Custom(certificates))
    }
}

/// What a call does while there is no quorum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Offline {
    /// Waits for one, as long as its timeout allows. At most `options.max_pending` calls do.
    #[default]
    Queue,
    /// Fails at once, with [`Code::Offline`](crate::Code::Offline).
    Fail,
}

/// How a call is made.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CallOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) offline: Offline,
}

/// How many events may wait to be taken, and what happens beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// How many may wait, 2 or more; 1024 unless said.
    pub buffer: usize,
    /// What happens beyond that.
    pub overflow: Overflow,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self { buffer: 1024, overflow: Overflow::default() }
    }
}

/// What happens to a subscriber that does not take its events in time. Others are not held up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// The subscription ends with an error.
    #[default]
    End,
    /// The oldest events are dropped, and a [`Gap`](crate::SubscriptionEvent::Gap) takes their
    /// place.
    DropOldest,
}
