//! The driver and the application of a simulated correct client.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use webbft_protocol::auth::ClientIdentity;
use webbft_protocol::client::{
    CallError, CallId, ClientEvent, Endpoint, EndpointConfig, EndpointOptions, Evidence, Outcome,
    Transmit,
};
use webbft_protocol::membership::ClientId;
use webbft_protocol::time::Now;
use webbft_protocol::wire::Topic;

use super::history::Fact;
use super::network::{Carried, End, Owner};
use super::plan::{Client, MS, S};
use super::service::{Action, Op, Query, Tag, topic_of};
use super::world::{Event, Phase, World};

/// Keys in use: few, so that clients meet.
const KEYS: usize = 3;
/// Longer than any run.
const PATIENT: Duration = Duration::from_secs(24 * 3600);
/// Frames of correct clients that the network's eavesdropper keeps.
const WIRETAP: usize = 64;

#[derive(Clone)]
enum Call {
    Invoke { payload: Bytes },
    Read { read: u64, query: Query },
    Subscribe { key: u8 },
    Unsubscribe { subscription: CallId },
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // Items appended are long and random.
            Self::Invoke { payload } => match Op::decode(payload) {
                Some(Op { tag, action: Action::Append { key, item } }) => {
                    write!(f, "append {} bytes to list {key} ({tag:?})", item.len())
                }
                op => write!(f, "invoke {op:?}"),
            },
            Self::Read { read, query } => write!(f, "read {read} of {query:?}"),
            Self::Subscribe { key } => write!(f, "subscribe to list {key}"),
            Self::Unsubscribe { subscription } => write!(f, "end {subscription:?}"),
        }
    }
}

#[derive(Debug, Clone)]
struct Pending {
    call: Call,
    began: u64,
    /// May it fail because of a short timeout or a cancellation?
    may_fail: bool,
}

#[derive(Debug, Clone)]
struct Subscription {
    key: u8,
    next: u64,
    ending: bool,
}

/// A correct client: its endpoint, and what it is waiting for.
pub struct ClientNode {
    endpoint: Endpoint,
    id: ClientId,
    habits: Client,
    conns: Vec<Option<u64>>,
    timer_at: Option<u64>,
    pending: BTreeMap<CallId, Pending>,
    subscriptions: BTreeMap<CallId, Subscription>,
    serial: u64,
    origin: u64,
    skew: i64,
    late_deadlines: u32,
}

impl ClientNode {
    pub(super) fn new(world: &mut World, me: usize) -> Self {
        let identity = ClientIdentity::from_secret(world.draw.bytes32());
        let origin = world.draw.between(0..=1_000_000_000);
        // A client's wall clock may be anything.
        let day = 86_400 * S as i64;
        let skew = world.draw.between(0..=2 * day.unsigned_abs()) as i64 - day;
        let id = identity.id();
        let config = EndpointConfig {
            view: (*world.view).clone(),
            identity,
            seed: world.draw.bytes32(),
            options: EndpointOptions { call_timeout: PATIENT, ..EndpointOptions::default() },
        };
        let now = world.clocks(origin, skew);
        Self {
            endpoint: Endpoint::new(config, now).expect("the view is valid"),
            id,
            habits: world.plan.clients[me],
            conns: vec![None; world.plan.n],
            timer_at: None,
            pending: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            serial: 0,
            origin,
            skew,
            late_deadlines: 0,
        }
    }

    /// What it still waits for, in words.
    pub(super) fn unfinished(&self, heads: &BTreeMap<String, u64>) -> Option<String> {
        if let Some((id, pending)) = self.pending.iter().next() {
            return Some(format!(
                "{} calls have not completed, the first being {id:?}, {:?}, begun at {} s; {:?}",
                self.pending.len(),
                pending.call,
                pending.began / S,
                self.endpoint.status().phase
            ));
        }
        self.subscriptions.values().find_map(|subscription| {
            let topic = topic_of(subscription.key);
            let head = heads.get(&topic).copied().unwrap_or(0);
            (subscription.next != head + 1).then(|| {
                format!(
                    "waits for event {} of {topic}, of which there are {head}",
                    subscription.next
                )
            })
        })
    }

