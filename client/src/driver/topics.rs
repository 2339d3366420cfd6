//! Subscriptions of handles. Those to one topic share one subscription of the endpoint, which
//! begins with the first and ends with the last of them.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::oneshot;
use webbft_protocol::client::{CallId as EndpointCall, Endpoint};
use webbft_protocol::time::Now;
use webbft_protocol::wire::Topic;

use crate::call::CallId;
use crate::config::SubscribeOptions;
use crate::error::{CallError, SubscriptionError};
use crate::subscription::{Feed, Sender, SubscriptionEvent, feed};

pub(crate) type Subscribed = oneshot::Sender<Result<Feed, CallError>>;
pub(crate) type Done = oneshot::Sender<Result<(), CallError>>;

/// A handle that wants to subscribe.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) name: CallId,
    pub(crate) options: SubscribeOptions,
    pub(crate) reply: Subscribed,
}

#[derive(Debug, Default)]
pub(super) struct Topics {
    topics: HashMap<EndpointCall, Subscription>,
    /// Requests to unsubscribe, and which subscription they end.
    leaving: HashMap<EndpointCall, EndpointCall>,
}

/// A subscription of the endpoint.
#[derive(Debug)]
struct Subscription {
    topic: Topic,
    state: State,
    /// The handle that asked first: it names the subscription.
    first: CallId,
    feeds: Vec<(CallId, Sender)>,
    /// Those who wait until it has begun, or has ended and begun again.
    joining: Vec<Joining>,
    /// Those who wait until it has ended.
    done: Vec<Done>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The replicas have not agreed yet. Where it was in force with those of another view: the next
    /// event there.
    Beginning { before: Option<u64> },
    /// Events come; the next has this number.
    Active { next: u64 },
    /// The replicas have been asked to end it.
    Ending { next: u64 },
}

impl State {
    const fn next(&mut self) -> Option<&mut u64> {
        match self {
            Self::Beginning { before } => before.as_mut(),
            Self::Active { next } | Self::Ending { next } => Some(next),
        }
    }
}

impl Subscription {
    fn admit(&mut self, next: u64) {
        for Joining { name, options, reply } in self.joining.drain(..) {
            let (sender, receiver) = feed(options);
            // Whoever waits no longer drops the receiver with the channel; it unsubscribes, too.
            if reply.send(Ok((next, receiver))).is_ok() {
                self.feeds.push((name, sender));
            }
        }
    }

    /// It is over, because of an error.
    fn end(self, error: &CallError) {
        for (_, sender) in self.feeds {
            sender.end(Some(SubscriptionError::Call(error.clone())));
        }
        for done in self.done {
            drop(done.send(Ok(())));
        }
        for joining in self.joining {
            drop(joining.reply.send(Err(error.clone())));
        }
    }

    const fn is_idle(&self) -> bool {
        self.feeds.is_empty() && self.joining.is_empty()
    }
}

impl Topics {
    pub(super) fn subscribe(
        &mut self,
        endpoint: &mut Endpoint,
        now: Now,
        topic: Topic,
        joining: Joining,
    ) {
        if let Some(known) = self.topics.values_mut().find(|known| known.topic == topic) {
            known.joining.push(joining);
            if let State::Active { next } = known.state {
                known.admit(next);
            }
            return;
        }
        match endpoint.subscribe(now, topic.clone()) {
            Ok(id) => {
                let subscription = Subscription {
                    topic,
                    state: State::Beginning { before: None },
                    first: joining.name,
                    feeds: Vec::new(),
                    joining: vec![joining],
                    done: Vec::new(),
                };
                self.topics.insert(id, subscription);
            }
            Err(error) => drop(joining.reply.send(Err(error.into()))),
        }
    }

    /// A handle wants no more events.
    pub(super) fn leave(
        &mut self,
        endpoint: &mut Endpoint,
        now: Now,
        name: CallId,
        done: Option<Done>,
    ) {
        let found = self.topics.iter_mut().find(|(_, subscription)| {
            subscription.feeds.iter().any(|feed| feed.0 == name)
                || subscription.joining.iter().any(|joining| joining.name == name)
        });
        if let Some((&id, subscription)) = found {
            subscription.feeds.retain(|feed| feed.0 != name);
            subscription.joining.retain(|joining| joining.name != name);
            if subscription.is_idle() {
                subscription.done.extend(done);
                return self.end_if_idle(endpoint, now, id);
            }
        }
        // It has ended by itself, or others go on.
        if let Some(done) = done {
            drop(done.send(Ok(())));
        }
    }

    /// Tells a topic's other subscribers something. Where the subscription is not in force it is lost,
    /// as any announcement may be.
    pub(super) fn announce(&self, endpoint: &mut Endpoint, name: CallId, payload: Bytes) {
        let of = |known: &&Subscription| known.feeds.iter().any(|(feed, _)| *feed == name);
        if let Some((&id, _)) = self.topics.iter().find(|(_, known)| of(known)) {
            let _ = endpoint.announce(id, payload);
        }
    }

