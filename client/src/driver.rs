//! The thread that owns the endpoint and its sockets (DESIGN 10).
//!
//! A turn: read everything that is ready, feed the endpoint, take the callers' commands; then
//! drain what the endpoint wants done, and write once per socket.

use std::collections::HashMap;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Sleep;
use webbft_protocol::client::{CallId, ClientEvent, Endpoint, Phase, Status, Transmit};
use webbft_protocol::time::{Instant, Now, UnixMicros};
use webbft_protocol::wire::Topic;

use crate::Reply;
use crate::error::{CallError, NoQuorum, SubscriptionError};
use crate::socket::{Input, Socket};
use crate::subscription::{BUFFER, Feed, SubscriptionEvent};

/// Inputs taken from one source before the others have their turn.
const FAIR_SHARE: usize = 64;

/// What a call asks for.
#[derive(Debug)]
pub(crate) enum Call {
    Invoke(Bytes),
    Query(Bytes),
}

type CallReply = oneshot::Sender<Result<Reply, CallError>>;
type Done = oneshot::Sender<Result<(), CallError>>;
type Subscribed = oneshot::Sender<Result<Feed, CallError>>;

/// What handles want. `call` is the handle's own name for a call.
#[derive(Debug)]
pub(crate) enum Command {
    Call { call: u64, kind: Call, timeout: Option<Duration>, reply: CallReply },
    Subscribe { call: u64, topic: Topic, reply: Subscribed },
    Unsubscribe { call: u64, reply: Option<Done> },
    Cancel { call: u64 },
    Ready { timeout: Duration, reply: oneshot::Sender<Result<(), NoQuorum>> },
    Close,
}

/// Both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: StdInstant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { origin: StdInstant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            instant: Instant::from_micros(micros(self.origin.elapsed())),
            unix: UnixMicros(micros(unix)),
        }
    }

    fn deadline(&self, instant: Instant) -> StdInstant {
        self.origin + Duration::from_micros(instant.as_micros())
    }
}

/// Who waits for a call of the endpoint.
enum Waiting {
    Call(CallReply),
    Subscription {
        subscribed: Option<Subscribed>,
        feed: Option<(mpsc::Sender<SubscriptionEvent>, oneshot::Sender<SubscriptionError>)>,
    },
    Unsubscribe(Option<Done>),
}

struct Readiness {
    deadline: Instant,
    reply: oneshot::Sender<Result<(), NoQuorum>>,
}

pub(crate) struct Driver {
    endpoint: Endpoint,
    clock: Clock,
    urls: Vec<String>,
    sockets: Vec<Socket>,
    commands: mpsc::UnboundedReceiver<Command>,
    status: watch::Sender<Status>,
    waiting: HashMap<CallId, Waiting>,
    /// Handles' names of calls, and the way back.
    ids: HashMap<u64, CallId>,
    names: HashMap<CallId, u64>,
    readiness: Vec<Readiness>,
    closing: bool,
}

impl Driver {
    pub(crate) fn new(
        endpoint: Endpoint,
        urls: Vec<String>,
        clock: Clock,
        commands: mpsc::UnboundedReceiver<Command>,
        status: watch::Sender<Status>,
    ) -> Self {
        Self {
            sockets: urls.iter().map(|_| Socket::default()).collect(),
            endpoint,
            clock,
            urls,
            commands,
            status,
            waiting: HashMap::new(),
            ids: HashMap::new(),
            names: HashMap::new(),
            readiness: Vec::new(),
            closing: false,
        }
    }

    /// Runs until the client is closed or its last handle dropped.
    pub(crate) async fn run(mut self) {
        self.endpoint.start(self.clock.now());
        let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
        while !self.closing {
            self.drain();
            if let Some(deadline) = self.next_deadline() {
                sleep.as_mut().reset(self.clock.deadline(deadline).into());
            }
            poll_fn(|cx| self.poll_turn(cx, sleep.as_mut())).await;
        }
        self.endpoint.close(self.clock.now());
        self.drain();
        poll_fn(|cx| {
            self.sockets.iter_mut().for_each(|socket| socket.close(cx));
            Poll::Ready(())
        })
        .await;
        self.status.send_replace(self.endpoint.status());
    }

    fn next_deadline(&self) -> Option<Instant> {
        let waits = self.readiness.iter().map(|wait| wait.deadline);
        waits.chain(self.endpoint.next_deadline()).min()
    }

