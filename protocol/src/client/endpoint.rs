//! The client as drivers see it: bytes in, bytes out.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

use super::event::{CallId, ClientEvent, InvokeError, SuspectReason};
use super::links::{Due, Incoming, Link};
use super::options::EndpointOptions;
use super::proxy::ServiceProxy;
use super::status::{Phase, ReplicaInfo, Status};
use crate::auth::ClientIdentity;
use crate::membership::{ClientId, View, ViewError};
use crate::time::{Instant, Now};
use crate::wire::Topic;

/// What an endpoint is made of.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// The replicas.
    pub view: View,
    /// This client's key.
    pub identity: ClientIdentity,
    /// 32 random bytes, never used before: sessions, handshakes and jitter come from it.
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
    /// Close the socket, or stop opening it. `handle_closed` must not follow for it, and what
    /// still arrives from it must not be handed in: an `Open` for the same replica may.
    Close {
        /// Position in the view.
        replica: usize,
    },
}

/// A client of one replicated service: the [`ServiceProxy`] and a link to each replica.
///
/// After every `handle_*` and every call, drain [`Endpoint::poll_transmit`] and
/// [`Endpoint::poll_event`], then wait for sockets or [`Endpoint::next_deadline`].
#[derive(Debug)]
pub struct Endpoint {
    view: View,
    identity: ClientIdentity,
    options: EndpointOptions,
    rng: ChaCha20Rng,
    links: Vec<Link>,
    proxy: ServiceProxy,
    phase: Phase,
    transmits: VecDeque<Transmit>,
}

impl Endpoint {
    /// An endpoint that is not yet started.
    ///
    /// # Errors
    /// Where the view is not valid.
    pub fn new(config: EndpointConfig, _now: Now) -> Result<Self, ViewError> {
        let EndpointConfig { view, identity, seed, options } = config;
        view.validate()?;
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut proxy_seed = [0; 32];
        rng.fill_bytes(&mut proxy_seed);
        let proxy = ServiceProxy::new(&view, identity.id(), proxy_seed, options.clone());
        Ok(Self {
            links: view.members.iter().map(|_| Link::new()).collect(),
            view,
            identity,
            options,
            rng,
            proxy,
            phase: Phase::Idle,
            transmits: VecDeque::new(),
        })
    }

    /// Begins to connect to all members. Calls may be made before.
    pub fn start(&mut self, now: Now) {
        if self.phase != Phase::Idle {
            return;
        }
        self.phase = Phase::Connecting;
        for replica in 0..self.links.len() {
            self.links[replica].dial(now.instant, &self.options);
            self.transmits.push_back(Transmit::Open { replica });
        }
        self.changed();
    }

    /// The socket that [`Transmit::Open`] asked for is open.
    pub fn handle_opened(&mut self, _now: Now, replica: usize) {
        let Some(link) = self.links.get_mut(replica) else { return };
        if let Some(bytes) = link.begin(&self.view, replica, &self.identity, &mut self.rng) {
            self.transmits.push_back(Transmit::Send { replica, bytes });
        }
    }

    /// One binary message arrived on a socket. For a message that is not binary, or too large for
    /// the driver to take, hand in an empty one: that closes the link as well.
    pub fn handle_message(&mut self, now: Now, replica: usize, bytes: Bytes) {
        let Some(link) = self.links.get_mut(replica) else { return };
        match link.receive(now.instant, &bytes, &self.options) {
            Incoming::Opened(welcome) => {
                self.proxy.handle_link_opened(now, replica, &welcome);
                self.changed();
            }
            Incoming::Frame(frame) => self.proxy.handle_frame(now, replica, frame),
            Incoming::Broken(reason) => self.break_link(now, replica, reason),
            Incoming::Unexpected => {}
        }
        self.flush();
    }

    /// A socket was closed by the other side or could not be opened.
    pub fn handle_closed(&mut self, now: Now, replica: usize) {
        if self.links.get(replica).is_some_and(Link::has_socket) {
            self.links[replica].lose(now.instant, &self.options, &mut self.rng);
            self.proxy.handle_link_closed(now, replica);
            self.changed();
        }
        self.flush();
    }

    /// The network is back, or the page is visible again: retries at once, and checks the links
    /// that seem open.
    pub fn handle_network_change(&mut self, now: Now) {
        for link in &mut self.links {
            link.hurry(now.instant);
        }
        self.handle_deadline(now);
    }

    /// Does what is due.
    pub fn handle_deadline(&mut self, now: Now) {
        for replica in 0..self.links.len() {
            match self.links[replica].due(now.instant, &self.options) {
                Due::Nothing => {}
                Due::Open => {
                    self.links[replica].dial(now.instant, &self.options);
                    self.transmits.push_back(Transmit::Open { replica });
                    self.changed();
                }
                Due::Ping(bytes) => self.transmits.push_back(Transmit::Send { replica, bytes }),
                Due::Dead => self.break_link(now, replica, None),
            }
        }
        self.proxy.handle_deadline(now);
        self.flush();
    }

