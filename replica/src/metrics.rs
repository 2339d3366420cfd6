//! `/metrics` in the text format of OpenMetrics.

use std::fmt;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode as encode_text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::status::Status;

/// The format's media type.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Peer {
    peer: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Transport {
    transport: &'static str,
}

/// The metrics of a status.
pub(crate) fn encode(status: &Status) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("webbft");
    let mut gauge = |name: &str, help: &str, value: u64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    gauge("last_cid", "The last executed consensus instance", status.last_cid);
    gauge("stable_cid", "The last instance of the latest stable checkpoint", status.stable_cid);
    let (held, chunks) =
        status.transfer.map_or((0, 0), |transfer| (transfer.held, transfer.chunks));
    gauge("transfer_chunks", "Chunks of the state being fetched", chunks as u64);
    gauge("transfer_held_chunks", "Chunks of these that have come", held as u64);
    gauge("regency", "Leader changes in this view", status.regency.into());
    gauge("leader", "The id of the leader", status.leader.0.into());
    gauge("learner", "1 while the replica follows without voting", status.learner.into());
    gauge("sessions", "Live client sessions", status.sessions as u64);
    gauge("pending_sessions", "Sessions with requests not yet ordered", status.pending as u64);
    gauge("uptime_seconds", "Seconds since the start", status.uptime_seconds);
    let peers = Family::<Peer, Gauge>::default();
    for peer in &status.peers {
        peers.get_or_create(&Peer { peer: peer.id.0 }).set(peer.connected.into());
    }
    registry.register("peer_connected", "1 where there is a stream to this replica", peers);
    let links = Family::<Transport, Gauge>::default();
    let by_transport =
        [("websocket", status.client_links.web_socket), ("http", status.client_links.http)];
    for (transport, count) in by_transport {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        links.get_or_create(&Transport { transport }).set(count);
    }
    registry.register("client_links", "Connected clients, by what carries their links", links);
    let mut text = String::new();
    encode_text(&mut text, &registry)?;
    Ok(text)
}
