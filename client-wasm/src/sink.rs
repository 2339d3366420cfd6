//! What the core wants done and told: one call of a JavaScript object's method each.
//!
//! Arguments go by position. Building objects with named fields here, by hand or through
//! serde-wasm-bindgen, costs more bytes of Wasm than all of this crate; the facade builds them.

use wasm_bindgen::prelude::*;
use webbft_protocol::client::{
    ClientEvent, Evidence, LinkState, Phase, ReplicaInfo, Status, Transmit,
};
use webbft_protocol::membership::View;
use webbft_protocol::time::{Instant, Now};

use crate::error::{code, outcome, reason};
use crate::{id, number};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r"
/** Receives what the core wants done and told. Replicas are ids, except in the first three. */
export interface Sink {
    /** Open a socket to the member at this position of the view. */
    open(index: number): void;
    /** Send it a binary message. */
    send(index: number, bytes: Uint8Array<ArrayBuffer>): void;
    /** Close its socket, or stop opening it. */
    close(index: number): void;
    /**
     * The votes that the next call of this object is about, one for each member of the view: 0 is
     * silent, 1 matches, 2 differs. No cid: nothing was decided.
     */
    votes(viewId: number, needed: number, votes: Uint8Array, cid: number | undefined): void;
    completed(call: number, result: Uint8Array): void;
    failed(call: number, code: string, message: string, outcome: string): void;
    /** Of a call, or of the event with this number. */
    lateVotes(call: number, number: number | undefined): void;
    subscribed(call: number, next: number): void;
    event(call: number, number: number, payload: Uint8Array): void;
    gap(call: number, missedFrom: number, next: number): void;
    suspect(replica: number, reason: string, call: number | undefined): void;
    statusChanged(): void;
    status(phase: string, viewId: number, n: number, f: number, connected: number, needed: number): void;
    /** One for each member, after `status`. Times are as of Date.now(); no refusal is empty. */
    replica(id: number, url: string, state: string, rttMs: number | undefined, retryAt: number | undefined, refused: string, refusal: string): void;
    /** About the last replica. */
    suspicion(reason: string, count: number, last: number): void;
}
";

#[wasm_bindgen]
extern "C" {
    /// The facade's receiver; its methods must not call the core.
    #[wasm_bindgen(typescript_type = "Sink")]
    pub type Sink;

    #[wasm_bindgen(method)]
    fn open(this: &Sink, index: usize);
    #[wasm_bindgen(method)]
    fn send(this: &Sink, index: usize, bytes: Vec<u8>);
    #[wasm_bindgen(method)]
    fn close(this: &Sink, index: usize);
    #[wasm_bindgen(method)]
    fn votes(this: &Sink, view_id: f64, needed: usize, votes: Vec<u8>, cid: Option<f64>);
    #[wasm_bindgen(method)]
    fn completed(this: &Sink, call: f64, result: Vec<u8>);
    #[wasm_bindgen(method)]
    fn failed(this: &Sink, call: f64, code: &str, message: &str, outcome: &str);
    #[wasm_bindgen(method, js_name = lateVotes)]
    fn late_votes(this: &Sink, call: f64, number: Option<f64>);
    #[wasm_bindgen(method)]
    fn subscribed(this: &Sink, call: f64, next: f64);
    #[wasm_bindgen(method)]
    fn event(this: &Sink, call: f64, number: f64, payload: Vec<u8>);
    #[wasm_bindgen(method)]
    fn gap(this: &Sink, call: f64, missed_from: f64, next: f64);
    #[wasm_bindgen(method)]
    fn suspect(this: &Sink, replica: u16, reason: &str, call: Option<f64>);
    #[wasm_bindgen(method, js_name = statusChanged)]
    fn status_changed(this: &Sink);
    #[wasm_bindgen(method)]
    fn status(
        this: &Sink,
        phase: &str,
        view_id: f64,
        n: usize,
        f: usize,
        connected: usize,
        needed: usize,
    );
    #[wasm_bindgen(method)]
    fn replica(
        this: &Sink,
        id: u16,
        url: &str,
        state: &str,
        rtt: Option<f64>,
        retry_at: Option<f64>,
        refused: &str,
        refusal: &str,
    );
    #[wasm_bindgen(method)]
    fn suspicion(this: &Sink, reason: &str, count: f64, last: f64);
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sink")
    }
}

