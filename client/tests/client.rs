//! The client over real sockets, with replicas played by the test.

#![expect(clippy::unwrap_used, reason = "a test: what cannot be set up fails it")]

mod support;

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use support::{Behaviour, Cluster};
use webbft_client::{
    CallError, Client, ClientEvent, ClientIdentity, Code, Config, ConnectError, EndpointOptions,
    Events, Identity, Offline, Outcome, Overflow, Phase, ReconnectCause, StartError, Status,
    SubscribeOptions, Subscription, SubscriptionError, SubscriptionEvent, SuspectReason, VotesKind,
};
use webbft_protocol::client::CallError as ProtocolCallError;
use webbft_protocol::membership::{ReplicaId, ServiceId, View, ViewNumber};

const HONEST: [Behaviour; 4] = [Behaviour::Honest; 4];

/// Every wait has an end.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap_or_else(|_| panic!("not within 20 s: {what}"))
}

fn config(view: &View) -> Config {
    Config {
        identity: ClientIdentity::from_secret([1; 32]).into(),
        options: EndpointOptions {
            backoff_min: Duration::from_millis(5),
            backoff_max: Duration::from_millis(20),
            ..EndpointOptions::default()
        },
        ..Config::new(view.clone())
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
        assert_eq!(next(&mut subscription).await, (expected, expected.to_string()));
    }
    soon("unsubscribe", subscription.unsubscribe()).await.unwrap();
    let again = soon("subscribe again", client.subscribe("news")).await.unwrap();
    assert_eq!(again.first(), 1, "these replicas forget a topic with its last subscriber");
}

