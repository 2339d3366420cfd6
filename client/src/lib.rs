//! Native client of a WebBFT service.
//!
//! A [`Client`] invokes operations on n replicas, votes on their replies and delivers events in
//! order. Everything of the protocol is `webbft_protocol::client::Endpoint`; this crate moves its
//! bytes. One thread owns the endpoint and the sockets to all replicas; handles talk to it through
//! a channel and work on any executor.
//!
//! ```no_run
//! # async fn example(view: webbft_protocol::membership::View) -> Result<(), Box<dyn std::error::Error>> {
//! use webbft_client::{Client, Config};
//!
//! let client = Client::connect(Config::ephemeral(view)?).await?;
//! let reply = client.invoke(r#"{"op":"put","key":"a","value":"1"}"#).await?;
//! println!("{:?}, by {} replicas", reply.result, reply.evidence.matching.len());
//!
//! let mut events = client.subscribe("changes").await?;
//! while let Some(event) = events.next().await? {
//!     println!("{event:?}");
//! }
//! # Ok(()) }
//! ```

mod driver;
mod error;
mod socket;
mod subscription;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
pub use webbft_protocol::auth::ClientIdentity;
use webbft_protocol::client::{Endpoint, EndpointConfig};
pub use webbft_protocol::client::{EndpointOptions, Evidence, Outcome, Phase, Status};
use webbft_protocol::membership::View;
pub use webbft_protocol::wire::Topic;

use driver::{Call, Command, Driver};
pub use error::{CallError, ConnectError, NoQuorum, StartError, SubscriptionError};
pub use subscription::{Subscription, SubscriptionEvent};

/// What a client is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// The replicas: what `webbft init` wrote.
    pub view: View,
    /// The client's key. The replicas know a client by it.
    pub identity: ClientIdentity,
    /// Timeouts and bounds.
    pub options: EndpointOptions,
}

impl Config {
    /// Default options and a new identity that is forgotten with the client.
    ///
    /// # Errors
    /// Where the operating system gives no randomness.
    pub fn ephemeral(view: View) -> Result<Self, StartError> {
        let identity = ClientIdentity::from_secret(random()?);
        Ok(Self { view, identity, options: EndpointOptions::default() })
    }
}

fn random() -> Result<[u8; 32], StartError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(std::io::Error::from)?;
    Ok(bytes)
}

/// The agreed result of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What the service returned.
    pub result: Bytes,
    /// Which replicas said so.
    pub evidence: Evidence,
}

/// A handle to a client; clones share it. The client ends when the last handle and the last
/// [`Subscription`] are dropped.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Receiver<Status>,
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
    /// Where the view is invalid or the machine has no thread or randomness to give.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let Config { view, identity, options } = config;
        if let Some(member) = view.members.iter().find(|member| member.url.starts_with("wss:")) {
            return Err(StartError::Tls { id: member.id, url: member.url.clone() });
        }
        let urls = view.members.iter().map(|member| member.url.clone()).collect();
        let config = EndpointConfig { view, identity, seed: random()?, options };
        let clock = driver::Clock::new();
        let endpoint = Endpoint::new(config, clock.now())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (commands, receiver) = mpsc::unbounded_channel();
        let (status_sender, status) = watch::channel(endpoint.status());
        let driver = Driver::new(endpoint, urls, clock, receiver, status_sender);
        std::thread::Builder::new()
            .name("webbft-client".to_owned())
            .spawn(move || runtime.block_on(driver.run()))?;
        let next_call = AtomicU64::new(0);
        Ok(Self { shared: Arc::new(Shared { commands, status, next_call }) })
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

    /// Invokes an ordered operation and waits for the agreed result, at most
    /// `options.call_timeout`.
    ///
    /// Dropping the future stops the waiting, not an execution that may be under way.
    ///
    /// # Errors
    /// Where there is no agreed result; [`CallError::outcome`] says whether the operation may have
    /// been executed.
    pub async fn invoke(&self, payload: impl Into<Bytes>) -> Result<Reply, CallError> {
        self.call(Call::Invoke(payload.into()), None).await
    }

    /// [`Client::invoke`] with a timeout of its own.
    ///
    /// # Errors
    /// As [`Client::invoke`].
    pub async fn invoke_within(
        &self,
        payload: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<Reply, CallError> {
        self.call(Call::Invoke(payload.into()), Some(timeout)).await
    }

    /// Asks without ordering; where the replicas' answers do not match, asks in order.
    ///
    /// # Errors
    /// As [`Client::invoke`].
    pub async fn query(&self, payload: impl Into<Bytes>) -> Result<Reply, CallError> {
        self.call(Call::Query(payload.into()), None).await
    }

    /// [`Client::query`] with a timeout of its own.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn query_within(
        &self,
        payload: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<Reply, CallError> {
        self.call(Call::Query(payload.into()), Some(timeout)).await
    }

    /// Subscribes to a topic: 1 to 128 bytes of text.
    ///
    /// # Errors
    /// Where the replicas do not agree on the subscription.
    pub async fn subscribe(&self, topic: impl Into<String>) -> Result<Subscription, CallError> {
        let topic = Topic::new(topic)?;
        let (reply, subscribed) = oneshot::channel();
        let call = self.next_call();
        let mut guard = CancelOnDrop { client: self, call: Some(call) };
        self.send(Command::Subscribe { call, topic, reply });
        let result = subscribed.await.unwrap_or(Err(CallError::Closed));
        guard.call = None;
        Ok(Subscription::new(self.clone(), call, result?))
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

    /// Closes the client for all its handles; unfinished calls fail. Returns when the sockets are
    /// closed.
    pub async fn close(&self) {
        self.send(Command::Close);
        self.shared.commands.closed().await;
    }

    async fn call(&self, kind: Call, timeout: Option<Duration>) -> Result<Reply, CallError> {
        let (reply, result) = oneshot::channel();
        let call = self.next_call();
        let mut guard = CancelOnDrop { client: self, call: Some(call) };
        self.send(Command::Call { call, kind, timeout, reply });
        let result = result.await.unwrap_or(Err(CallError::Closed));
        guard.call = None;
        result
    }

    fn next_call(&self) -> u64 {
        self.shared.next_call.fetch_add(1, Ordering::Relaxed)
    }

    /// A closed client drops the command and with it the channel for the answer, which is how the
    /// caller learns of it.
    fn send(&self, command: Command) {
        let _ = self.shared.commands.send(command);
    }
}

/// Cancels a call whose future is dropped before the result is there.
struct CancelOnDrop<'a> {
    client: &'a Client,
    call: Option<u64>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.client.send(Command::Cancel { call });
        }
    }
}
