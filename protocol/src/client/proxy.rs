//! The client without its bytes: frames in, frames out.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::announcements::{Announcements, Claim};
use super::calls::{Call, Purpose};
use super::event::{CallError, CallId, ClientEvent, InvokeError, SuspectReason};
use super::options::EndpointOptions;
use super::session::Session;
use super::status::Suspicion;
use super::subscriptions::Subscription;
use super::suspects::Replica;
use super::table::Table;
use super::timers::{Timer, Timers};
use super::votes::{Poll, Statement};
use crate::auth::Verified;
use crate::membership::{Cid, ClientId, Digest, Quorums, ServiceId, SessionId, View, ViewNumber};
use crate::time::{Instant, Now};
use crate::wire::limits::MAX_PAYLOAD;
use crate::wire::{ClientFrame, Frame, Operation, ReplicaFrame, ReplicaHeader, Topic, Welcome};

/// What the proxy needs to know of its view.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) service: ServiceId,
    pub(super) view: ViewNumber,
    pub(super) quorums: Quorums,
    pub(super) client: ClientId,
}

impl Group {
    pub(super) const fn n(&self) -> usize {
        self.quorums.n()
    }
}

/// How replies name a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Ordered(SessionId, u64),
    Read(u64),
}

/// A finished call, kept for a while for late votes.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) call: CallId,
    pub(super) name: Name,
    pub(super) poll: Poll,
    pub(super) until: Instant,
    /// Did the application wait for it?
    pub(super) shown: bool,
}

/// Numbers requests, votes on replies, retries, and puts events in order (DESIGN 5 and 6).
///
/// It takes authenticated frames and gives frames; [`Endpoint`](super::Endpoint) adds the links.
#[derive(Debug)]
pub struct ServiceProxy {
    pub(super) group: Group,
    pub(super) options: EndpointOptions,
    pub(super) rng: ChaCha20Rng,
    pub(super) replicas: Vec<Replica>,
    pub(super) session: Session,
    pub(super) calls: Table<CallId, Call>,
    /// Unfinished calls that the application waits for.
    pub(super) pending: usize,
    /// Calls that have no number yet.
    pub(super) queue: VecDeque<CallId>,
    /// Fast reads.
    pub(super) nonces: Table<u64, CallId>,
    pub(super) recent: VecDeque<Finished>,
    pub(super) subscriptions: Table<CallId, Subscription>,
    pub(super) announcements: Announcements,
    pub(super) timers: Timers,
    /// The latest instance that a quorum confirmed to this client.
    pub(super) min_cid: Cid,
    pub(super) next_call: u64,
    pub(super) next_nonce: u64,
    pub(super) closed: bool,
    frames: VecDeque<(usize, ClientFrame)>,
    pub(super) events: VecDeque<ClientEvent>,
}

