//! What one sees without leader change: kill, pause, lie, flood.

use std::time::{Duration, Instant};

use webbft_client::{CallError, SubscriptionEvent};
use webbft_protocol::client::{CallError as Cause, SuspectReason};

use crate::support::{Cluster, Options, PATIENCE, SHORT, check_put_and_get, get, put, text};

async fn next_event(subscription: &mut webbft_client::Subscription) -> (u64, String) {
    let event =
        tokio::time::timeout(PATIENCE, subscription.next()).await.expect("an event in time");
    match event.unwrap() {
        Some(SubscriptionEvent::Event { number, payload, .. }) => {
            (number, text(&payload).to_owned())
        }
        other => panic!("{other:?} where an event was expected"),
    }
}

#[tokio::test]
async fn puts_gets_and_events() {
    let cluster = Cluster::start(&Options::default());
    let (writer, reader) = (cluster.client().await, cluster.client().await);
    let mut changes = reader.subscribe("kv").await.unwrap();
    check_put_and_get(&writer, "a", "1").await;
    check_put_and_get(&writer, "a", "2").await;
    for (number, value) in [(1, "1"), (2, "2")] {
        let payload = format!(r#"{{"key":"a","value":"{value}"}}"#);
        assert_eq!(next_event(&mut changes).await, (number, payload));
    }
    let read = reader.query(get("a")).await.unwrap();
    assert_eq!(text(&read.result), r#"{"ok":{"value":"2"}}"#);
}

#[tokio::test]
async fn one_killed_makes_no_difference_and_two_are_a_clear_error() {
    let mut cluster = Cluster::start(&Options::default());
    let client = cluster.client().await;
    let mut changes = client.subscribe("kv").await.unwrap();
    check_put_and_get(&client, "a", "before").await;
    cluster.kill(2);
    check_put_and_get(&client, "a", "after").await;
    assert_eq!(next_event(&mut changes).await.0, 1);
    assert_eq!(next_event(&mut changes).await.0, 2);

    cluster.kill(3);
    let began = Instant::now();
    let error = client.invoke(put("a", "lost")).timeout(SHORT).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Failed { error: Cause::NoQuorum | Cause::Timeout, .. }),
        "{error:?}"
    );
    // Once it has noticed that both are gone it says so.
    let error = client.invoke(put("a", "lost")).timeout(SHORT).await.unwrap_err();
    assert!(matches!(&error, CallError::Failed { error: Cause::NoQuorum, .. }), "{error:?}");
    assert!(error.to_string().contains("quorum"), "{error}");
    assert!(began.elapsed() < 2 * SHORT + Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn paused_replicas_resume() {
    let cluster = Cluster::start(&Options::default());
    let client = cluster.client().await;
    cluster.pause(3);
    for round in 0..20 {
        check_put_and_get(&client, "a", &format!("paused {round}")).await;
    }
    // A second one: no quorum, though all connections stand.
    cluster.pause(2);
    let error = client.invoke(put("b", "1")).timeout(SHORT).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Failed { error: Cause::NoQuorum | Cause::Timeout, .. }),
        "{error:?}"
    );
    // The one that missed twenty batches comes back, and makes the quorum with what it fetches.
    cluster.resume(3);
    check_put_and_get(&client, "a", "resumed").await;
    cluster.resume(2);
    check_put_and_get(&client, "a", "all").await;
}

#[tokio::test]
async fn a_liar_changes_nothing_and_is_suspected() {
    let cluster = Cluster::start(&Options { liar: true, ..Options::default() });
    let client = cluster.client().await;
    let mut changes = client.subscribe("kv").await.unwrap();
    for number in 1..=10 {
        check_put_and_get(&client, "a", &number.to_string()).await;
        let payload = format!(r#"{{"key":"a","value":"{number}"}}"#);
        assert_eq!(next_event(&mut changes).await, (number, payload));
    }
    let deadline = Instant::now() + PATIENCE;
    let mut status = client.watch_status();
    let suspect = loop {
        if let Some(suspect) = status.borrow_and_update().replicas[3].suspect {
            break suspect;
        }
        assert!(Instant::now() < deadline, "replica 3 is never suspected");
        // It may take until the liar's own reply, the last to come, has been compared.
        let _ = tokio::time::timeout(Duration::from_secs(1), status.changed()).await;
        check_put_and_get(&client, "a", "more").await;
    };
    assert_eq!(suspect.reason, SuspectReason::Divergent);
    let others = &client.status().replicas[..3];
    assert!(others.iter().all(|replica| replica.suspect.is_none()), "{others:?}");
}

#[tokio::test]
async fn a_flood_does_not_starve_others() {
    let cluster = Cluster::start(&Options::default());
    let (flooder, client) = (cluster.client().await, cluster.client().await);
    // More calls at once than a session's window, without end.
    let worker = |worker: usize| {
        let flooder = flooder.clone();
        async move {
            let value = "x".repeat(1000);
            loop {
                // What becomes of it is its own affair.
                let _ = flooder.invoke(put(&format!("flood {worker}"), &value)).await;
            }
        }
    };
    let workers: Vec<_> = (0..200).map(|index| tokio::spawn(worker(index))).collect();
    let mut longest = Duration::ZERO;
    for round in 0..10 {
        let began = Instant::now();
        check_put_and_get(&client, "calm", &round.to_string()).await;
        longest = longest.max(began.elapsed());
    }
    for worker in workers {
        worker.abort();
    }
    // A put and a get; without a bound on the flood they would wait behind all of it.
    assert!(longest < Duration::from_secs(10), "one round took {longest:?}");
}
