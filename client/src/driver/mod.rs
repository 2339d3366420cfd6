//! The thread that owns the endpoint and its links (DESIGN 10).
//!
//! A turn: read everything that is ready, feed the endpoint, take the callers' commands; then
//! drain what the endpoint wants done, and write once per link.

mod clock;
mod topics;
mod views;

use std::collections::{HashMap, VecDeque};
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Sleep;
use webbft_protocol::client::{
    CallId as EndpointCall, ClientEvent as EndpointEvent, Endpoint, Evidence, Phase, Status,
    Transmit,
};
use webbft_protocol::time::{Instant, Now};
use webbft_protocol::wire::Topic;

use crate::call::{CallId, Reply, closed};
use crate::config::{CallOptions, Offline};
use crate::error::{CallError, NoQuorum};
use crate::events::{ClientEvent, Listener, Listeners, ReconnectCause, VotesKind};
use crate::link::{Input, Link, LinkTransport};
use crate::subscription::SubscriptionEvent;
pub(crate) use clock::Clock;
use topics::Topics;
pub(crate) use topics::{Done, Joining};
pub(crate) use views::{NextView, Own};

/// Inputs taken from one source before the others have their turn.
const FAIR_SHARE: usize = 64;
/// Calls whose names are kept for late votes; the endpoint keeps fewer unless told otherwise.
const RECENT: usize = 256;

/// What a call asks for.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Invoke(Bytes),
    Query(Bytes),
}

pub(crate) type CallReply = oneshot::Sender<Result<Reply, CallError>>;

/// What handles want.
#[derive(Debug)]
pub(crate) enum Command {
    Call { call: CallId, kind: Kind, options: CallOptions, reply: CallReply },
    Subscribe { topic: Topic, joining: Joining },
    Unsubscribe { call: CallId, reply: Option<Done> },
    Announce { call: CallId, payload: Bytes },
    Cancel { call: CallId },
    ChangeView(Box<NextView>),
    Ready { timeout: Duration, reply: oneshot::Sender<Result<(), NoQuorum>> },
    Listen(Listener),
    ReconnectNow,
    Drain,
    Close,
}

/// A call that has not come to its end.
struct Waiting {
    call: CallId,
    kind: Kind,
    options: CallOptions,
    reply: CallReply,
}

struct Readiness {
    deadline: Instant,
    reply: oneshot::Sender<Result<(), NoQuorum>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    /// When nothing is pending any more; until then nothing new is taken.
    Drain,
    Now,
}

pub(crate) struct Driver {
    endpoint: Endpoint,
    clock: Clock,
    links: Vec<Link>,
    /// Links that have been dialled before.
    dialled: Vec<bool>,
    cause: ReconnectCause,
    commands: mpsc::UnboundedReceiver<Command>,
    status: watch::Sender<Status>,
    transports: watch::Sender<Vec<Option<LinkTransport>>>,
    waiting: HashMap<EndpointCall, Waiting>,
    /// While the view changes: calls to be begun again.
    moved: Option<Vec<Waiting>>,
    /// Handles' names of calls, and the way back.
    ids: HashMap<CallId, EndpointCall>,
    recent: VecDeque<(EndpointCall, CallId)>,
    topics: Topics,
    own: Own,
    readiness: Vec<Readiness>,
    listeners: Listeners,
    ending: Ending,
}

impl Driver {
    pub(crate) fn new(
        endpoint: Endpoint,
        links: Vec<Link>,
        clock: Clock,
        own: Own,
        commands: mpsc::UnboundedReceiver<Command>,
        status: watch::Sender<Status>,
        transports: watch::Sender<Vec<Option<LinkTransport>>>,
    ) -> Self {
        Self {
            dialled: vec![false; links.len()],
            endpoint,
            clock,
            links,
            cause: ReconnectCause::Backoff,
            commands,
            status,
            transports,
            waiting: HashMap::new(),
            moved: None,
            ids: HashMap::new(),
            recent: VecDeque::new(),
            topics: Topics::default(),
            own,
            readiness: Vec::new(),
            listeners: Listeners::default(),
            ending: Ending::No,
        }
    }

    /// Runs until the client is closed or its last handle dropped.
    pub(crate) async fn run(mut self) {
        self.endpoint.start(self.clock.now());
        let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
        loop {
            self.drain();
            if self.ending == Ending::Drain && self.endpoint.status().pending == 0 {
                self.ending = Ending::Now;
            }
            if self.ending == Ending::Now {
                break;
            }
            if let Some(deadline) = self.next_deadline() {
                sleep.as_mut().reset(self.clock.deadline(deadline).into());
            }
            poll_fn(|cx| self.poll_turn(cx, sleep.as_mut())).await;
        }
        self.endpoint.close(self.clock.now());
        self.drain();
        self.topics.close();
        poll_fn(|cx| {
            self.links.iter_mut().for_each(|link| link.close(cx));
            Poll::Ready(())
        })
        .await;
        // Handles take the closing of the channel for the end of everything.
        drop(self.own.key.take());
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            refuse(command);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let waits = self.readiness.iter().map(|wait| wait.deadline);
        waits.chain(self.endpoint.next_deadline()).min()
    }