impl ServiceProxy {
    /// A proxy for the members of `view`, which must be validated. `seed`: 32 random bytes, never
    /// used before.
    ///
    /// # Panics
    /// Where the view is not valid.
    #[must_use]
    pub fn new(view: &View, client: ClientId, seed: [u8; 32], options: EndpointOptions) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let session = Session::new(&mut rng);
        Self {
            group: Group {
                service: view.service,
                view: view.number,
                quorums: view.quorums(),
                client,
            },
            options,
            rng,
            replicas: vec![Replica::default(); view.n()],
            session,
            calls: Table::default(),
            pending: 0,
            queue: VecDeque::new(),
            nonces: Table::default(),
            recent: VecDeque::new(),
            subscriptions: Table::default(),
            announcements: Announcements::new(view.n()),
            timers: Timers::default(),
            min_cid: Cid::ZERO,
            next_call: 1,
            next_nonce: 1,
            closed: false,
            frames: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The link to the member at position `replica` is open, and it said `welcome`.
    pub fn handle_link_opened(&mut self, now: Now, replica: usize, welcome: &Verified<Welcome>) {
        if self.closed || replica >= self.group.n() {
            return;
        }
        self.replicas[replica].open = true;
        self.replicas[replica].time = Some(welcome.time);
        self.forgive_silence(replica);
        self.resend_requests(replica);
        self.resend_queries(now.instant, replica);
        self.resume_all(replica);
        self.pump(now.instant);
    }

    /// The link is gone; frames on their way may be lost.
    pub fn handle_link_closed(&mut self, now: Now, replica: usize) {
        if replica >= self.group.n() || !self.replicas[replica].open {
            return;
        }
        self.replicas[replica].open = false;
        self.replicas[replica].time = None;
        self.frames.retain(|(to, _)| *to != replica);
        self.reads_lose(now.instant);
    }

    /// A frame from the member at position `replica`.
    pub fn handle_frame(&mut self, now: Now, replica: usize, frame: Verified<ReplicaFrame>) {
        if self.closed || replica >= self.group.n() || !self.replicas[replica].open {
            return;
        }
        let now = now.instant;
        let Frame { header, body, body_digest } = frame.into_inner();
        let given = |full: bool| full.then(|| (body.clone(), body_digest));
        match header {
            ReplicaHeader::Reply { session, number, view, cid, digest, full } => {
                let statement = Statement { view, cid, digest };
                self.handle_reply(now, replica, (session, number), statement, given(full));
            }
            ReplicaHeader::QueryReply { nonce, view, as_of, executed: _, digest, full } => {
                // `executed` is one replica's claim and decides nothing (R3).
                let statement = Statement { view, cid: as_of, digest };
                self.handle_query_reply(now, replica, nonce, statement, given(full));
            }
            ReplicaHeader::Event { session, topic, number, view, cid, digest, full } => {
                if session == self.session.id {
                    let statement = Statement { view, cid, digest };
                    self.handle_event(now, replica, &topic, (number, statement), given(full));
                }
            }
            ReplicaHeader::Gap { session, topic, first } => {
                if session == self.session.id {
                    self.handle_gap(now, replica, &topic, first);
                }
            }
            ReplicaHeader::Refused { session, number, request, refusal } => {
                self.handle_refused(now, replica, (session, number, request), refusal);
            }
            ReplicaHeader::QueryRefused { nonce, refusal } => {
                self.handle_query_refused(now, replica, nonce, refusal);
            }
            ReplicaHeader::Pong { time, .. } => {
                self.replicas[replica].time = Some(time);
                self.expect_heads(now, replica);
                self.pump(now);
            }
            ReplicaHeader::Heads { session, heads } => {
                if session == self.session.id {
                    self.handle_heads(now, replica, &heads);
                }
            }
            ReplicaHeader::Announcement { session, topic, sender, number } => {
                if session == self.session.id {
                    let claim = Claim { topic, sender, number, digest: body_digest };
                    self.handle_announcement(replica, claim, body);
                }
            }
        }
    }

    /// Invokes an operation in the total order. `timeout`: how long to wait for the result.
    ///
    /// # Errors
    /// Where the client is closed or full, or the payload too large.
    pub fn invoke(
        &mut self,
        now: Now,
        payload: Bytes,
        timeout: Option<Duration>,
    ) -> Result<CallId, InvokeError> {
        let operation = Operation::Execute(payload);
        self.begin_ordered(now.instant, Purpose::Invoke, operation, timeout)
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
        let operation = Operation::Query(payload);
        self.check_room(&operation)?;
        let timeout = Some(timeout.unwrap_or(self.options.call_timeout));
        let id = self.add_call(now.instant, Purpose::Query, operation, timeout);
        self.begin_read(now.instant, id);
        Ok(id)
    }

    /// Subscribes to a topic's events, from the next one on.
    ///
    /// # Errors
    /// Where the client is closed or full, or the topic has a subscription.
    pub fn subscribe(&mut self, now: Now, topic: Topic) -> Result<CallId, InvokeError> {
        if self.subscription_named(&topic).is_some() {
            return Err(InvokeError::AlreadySubscribed);
        }
        let operation = Operation::Subscribe(topic.clone());
        let id = self.begin_ordered(now.instant, Purpose::Subscribe, operation, None)?;
        self.subscriptions.insert(id, Subscription::new(topic, self.group.n()));
        Ok(id)
    }

    /// Ends a subscription. Events stop when the call is completed.
    ///
    /// # Errors
    /// Where there is no such subscription, or the client is closed or full.
    pub fn unsubscribe(&mut self, now: Now, subscription: CallId) -> Result<CallId, InvokeError> {
        let topic = self.active_topic(subscription).ok_or(InvokeError::NoSubscription)?;
        let purpose = Purpose::Unsubscribe { subscription };
        self.begin_ordered(now.instant, purpose, Operation::Unsubscribe(topic), None)
    }

    fn check_room(&self, operation: &Operation) -> Result<(), InvokeError> {
        if self.closed {
            return Err(InvokeError::Closed);
        }
        if let Operation::Execute(payload) | Operation::Query(payload) = operation
            && payload.len() > MAX_PAYLOAD
        {
            return Err(InvokeError::PayloadTooLarge(payload.len()));
        }
        if self.pending >= self.options.max_pending {
            return Err(InvokeError::QueueFull(self.pending));
        }
        Ok(())
    }

    fn begin_ordered(
        &mut self,
        now: Instant,
        purpose: Purpose,
        operation: Operation,
        timeout: Option<Duration>,
    ) -> Result<CallId, InvokeError> {
        self.check_room(&operation)?;
        let timeout = Some(timeout.unwrap_or(self.options.call_timeout));
        let id = self.add_call(now, purpose, operation, timeout);
        self.queue.push_back(id);
        self.pump(now);
        Ok(id)
    }

    /// Stops waiting for a call. One that has been sent may be executed all the same; the
    /// `Failed` event says so.
    pub fn cancel(&mut self, _now: Now, call: CallId) {
        self.give_up(call, CallError::Cancelled);
    }

    /// Ends everything: pending calls fail, subscriptions end.
    pub fn close(&mut self, _now: Now) {
        if self.closed {
            return;
        }
        self.closed = true;
        let calls: Vec<CallId> = self.calls.keys().collect();
        for call in calls {
            self.give_up(call, CallError::Closed);
        }
        self.calls.clear();
        self.queue.clear();
        self.nonces.clear();
        self.recent.clear();
        self.subscriptions.clear();
        self.session.in_flight.clear();
        self.timers.clear();
        self.frames.clear();
    }

    /// Does what is due.
    pub fn handle_deadline(&mut self, now: Now) {
        let now = now.instant;
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::CallExpires(call) => {
                    let error = self.expiry_error(call);
                    self.give_up(call, error);
                    self.pump(now);
                }
                Timer::ReadFallsBack(call) => self.fall_back(now, call),
                Timer::Retransmit(call) => self.retransmit(now, call),
                Timer::BodyMissing(call) => {
                    self.ask_for_result(now, call);
                    self.ask_for_answer(now, call);
                }
                Timer::EventMissing(subscription) => self.event_missing(now, subscription),
            }
        }
    }

    /// When to call [`ServiceProxy::handle_deadline`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next frame to send, and to whom (position in the view).
    pub fn poll_frame(&mut self) -> Option<(usize, ClientFrame)> {
        self.frames.pop_front()
    }

    /// The next thing for the application to know.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Unfinished calls.
    #[must_use]
    pub const fn pending(&self) -> usize {
        self.pending
    }

    /// What speaks against a replica.
    #[must_use]
    pub fn suspicion(&self, replica: usize) -> Option<Suspicion> {
        self.replicas.get(replica).and_then(|replica| replica.suspicion)
    }

    /// The link to a replica showed that it, or somebody in between, misbehaves.
    pub fn handle_link_fault(&mut self, now: Now, replica: usize, reason: SuspectReason) {
        if replica < self.group.n() && !self.closed {
            self.accuse(now.instant, replica, reason, None);
        }
    }

    /// Tells the application that [`Status`](super::Status) changed.
    pub(super) fn status_changed(&mut self) {
        if self.events.back() != Some(&ClientEvent::StatusChanged) {
            self.events.push_back(ClientEvent::StatusChanged);
        }
    }

    pub(super) fn send(&mut self, replica: usize, frame: ClientFrame) {
        if self.replicas[replica].open {
            self.frames.push_back((replica, frame));
        }
    }
}

/// The body of a frame and its digest, where the header says that it is there.
pub(super) type GivenBody = Option<(Bytes, Digest)>;
