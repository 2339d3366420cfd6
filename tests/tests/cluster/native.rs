//! The native client's typed layer and its example, against the key-value store.

use serde::{Deserialize, Serialize};
use webbft_client::{
    CallError, Client, Code, Config, NoQuorum, Obstacle, Offline, Operation, OperationError,
    Outcome, SubscribeOptions, SubscriptionEvent, Transport,
};
use webbft_protocol::membership::{ServiceId, View, ViewNumber};

use crate::support::{Cluster, Options, PATIENCE};

#[path = "../../../client/examples/kv.rs"]
#[allow(dead_code, reason = "the test is the main function")]
mod example;
use example::{Change, Get, Previous, Put, Value};

/// An operation that the store does not have.
#[derive(Serialize)]
struct Increment {}

impl Operation for Increment {
    const NAME: &'static str = "increment";
    type Reply = Value;
    type Error = Refusal;
}

/// A result that is read as what it is not.
#[derive(Serialize)]
struct List {
    prefix: &'static str,
}

impl Operation for List {
    const NAME: &'static str = "list";
    type Reply = Change;
    type Error = Refusal;
}

/// Adds to the counter.
#[derive(Serialize)]
struct Add {
    by: i64,
}

impl Operation for Add {
    const NAME: &'static str = "add";
    type Reply = Count;
    type Error = Refusal;
}

#[derive(Debug, Deserialize, PartialEq)]
struct Count {
    value: i64,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(tag = "code", rename_all = "camelCase")]
enum Refusal {
    Full,
    Overflow { value: i64 },
}

#[tokio::test]
async fn operations_and_events_are_typed() {
    let cluster = Cluster::start(&Options::default());
    let client = cluster.client().await;
    let options = SubscribeOptions::default();
    let mut changes = client.subscribe_json::<Change>("kv", options).await.unwrap();
    let put = client.call(&Put { key: "a", value: "1" }).await.unwrap();
    assert_eq!(put.result, Previous { previous: None });
    assert!(put.evidence.matching.len() >= 3 && put.evidence.cid.is_some());
    let get = client.call_unordered(&Get { key: "a" }).timeout(PATIENCE).await.unwrap();
    assert_eq!(get.result, Value { value: Some("1".to_owned()) });
    let change = tokio::time::timeout(PATIENCE, changes.next()).await.unwrap().unwrap();
    let Some(SubscriptionEvent::Event { number: 1, payload, .. }) = change else {
        panic!("{change:?}");
    };
    assert_eq!(payload, Change { key: "a".to_owned(), value: Some("1".to_owned()) });

    let error = client.call(&Increment {}).await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (Code::Refused, Outcome::NotExecuted));
    let error = client.call(&List { prefix: "" }).await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (Code::Decode, Outcome::Executed));

    // What is not of the expected type ends the subscription.
    let mut wrong = client.subscribe_json::<u32>("kv", options).await.unwrap();
    client.call(&Put { key: "a", value: "2" }).await.unwrap();
    let error = tokio::time::timeout(PATIENCE, wrong.next()).await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Decode, "{error}");
    assert!(matches!(wrong.next().await, Ok(None)));
}

/// What a client of this view is told by a call that does not wait, as soon as it is told `code`.
async fn refusal(view: View, code: Code) -> CallError {
    let client = Client::start(Config::new(view)).unwrap();
    let told = async {
        let mut status = client.watch_status();
        loop {
            let error = client.invoke("").offline(Offline::Fail).await.unwrap_err();
            if error.code() == code {
                return error;
            }
            status.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("a reason")
}

#[tokio::test]
async fn a_view_that_is_not_the_replicas_is_named() {
    let cluster = Cluster::start(&Options::default());
    let of_another_service = View { service: ServiceId([7; 16]), ..cluster.view.clone() };
    let another = View { number: ViewNumber(9), ..cluster.view.clone() };
    let mut other_keys = cluster.view.clone();
    for (index, member) in other_keys.members.iter_mut().enumerate() {
        member.noise_key = cluster.view.members[(index + 1) % 4].noise_key;
    }
    for (view, code, obstacle) in [
        (of_another_service, Code::View, Obstacle::Service),
        (another, Code::View, Obstacle::View),
        (other_keys, Code::Auth, Obstacle::Key),
    ] {
        let error = refusal(view, code).await;
        let CallError::Offline(NoQuorum { connected: 0, obstacle: Some(why), .. }) = &error else {
            panic!("{error:?}");
        };
        assert_eq!((*why, error.outcome()), (obstacle, Outcome::NotSent));
        assert!(error.to_string().ends_with(&format!("; they {why}")), "{error}");
    }
}

#[tokio::test]
async fn errors_of_the_service_are_typed() {
    let cluster = Cluster::start(&Options { service: Some("counter"), ..Options::default() });
    let client = cluster.client().await;
    assert_eq!(client.call(&Add { by: 5 }).await.unwrap().result, Count { value: 5 });
    let error = client.call(&Add { by: (1 << 53) - 1 }).await.unwrap_err();
    let OperationError::Service { error: refusal, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*refusal, Refusal::Overflow { value: 5 });
    assert_eq!((error.code(), error.outcome()), (Code::Service, Outcome::Executed));
    assert!(error.quorum().unwrap().matching.len() >= 3);
}

/// One after the other, so that there always is a quorum: the subscriber misses nothing, and is told
/// nothing of it.
#[tokio::test]
async fn a_subscription_outlives_the_restart_of_every_replica() {
    let durability = Some("sync");
    let mut cluster = Cluster::start(&Options { durability, ..Options::default() });
    let client = cluster.client().await;
    let options = SubscribeOptions::default();
    let mut changes = client.subscribe_json::<Change>("kv", options).await.unwrap();
    let mut status = client.watch_status();
    for index in 0..4 {
        let value = index.to_string();
        cluster.kill(index);
        // While it is away, and when it is back.
        client.call(&Put { key: "away", value: &value }).timeout(PATIENCE).await.unwrap();
        cluster.restart(index);
        let all = status.wait_for(|status| status.connected == 4);
        tokio::time::timeout(PATIENCE, all).await.expect("its link is open again").unwrap();
        client.call(&Put { key: "back", value: &value }).timeout(PATIENCE).await.unwrap();
        // Only then may the next one go.
        cluster.wait_for_status(index, "voting", |status| status["learner"] == false).await;
        for (turn, key) in [(1, "away"), (2, "back")] {
            let change = tokio::time::timeout(PATIENCE, changes.next()).await.unwrap().unwrap();
            let Some(SubscriptionEvent::Event { number, payload, .. }) = change else {
                panic!("{change:?}");
            };
            let key = key.to_owned();
            assert_eq!(number, 2 * index as u64 + turn);
            assert_eq!(payload, Change { key, value: Some(value.clone()) });
        }
    }
}

#[tokio::test]
async fn the_example_runs() {
    let cluster = Cluster::start(&Options::default());
    let mut out = Vec::new();
    let ran = example::run(cluster.view.clone(), Transport::Auto, &mut out);
    tokio::time::timeout(PATIENCE, ran).await.unwrap().unwrap();
    let out = String::from_utf8(out).unwrap();
    let (get, rest) = out.split_once("\n").unwrap().1.split_once("\n").unwrap();
    assert!(get.starts_with("get: Some(\"hello\"), say "), "{out}");
    assert!(out.starts_with("put; before it was None\n"), "{out}");
    assert_eq!(
        rest,
        "REFUSED: refused: the service refuses the operation: a key has 1 to 256 bytes of UTF-8; \
         this one has 0; NotExecuted\n\
         change 1: greeting is Some(\"hello\")\n"
    );
}