    /// Takes in whatever is ready; pending only if nothing was.
    fn poll_turn(&mut self, cx: &mut Context<'_>, sleep: Pin<&mut Sleep>) -> Poll<()> {
        let mut progress = false;
        for replica in 0..self.sockets.len() {
            for _ in 0..FAIR_SHARE {
                let Poll::Ready(input) = self.sockets[replica].poll_input(cx) else { break };
                progress = true;
                if !self.handle_input(replica, input) {
                    break;
                }
            }
            if let Poll::Ready(error) = self.sockets[replica].poll_flush(cx) {
                progress = true;
                self.handle_input(replica, Input::Closed(error));
            }
        }
        for _ in 0..FAIR_SHARE {
            let Poll::Ready(command) = self.commands.poll_recv(cx) else { break };
            progress = true;
            match command {
                Some(command) => self.handle_command(command),
                None => self.closing = true,
            }
            if self.closing {
                break;
            }
        }
        let due = self.next_deadline().is_some() && sleep.poll(cx).is_ready();
        if due {
            progress = true;
            self.endpoint.handle_deadline(self.clock.now());
        }
        if progress { Poll::Ready(()) } else { Poll::Pending }
    }

    /// False once the socket is closed.
    fn handle_input(&mut self, replica: usize, input: Input) -> bool {
        let now = self.clock.now();
        match input {
            Input::Opened => self.endpoint.handle_opened(now, replica),
            Input::Message(bytes) => self.endpoint.handle_message(now, replica, bytes),
            Input::Closed(error) => {
                let url = &self.urls[replica];
                match error {
                    Some(error) => tracing::debug!(%url, %error, "link lost"),
                    None => tracing::debug!(%url, "link closed by the replica"),
                }
                self.endpoint.handle_closed(now, replica);
                return false;
            }
        }
        true
    }

    fn handle_command(&mut self, command: Command) {
        let now = self.clock.now();
        match command {
            Command::Call { call, kind, timeout, reply } => {
                let result = match kind {
                    Call::Invoke(payload) => self.endpoint.invoke(now, payload, timeout),
                    Call::Query(payload) => self.endpoint.query(now, payload, timeout),
                };
                match result {
                    Ok(id) => self.wait(call, id, Waiting::Call(reply)),
                    Err(error) => drop(reply.send(Err(error.into()))),
                }
            }
            Command::Subscribe { call, topic, reply } => {
                match self.endpoint.subscribe(now, topic) {
                    Ok(id) => {
                        let subscribed = Some(reply);
                        self.wait(call, id, Waiting::Subscription { subscribed, feed: None });
                    }
                    Err(error) => drop(reply.send(Err(error.into()))),
                }
            }
            Command::Unsubscribe { call, reply } => self.unsubscribe(now, call, reply),
            Command::Cancel { call } => {
                if let Some(&id) = self.ids.get(&call) {
                    match self.waiting.get(&id) {
                        Some(Waiting::Subscription { feed: Some(_), .. }) => {
                            self.unsubscribe(now, call, None);
                        }
                        _ => self.endpoint.cancel(now, id),
                    }
                }
            }
            Command::Ready { timeout, reply } => {
                self.readiness.push(Readiness { deadline: now.instant + timeout, reply });
            }
            Command::Close => self.closing = true,
        }
    }

    fn unsubscribe(&mut self, now: Now, call: u64, reply: Option<Done>) {
        let Some(&subscription) = self.ids.get(&call) else {
            // It has ended by itself.
            if let Some(reply) = reply {
                drop(reply.send(Ok(())));
            }
            return;
        };
        self.forget(subscription);
        match self.endpoint.unsubscribe(now, subscription) {
            Ok(id) => drop(self.waiting.insert(id, Waiting::Unsubscribe(reply))),
            Err(error) => {
                if let Some(reply) = reply {
                    drop(reply.send(Err(error.into())));
                }
            }
        }
    }

    fn wait(&mut self, name: u64, id: CallId, waiting: Waiting) {
        self.ids.insert(name, id);
        self.names.insert(id, name);
        self.waiting.insert(id, waiting);
    }

    fn forget(&mut self, id: CallId) -> Option<Waiting> {
        if let Some(name) = self.names.remove(&id) {
            self.ids.remove(&name);
        }
        self.waiting.remove(&id)
    }