async fn next(subscription: &mut Subscription) -> (u64, String) {
    match soon("an event", subscription.next()).await {
        Ok(Some(SubscriptionEvent::Event { number, payload, .. })) => {
            (number, String::from_utf8(payload.to_vec()).unwrap())
        }
        other => panic!("an event was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn subscriptions_to_a_topic_share_one() {
    let cluster = Cluster::start(HONEST).await;
    let client = connect(&cluster).await;
    // At once, so that the second waits for the replicas' agreement to the first.
    let (one, two) = tokio::join!(client.subscribe("news"), client.subscribe("news"));
    let (mut one, mut two) = (one.unwrap(), two.unwrap());
    soon("publish", client.invoke("publish 1")).await.unwrap();
    assert_eq!(next(&mut one).await, (1, "1".to_owned()));
    assert_eq!(next(&mut two).await, (1, "1".to_owned()));
    let mut three = soon("a third", client.subscribe("news")).await.unwrap();
    assert_eq!(three.first(), 2);
    soon("one goes", one.unsubscribe()).await.unwrap();
    soon("publish", client.invoke("publish 1")).await.unwrap();
    assert_eq!(next(&mut two).await, (2, "2".to_owned()));
    assert_eq!(next(&mut three).await, (2, "2".to_owned()));
    // The last goes, and the next comes before the replicas have agreed to that.
    drop(two);
    let (ended, again) = tokio::join!(three.unsubscribe(), client.subscribe("news"));
    ended.unwrap();
    assert_eq!(again.unwrap().first(), 1, "it began anew");
}

#[tokio::test]
async fn a_slow_subscriber_that_wants_the_newest_gets_a_gap() {
    let cluster = Cluster::start(HONEST).await;
    let client = connect(&cluster).await;
    let options = SubscribeOptions { buffer: 4, overflow: Overflow::DropOldest };
    let mut slow = soon("subscribe", client.subscribe_with("news", options)).await.unwrap();
    let mut quick = soon("subscribe", client.subscribe("news")).await.unwrap();
    soon("publish", client.invoke("publish 20")).await.unwrap();
    // The quick one has them all: so the slow one has what it will get.
    for number in 1..=20 {
        assert_eq!(next(&mut quick).await.0, number);
    }
    let gap = soon("a gap", slow.next()).await.unwrap();
    assert_eq!(gap, Some(SubscriptionEvent::Gap { missed_from: 1, next: 18 }));
    for number in 18..=20 {
        assert_eq!(next(&mut slow).await.0, number);
    }
}

async fn event(events: &mut Events, what: &str, wanted: impl Fn(&ClientEvent) -> bool) {
    let found = async {
        while let Some(event) = events.next().await {
            if wanted(&event) {
                return;
            }
        }
        panic!("the events end before {what}");
    };
    soon(what, found).await;
}

#[tokio::test]
async fn a_listener_hears_of_votes_links_and_suspects() {
    let mut behaviours = HONEST;
    behaviours[3] = Behaviour::Lies;
    let mut cluster = Cluster::start(behaviours).await;
    let client = connect(&cluster).await;
    let mut events = client.events();
    let call = client.invoke("put a");
    let id = call.id();
    let reply = soon("invoke", call).await.unwrap();
    let votes = |event: &ClientEvent| {
        let (kind, evidence) = (VotesKind::Call, reply.evidence);
        *event == ClientEvent::Votes { kind, call: id, number: None, evidence }
    };
    event(&mut events, "the votes of the call", votes).await;
    // The liar may have been first; then an honest replica is late.
    let replica = ReplicaId(3);
    let suspect =
        ClientEvent::Suspect { replica, reason: SuspectReason::Divergent, call: Some(id) };
    let (late, suspected) = (Cell::new(false), Cell::new(false));
    event(&mut events, "the late vote and the suspect", |event| {
        if let ClientEvent::Votes { kind: VotesKind::Late, call, evidence, .. } = event {
            assert_eq!((*call, evidence.matching.len(), evidence.differing.len()), (id, 3, 1));
            late.set(true);
        }
        suspected.set(suspected.get() || *event == suspect);
        late.get() && suspected.get()
    })
    .await;

    cluster.stop(0).await;
    let lost = |event: &ClientEvent| matches!(event, ClientEvent::Status(status) if status.phase == Phase::Degraded);
    event(&mut events, "a lost link", lost).await;
    let reconnect =
        ClientEvent::Reconnect { replica: ReplicaId(0), cause: ReconnectCause::Backoff };
    event(&mut events, "another attempt", |event| *event == reconnect).await;
    client.reconnect_now();
    cluster.restart(0).await;
    let back = |event: &ClientEvent| matches!(event, ClientEvent::Status(status) if status.phase == Phase::Ready);
    event(&mut events, "the link again", back).await;
    soon("close", client.close()).await;
    while soon("the end", events.next()).await.is_some() {}
}

#[tokio::test]
async fn without_a_quorum_calls_wait_or_fail_as_they_are_told() {
    let mut cluster = Cluster::start(HONEST).await;
    let mut config = config(&cluster.view);
    config.options.max_pending = 1;
    let client = soon("connect", Client::connect(config)).await.unwrap();
    cluster.stop(0).await;
    cluster.stop(1).await;
    status(&client, "offline", |status| status.phase == Phase::Offline).await;

    let error = soon("at once", client.invoke("a").offline(Offline::Fail)).await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (Code::Offline, Outcome::NotSent));
    assert!(error.is_retryable() && error.quorum().is_none());

    let waiting = tokio::spawn(client.invoke("b"));
    status(&client, "it waits", |status| status.pending == 1).await;
    let error = soon("full", client.invoke("c")).await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (Code::QueueFull, Outcome::NotSent));
    // Whoever waits no longer makes room.
    waiting.abort();
    status(&client, "it is cancelled", |status| status.pending == 0).await;
    let waiting = tokio::spawn(client.invoke("d"));
    cluster.restart(0).await;
    assert_eq!(soon("a quorum", waiting).await.unwrap().unwrap().result, "d");
}

#[tokio::test]
async fn draining_finishes_what_was_begun_and_takes_nothing_new() {
    let mut cluster = Cluster::start(HONEST).await;
    let client = connect(&cluster).await;
    cluster.stop(0).await;
    cluster.stop(1).await;
    status(&client, "offline", |status| status.phase == Phase::Offline).await;
    let begun = tokio::spawn(client.invoke("begun"));
    status(&client, "it waits", |status| status.pending == 1).await;
    let mut drain = std::pin::pin!(client.drain());
    let polled = drain.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(polled.is_pending());
    let late = soon("a late call", client.invoke("late")).await.unwrap_err();
    assert_eq!((late.code(), late.outcome()), (Code::Closed, Outcome::NotSent));
    cluster.restart(0).await;
    soon("drained", drain).await;
    assert_eq!(soon("the result", begun).await.unwrap().unwrap().result, "begun");
    assert_eq!(client.status().phase, Phase::Closed);
}

