//! Client links: what clients ask, and where replies, answers and events go.
//!
//! None of this is replicated: it is rebuilt from what clients send on a new link.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::announcements::Allowance;
use super::output::{LinkId, ToClient};
use super::queries::{Query, WaitingQueries};
use crate::execution::{CachedReply, Event, Executed, Executor, QueryFault, Service};
use crate::membership::{Cid, ClientId, Digest, SessionId, View};
use crate::ordering::{Admission, Body};
use crate::time::{Now, UnixMicros};
use crate::wire::limits::{MAX_ANNOUNCEMENT, MAX_PAYLOAD, SMALL_RESULT};
use crate::wire::{
    ClientFrame, ClientHeader, DecodeError, ExecutionResult, Frame, Operation, Refusal,
    ReplicaHeader, Request, RequestId, SessionKey, Topic, WITHHELD, encode,
};

/// A frame that no correct client sends: the peer misbehaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientFault {
    /// The request does not decode.
    #[error("malformed request: {0}")]
    Malformed(DecodeError),
    /// The request names another client than the link's.
    #[error("a request in the name of another client, {0}")]
    OtherClient(ClientId),
    /// The request is meant for another service.
    #[error("a request for another service")]
    OtherService,
    /// The query's payload is too large.
    #[error("a query of {0} bytes; at most {MAX_PAYLOAD} are allowed")]
    QueryTooLong(usize),
    /// The announcement's payload is too large.
    #[error("an announcement of {0} bytes; at most {MAX_ANNOUNCEMENT} are allowed")]
    AnnouncementTooLong(usize),
    /// More sessions on one link than [`MAX_SESSIONS`].
    #[error("more than {MAX_SESSIONS} sessions on one link")]
    TooManySessions,
    /// The link is not known: the driver is to blame.
    #[error("a frame on an unknown link")]
    UnknownLink,
}

/// Sessions that one link may serve.
const MAX_SESSIONS: usize = 64;
/// Requests of one link that may be in flight before the driver stops reading it: two windows.
const MAX_IN_FLIGHT: usize = 256;

#[derive(Debug)]
struct Link {
    client: ClientId,
    sessions: BTreeSet<SessionId>,
    awaiting: BTreeSet<RequestId>,
    allowance: Allowance,
}

#[derive(Debug, Clone, Copy)]
struct Awaiting {
    link: LinkId,
    full: bool,
}

/// All client links.
#[derive(Debug)]
pub(super) struct Clients {
    view: Arc<View>,
    me: usize,
    links: BTreeMap<LinkId, Link>,
    /// Where a session's events go: the link it was last seen on.
    sessions: BTreeMap<SessionKey, LinkId>,
    /// Requests whose replies are awaited.
    awaiting: BTreeMap<RequestId, Awaiting>,
    waiting: WaitingQueries,
    out: VecDeque<ToClient>,
}

impl Clients {
    pub(super) fn new(view: Arc<View>, me: usize) -> Self {
        Self {
            view,
            me,
            links: BTreeMap::new(),
            sessions: BTreeMap::new(),
            awaiting: BTreeMap::new(),
            waiting: WaitingQueries::default(),
            out: VecDeque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    pub(super) fn poll(&mut self) -> Option<ToClient> {
        self.out.pop_front()
    }

    pub(super) fn accepts_more(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|link| link.awaiting.len() < MAX_IN_FLIGHT)
    }

    pub(super) fn connect(&mut self, link: LinkId, client: ClientId) {
        let state = Link {
            client,
            sessions: BTreeSet::new(),
            awaiting: BTreeSet::new(),
            allowance: Allowance::whole(),
        };
        self.links.insert(link, state);
    }

    pub(super) fn disconnect(&mut self, link: LinkId) {
        let Some(gone) = self.links.remove(&link) else { return };
        for session in gone.sessions {
            let key = SessionKey { client: gone.client, session };
            if self.sessions.get(&key) == Some(&link) {
                self.sessions.remove(&key);
            }
        }
        for id in gone.awaiting {
            self.awaiting.remove(&id);
        }
        self.waiting.forget(link);
    }

    /// Has this session a link?
    pub(super) fn is_attached(&self, key: &SessionKey) -> bool {
        self.sessions.contains_key(key)
    }

    /// Binds a session to the link it is used on. The client of the link is authenticated, and
    /// sessions are its own.
    pub(super) fn attach(
        &mut self,
        link: LinkId,
        session: SessionId,
    ) -> Result<SessionKey, ClientFault> {
        let state = self.links.get_mut(&link).ok_or(ClientFault::UnknownLink)?;
        if state.sessions.len() >= MAX_SESSIONS && !state.sessions.contains(&session) {
            return Err(ClientFault::TooManySessions);
        }
        state.sessions.insert(session);
        let key = SessionKey { client: state.client, session };
        self.sessions.insert(key, link);
        Ok(key)
    }

    fn send(&mut self, link: LinkId, header: ReplicaHeader) {
        self.out.push_back(ToClient { link, frame: Frame::bare(header) });
    }

    pub(super) fn allowance(&mut self, link: LinkId) -> Option<&mut Allowance> {
        self.links.get_mut(&link).map(|link| &mut link.allowance)
    }

    /// Those of these sessions that are connected, with their links.
    pub(super) fn attached<'a>(
        &self,
        sessions: impl Iterator<Item = &'a SessionKey>,
    ) -> Vec<(SessionKey, LinkId)> {
        sessions.filter_map(|key| self.sessions.get(key).map(|&link| (*key, link))).collect()
    }

