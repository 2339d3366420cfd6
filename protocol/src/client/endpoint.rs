//! The client as drivers see it: bytes in, bytes out.

use std::time::Duration;

use bytes::Bytes;

use super::event::{CallId, ClientEvent, InvokeError};
use super::options::EndpointOptions;
use super::status::Status;
use crate::auth::ClientIdentity;
use crate::membership::{View, ViewError};
use crate::time::{Instant, Now};
use crate::wire::Topic;

/// What an endpoint is made of.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// The replicas.
    pub view: View,
    /// This client's key.
    pub identity: ClientIdentity,
    /// 32 random bytes, never used before: sessions, handshakes, nonces and jitter come from it.
    pub seed: [u8; 32],
    /// Timeouts and bounds.
    pub options: EndpointOptions,
}

/// Something for the driver to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transmit {
    /// Open a WebSocket to `view.members[replica].url`; then call `handle_opened` or
    /// `handle_closed`.
    Open {
        /// Position in the view.
        replica: usize,
    },
    /// Send one binary message.
    Send {
        /// Position in the view.
        replica: usize,
        /// The message.
        bytes: Bytes,
    },
    /// Close the socket, or stop opening it. `handle_closed` need not follow; what still arrives
    /// from the old socket must not be handed in.
    Close {
        /// Position in the view.
        replica: usize,
    },
}

/// A client of one replicated service.
#[derive(Debug)]
pub struct Endpoint {}

#[allow(missing_docs, clippy::todo, unused_variables)]
impl Endpoint {
    pub fn new(config: EndpointConfig, now: Now) -> Result<Self, ViewError> {
        todo!()
    }
    pub fn start(&mut self, now: Now) {
        todo!()
    }
    pub fn handle_opened(&mut self, now: Now, replica: usize) {
        todo!()
    }
    pub fn handle_message(&mut self, now: Now, replica: usize, bytes: Bytes) {
        todo!()
    }
    pub fn handle_closed(&mut self, now: Now, replica: usize) {
        todo!()
    }
    pub fn handle_network_change(&mut self, now: Now) {
        todo!()
    }
    pub fn handle_deadline(&mut self, now: Now) {
        todo!()
    }
    pub fn next_deadline(&self) -> Option<Instant> {
        todo!()
    }
    pub fn invoke(
        &mut self,
        now: Now,
        payload: Bytes,
        timeout: Option<Duration>,
    ) -> Result<CallId, InvokeError> {
        todo!()
    }
    pub fn query(
        &mut self,
        now: Now,
        payload: Bytes,
        timeout: Option<Duration>,
    ) -> Result<CallId, InvokeError> {
        todo!()
    }
    pub fn subscribe(&mut self, now: Now, topic: Topic) -> Result<CallId, InvokeError> {
        todo!()
    }
    pub fn unsubscribe(&mut self, now: Now, subscription: CallId) -> Result<CallId, InvokeError> {
        todo!()
    }
    pub fn cancel(&mut self, now: Now, call: CallId) {
        todo!()
    }
    pub fn close(&mut self, now: Now) {
        todo!()
    }
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        todo!()
    }
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        todo!()
    }
    pub fn status(&self) -> Status {
        todo!()
    }
    pub fn view(&self) -> &View {
        todo!()
    }
    pub fn client(&self) -> crate::membership::ClientId {
        todo!()
    }
}
