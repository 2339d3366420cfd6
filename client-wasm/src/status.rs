//! The client's state as a JavaScript object.

use serde::Serialize;
use webbft_protocol::client::{LinkState, Phase, ReplicaInfo};
use webbft_protocol::time::{Instant, Now};

use crate::error::reason;
use crate::number;

/// See `js/webbft/src/types.ts`, which these fields must fit.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    phase: &'static str,
    view_id: f64,
    n: usize,
    f: usize,
    connected: usize,
    needed: usize,
    pending: usize,
    replicas: Vec<Replica>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Replica {
    id: u16,
    url: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspect: Option<Suspect>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

#[derive(Serialize)]
struct Suspect {
    reason: &'static str,
    count: f64,
    last: f64,
}

impl Status {
    pub(crate) fn of(status: &webbft_protocol::client::Status, now: Now) -> Self {
        Self {
            phase: match status.phase {
                Phase::Idle => "idle",
                Phase::Connecting => "connecting",
                Phase::Ready => "ready",
                Phase::Degraded => "degraded",
                Phase::Offline => "offline",
                Phase::Closed => "closed",
            },
            view_id: number(status.view.0),
            n: status.n,
            f: status.f,
            connected: status.connected,
            needed: status.needed,
            pending: status.pending,
            replicas: status.replicas.iter().map(|replica| Replica::of(replica, now)).collect(),
        }
    }
}

impl Replica {
    fn of(replica: &ReplicaInfo, now: Now) -> Self {
        let (state, retry_at) = match replica.state {
            LinkState::Connecting => ("connecting", None),
            LinkState::Open => ("open", None),
            LinkState::Waiting { retry_at } => ("waiting", Some(unix(retry_at, now))),
            LinkState::Closed => ("closed", None),
        };
        Self {
            id: replica.id.0,
            url: replica.url.clone(),
            state,
            rtt_ms: replica.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            retry_at,
            suspect: replica.suspect.map(|suspicion| Suspect {
                reason: reason(suspicion.reason),
                count: number(suspicion.count),
                last: unix(suspicion.last, now),
            }),
            refused: replica.refused.map(|refusal| refusal.to_string()),
        }
    }
}

/// An instant as milliseconds since 1970, as `Date.now()` would have it.
fn unix(instant: Instant, now: Now) -> f64 {
    let offset = number(instant.as_micros()) - number(now.instant.as_micros());
    (number(now.unix.0) + offset) / 1000.0
}
