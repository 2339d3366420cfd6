//! The client over real sockets, with replicas played by the test.

#![expect(clippy::unwrap_used, reason = "a test: what cannot be set up fails it")]

mod support;

use std::future::Future;
use std::time::Duration;

use support::{Behaviour, Cluster};
use webbft_client::{
    CallError, Client, ClientIdentity, Config, ConnectError, EndpointOptions, Outcome, Phase,
    StartError, Status, SubscriptionError, SubscriptionEvent,
};
use webbft_protocol::client::{CallError as ProtocolCallError, InvokeError, SuspectReason};
use webbft_protocol::membership::View;

const HONEST: [Behaviour; 4] = [Behaviour::Honest; 4];

/// Every wait has an end.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap_or_else(|_| panic!("not within 20 s: {what}"))
}

fn config(view: &View) -> Config {
    Config {
        view: view.clone(),
        identity: ClientIdentity::from_secret([1; 32]),
        options: EndpointOptions {
            backoff_min: Duration::from_millis(5),
            backoff_max: Duration::from_millis(20),
            ..EndpointOptions::default()
        },
    }
}

async fn connect(cluster: &Cluster) -> Client {
    let client = soon("connect", Client::connect(config(&cluster.view))).await.unwrap();
    status(&client, "all links", |status| status.phase == Phase::Ready).await;
    client
}

async fn status(client: &Client, what: &str, condition: impl FnMut(&Status) -> bool) {
    let mut watch = client.watch_status();
    soon(what, watch.wait_for(condition)).await.unwrap();
}

#[tokio::test]
async fn results_are_those_of_the_quorum_and_the_liar_is_suspected() {
    let mut behaviours = HONEST;
    behaviours[2] = Behaviour::Lies;
    let cluster = Cluster::start(behaviours).await;
    let client = connect(&cluster).await;

    let ordered = soon("invoke", client.invoke("put a")).await.unwrap();
    assert_eq!(ordered.result, "put a");
    assert_eq!(ordered.evidence.matching, [0, 1, 3].into_iter().collect());
    let read = soon("query", client.query("get a")).await.unwrap();
    assert_eq!(read.result, "get a");

    let suspected = |status: &Status| {
        status.replicas[2].suspect.is_some_and(|it| it.reason == SuspectReason::Divergent)
    };
    status(&client, "a suspect", suspected).await;
    assert!([0, 1, 3].iter().all(|&honest| client.status().replicas[honest].suspect.is_none()));
}

#[tokio::test]
async fn many_calls_at_once_each_get_their_own_result() {
    let cluster = Cluster::start(HONEST).await;
    let client = connect(&cluster).await;
    let calls = (0..300).map(|number: u32| {
        let client = client.clone();
        tokio::spawn(async move { (number, client.invoke(number.to_string()).await) })
    });
    for call in calls.collect::<Vec<_>>() {
        let (number, reply) = soon("a reply", call).await.unwrap();
        assert_eq!(reply.unwrap().result, number.to_string());
    }
}

#[tokio::test]
async fn events_come_in_order_until_unsubscribed() {
    let mut behaviours = HONEST;
    behaviours[0] = Behaviour::Lies;
    let cluster = Cluster::start(behaviours).await;
    let client = connect(&cluster).await;

    let mut subscription = soon("subscribe", client.subscribe("news")).await.unwrap();
    assert_eq!(subscription.first(), 1);
    soon("publish", client.invoke("publish 3")).await.unwrap();
    for expected in 1..=3_u64 {
        let event = soon("an event", subscription.next()).await.unwrap();
        let Some(SubscriptionEvent::Event { number, payload, .. }) = event else {
            panic!("an event was expected, not {event:?}");
        };
        assert_eq!((number, payload), (expected, expected.to_string().into()));
    }

    let again = soon("a second one", client.subscribe("news")).await;
    assert!(matches!(again, Err(CallError::Invalid(InvokeError::AlreadySubscribed))), "{again:?}");
    soon("unsubscribe", subscription.unsubscribe()).await.unwrap();
    let next = soon("subscribe again", client.subscribe("news")).await.unwrap();
    assert_eq!(next.first(), 1, "these replicas forget a topic with its last subscriber");
}

