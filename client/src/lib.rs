//! Native client of a WebBFT service.
//!
//! A [`Client`] invokes operations on n replicas, votes on their replies and delivers events in
//! order. Everything of the protocol is `webbft_protocol::client::Endpoint`; this crate moves its
//! bytes. One thread owns the endpoint and the links to all replicas; handles talk to it through
//! a channel and work on any executor.
//!
//! An operation is a type with a name, a result and an error ([`Operation`]):
//!
//! ```no_run
//! # async fn example(view: webbft_protocol::membership::View) -> Result<(), Box<dyn std::error::Error>> {
//! use serde::{Deserialize, Serialize};
//! use webbft_client::{Client, Config, Operation, SubscribeOptions, SubscriptionEvent};
//!
//! #[derive(Serialize)]
//! struct Put<'a> { key: &'a str, value: &'a str }
//!
//! #[derive(Debug, Deserialize)]
//! struct Previous { previous: Option<String> }
//!
//! impl Operation for Put<'_> {
//!     const NAME: &'static str = "put";
//!     type Reply = Previous;
//!     type Error = serde_json::Value;
//! }
//!
//! #[derive(Debug, Deserialize)]
//! struct Change { key: String, value: Option<String> }
//!
//! let client = Client::connect(Config::new(view)).await?;
//! let mut changes = client.subscribe_json::<Change>("kv", SubscribeOptions::default()).await?;
//!
//! let put = client.call(&Put { key: "a", value: "1" }).await?;
//! println!("{:?}, by {} replicas", put.result.previous, put.evidence.matching.len());
//!
//! while let Some(event) = changes.next().await? {
//!     match event {
//!         SubscriptionEvent::Event { number, payload, .. } => println!("{number}: {payload:?}"),
//!         SubscriptionEvent::Gap { .. } => println!("events are lost: read the state anew"),
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! Services with another encoding are called with bytes: [`Client::invoke`], [`Client::query`],
//! [`Client::subscribe`].
//!
//! Subscribers of a topic can tell each other things in passing ([`Subscription::announce`]), a client
//! can go on with other replicas ([`Client::update_view`]), and [`Client::events`] tells what else
//! happens.
//!
//! # Options
//!
//! | option | default | what it is |
//! |---|---|---|
//! | [`Config::identity`] | [`Identity::Ephemeral`] | the client's key: new, supplied, or kept in a file |
//! | [`Config::transport`] | [`Transport::Auto`] | WebSockets, HTTP, or HTTP where WebSockets do not get through |
//! | [`Config::roots`] | [`Roots::System`] | who vouches for the certificates of `wss://` members |
//! | [`EndpointOptions::call_timeout`] | 10 s | how long a call may take; one call: [`Call::timeout`] |
//! | [`EndpointOptions::read_timeout`] | 200 ms | how long a fast read waits before it is asked in order |
//! | [`EndpointOptions::retransmit`] | 1 s | first pause before a request is sent once more |
//! | [`EndpointOptions::body_timeout`] | 100 ms | how long digests wait for the full body |
//! | [`EndpointOptions::backoff_min`] | 100 ms | first pause before a lost link is dialled again |
//! | [`EndpointOptions::backoff_max`] | 5 s | longest such pause; attempts are never given up |
//! | [`EndpointOptions::connect_timeout`] | 5 s | how long opening a link may take |
//! | [`EndpointOptions::ping_interval`] | 2 s | time between pings on an open link |
//! | [`EndpointOptions::max_pending`] | 1024 | unfinished calls, beyond which new ones are refused |
//! | [`EndpointOptions::late_calls`] | 64 | completed calls whose late votes still count |
//! | [`EndpointOptions::late_votes`] | 5 s | how long they do |
//! | [`EndpointOptions::silent_after`] | 8 | unanswered calls until a replica is suspected of silence |
//! | [`EndpointOptions::silent_for`] | 2 s | and the time they must span |
//! | [`EndpointOptions::events_ahead`] | 256 | events that a replica may send ahead |
//! | [`Call::offline`] | [`Offline::Queue`] | without a quorum a call waits for one, or fails at once |
//! | [`SubscribeOptions::buffer`] | 1024 | events that may wait to be taken |
//! | [`SubscribeOptions::overflow`] | [`Overflow::End`] | beyond that: an error, or a gap in place of the oldest |
//!
//! The feature `json` (on by default) is [`Operation`] and [`Client::subscribe_json`].
//!
//! # Errors
//!
//! Every error has a [`Code`], the same as in the npm package, says whether trying again may help
//! (`is_retryable`), whether the replicas may have executed the call (`outcome`), and which replicas
//! said what (`quorum`).

