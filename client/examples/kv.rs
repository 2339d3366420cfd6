//! Writes and reads a key of the key-value store, and follows its changes.
//!
//! Start replicas with `webbft cluster --service kv --dir /tmp/kv`, then
//! `cargo run -p webbft-client --example kv -- /tmp/kv/view.json`.

use std::io::Write;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use webbft_client::{Client, Config, Operation, OperationError, SubscribeOptions};
use webbft_client::{SubscriptionEvent, Transport};
use webbft_protocol::membership::View;

/// Gives a key a value.
#[derive(Serialize)]
pub(crate) struct Put<'a> {
    pub(crate) key: &'a str,
    pub(crate) value: &'a str,
}

#[derive(Debug, Deserialize, PartialEq)]
pub(crate) struct Previous {
    pub(crate) previous: Option<String>,
}

impl Operation for Put<'_> {
    const NAME: &'static str = "put";
    type Reply = Previous;
    type Error = Refusal;
}

/// Reads a key.
#[derive(Serialize)]
pub(crate) struct Get<'a> {
    pub(crate) key: &'a str,
}

#[derive(Debug, Deserialize, PartialEq)]
pub(crate) struct Value {
    pub(crate) value: Option<String>,
}

impl Operation for Get<'_> {
    const NAME: &'static str = "get";
    type Reply = Value;
    type Error = Refusal;
}

/// What the store says where it cannot do it.
#[derive(Debug, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) message: String,
}

/// What is published on the topic `kv`.
#[derive(Debug, Deserialize, PartialEq)]
pub(crate) struct Change {
    pub(crate) key: String,
    pub(crate) value: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let usage = "usage: kv VIEW.json [websocket|http]";
    let mut args = std::env::args().skip(1);
    let path = args.next().context(usage)?;
    let transport = match args.next().as_deref() {
        None => Transport::Auto,
        Some("websocket") => Transport::WebSocket,
        Some("http") => Transport::Http,
        Some(_) => anyhow::bail!(usage),
    };
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let view = serde_json::from_str(&text).with_context(|| format!("{path} is not a view"))?;
    run(view, transport, &mut std::io::stdout()).await
}

pub(crate) async fn run(
    view: View,
    transport: Transport,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let client = Client::connect(Config { transport, ..Config::new(view) }).await?;

    let mut changes = client.subscribe_json::<Change>("kv", SubscribeOptions::default()).await?;
    let put = client.call(&Put { key: "greeting", value: "hello" }).await?;
    writeln!(out, "put; before it was {:?}", put.result.previous)?;

    let get = client.call_unordered(&Get { key: "greeting" }).await?;
    let agreeing = get.evidence.matching.len();
    writeln!(out, "get: {:?}, say {agreeing} replicas", get.result.value)?;

    match client.call(&Put { key: "", value: "nothing" }).await {
        // The service executed it, and says why it could not be.
        Err(OperationError::Service { error, .. }) => writeln!(out, "error: {}", error.message)?,
        // It was not executed, or not with an agreed result.
        Err(error) => writeln!(out, "{}: {error}; {:?}", error.code(), error.outcome())?,
        Ok(_) => writeln!(out, "a key may be empty")?,
    }

    match changes.next().await? {
        Some(SubscriptionEvent::Event { number, payload: Change { key, value }, .. }) => {
            writeln!(out, "change {number}: {key} is {value:?}")?;
        }
        Some(SubscriptionEvent::Gap { .. }) => writeln!(out, "changes are lost: read anew")?,
        None => writeln!(out, "the client was closed")?,
    }
    client.close().await;
    Ok(())
}
