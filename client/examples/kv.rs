//! Writes and reads a key of the key-value store, and follows its changes.
//!
//! Start replicas with `webbft cluster --service kv --dir /tmp/kv`, then
//! `cargo run -p webbft-client --example kv -- /tmp/kv/view.json`.

use anyhow::Context as _;
use webbft_client::{Client, Config, SubscriptionEvent};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "an example")]
async fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("usage: kv VIEW.json")?;
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let view = serde_json::from_str(&text).with_context(|| format!("{path} is not a view"))?;
    let client = Client::connect(Config::ephemeral(view)?).await?;

    let mut changes = client.subscribe("kv").await?;
    let put = client.invoke(r#"{"op":"put","key":"greeting","value":"hello"}"#).await?;
    println!("put: {}", String::from_utf8_lossy(&put.result));
    let get = client.query(r#"{"op":"get","key":"greeting"}"#).await?;
    let agreeing = get.evidence.matching.len();
    println!("get: {}, say {agreeing} replicas", String::from_utf8_lossy(&get.result));
    if let Some(SubscriptionEvent::Event { number, payload, .. }) = changes.next().await? {
        println!("change {number}: {}", String::from_utf8_lossy(&payload));
    }
    client.close().await;
    Ok(())
}