impl Sink {
    pub(crate) fn transmit(&self, transmit: Transmit) {
        match transmit {
            Transmit::Open { replica } => self.open(replica),
            Transmit::Send { replica, bytes } => self.send(replica, bytes.into()),
            Transmit::Close { replica } => self.close(replica),
        }
    }

    fn evidence(&self, votes: &Evidence, view: &View) {
        let vote = |index| match () {
            () if votes.matching.contains(index) => 1,
            () if votes.differing.contains(index) => 2,
            () => 0,
        };
        let each = (0..view.members.len()).map(vote).collect();
        let cid = votes.cid.map(|cid| number(cid.0));
        self.votes(number(votes.view.0), votes.needed, each, cid);
    }

    pub(crate) fn tell(&self, event: ClientEvent, view: &View) {
        match event {
            ClientEvent::Completed { call, result, evidence } => {
                self.evidence(&evidence, view);
                self.completed(id(call), result.into());
            }
            ClientEvent::Failed { call, error, outcome: executed, evidence } => {
                self.evidence(&evidence, view);
                self.failed(id(call), code(&error), &error.to_string(), outcome(executed));
            }
            ClientEvent::Votes { call, number: event, evidence } => {
                self.evidence(&evidence, view);
                self.late_votes(id(call), event.map(number));
            }
            ClientEvent::Subscribed { subscription, next, evidence } => {
                self.evidence(&evidence, view);
                self.subscribed(id(subscription), number(next));
            }
            ClientEvent::Event { subscription, number: event, payload, evidence, .. } => {
                self.evidence(&evidence, view);
                self.event(id(subscription), number(event), payload.into());
            }
            ClientEvent::Gap { subscription, missed_from, next, .. } => {
                self.gap(id(subscription), number(missed_from), number(next));
            }
            ClientEvent::Suspect { replica, reason: why, call } => {
                self.suspect(view.members[replica].id.0, reason(why), call.map(id));
            }
            ClientEvent::StatusChanged => self.status_changed(),
        }
    }

    pub(crate) fn tell_status(&self, status: &Status, now: Now) {
        let phase = match status.phase {
            Phase::Idle => "idle",
            Phase::Connecting => "connecting",
            Phase::Ready => "ready",
            Phase::Degraded => "degraded",
            Phase::Offline => "offline",
            Phase::Closed => "closed",
        };
        let Status { n, f, connected, needed, .. } = *status;
        self.status(phase, number(status.view.0), n, f, connected, needed);
        for replica in &status.replicas {
            self.tell_replica(replica, now);
        }
    }

    fn tell_replica(&self, replica: &ReplicaInfo, now: Now) {
        let (state, retry_at) = match replica.state {
            LinkState::Connecting => ("connecting", None),
            LinkState::Open => ("open", None),
            LinkState::Waiting { retry_at } => ("waiting", Some(unix(retry_at, now))),
            LinkState::Closed => ("closed", None),
        };
        let rtt = replica.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0);
        let refused = replica.refused.map(|refusal| refusal.to_string()).unwrap_or_default();
        let refusal = replica.refused.map_or("", crate::error::refusal);
        self.replica(replica.id.0, &replica.url, state, rtt, retry_at, &refused, refusal);
        if let Some(suspicion) = replica.suspect {
            let last = unix(suspicion.last, now);
            self.suspicion(reason(suspicion.reason), number(suspicion.count), last);
        }
    }
}

/// An instant as milliseconds since 1970, as `Date.now()` would have it.
fn unix(instant: Instant, now: Now) -> f64 {
    let offset = number(instant.as_micros()) - number(now.instant.as_micros());
    (number(now.unix.0) + offset) / 1000.0
}
