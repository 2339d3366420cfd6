//! What the facade has to do, and what it has to tell, as JavaScript objects.

use bytes::Bytes;
use serde::{Serialize, Serializer};
use webbft_protocol::client::{CallId, ClientEvent, Evidence as Votes, Transmit};
use webbft_protocol::membership::{ReplicaSet, View};

use crate::error::{code, outcome, reason};
use crate::number;

/// See `js/webbft/src/core.ts`, which these variants must fit.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Effect {
    /// Open a socket to the replica at this position.
    Open { replica: usize },
    /// Send a binary message.
    Send { replica: usize, bytes: Binary },
    /// Close the socket, or stop opening it.
    Close { replica: usize },
    /// A call has its result.
    Completed { call: f64, result: Binary, evidence: Evidence },
    /// A call came to nothing.
    Failed {
        call: f64,
        code: &'static str,
        message: String,
        outcome: &'static str,
        evidence: Evidence,
    },
    /// Late votes: the call's evidence is now this.
    Votes { call: f64, evidence: Evidence },
    /// A subscription is in force.
    Subscribed { call: f64, next: f64, evidence: Evidence },
    /// An event of a subscription.
    Event { call: f64, number: f64, payload: Binary, evidence: Evidence },
    /// Lost events of a subscription.
    Gap { call: f64, missed_from: f64, next: f64 },
    /// Something speaks against the replica with this id.
    Suspect {
        replica: u16,
        reason: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        call: Option<f64>,
    },
    /// The status has changed.
    Status,
}

/// Bytes that become a `Uint8Array`.
pub(crate) struct Binary(Bytes);

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// Who said what, by replica id.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Evidence {
    view_id: f64,
    needed: usize,
    matching: Vec<u16>,
    differing: Vec<u16>,
    silent: Vec<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cid: Option<f64>,
}

impl Evidence {
    fn of(votes: &Votes, view: &View) -> Self {
        let ids = |set: ReplicaSet| set.iter().map(|index| view.members[index].id.0).collect();
        Self {
            view_id: number(votes.view.0),
            needed: votes.needed,
            matching: ids(votes.matching),
            differing: ids(votes.differing),
            silent: ids(votes.silent),
            cid: votes.cid.map(|cid| number(cid.0)),
        }
    }
}

impl Effect {
    pub(crate) fn transmit(transmit: Transmit) -> Self {
        match transmit {
            Transmit::Open { replica } => Self::Open { replica },
            Transmit::Send { replica, bytes } => Self::Send { replica, bytes: Binary(bytes) },
            Transmit::Close { replica } => Self::Close { replica },
        }
    }

    pub(crate) fn event(event: ClientEvent, view: &View) -> Self {
        let id = |call: CallId| number(call.0);
        match event {
            ClientEvent::Completed { call, result, evidence } => Self::Completed {
                call: id(call),
                result: Binary(result),
                evidence: Evidence::of(&evidence, view),
            },
            ClientEvent::Failed { call, error, outcome: executed, evidence } => Self::Failed {
                call: id(call),
                code: code(&error),
                message: error.to_string(),
                outcome: outcome(executed),
                evidence: Evidence::of(&evidence, view),
            },
            ClientEvent::Votes { call, evidence } => {
                Self::Votes { call: id(call), evidence: Evidence::of(&evidence, view) }
            }
            ClientEvent::Subscribed { subscription, next, evidence } => Self::Subscribed {
                call: id(subscription),
                next: number(next),
                evidence: Evidence::of(&evidence, view),
            },
            ClientEvent::Event { subscription, number: event, payload, evidence, .. } => {
                Self::Event {
                    call: id(subscription),
                    number: number(event),
                    payload: Binary(payload),
                    evidence: Evidence::of(&evidence, view),
                }
            }
            ClientEvent::Gap { subscription, missed_from, next, .. } => Self::Gap {
                call: id(subscription),
                missed_from: number(missed_from),
                next: number(next),
            },
            ClientEvent::Suspect { replica, reason: why, call } => Self::Suspect {
                replica: view.members[replica].id.0,
                reason: reason(why),
                call: call.map(id),
            },
            ClientEvent::StatusChanged => Self::Status,
        }
    }
}