    fn now(&self, world: &World) -> Now {
        world.clocks(self.origin, self.skew)
    }
}

impl World {
    pub(super) fn start_client(&mut self, me: usize) {
        let now = self.clients[me].now(self);
        self.clients[me].endpoint.start(now);
        self.drain_client(me);
    }

    pub(super) fn conn_at_client(&mut self, id: u64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.broken || conn.client_end == End::Closed {
            return;
        }
        conn.client_end = End::Open;
        let replica = conn.replica;
        match conn.owner {
            Owner::Client(me) => {
                let now = self.clients[me].now(self);
                self.clients[me].endpoint.handle_opened(now, replica);
                self.drain_client(me);
            }
            Owner::Attacker(me) => self.attacker_opened(me, replica, id),
        }
    }

    pub(super) fn arrive_at_client(&mut self, id: u64, carried: Carried) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.broken || conn.client_end != End::Open {
            return;
        }
        let replica = conn.replica;
        match conn.owner {
            Owner::Client(me) => {
                let now = self.clients[me].now(self);
                self.clients[me].endpoint.handle_message(now, replica, carried.bytes);
                self.drain_client(me);
                if carried.must_fail && self.clients[me].conns[replica] == Some(id) {
                    self.observe(&Fact::TamperedFrameTaken { by: format!("client {me}") });
                }
            }
            Owner::Attacker(me) => self.attacker_received(me, replica, &carried.bytes),
        }
    }

    pub(super) fn closed_at_client(&mut self, id: u64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let was_open = conn.client_end != End::Closed;
        conn.client_end = End::Closed;
        let (owner, replica) = (conn.owner, conn.replica);
        if conn.broken && conn.replica_end != End::Open && conn.link.is_none() {
            conn.replica_end = End::Closed;
        }
        self.forget_conn(id);
        if !was_open {
            return;
        }
        match owner {
            Owner::Client(me) => {
                self.clients[me].conns[replica] = None;
                let now = self.clients[me].now(self);
                self.clients[me].endpoint.handle_closed(now, replica);
                self.drain_client(me);
            }
            Owner::Attacker(me) => self.attacker_closed(me, replica),
        }
    }

    /// The client's end closes the connection.
    pub(super) fn close_at_client(&mut self, id: u64) {
        let delay = self.delay();
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.client_end == End::Closed {
            return;
        }
        conn.client_end = End::Closed;
        let at = (self.now + delay).max(conn.arrival[0] + 1);
        self.queue.push(at, Event::ClosedAtReplica(id));
    }

    fn drain_client(&mut self, me: usize) {
        loop {
            let mut quiet = true;
            while let Some(transmit) = self.clients[me].endpoint.poll_transmit() {
                quiet = false;
                match transmit {
                    Transmit::Open { replica } => {
                        let id = self.open_conn(Owner::Client(me), replica);
                        if let Some(old) = self.clients[me].conns[replica].replace(id) {
                            self.close_at_client(old);
                        }
                    }
                    Transmit::Send { replica, bytes } => {
                        self.wiretap(&bytes);
                        if let Some(id) = self.clients[me].conns[replica] {
                            self.send_conn(id, 0, bytes);
                        }
                    }
                    Transmit::Close { replica } => {
                        if let Some(id) = self.clients[me].conns[replica].take() {
                            self.close_at_client(id);
                        }
                    }
                }
            }
            while let Some(event) = self.clients[me].endpoint.poll_event() {
                quiet = false;
                self.client_event(me, event);
            }
            if quiet {
                break;
            }
        }
        self.set_client_deadline(me);
    }

    fn wiretap(&mut self, bytes: &Bytes) {
        if self.attackers.is_empty() {
            return;
        }
        if self.wiretap.len() == WIRETAP {
            let oldest = self.draw.below(WIRETAP);
            self.wiretap.swap_remove(oldest);
        }
        self.wiretap.push(bytes.clone());
    }

    // Time.

    fn set_client_deadline(&mut self, me: usize) {
        let now = self.now;
        let client = &mut self.clients[me];
        let Some(deadline) = client.endpoint.next_deadline() else {
            client.timer_at = None;
            return;
        };
        let at = deadline.as_micros().saturating_sub(client.origin).max(now + 1);
        if client.timer_at != Some(at) {
            client.timer_at = Some(at);
            self.queue.push(at, Event::ClientTimer(me));
        }
    }

    pub(super) fn client_timer(&mut self, me: usize) {
        if self.clients[me].timer_at != Some(self.now) {
            return;
        }
        let now = self.clients[me].now(self);
        let client = &mut self.clients[me];
        client.timer_at = None;
        if client.endpoint.next_deadline().is_some_and(|deadline| deadline <= now.instant) {
            client.endpoint.handle_deadline(now);
            let still =
                client.endpoint.next_deadline().is_some_and(|deadline| deadline <= now.instant);
            client.late_deadlines = if still { client.late_deadlines + 1 } else { 0 };
        }
        self.drain_client(me);
        if self.clients[me].late_deadlines > 100 {
            self.stuck(format!("client {me} wants to be woken again and again at the same time"));
        }
    }

    // The application.

    pub(super) fn think(&mut self, me: usize) {
        if self.phase == Phase::Quiet {
            return;
        }
        let habits = self.clients[me].habits;
        if self.clients[me].pending.len() < habits.outstanding {
            self.begin_call(me);
        }
        if self.draw.chance(1, 200) {
            let now = self.clients[me].now(self);
            self.clients[me].endpoint.handle_network_change(now);
        }
        if self.phase == Phase::One && habits.impatient_one_in > 0 && self.draw.chance(1, 100) {
            self.cancel_one(me);
        }
        self.drain_client(me);
        let pause = self.draw.between(habits.think / 2..=habits.think * 3 / 2);
        self.queue.push(self.now + pause, Event::Think(me));
    }

    fn cancel_one(&mut self, me: usize) {
        let now = self.clients[me].now(self);
        let client = &mut self.clients[me];
        let last = client.pending.iter_mut().next_back();
        if let Some((&call, pending)) = last
            && matches!(pending.call, Call::Invoke { .. } | Call::Read { .. })
        {
            pending.may_fail = true;
            client.endpoint.cancel(now, call);
        }
    }

    fn begin_call(&mut self, me: usize) {
        let habits = self.clients[me].habits;
        let impatient = self.phase == Phase::One
            && habits.impatient_one_in > 0
            && self.draw.chance(1, habits.impatient_one_in);
        let timeout =
            if impatient { Duration::from_micros(self.draw.between(10 * MS..=S)) } else { PATIENT };
        let now = self.clients[me].now(self);
        let key = u8::try_from(self.draw.below(KEYS)).unwrap_or(0);
        let began = self.now;
        let begun = if self.draw.chance(habits.reads, 10) {
            let query = *self.draw.pick(&[
                Query::List(key),
                Query::Register(key),
                Query::Register(key),
                Query::Counter(key),
            ]);
            self.clients[me].serial += 1;
            let read = self.clients[me].serial;
            self.observe(&Fact::ReadBegan { author: me, read, query });
            let endpoint = &mut self.clients[me].endpoint;
            let begun = endpoint.query(now, query.encode(), Some(timeout));
            begun.map(|id| (id, Call::Read { read, query }))
        } else if habits.subscribes && self.draw.chance(1, 8) {
            match self.toggle_subscription(me, key) {
                Some(begun) => begun,
                None => return,
            }
        } else {
            let payload = self.draw_operation(me, key);
            let client = self.clients[me].id;
            self.observe(&Fact::Sent { client, payload: payload.clone() });
            self.observe(&Fact::InvokeBegan { author: me, payload: payload.clone() });
            let endpoint = &mut self.clients[me].endpoint;
            let begun = endpoint.invoke(now, payload.clone(), Some(timeout));
            begun.map(|id| (id, Call::Invoke { payload }))
        };
        match begun {
            Ok((id, call)) => {
                self.trace(|| format!("c{me} begins {id:?} {call:?}"));
                let pending = Pending { call, began, may_fail: impatient };
                self.clients[me].pending.insert(id, pending);
            }
            Err(error) => self.stuck(format!("client {me} cannot begin a call: {error}")),
        }
    }

    fn toggle_subscription(
        &mut self,
        me: usize,
        key: u8,
    ) -> Option<Result<(CallId, Call), webbft_protocol::client::InvokeError>> {
        let now = self.clients[me].now(self);
        let client = &mut self.clients[me];
        let underway = client
            .pending
            .values()
            .any(|pending| matches!(pending.call, Call::Subscribe { key: other } if other == key));
        if underway {
            return None;
        }
        let existing =
            client.subscriptions.iter_mut().find(|(_, subscription)| subscription.key == key);
        Some(match existing {
            Some((_, subscription)) if subscription.ending => return None,
            Some((&subscription, state)) => {
                state.ending = true;
                let begun = client.endpoint.unsubscribe(now, subscription);
                begun.map(|id| (id, Call::Unsubscribe { subscription }))
            }
            None => {
                let topic = Topic::new(topic_of(key)).expect("a short name");
                let begun = client.endpoint.subscribe(now, topic);
                begun.map(|id| (id, Call::Subscribe { key }))
            }
        })
    }

    fn draw_operation(&mut self, me: usize, key: u8) -> Bytes {
        let habits = self.clients[me].habits;
        self.clients[me].serial += 1;
        let action = if habits.panics_one_in > 0 && self.draw.chance(1, habits.panics_one_in) {
            Action::Panic
        } else {
            match self.draw.below(5) {
                0 | 1 => {
                    let len = self.draw.between(0..=habits.item);
                    let len = usize::try_from(len).unwrap_or(0);
                    Action::Append { key, item: self.draw.bytes(len) }
                }
                2 => Action::Set { key, value: self.draw_value(0) },
                3 => Action::Cas { key, expect: self.draw_value(0), value: self.draw_value(1) },
                _ => Action::Add { key, amount: 1 },
            }
        };
        let author = u32::try_from(me).unwrap_or(u32::MAX);
        let tag = Tag { author, session: 0, number: self.clients[me].serial, variant: 0 };
        Op { tag, action }.encode()
    }

    /// A register's value: few, so that it often returns to an earlier one.
    fn draw_value(&mut self, least: u64) -> u8 {
        u8::try_from(self.draw.between(least..=2)).unwrap_or(0)
    }

    fn client_event(&mut self, me: usize, event: ClientEvent) {
        self.trace(|| format!("c{me} is told {event:?}"));
        match event {
            ClientEvent::Completed { call, result, evidence } => {
                self.completed(me, call, result, evidence);
            }
            ClientEvent::Failed { call, error, outcome, .. } => {
                self.failed(me, call, error, outcome);
            }
            ClientEvent::Subscribed { subscription, next, .. } => {
                let Some(Pending { call: Call::Subscribe { key }, began, .. }) =
                    self.clients[me].pending.remove(&subscription)
                else {
                    self.stuck(format!("client {me} is told of a subscription it did not make"));
                    return;
                };
                self.stats.ended("subscribed");
                self.stats.longest_call = self.stats.longest_call.max(self.now - began);
                let state = Subscription { key, next, ending: false };
                self.clients[me].subscriptions.insert(subscription, state);
                let topic = topic_of(key);
                let subscription = subscription.0;
                self.observe(&Fact::Subscribed { author: me, subscription, topic, next });
            }
            ClientEvent::Event { subscription, topic, number, payload, .. } => {
                self.stats.ended("events delivered");
                if let Some(state) = self.clients[me].subscriptions.get_mut(&subscription) {
                    state.next = number + 1;
                }
                let name = topic.as_str().to_owned();
                let author = me;
                let subscription_name = subscription.0;
                self.observe(&Fact::Event {
                    author,
                    subscription: subscription_name,
                    topic: name.clone(),
                    number,
                    payload,
                });
                self.announce(me, subscription, name);
            }
            ClientEvent::Announcement { subscription, topic, client, payload } => {
                self.stats.ended("announcements heard");
                let (subscription, topic) = (subscription.0, topic.as_str().to_owned());
                let heard = Fact::Announcement { author: me, subscription, topic, client, payload };
                self.observe(&heard);
            }
            ClientEvent::Gap { subscription, missed_from, next, .. } => {
                self.stats.ended("gaps told");
                if let Some(state) = self.clients[me].subscriptions.get_mut(&subscription) {
                    state.next = next;
                }
                let subscription = subscription.0;
                self.observe(&Fact::Gap { author: me, subscription, missed_from, next });
            }
            ClientEvent::Suspect { replica, reason, .. } => {
                self.stats.ended("suspicions");
                self.observe(&Fact::Suspected { author: me, replica, reason });
            }
            ClientEvent::Votes { .. } | ClientEvent::StatusChanged => {}
        }
    }

    /// A subscriber tells the others how far it has come, each time in other words.
    fn announce(&mut self, me: usize, subscription: CallId, topic: String) {
        let client = &mut self.clients[me];
        client.serial += 1;
        let payload = Bytes::from(client.serial.to_be_bytes().to_vec());
        let id = client.id;
        // A subscription that is about to end announces nothing.
        if client.endpoint.announce(subscription, payload.clone()).is_ok() {
            self.observe(&Fact::Announced { client: id, topic, payload });
        }
    }

    fn completed(&mut self, me: usize, call: CallId, result: Bytes, evidence: Evidence) {
        let Some(pending) = self.clients[me].pending.remove(&call) else {
            self.stuck(format!("client {me} is told twice how {call:?} ended"));
            return;
        };
        if !pending.may_fail {
            self.stats.longest_call = self.stats.longest_call.max(self.now - pending.began);
        }
        match pending.call {
            Call::Invoke { payload } => {
                self.stats.ended("invoked");
                self.observe(&Fact::InvokeDone { author: me, payload, result, evidence });
            }
            Call::Read { read, query } => {
                self.stats.ended("read");
                self.observe(&Fact::ReadDone { author: me, read, query, result, evidence });
            }
            Call::Unsubscribe { subscription } => {
                self.stats.ended("unsubscribed");
                self.clients[me].subscriptions.remove(&subscription);
                let subscription = subscription.0;
                self.observe(&Fact::Unsubscribed { author: me, subscription });
            }
            Call::Subscribe { .. } => {
                self.stuck(format!("client {me}: a subscription completed like an operation"));
            }
        }
    }

    fn failed(&mut self, me: usize, call: CallId, error: CallError, outcome: Outcome) {
        let Some(pending) = self.clients[me].pending.remove(&call) else {
            self.stuck(format!("client {me} is told twice how {call:?} ended"));
            return;
        };
        let expected = match &error {
            CallError::Faulted => true,
            CallError::Timeout
            | CallError::NoQuorum
            | CallError::Cancelled
            | CallError::Refused(_) => pending.may_fail,
            CallError::SessionExpired | CallError::Forgotten => self.plan.few_sessions,
            _ => false,
        };
        self.stats.ended("failed as they may");
        if let Call::Invoke { payload } = &pending.call {
            let (payload, error) = (payload.clone(), error.clone());
            self.observe(&Fact::InvokeFailed { author: me, payload, error, outcome });
        }
        if let Call::Unsubscribe { subscription } = pending.call {
            self.clients[me].subscriptions.remove(&subscription);
            let subscription = subscription.0;
            self.observe(&Fact::Unsubscribed { author: me, subscription });
        }
        if !expected {
            self.stuck(format!("client {me}: {:?} failed: {error} ({outcome:?})", pending.call));
        }
    }
}