#[tokio::test]
async fn a_stored_identity_has_one_client_at_a_time() {
    let cluster = Cluster::start(HONEST).await;
    let dir = tempfile::tempdir().unwrap();
    let stored = || {
        let identity = Identity::Stored(dir.path().join("client.key"));
        Config { identity, ..config(&cluster.view) }
    };
    let first = soon("connect", Client::connect(stored())).await.unwrap();
    let second = Client::start(stored()).unwrap_err();
    assert!(matches!(second, StartError::IdentityInUse { .. }), "{second}");
    assert_eq!(second.code(), Code::Input);
    soon("close", first.close()).await;
    let second = soon("connect", Client::connect(stored())).await.unwrap();
    assert_eq!(first.client_id(), second.client_id());
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
    let error = soon("no quorum", client.invoke("b").timeout(timeout)).await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (Code::NoQuorum, Outcome::NotSent));
    assert_eq!(error.quorum().unwrap().silent.len(), 4);
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
    assert_eq!((late.code(), late.outcome()), (Code::Closed, Outcome::NotSent));
    assert_eq!(client.status().phase, Phase::Closed);
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_once() {
    let mut cluster = Cluster::start(HONEST).await;
    let mut view = cluster.view.clone();
    view.members[1].url = "ws:///ws".to_owned();
    let refused = Client::start(config(&view)).unwrap_err();
    assert!(matches!(refused, StartError::Url { id: ReplicaId(1), .. }), "{refused}");
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

#[tokio::test]
async fn a_client_goes_on_in_another_view() {
    let [honest, mute] = [Behaviour::Honest, Behaviour::Mute];
    let mut before = Cluster::start([honest, honest, honest, mute]).await;
    let after = Cluster::start_in(ViewNumber(1), HONEST).await;
    let client = connect(&before).await;
    let mut events = client.events();
    let mut subscription = soon("subscribe", client.subscribe("t")).await.unwrap();
    soon("publish", client.invoke("publish 1")).await.unwrap();
    assert_eq!(number(&mut subscription).await, 1);

    // Three links are a quorum to send to; two replicas that answer are none to decide by.
    before.stop(0).await;
    status(&client, "a lost link", |status| status.connected == 3).await;
    let (call, read) = (tokio::spawn(client.invoke("put a")), tokio::spawn(client.query("get a")));
    status(&client, "two calls", |status| status.pending == 2).await;
    let mut other_service = after.view.clone();
    other_service.service = ServiceId([8; 16]);
    let refused = client.update_view(other_service).unwrap_err();
    assert_eq!((refused.code(), client.view().number), (Code::View, ViewNumber(0)));

    client.update_view(after.view.clone()).unwrap();
    let error = soon("the call", call).await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.outcome()), (Code::View, Outcome::Unknown));
    let read = soon("the read", read).await.unwrap().unwrap();
    assert_eq!((&read.result[..], read.evidence.view), (&b"get a"[..], ViewNumber(1)));
    let gap = soon("a gap", subscription.next()).await.unwrap();
    assert_eq!(gap, Some(SubscriptionEvent::Gap { missed_from: 2, next: 11 }));
    soon("publish", client.invoke("publish 1")).await.unwrap();
    assert_eq!(number(&mut subscription).await, 11);
    assert_eq!(client.view().number, ViewNumber(1));
    let changed = loop {
        let event = soon("the view event", events.next()).await.unwrap();
        if matches!(event, ClientEvent::View { .. }) {
            break event;
        }
    };
    let (from, to) = (ViewNumber(0), ViewNumber(1));
    let ids = |first: u16| (first..first + 4).map(ReplicaId).collect();
    assert_eq!(changed, ClientEvent::View { from, to, joined: ids(10), left: ids(0) });

    soon("close", client.close()).await;
    assert_eq!(client.update_view(after.view.clone()).unwrap_err().code(), Code::Closed);
}

/// The number of the next event.
async fn number(subscription: &mut Subscription) -> u64 {
    match soon("an event", subscription.next()).await.unwrap() {
        Some(SubscriptionEvent::Event { number, .. }) => number,
        other => panic!("{other:?}"),
    }
}