mod call;
mod code;
mod config;
mod driver;
mod error;
mod events;
mod identity;
#[cfg(feature = "json")]
mod json;
mod link;
mod subscription;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
pub use webbft_protocol::auth::ClientIdentity;
use webbft_protocol::client::{Endpoint, EndpointConfig};
pub use webbft_protocol::client::{
    EndpointOptions, Evidence, Outcome, Phase, Status, SuspectReason,
};
use webbft_protocol::membership::{ClientId, View};
pub use webbft_protocol::wire::Topic;

pub use call::{Call, CallId, Reply};
pub use code::Code;
pub use config::{Config, Identity, Offline, Overflow, Roots, SubscribeOptions, Transport};
use driver::{Clock, Command, Driver, Joining, Kind, NextView, Own};
pub use error::{
    CallError, ConnectError, NoQuorum, Obstacle, StartError, SubscriptionError, UpdateError,
};
pub use events::{ClientEvent, Events, ReconnectCause, VotesKind};
#[cfg(feature = "json")]
pub use json::{Operation, OperationCall, OperationError};
pub use link::LinkTransport;
use link::{Link, Target};
pub use subscription::{Subscription, SubscriptionEvent};

fn random() -> Result<[u8; 32], StartError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(std::io::Error::from)?;
    Ok(bytes)
}

fn links(view: &View, roots: &Roots, transport: Transport) -> Result<Vec<Link>, StartError> {
    let targets = Target::all(view, roots)?;
    Ok(targets.into_iter().map(|target| Link::new(target, transport)).collect())
}

/// A handle to a client; clones share it. The client ends when the last handle, [`Call`] and
/// [`Subscription`] are dropped.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    view: watch::Receiver<Arc<View>>,
    transport: Transport,
    roots: Roots,
    id: ClientId,
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Receiver<Status>,
    transports: watch::Receiver<Vec<Option<LinkTransport>>>,
    next_call: AtomicU64,
}

impl Client {
    /// Starts a client and waits until a quorum of replicas is connected, at most
    /// `options.call_timeout`.
    ///
    /// # Errors
    /// Where the client cannot start or too few replicas answer.
    pub async fn connect(config: Config) -> Result<Self, ConnectError> {
        let timeout = config.options.call_timeout;
        let client = Self::start(config)?;
        client.ready(timeout).await?;
        Ok(client)
    }

    /// Starts a client and returns at once; it connects on a thread of its own.
    ///
    /// # Errors
    /// Where the view, the key or the certificates cannot be used, or the machine has no thread or
    /// randomness to give.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let Config { view, identity, transport, roots, options } = config;
        view.validate()?;
        let links = links(&view, &roots, transport)?;
        let (identity, key) = identity::open(identity)?;
        let (view_sender, shown_view) = watch::channel(Arc::new(view.clone()));
        let own =
            Own { identity: identity.clone(), options: options.clone(), key, view: view_sender };
        let config = EndpointConfig { view, identity, seed: random()?, options };
        let clock = Clock::new();
        let endpoint = Endpoint::new(config, clock.now())?;
        let id = endpoint.client();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (commands, receiver) = mpsc::unbounded_channel();
        let (status_sender, status) = watch::channel(endpoint.status());
        let (transport_sender, transports) = watch::channel(vec![None; links.len()]);
        let driver =
            Driver::new(endpoint, links, clock, own, receiver, status_sender, transport_sender);
        std::thread::Builder::new()
            .name("webbft-client".to_owned())
            .spawn(move || runtime.block_on(driver.run()))?;
        let next_call = AtomicU64::new(1);
        let view = shown_view;
        let shared = Shared { view, transport, roots, id, commands, status, transports, next_call };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Waits until a quorum of replicas is connected.
    ///
    /// # Errors
    /// Where that takes longer than `timeout`; the client goes on trying.
    pub async fn ready(&self, timeout: Duration) -> Result<(), NoQuorum> {
        let (reply, ready) = oneshot::channel();
        self.send(Command::Ready { timeout, reply });
        match ready.await {
            Ok(result) => result,
            Err(_) => Err(NoQuorum::of(&self.status())),
        }
    }

    /// Invokes an ordered operation; the call waits for the agreed result, at most
    /// `options.call_timeout` or [`Call::timeout`].
    ///
    /// It fails where there is no agreed result; [`CallError::outcome`] says whether the operation
    /// may have been executed.
    pub fn invoke(&self, payload: impl Into<Bytes>) -> Call {
        Call::new(self, Kind::Invoke(payload.into()))
    }