    pub(super) fn send_body(
        &mut self,
        link: LinkId,
        header: ReplicaHeader,
        body: Bytes,
        digest: Digest,
    ) {
        let frame = Frame::with_digest(header, body, digest);
        self.out.push_back(ToClient { link, frame });
    }

    pub(super) fn handle_frame<S: Service>(
        &mut self,
        link: LinkId,
        frame: ClientFrame,
        now: Now,
        admission: &mut Admission,
        executor: &Executor<S>,
        leader: usize,
    ) -> Result<(), ClientFault> {
        let wall = now.unix;
        match frame.header {
            ClientHeader::Request { full } => {
                let (body, digest) = (frame.body, frame.body_digest);
                self.handle_request(link, full, body, digest, wall, admission, executor)?;
            }
            ClientHeader::Query { nonce, min_cid, full } => {
                if frame.body.len() > MAX_PAYLOAD {
                    return Err(ClientFault::QueryTooLong(frame.body.len()));
                }
                let query = Query { link, nonce, full, payload: frame.body };
                if min_cid <= executor.last_cid() {
                    self.answer(query, executor);
                } else if !self.waiting.push(min_cid, query) {
                    let refusal = Refusal::Queries;
                    self.send(link, ReplicaHeader::QueryRefused { nonce, refusal });
                }
            }
            ClientHeader::Resume { session, topic, next } => {
                self.resume(link, session, topic, next, executor)?;
            }
            ClientHeader::FetchEvent { session, topic, number } => {
                let key = self.attach(link, session)?;
                if executor.sessions().is_subscribed(&key, &topic)
                    && let Some(event) = executor.topics().event(&topic, number)
                {
                    self.send_event::<S>(link, key, event, true);
                }
            }
            ClientHeader::Ping { nonce } => self.pong(link, nonce, wall, executor, leader)?,
            ClientHeader::Announce { session, topic, number } => {
                let (named, body) = ((session, topic, number), (frame.body, frame.body_digest));
                self.announce(now.instant, link, named, body, executor)?;
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // one call, the parts of one frame
    fn handle_request<S: Service>(
        &mut self,
        link: LinkId,
        full: bool,
        bytes: Bytes,
        digest: Digest,
        wall: UnixMicros,
        admission: &mut Admission,
        executor: &Executor<S>,
    ) -> Result<(), ClientFault> {
        let client = self.links.get(&link).ok_or(ClientFault::UnknownLink)?.client;
        let request = Request::decode(&bytes).map_err(ClientFault::Malformed)?;
        if request.id.client != client {
            return Err(ClientFault::OtherClient(request.id.client));
        }
        if request.service != self.view.service {
            return Err(ClientFault::OtherService);
        }
        let id = request.id;
        let key = self.attach(link, id.session)?;
        let sessions = executor.sessions();
        if sessions.last_number(&key).is_some_and(|last| id.number <= last) {
            match sessions.reply(&key, id.number) {
                Some(reply) => self.send_reply(link, id.session, reply, full),
                None => self.send_forgotten(link, id),
            }
            return Ok(());
        }
        let verdict = match &request.operation {
            Operation::Execute(payload) => S::admit(payload).map_err(Refusal::Service),
            _ => Ok(()),
        };
        let verdict = verdict.and_then(|()| {
            admission.handle_request(Body { bytes, request }, digest, wall, sessions)
        });
        match verdict {
            Ok(()) => self.await_reply(id, Awaiting { link, full }),
            Err(refusal) => {
                let (session, number) = (id.session, id.number);
                let header = ReplicaHeader::Refused { session, number, request: digest, refusal };
                self.send(link, header);
                if sessions.last_number(&key).is_none() && !self.awaits(&key) {
                    // It has not begun here, and may never.
                    self.forget_session(&key);
                }
            }
        }
        Ok(())
    }

    fn await_reply(&mut self, id: RequestId, awaiting: Awaiting) {
        if let Some(before) = self.awaiting.insert(id, awaiting)
            && before.link != awaiting.link
            && let Some(link) = self.links.get_mut(&before.link)
        {
            link.awaiting.remove(&id);
        }
        if let Some(link) = self.links.get_mut(&awaiting.link) {
            link.awaiting.insert(id);
        }
    }

    fn take_awaiting(&mut self, id: &RequestId) -> Option<Awaiting> {
        let awaiting = self.awaiting.remove(id)?;
        if let Some(link) = self.links.get_mut(&awaiting.link) {
            link.awaiting.remove(id);
        }
        Some(awaiting)
    }

    fn send_reply(&mut self, link: LinkId, session: SessionId, reply: &CachedReply, full: bool) {
        let full = full || reply.result.len() <= SMALL_RESULT;
        let header = ReplicaHeader::Reply {
            session,
            number: reply.number,
            view: reply.view,
            cid: reply.cid,
            digest: reply.digest,
            full,
        };
        if full {
            self.send_body(link, header, reply.result.clone(), reply.digest);
        } else {
            self.send(link, header);
        }
    }

    /// The request was executed, but its result is no longer kept; nor is where.
    fn send_forgotten(&mut self, link: LinkId, id: RequestId) {
        let result: Bytes = encode(&ExecutionResult::Forgotten).into();
        let digest = Digest::of(&result);
        let view = self.view.number;
        let reply = CachedReply { number: id.number, view, cid: Cid::ZERO, result, digest };
        self.send_reply(link, id.session, &reply, true);
    }

    fn answer<S: Service>(&mut self, query: Query, executor: &Executor<S>) {
        let Query { link, nonce, full, payload } = query;
        let executed = executor.last_cid();
        match executor.query(&payload) {
            Ok(answer) => {
                let result = Bytes::from(answer.result);
                let digest = Digest::of(&result);
                let full = full || result.len() <= SMALL_RESULT;
                let header = ReplicaHeader::QueryReply {
                    nonce,
                    view: self.view.number,
                    as_of: answer.as_of.unwrap_or(executed),
                    executed,
                    digest,
                    full,
                };
                if full {
                    self.send_body(link, header, result, digest);
                } else {
                    self.send(link, header);
                }
            }
            Err(fault @ QueryFault) => {
                let refusal = Refusal::Service(fault.to_string());
                self.send(link, ReplicaHeader::QueryRefused { nonce, refusal });
            }
        }
    }

    /// Answers the queries that waited for what has now been executed.
    pub(super) fn answer_waiting<S: Service>(&mut self, executor: &Executor<S>) {
        for query in self.waiting.take_ready(executor.last_cid()) {
            self.answer(query, executor);
        }
    }

    fn resume<S: Service>(
        &mut self,
        link: LinkId,
        session: SessionId,
        topic: Topic,
        next: u64,
        executor: &Executor<S>,
    ) -> Result<(), ClientFault> {
        let key = self.attach(link, session)?;
        if !executor.sessions().is_subscribed(&key, &topic) {
            return Ok(());
        }
        let resumption = executor.topics().resume(&topic, next);
        if let Some(first) = resumption.gap {
            self.send(link, ReplicaHeader::Gap { session, topic: topic.clone(), first });
        }
        for event in resumption.events {
            self.send_event::<S>(link, key, event, self.sends_full(event));
        }
        Ok(())
    }

    fn pong<S: Service>(
        &mut self,
        link: LinkId,
        nonce: u64,
        wall: UnixMicros,
        executor: &Executor<S>,
        leader: usize,
    ) -> Result<(), ClientFault> {
        let state = self.links.get(&link).ok_or(ClientFault::UnknownLink)?;
        let heads: Vec<(SessionId, Vec<(Topic, u64)>)> = state
            .sessions
            .iter()
            .map(|&session| {
                let key = SessionKey { client: state.client, session };
                let topics = executor.sessions().subscriptions(&key);
                let heads = topics.map(|topic| (topic.clone(), executor.topics().head(topic)));
                (session, heads.collect::<Vec<_>>())
            })
            .filter(|(_, heads)| !heads.is_empty())
            .collect();
        let header = ReplicaHeader::Pong {
            nonce,
            last_cid: executor.last_cid(),
            time: executor.time().max(wall),
            leader: self.view.members[leader].id,
        };
        self.send(link, header);
        for (session, heads) in heads {
            self.send(link, ReplicaHeader::Heads { session, heads });
        }
        Ok(())
    }

    /// Payloads go in full from f + 1 replicas, which rotate with the event's number.
    fn sends_full(&self, event: &Event) -> bool {
        let n = self.view.n();
        let turn = usize::try_from(event.number % n as u64).expect("below n");
        (self.me + n - turn) % n < self.view.quorums().one_correct()
            || event.payload.len() <= SMALL_RESULT
    }

    /// Sends an event, or, to who may not see it, that there is one (rule P6).
    fn send_event<S: Service>(&mut self, link: LinkId, to: SessionKey, event: &Event, full: bool) {
        let sees = Executor::<S>::may_see(to.client, event);
        let full = full && sees;
        let header = ReplicaHeader::Event {
            session: to.session,
            topic: event.topic.clone(),
            number: event.number,
            view: event.view,
            cid: event.cid,
            digest: if sees { event.digest } else { WITHHELD },
            full,
        };
        if full {
            self.send_body(link, header, event.payload.clone(), event.digest);
        } else {
            self.send(link, header);
        }
    }

    /// The state was replaced by another one (rule C7): answers what that has executed, forgets
    /// sessions that it has evicted, and tells subscribers how far their topics have come, so
    /// that they ask for the events in between (rule P4).
    pub(super) fn handle_restored<S: Service>(
        &mut self,
        before: &Executor<S>,
        executor: &Executor<S>,
    ) {
        let sessions = executor.sessions();
        let awaited: Vec<RequestId> = self.awaiting.keys().copied().collect();
        for id in awaited {
            let key = id.session_key();
            if sessions.last_number(&key).is_some_and(|last| id.number <= last)
                && let Some(Awaiting { link, full }) = self.take_awaiting(&id)
            {
                match sessions.reply(&key, id.number) {
                    Some(reply) => self.send_reply(link, id.session, reply, full),
                    None => self.send_forgotten(link, id),
                }
            }
        }
        let evicted = |key: &&SessionKey| sessions.last_number(key).is_none();
        for key in before.sessions().keys().filter(evicted) {
            self.forget_session(key);
        }
        let attached: Vec<(SessionKey, LinkId)> =
            self.sessions.iter().map(|(key, link)| (*key, *link)).collect();
        for (key, link) in attached {
            let heads: Vec<(Topic, u64)> = sessions
                .subscriptions(&key)
                .map(|topic| (topic.clone(), executor.topics().head(topic)))
                .collect();
            if !heads.is_empty() {
                self.send(link, ReplicaHeader::Heads { session: key.session, heads });
            }
        }
    }

    fn awaits(&self, key: &SessionKey) -> bool {
        self.awaiting.range(key.request(0)..=key.request(u64::MAX)).next().is_some()
    }

    /// A session is gone, or will never begin.
    pub(super) fn forget_session(&mut self, key: &SessionKey) {
        if let Some(link) = self.sessions.remove(key)
            && let Some(link) = self.links.get_mut(&link)
        {
            // A client that goes on in new sessions must not run into the link's limit.
            link.sessions.remove(&key.session);
        }
        let pending: Vec<RequestId> = self
            .awaiting
            .range(key.request(0)..=key.request(u64::MAX))
            .map(|(id, _)| *id)
            .collect();
        for id in pending {
            // The client retransmits and is then told that the session has expired.
            self.take_awaiting(&id);
        }
    }

    /// Sends the replies and events of a batch, and tells evicted sessions.
    pub(super) fn handle_executed<S: Service>(
        &mut self,
        executed: &Executed,
        executor: &Executor<S>,
    ) {
        for reply in &executed.replies {
            if let Some(Awaiting { link, full }) = self.take_awaiting(&reply.id) {
                self.send_reply(link, reply.id.session, &reply.reply, full);
            }
        }
        for event in &executed.events {
            let full = self.sends_full(event);
            for (key, link) in self.attached(executor.topics().subscribers(&event.topic)) {
                self.send_event::<S>(link, key, event, full);
            }
        }
        for key in &executed.evicted {
            self.forget_session(key);
        }
    }
}