    /// When to call [`Endpoint::handle_deadline`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let links = self.links.iter().filter_map(Link::next_deadline);
        links.chain(self.proxy.next_deadline()).min()
    }

    /// Invokes an operation in the total order. `timeout`: how long to wait for the result;
    /// [`EndpointOptions::call_timeout`] if `None`.
    ///
    /// # Errors
    /// Where the client is closed or full, or the payload too large.
    pub fn invoke(
        &mut self,
        now: Now,
        payload: Bytes,
        timeout: Option<Duration>,
    ) -> Result<CallId, InvokeError> {
        let call = self.proxy.invoke(now, payload, timeout);
        self.flush();
        call
    }

    /// Asks a query: from the replicas' current states if a quorum matches, else in order.
    ///
    /// # Errors
    /// Where the client is closed or full, or the payload too large.
    pub fn query(
        &mut self,
        now: Now,
        payload: Bytes,
        timeout: Option<Duration>,
    ) -> Result<CallId, InvokeError> {
        let call = self.proxy.query(now, payload, timeout);
        self.flush();
        call
    }

    /// Subscribes to a topic's events, from the next one on. The call's id names the subscription.
    ///
    /// # Errors
    /// Where the client is closed or full, or the topic has a subscription.
    pub fn subscribe(&mut self, now: Now, topic: Topic) -> Result<CallId, InvokeError> {
        let call = self.proxy.subscribe(now, topic);
        self.flush();
        call
    }

    /// Ends a subscription. Events stop when the call is completed.
    ///
    /// # Errors
    /// Where there is no such subscription, or the client is closed or full.
    pub fn unsubscribe(&mut self, now: Now, subscription: CallId) -> Result<CallId, InvokeError> {
        let call = self.proxy.unsubscribe(now, subscription);
        self.flush();
        call
    }

    /// Tells a subscription's other subscribers something at once (rule P5): neither ordered nor
    /// kept, lost where links fail, and where one client announces more than fifty a second.
    ///
    /// # Errors
    /// Where there is no such subscription, the client is closed, or the payload too large.
    pub fn announce(&mut self, subscription: CallId, payload: Bytes) -> Result<(), InvokeError> {
        let announced = self.proxy.announce(subscription, payload);
        self.flush();
        announced
    }

    /// Stops waiting for a call. One that has been sent may be executed all the same; the
    /// `Failed` event says so.
    pub fn cancel(&mut self, now: Now, call: CallId) {
        self.proxy.cancel(now, call);
    }

    /// Ends everything: pending calls fail, subscriptions end, links close.
    pub fn close(&mut self, now: Now) {
        if self.phase == Phase::Closed {
            return;
        }
        self.proxy.close(now);
        for (replica, link) in self.links.iter_mut().enumerate() {
            if link.has_socket() {
                self.transmits.push_back(Transmit::Close { replica });
            }
            link.close();
        }
        self.phase = Phase::Closed;
        self.changed();
    }

    /// The next thing for the driver to do.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing for the application to know.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.proxy.poll_event()
    }

    /// How the client stands with its replicas.
    #[must_use]
    pub fn status(&self) -> Status {
        let replicas = self.view.members.iter().enumerate().map(|(replica, member)| ReplicaInfo {
            id: member.id,
            url: member.url.clone(),
            state: self.links[replica].state(),
            rtt: self.links[replica].rtt,
            suspect: self.proxy.suspicion(replica),
            refused: self.links[replica].refused,
        });
        Status {
            phase: self.phase,
            view: self.view.number,
            n: self.view.n(),
            f: self.view.f,
            connected: self.connected(),
            needed: self.view.quorums().quorum(),
            pending: self.proxy.pending(),
            replicas: replicas.collect(),
        }
    }

    /// The replicas.
    #[must_use]
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// This client's id.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.identity.id()
    }

    fn connected(&self) -> usize {
        self.links.iter().filter(|link| link.is_open()).count()
    }

    /// Gives up a socket.
    fn break_link(&mut self, now: Now, replica: usize, reason: Option<SuspectReason>) {
        self.links[replica].lose(now.instant, &self.options, &mut self.rng);
        self.transmits.push_back(Transmit::Close { replica });
        self.proxy.handle_link_closed(now, replica);
        if let Some(reason) = reason {
            self.proxy.handle_link_fault(now, replica, reason);
        }
        self.changed();
    }

    /// Seals what the proxy wants to say.
    fn flush(&mut self) {
        while let Some((replica, frame)) = self.proxy.poll_frame() {
            if let Some(bytes) = self.links[replica].seal(&frame) {
                self.transmits.push_back(Transmit::Send { replica, bytes });
            }
        }
    }

    /// Links have changed.
    fn changed(&mut self) {
        let (connected, n) = (self.connected(), self.links.len());
        let enough = connected >= self.view.quorums().quorum();
        self.phase = match self.phase {
            Phase::Idle | Phase::Closed => self.phase,
            _ if connected == n => Phase::Ready,
            _ if enough => Phase::Degraded,
            Phase::Connecting => Phase::Connecting,
            _ => Phase::Offline,
        };
        self.proxy.status_changed();
    }
}