#[tokio::test]
async fn a_slow_subscriber_is_cut_off_and_told() {
    let cluster = Cluster::start(HONEST).await;
    let client = connect(&cluster).await;
    let mut subscription = soon("subscribe", client.subscribe("news")).await.unwrap();
    for _ in 0..20 {
        soon("publish", client.invoke("publish 60")).await.unwrap();
    }
    let mut taken = 0;
    let error = loop {
        match soon("an event", subscription.next()).await {
            Ok(Some(_)) => taken += 1,
            Ok(None) => panic!("ended without saying why"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SubscriptionError::Lagged(1024)), "{error}");
    assert_eq!(taken, 1024);
    let reply = soon("others are not held up", client.invoke("still here")).await;
    assert_eq!(reply.unwrap().result, "still here");
}

#[tokio::test]
async fn without_a_quorum_calls_fail_and_work_again_later() {
    let mut cluster = Cluster::start(HONEST).await;
    let client = connect(&cluster).await;
    cluster.stop(0).await;
    let reply = soon("three of four", client.invoke("a")).await.unwrap();
    assert_eq!(reply.result, "a");

    cluster.stop(1).await;
    status(&client, "offline", |status| status.phase == Phase::Offline).await;
    let timeout = Duration::from_millis(100);
    let error = soon("no quorum", client.invoke_within("b", timeout)).await.unwrap_err();
    let CallError::Failed { error: cause, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*cause, ProtocolCallError::NoQuorum);
    let unready = soon("not ready", client.ready(timeout)).await.unwrap_err();
    assert_eq!((unready.connected, unready.needed), (2, 3));
    assert_eq!(unready.unreachable, [0, 1].map(|index| cluster.view.members[index].url.clone()));

    cluster.restart(1).await;
    soon("ready", client.ready(Duration::from_secs(20))).await.unwrap();
    let reply = soon("again", client.invoke("c")).await.unwrap();
    assert_eq!(reply.result, "c");
}

#[tokio::test]
async fn a_replica_that_sends_text_is_suspected() {
    let mut behaviours = HONEST;
    behaviours[3] = Behaviour::Babbles;
    let cluster = Cluster::start(behaviours).await;
    let client = soon("connect", Client::connect(config(&cluster.view))).await.unwrap();
    let suspected = |status: &Status| {
        status.replicas[3].suspect.is_some_and(|it| it.reason == SuspectReason::Protocol)
    };
    status(&client, "a suspect", suspected).await;
    assert_eq!(soon("invoke", client.invoke("a")).await.unwrap().result, "a");
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_links() {
    let mut cluster = Cluster::start(HONEST).await;
    let client = connect(&cluster).await;
    let clone = client.clone();
    drop(client);
    assert_eq!(soon("a clone works", clone.invoke("a")).await.unwrap().result, "a");
    drop(clone);
    let mut closed = [0; 4];
    for _ in 0..4 {
        closed[soon("links close", cluster.link_closed()).await] += 1;
    }
    assert_eq!(closed, [1; 4]);
}

#[tokio::test]
async fn closing_ends_calls_and_subscriptions() {
    let mut cluster = Cluster::start(HONEST).await;
    let client = connect(&cluster).await;
    let mut subscription = soon("subscribe", client.subscribe("news")).await.unwrap();
    cluster.stop(0).await;
    cluster.stop(1).await;
    status(&client, "the subscribing is over", |status| status.pending == 0).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.invoke("never answered").await }
    });
    // The command of the task above precedes the closing.
    status(&client, "it is pending", |status| status.pending == 1).await;
    soon("close", client.close()).await;

    let error = soon("the call fails", waiting).await.unwrap().unwrap_err();
    assert!(
        matches!(error, CallError::Failed { error: ProtocolCallError::Closed, .. }),
        "{error:?}"
    );
    let ended = soon("the subscription ends", subscription.next()).await;
    assert!(
        matches!(
            ended,
            Ok(None)
                | Err(SubscriptionError::Call(CallError::Failed {
                    error: ProtocolCallError::Closed,
                    ..
                }))
        ),
        "{ended:?}"
    );
    let late = soon("a late call", client.invoke("late")).await.unwrap_err();
    assert!(matches!(late, CallError::Closed) && late.outcome() == Outcome::Unknown, "{late:?}");
    assert_eq!(client.status().phase, Phase::Closed);
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_once() {
    let mut cluster = Cluster::start(HONEST).await;
    let mut view = cluster.view.clone();
    view.members[1].url = "wss://replica.example/ws".to_owned();
    let refused = Client::start(config(&view)).unwrap_err();
    assert!(matches!(refused, StartError::Tls { .. }), "{refused}");
    view = cluster.view.clone();
    view.f = 2;
    let refused = Client::start(config(&view)).unwrap_err();
    assert!(matches!(refused, StartError::View(_)), "{refused}");

    for index in 0..2 {
        cluster.stop(index).await;
    }
    let mut config = config(&cluster.view);
    config.options.call_timeout = Duration::from_millis(200);
    let refused = soon("connect", Client::connect(config)).await.unwrap_err();
    assert!(matches!(refused, ConnectError::NoQuorum(_)), "{refused}");
}
