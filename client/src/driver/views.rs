//! Going on with the replicas of another view.

use std::fs::File;
use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::sync::watch;
use webbft_protocol::auth::ClientIdentity;
use webbft_protocol::client::{
    CallId as EndpointCall, Endpoint, EndpointConfig, EndpointOptions, Evidence, Outcome,
};
use webbft_protocol::membership::{ReplicaId, View};
use webbft_protocol::time::Now;

use super::{Driver, Kind};
use crate::error::CallError;
use crate::events::ClientEvent;
use crate::link::Link;

/// What a client keeps when its replicas change.
pub(crate) struct Own {
    pub(crate) identity: ClientIdentity,
    pub(crate) options: EndpointOptions,
    /// Holds the lock on the client's key, where it is from a file.
    pub(crate) key: Option<File>,
    /// Shows handles the view.
    pub(crate) view: watch::Sender<Arc<View>>,
}

/// Another view, of the same service, validated.
pub(crate) struct NextView {
    pub(crate) view: View,
    pub(crate) links: Vec<Link>,
    /// Random bytes, never used before.
    pub(crate) seed: [u8; 32],
}

impl std::fmt::Debug for NextView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NextView").field("view", &self.view.number).finish_non_exhaustive()
    }
}

impl Driver {
    /// Takes along what has not been sent, reads and subscriptions; of operations under way nobody
    /// will hear any more.
    pub(super) fn change_view(&mut self, now: Now, next: NextView) {
        let NextView { view, links, seed } = next;
        self.moved = Some(Vec::new());
        let calls: Vec<EndpointCall> = self.waiting.keys().copied().collect();
        for call in calls {
            // The endpoint answers with what is known of the outcome.
            self.endpoint.cancel(now, call);
        }
        while let Some(event) = self.endpoint.poll_event() {
            self.event(event);
        }
        let mut cx = Context::from_waker(Waker::noop());
        self.links.iter_mut().for_each(|link| link.close(&mut cx));

        let from = Arc::clone(&self.own.view.borrow());
        let config = EndpointConfig {
            view: view.clone(),
            identity: self.own.identity.clone(),
            seed,
            options: self.own.options.clone(),
        };
        self.endpoint = Endpoint::new(config, now).expect("whoever gives it has validated it");
        self.dialled = vec![false; links.len()];
        self.links = links;
        self.ids.clear();
        self.recent.clear();
        self.endpoint.start(now);
        self.topics.move_to(&mut self.endpoint, now);
        let mut moved = self.moved.take().unwrap_or_default();
        moved.sort_by_key(|waiting| waiting.call);
        for waiting in moved {
            self.begin(now, waiting);
        }
        self.own.view.send_replace(Arc::new(view.clone()));
        self.listeners.tell(|| ClientEvent::View {
            from: from.number,
            to: view.number,
            joined: members_without(&view, &from),
            left: members_without(&from, &view),
        });
    }

    /// A call that was ended because the view changes.
    pub(super) fn move_call(&mut self, call: EndpointCall, outcome: Outcome, evidence: Evidence) {
        let Some(waiting) = self.take(call) else { return };
        let again = outcome == Outcome::NotSent || matches!(waiting.kind, Kind::Query(_));
        match &mut self.moved {
            Some(moved) if again => moved.push(waiting),
            _ => drop(waiting.reply.send(Err(CallError::ViewChanged { outcome, evidence }))),
        }
    }
}

fn members_without(view: &View, other: &View) -> Vec<ReplicaId> {
    let ids = view.members.iter().map(|member| member.id);
    ids.filter(|id| other.members.iter().all(|member| member.id != *id)).collect()
}