    /// Takes in whatever is ready; pending only if nothing was.
    fn poll_turn(&mut self, cx: &mut Context<'_>, sleep: Pin<&mut Sleep>) -> Poll<()> {
        let mut progress = false;
        for replica in 0..self.links.len() {
            for _ in 0..FAIR_SHARE {
                let Poll::Ready(input) = self.links[replica].poll_input(cx) else { break };
                progress = true;
                if !self.handle_input(replica, input) {
                    break;
                }
            }
            if let Poll::Ready(error) = self.links[replica].poll_flush(cx) {
                progress = true;
                self.handle_input(replica, Input::Closed(Some(error)));
            }
        }
        for _ in 0..FAIR_SHARE {
            let Poll::Ready(command) = self.commands.poll_recv(cx) else { break };
            progress = true;
            match command {
                Some(command) => self.handle_command(command),
                None => self.ending = Ending::Now,
            }
            if self.ending == Ending::Now {
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

    /// False once the link is closed.
    fn handle_input(&mut self, replica: usize, input: Input) -> bool {
        let now = self.clock.now();
        match input {
            Input::Opened => self.endpoint.handle_opened(now, replica),
            Input::Message(bytes) => self.endpoint.handle_message(now, replica, bytes),
            Input::Closed(error) => {
                let url = self.links[replica].url();
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
            Command::Call { .. } | Command::Subscribe { .. } if self.ending == Ending::Drain => {
                refuse(command);
            }
            Command::Call { call, kind, options, reply } => {
                self.call(now, Waiting { call, kind, options, reply });
            }
            Command::Subscribe { topic, joining } => {
                self.topics.subscribe(&mut self.endpoint, now, topic, joining);
            }
            Command::Unsubscribe { call, reply } => {
                self.topics.leave(&mut self.endpoint, now, call, reply);
            }
            Command::Announce { call, payload } => {
                self.topics.announce(&mut self.endpoint, call, payload);
            }
            Command::Cancel { call } => {
                if let Some(&id) = self.ids.get(&call) {
                    self.endpoint.cancel(now, id);
                }
            }
            Command::ChangeView(next) => self.change_view(now, *next),
            Command::Ready { timeout, reply } => {
                self.readiness.push(Readiness { deadline: now.instant + timeout, reply });
            }
            Command::Listen(listener) => self.listeners.add(listener),
            Command::ReconnectNow => {
                self.links.iter_mut().for_each(Link::forget_failures);
                self.endpoint.handle_network_change(now);
                self.cause = ReconnectCause::Manual;
                self.drain();
                self.cause = ReconnectCause::Backoff;
            }
            Command::Drain => self.ending = Ending::Drain,
            Command::Close => self.ending = Ending::Now,
        }
    }

    fn call(&mut self, now: Now, waiting: Waiting) {
        if waiting.options.offline == Offline::Fail {
            let status = self.endpoint.status();
            if !is_ready(&status) {
                let error = CallError::Offline(NoQuorum::of(&status));
                return drop(waiting.reply.send(Err(error)));
            }
        }
        self.begin(now, waiting);
    }

    fn begin(&mut self, now: Now, waiting: Waiting) {
        let timeout = waiting.options.timeout;
        let begun = match waiting.kind.clone() {
            Kind::Invoke(payload) => self.endpoint.invoke(now, payload, timeout),
            Kind::Query(payload) => self.endpoint.query(now, payload, timeout),
        };
        match begun {
            Ok(id) => {
                self.ids.insert(waiting.call, id);
                if self.recent.len() >= RECENT {
                    self.recent.pop_front();
                }
                self.recent.push_back((id, waiting.call));
                self.waiting.insert(id, waiting);
            }
            Err(error) => drop(waiting.reply.send(Err(error.into()))),
        }
    }

    /// The caller of a call that has come to its end.
    fn take(&mut self, id: EndpointCall) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        self.ids.remove(&waiting.call);
        Some(waiting)
    }

    /// The handle's name of a call or a subscription.
    fn name(&self, id: EndpointCall) -> Option<CallId> {
        let recent = || self.recent.iter().find(|(known, _)| *known == id).map(|(_, name)| *name);
        self.waiting
            .get(&id)
            .map(|waiting| waiting.call)
            .or_else(recent)
            .or_else(|| self.topics.name(id))
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
        let transports: Vec<_> = self.links.iter().map(Link::transport).collect();
        set_if_changed(&self.transports, transports);
        if set_if_changed(&self.status, status.clone()) {
            self.listeners.tell(|| ClientEvent::Status(status));
        }
    }

    fn transmit(&mut self, transmit: Transmit) {
        match transmit {
            Transmit::Open { replica } => {
                self.links[replica].dial();
                if std::mem::replace(&mut self.dialled[replica], true) {
                    let cause = self.cause;
                    let replica = self.endpoint.view().members[replica].id;
                    self.listeners.tell(|| ClientEvent::Reconnect { replica, cause });
                }
            }
            Transmit::Send { replica, bytes } => self.links[replica].send(bytes),
            Transmit::Close { replica } => {
                // What is left to be written goes out if the link takes it at once.
                let mut cx = Context::from_waker(std::task::Waker::noop());
                self.links[replica].close(&mut cx);
            }
        }
    }

    fn event(&mut self, event: EndpointEvent) {
        let now = self.clock.now();
        match event {
            EndpointEvent::Completed { call, result, evidence } => {
                self.votes(VotesKind::Call, call, None, evidence);
                if let Some(waiting) = self.take(call) {
                    drop(waiting.reply.send(Ok(Reply { result, evidence })));
                } else {
                    self.topics.completed(&mut self.endpoint, now, call);
                }
            }
            EndpointEvent::Failed { call, outcome, evidence, .. } if self.moved.is_some() => {
                self.move_call(call, outcome, evidence);
            }
            EndpointEvent::Failed { call, error, outcome, evidence } => {
                self.votes(VotesKind::Call, call, None, evidence);
                let error = CallError::Failed { error, outcome, evidence };
                if let Some(waiting) = self.take(call) {
                    drop(waiting.reply.send(Err(error)));
                } else {
                    self.topics.failed(&mut self.endpoint, now, call, &error);
                }
            }
            EndpointEvent::Votes { call, number, evidence } => {
                self.votes(VotesKind::Late, call, number, evidence);
            }
            EndpointEvent::Subscribed { subscription, next, evidence } => {
                self.votes(VotesKind::Call, subscription, None, evidence);
                let gap = self.topics.begun(&mut self.endpoint, now, subscription, next);
                if let Some((topic, missed_from)) = gap {
                    self.listeners.tell(|| ClientEvent::Gap { topic, missed_from, next });
                }
            }
            EndpointEvent::Event { subscription, number, payload, evidence, .. } => {
                self.votes(VotesKind::Event, subscription, Some(number), evidence);
                let event = SubscriptionEvent::Event { number, payload, evidence };
                self.topics.deliver(&mut self.endpoint, now, subscription, &event);
            }
            EndpointEvent::Gap { subscription, topic, missed_from, next } => {
                self.listeners.tell(|| ClientEvent::Gap { topic, missed_from, next });
                let event = SubscriptionEvent::Gap { missed_from, next };
                self.topics.deliver(&mut self.endpoint, now, subscription, &event);
            }
            EndpointEvent::Announcement { topic, client, payload, .. } => {
                self.listeners.tell(|| ClientEvent::Announcement { topic, client, payload });
            }
            EndpointEvent::Suspect { replica, reason, call } => {
                tracing::warn!(url = %self.links[replica].url(), %reason, "replica suspected");
                let call = call.and_then(|call| self.name(call));
                let replica = self.endpoint.view().members[replica].id;
                self.listeners.tell(|| ClientEvent::Suspect { replica, reason, call });
            }
            // Handles follow the status itself.
            EndpointEvent::StatusChanged => {}
        }
    }

    fn votes(
        &mut self,
        kind: VotesKind,
        call: EndpointCall,
        number: Option<u64>,
        evidence: Evidence,
    ) {
        if let Some(call) = self.name(call) {
            self.listeners.tell(|| ClientEvent::Votes { kind, call, number, evidence });
        }
    }

    fn answer_readiness(&mut self, status: &Status) {
        let ready = is_ready(status);
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

/// Is a quorum connected?
const fn is_ready(status: &Status) -> bool {
    matches!(status.phase, Phase::Ready | Phase::Degraded)
}

/// True if it is another value.
fn set_if_changed<T: PartialEq>(watched: &watch::Sender<T>, value: T) -> bool {
    watched.send_if_modified(|shown| {
        let modified = *shown != value;
        *shown = value;
        modified
    })
}

/// Answers a command that comes too late.
fn refuse(command: Command) {
    match command {
        Command::Call { reply, .. } => drop(reply.send(Err(closed()))),
        Command::Subscribe { joining, .. } => drop(joining.reply.send(Err(closed()))),
        Command::Unsubscribe { reply: Some(done), .. } => drop(done.send(Ok(()))),
        // Their answer is that nothing comes.
        _ => {}
    }
}
