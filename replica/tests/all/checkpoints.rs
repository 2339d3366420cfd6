//! Checkpoints and state transfer between daemons (rules C).

use webbft_client::{Client, Config};

use crate::support::{Group, PATIENCE, get, wait_for_status};

/// A checkpoint after every eighth instance.
const OFTEN: &str = "\n[checkpoints]\ninstances = 8\npause_seconds = 0\n";

async fn connect(group: &Group) -> Client {
    let mut config = Config::new(group.view.clone());
    config.options.call_timeout = PATIENCE;
    Client::connect(config).await.unwrap()
}

/// Puts 60 kB under each of these keys, one after the other.
async fn put_much(client: &Client, keys: std::ops::Range<u32>) {
    for key in keys {
        let value = char::from(b'a' + u8::try_from(key % 26).unwrap()).to_string().repeat(60_000);
        let put = serde_json::json!({ "op": "put", "key": format!("key {key}"), "value": value });
        client.invoke(put.to_string()).await.unwrap();
    }
}

/// A replica without memory gets a state of several chunks while others write, votes again, and
/// can then take the place of another one.
#[tokio::test]
async fn a_replica_without_memory_fetches_the_state_under_load() {
    let mut group = Group::start_with(4, None, OFTEN);
    let client = connect(&group).await;
    put_much(&client, 0..60).await;
    let stable =
        wait_for_status(group.address(0), |status| status["stableCid"].as_u64() >= Some(16));
    assert!(stable["lastCid"].as_u64() >= stable["stableCid"].as_u64());
    group.stop(3);
    put_much(&client, 60..80).await;
    group.restart(3);
    let load = tokio::spawn({
        let client = client.clone();
        async move { put_much(&client, 80..140).await }
    });
    let caught_up = |status: &serde_json::Value| {
        status["lastCid"].as_u64() >= Some(80) && status["learner"] == false
    };
    let status = wait_for_status_async(&group, 3, caught_up).await;
    assert!(status["stableCid"].as_u64() >= Some(16), "{status}");
    load.await.unwrap();
    assert!(get(group.address(3), "/metrics").contains("webbft_stable_cid"));
    // Now it is needed, for votes and for answers.
    group.stop(2);
    let client = connect(&group).await;
    put_much(&client, 140..150).await;
    for key in [0, 79, 139, 149] {
        let query = serde_json::json!({ "op": "get", "key": format!("key {key}") });
        let reply = client.query(query.to_string()).await.unwrap();
        assert!(reply.evidence.matching.contains(3), "{:?}", reply.evidence);
        assert_eq!(reply.result.len(), 60_000 + r#"{"ok":{"value":""}}"#.len());
    }
}

/// Waits beside the tasks of this test.
async fn wait_for_status_async(
    group: &Group,
    index: usize,
    condition: impl Fn(&serde_json::Value) -> bool + Send + 'static,
) -> serde_json::Value {
    let address = group.address(index);
    tokio::task::spawn_blocking(move || wait_for_status(address, condition)).await.unwrap()
}