    /// Asks the replicas to end a subscription that is in force and has nobody left.
    fn end_if_idle(&mut self, endpoint: &mut Endpoint, now: Now, id: EndpointCall) {
        let Some(subscription) = self.topics.get_mut(&id) else { return };
        let State::Active { next } = subscription.state else { return };
        if !subscription.is_idle() {
            return;
        }
        match endpoint.unsubscribe(now, id) {
            Ok(call) => {
                subscription.state = State::Ending { next };
                self.leaving.insert(call, id);
            }
            // The next event gives another occasion.
            Err(error) => {
                for done in subscription.done.drain(..) {
                    drop(done.send(Err(error.into())));
                }
            }
        }
    }

    /// The replicas have agreed to send events. Gives the topic and the first event that is missed,
    /// where it was in force in another view until then.
    pub(super) fn begun(
        &mut self,
        endpoint: &mut Endpoint,
        now: Now,
        id: EndpointCall,
        next: u64,
    ) -> Option<(Topic, u64)> {
        let subscription = self.topics.get_mut(&id)?;
        let before = subscription.state.next().copied();
        subscription.state = State::Active { next };
        let missed = before.filter(|&before| before < next);
        if let Some(missed_from) = missed {
            let gap = SubscriptionEvent::Gap { missed_from, next };
            subscription.feeds.retain(|(_, sender)| sender.push(gap.clone()));
        }
        subscription.admit(next);
        let gap = missed.map(|missed_from| (subscription.topic.clone(), missed_from));
        self.end_if_idle(endpoint, now, id);
        gap
    }

    /// Subscribes with the replicas of another view, for those whom it matters to.
    pub(super) fn move_to(&mut self, endpoint: &mut Endpoint, now: Now) {
        self.leaving.clear();
        for (_, mut subscription) in std::mem::take(&mut self.topics) {
            for done in subscription.done.drain(..) {
                drop(done.send(Ok(())));
            }
            if subscription.is_idle() {
                continue;
            }
            let before = subscription.state.next().copied();
            match endpoint.subscribe(now, subscription.topic.clone()) {
                Ok(id) => {
                    subscription.state = State::Beginning { before };
                    self.topics.insert(id, subscription);
                }
                Err(error) => subscription.end(&error.into()),
            }
        }
    }

    /// An event or a gap.
    pub(super) fn deliver(
        &mut self,
        endpoint: &mut Endpoint,
        now: Now,
        id: EndpointCall,
        event: &SubscriptionEvent,
    ) {
        let Some(subscription) = self.topics.get_mut(&id) else { return };
        if let Some(next) = subscription.state.next() {
            *next = match event {
                SubscriptionEvent::Event { number, .. } => number.saturating_add(1),
                SubscriptionEvent::Gap { next, .. } => *next,
            };
        }
        subscription.feeds.retain(|(_, sender)| sender.push(event.clone()));
        self.end_if_idle(endpoint, now, id);
    }

    /// A request to subscribe or unsubscribe, or a subscription, has failed. False if it is none.
    pub(super) fn failed(
        &mut self,
        endpoint: &mut Endpoint,
        now: Now,
        call: EndpointCall,
        error: &CallError,
    ) -> bool {
        if let Some(id) = self.leaving.remove(&call) {
            let Some(subscription) = self.topics.get_mut(&id) else { return true };
            for done in subscription.done.drain(..) {
                drop(done.send(Err(error.clone())));
            }
            // It goes on, for those who came meanwhile.
            if let State::Ending { next } = subscription.state {
                subscription.state = State::Active { next };
                subscription.admit(next);
            }
            return true;
        }
        let Some(mut subscription) = self.topics.remove(&call) else { return false };
        let joining = match subscription.state {
            State::Ending { .. } => std::mem::take(&mut subscription.joining),
            _ => Vec::new(),
        };
        let topic = subscription.topic.clone();
        subscription.end(error);
        for joining in joining {
            self.subscribe(endpoint, now, topic.clone(), joining);
        }
        true
    }

    /// A request to unsubscribe is done. False if it is none.
    pub(super) fn completed(
        &mut self,
        endpoint: &mut Endpoint,
        now: Now,
        call: EndpointCall,
    ) -> bool {
        let Some(id) = self.leaving.remove(&call) else { return false };
        let Some(subscription) = self.topics.remove(&id) else { return true };
        for done in subscription.done {
            drop(done.send(Ok(())));
        }
        for joining in subscription.joining {
            self.subscribe(endpoint, now, subscription.topic.clone(), joining);
        }
        true
    }

    /// The handle's name of a subscription.
    pub(super) fn name(&self, id: EndpointCall) -> Option<CallId> {
        self.topics.get(&id).map(|subscription| subscription.first)
    }

    /// Everything ends well.
    pub(super) fn close(&mut self) {
        self.leaving.clear();
        for (_, subscription) in self.topics.drain() {
            for joining in subscription.joining {
                drop(joining.reply.send(Err(crate::call::closed())));
            }
            for done in subscription.done {
                drop(done.send(Ok(())));
            }
        }
    }
}