    /// Asks without ordering; where the replicas' answers do not match, asks in order. Otherwise as
    /// [`Client::invoke`].
    pub fn query(&self, payload: impl Into<Bytes>) -> Call {
        Call::new(self, Kind::Query(payload.into()))
    }

    /// Subscribes to a topic: 1 to 128 bytes of text.
    ///
    /// # Errors
    /// Where the replicas do not agree on the subscription.
    pub async fn subscribe(
        &self,
        topic: impl Into<String>,
    ) -> Result<Subscription, SubscriptionError> {
        self.subscribe_with(topic, SubscribeOptions::default()).await
    }

    /// [`Client::subscribe`], with options.
    ///
    /// # Errors
    /// As [`Client::subscribe`].
    pub async fn subscribe_with(
        &self,
        topic: impl Into<String>,
        options: SubscribeOptions,
    ) -> Result<Subscription, SubscriptionError> {
        let topic = Topic::new(topic).map_err(CallError::from)?;
        let (reply, subscribed) = oneshot::channel();
        let name = self.next_call();
        let mut guard = LeaveOnDrop { client: self, call: Some(name) };
        let joining = Joining { name, options, reply };
        if !self.send(Command::Subscribe { topic, joining }) {
            return Err(call::closed().into());
        }
        let feed = subscribed.await.unwrap_or(Err(CallError::Lost))?;
        guard.call = None;
        Ok(Subscription::new(self.clone(), name, feed))
    }

    /// The replicas. [`Evidence`] names them by their position in the view that it names.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.shared.view.borrow())
    }

    /// Goes on with the replicas of another view of the service. Calls that were not sent, reads and
    /// subscriptions are taken along; an operation under way fails with
    /// [`CallError::ViewChanged`], and subscribers are told what they missed.
    ///
    /// # Errors
    /// Where it is no view, one of another service, or cannot be reached; the client goes on as
    /// before. And where the client is closed.
    pub fn update_view(&self, view: View) -> Result<(), UpdateError> {
        view.validate().map_err(StartError::from)?;
        if view.service != self.view().service {
            return Err(UpdateError::OtherService);
        }
        let links = links(&view, &self.shared.roots, self.shared.transport)?;
        let next = NextView { view, links, seed: random()? };
        if !self.send(Command::ChangeView(Box::new(next))) {
            return Err(UpdateError::Closed);
        }
        Ok(())
    }

    /// This client's id: the hash of its public key.
    #[must_use]
    pub fn client_id(&self) -> ClientId {
        self.shared.id
    }

    /// The client's present state.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// Follows the client's state: the receiver sees the present one first.
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.shared.status.clone()
    }

    /// What carries the link to each replica that has one, in the view's order.
    #[must_use]
    pub fn watch_transports(&self) -> watch::Receiver<Vec<Option<LinkTransport>>> {
        self.shared.transports.clone()
    }

    /// Everything the client tells besides results, from now on: its status, lost links, suspects,
    /// gaps, and votes, those included that come after a call is done.
    #[must_use]
    pub fn events(&self) -> Events {
        let (listener, events) = events::listener();
        self.send(Command::Listen(listener));
        events
    }

    /// The network is another one, or is back: dials every lost link at once, by WebSocket first
    /// unless the transport is HTTP.
    pub fn reconnect_now(&self) {
        self.send(Command::ReconnectNow);
    }

    /// Closes the client for all its handles when its unfinished calls are done; it takes no new
    /// ones. Returns when the links are closed.
    pub async fn drain(&self) {
        self.send(Command::Drain);
        self.shared.commands.closed().await;
    }

    /// Closes the client for all its handles; unfinished calls fail. Returns when the links are
    /// closed.
    pub async fn close(&self) {
        self.send(Command::Close);
        self.shared.commands.closed().await;
    }

    fn next_call(&self) -> CallId {
        CallId(self.shared.next_call.fetch_add(1, Ordering::Relaxed))
    }

    /// False if the client is closed, and with it the channel for an answer.
    fn send(&self, command: Command) -> bool {
        self.shared.commands.send(command).is_ok()
    }
}

/// Gives up a request to subscribe whose future is dropped before there is an answer.
struct LeaveOnDrop<'a> {
    client: &'a Client,
    call: Option<CallId>,
}

impl Drop for LeaveOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.client.send(Command::Unsubscribe { call, reply: None });
        }
    }
}