    /// Does everything that the endpoint wants done; the next turn writes it out.
    fn drain(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(transmit) = self.endpoint.poll_transmit() {
                quiet = false;
                self.transmit(transmit);
            }
            while let Some(event) = self.endpoint.poll_event() {
                quiet = false;
                self.event(event);
            }
            if quiet {
                break;
            }
        }
        let status = self.endpoint.status();
        self.answer_readiness(&status);
        self.status.send_if_modified(|shown| {
            let modified = *shown != status;
            if modified {
                *shown = status;
            }
            modified
        });
    }

    fn transmit(&mut self, transmit: Transmit) {
        match transmit {
            Transmit::Open { replica } => {
                self.sockets[replica] = Socket::dial(self.urls[replica].clone());
            }
            Transmit::Send { replica, bytes } => self.sockets[replica].send(bytes),
            Transmit::Close { replica } => {
                // What is left to be written goes out if the socket takes it at once.
                let mut cx = Context::from_waker(std::task::Waker::noop());
                self.sockets[replica].close(&mut cx);
            }
        }
    }

    fn event(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Completed { call, result, evidence } => match self.forget(call) {
                Some(Waiting::Call(reply)) => drop(reply.send(Ok(Reply { result, evidence }))),
                Some(Waiting::Unsubscribe(Some(done))) => drop(done.send(Ok(()))),
                _ => {}
            },
            ClientEvent::Failed { call, error, outcome, evidence } => {
                let error = CallError::Failed { error, outcome, evidence };
                match self.forget(call) {
                    Some(Waiting::Call(reply)) => drop(reply.send(Err(error))),
                    Some(Waiting::Unsubscribe(Some(done))) => drop(done.send(Err(error))),
                    Some(Waiting::Subscription { subscribed: Some(reply), .. }) => {
                        drop(reply.send(Err(error)));
                    }
                    Some(Waiting::Subscription { feed: Some((_, ended)), .. }) => {
                        drop(ended.send(SubscriptionError::Call(error)));
                    }
                    _ => {}
                }
            }
            ClientEvent::Subscribed { subscription, next, .. } => {
                if let Some(Waiting::Subscription { subscribed, feed }) =
                    self.waiting.get_mut(&subscription)
                    && let Some(reply) = subscribed.take()
                {
                    let (sender, events) = mpsc::channel(BUFFER);
                    let (end, ended) = oneshot::channel();
                    *feed = Some((sender, end));
                    drop(reply.send(Ok(Feed { next, events, ended })));
                }
            }
            ClientEvent::Event { subscription, number, payload, evidence, .. } => {
                self.deliver(subscription, SubscriptionEvent::Event { number, payload, evidence });
            }
            ClientEvent::Gap { subscription, missed_from, next, .. } => {
                self.deliver(subscription, SubscriptionEvent::Gap { missed_from, next });
            }
            ClientEvent::Suspect { replica, reason, .. } => {
                tracing::warn!(url = %self.urls[replica], %reason, "replica suspected");
            }
            // Handles follow the status itself; evidence is given once.
            ClientEvent::StatusChanged | ClientEvent::Votes { .. } => {}
        }
    }

    /// A subscriber who does not take events out is cut off and told; it never holds up others.
    fn deliver(&mut self, subscription: CallId, event: SubscriptionEvent) {
        let Some(Waiting::Subscription { feed: Some((events, _)), .. }) =
            self.waiting.get(&subscription)
        else {
            return;
        };
        if let Err(TrySendError::Full(_)) = events.try_send(event) {
            if let Some(Waiting::Subscription { feed: Some((_, ended)), .. }) =
                self.forget(subscription)
            {
                drop(ended.send(SubscriptionError::Lagged(BUFFER)));
            }
            if let Ok(id) = self.endpoint.unsubscribe(self.clock.now(), subscription) {
                self.waiting.insert(id, Waiting::Unsubscribe(None));
            }
        }
    }

    fn answer_readiness(&mut self, status: &Status) {
        let ready = matches!(status.phase, Phase::Ready | Phase::Degraded);
        let now = self.clock.now().instant;
        for wait in std::mem::take(&mut self.readiness) {
            if ready {
                drop(wait.reply.send(Ok(())));
            } else if now >= wait.deadline {
                drop(wait.reply.send(Err(NoQuorum::of(status))));
            } else {
                self.readiness.push(wait);
            }
        }
    }
}
