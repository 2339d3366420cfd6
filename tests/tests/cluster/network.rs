//! What networks do: partitions, links that stall one way, pauses and resets, damaged bytes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use webbft_client::CallError;
use webbft_protocol::client::{CallError as Cause, SuspectReason};
use webbft_tests::proxy::{Link, Way};

use crate::history::{Workload, judge};
use crate::support::{Cluster, Options, SHORT, check_put_and_get, put};

fn proxied() -> Cluster {
    Cluster::start(&Options { proxied: true, ..Options::default() })
}

#[tokio::test]
async fn partitions_heal() {
    let cluster = proxied();
    let client = cluster.client().await;
    check_put_and_get(&client, "a", "before").await;
    // One replica is alone: the others go on, it falls behind.
    for (round, link) in [Link::stalled(), Link::cut()].into_iter().enumerate() {
        cluster.part(&[3], link);
        for number in 0..10 {
            check_put_and_get(&client, "a", &format!("without 3: {round}, {number}")).await;
        }
        let behind = cluster.status(3).unwrap()["lastCid"].as_u64().unwrap();
        cluster.part(&[3], Link::default());
        let reached = |status: &serde_json::Value| status["lastCid"].as_u64() >= Some(behind + 10);
        cluster.wait_for_status(3, "up to date", reached).await;
    }
    // It makes the quorum with what it fetched.
    cluster.pause(2);
    check_put_and_get(&client, "a", "with 3").await;
    cluster.resume(2);
    // Two and two: no side can do anything, and nobody is told that anything was done.
    cluster.part(&[2, 3], Link::stalled());
    let error = client.invoke(put("a", "split")).timeout(SHORT).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Failed { error: Cause::NoQuorum | Cause::Timeout, .. }),
        "{error:?}"
    );
    cluster.part(&[2, 3], Link::default());
    check_put_and_get(&client, "a", "together").await;
}

#[tokio::test]
async fn a_link_that_stalls_one_way_stops_nobody() {
    let cluster = proxied();
    let client = cluster.client().await;
    let stalled = Way { stalled: true, ..Way::default() };
    for (from, to) in [(0, 3), (3, 0), (1, 2), (2, 1)] {
        let (proxy, forth) = cluster.link(from, to);
        proxy.set(if forth {
            Link { forth: stalled, ..Link::default() }
        } else {
            Link { back: stalled, ..Link::default() }
        });
        for number in 0..5 {
            check_put_and_get(&client, "a", &format!("{from} to {to}: {number}")).await;
        }
        proxy.heal();
        check_put_and_get(&client, "a", "healed").await;
    }
}

/// What packet loss looks like from above TCP, on every link, while clients work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_linearizable_over_links_that_lose_packets() {
    let cluster = proxied();
    let way = Way {
        delay: Duration::from_millis(2),
        bandwidth: Some(4 << 20),
        pause: Some((50, Duration::from_millis(200))),
        reset_one_in: Some(400),
        ..Way::default()
    };
    cluster.set_links(Link::both(way));
    let (client, proxies) = cluster.proxied_client().await;
    for proxy in &proxies {
        proxy.set(Link::both(way));
    }
    let workload = Workload::start(&cluster, 4, Duration::from_secs(5)).await;
    for number in 0..20 {
        check_put_and_get(&client, "lossy", &number.to_string()).await;
    }
    workload.more_done(200).await;
    let calls = workload.finish().await;
    assert!(cluster.sum(|counts| &counts.paused) > 10 && cluster.sum(|counts| &counts.resets) > 0);
    judge("lossy_links", &calls);
}

/// TLS between replicas and the MAC on client links reject what was damaged, and blame nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_bytes_are_noticed() {
    let cluster = proxied();
    let damaged = |one_in| Link::both(Way { corrupt_one_in: Some(one_in), ..Way::default() });
    cluster.set_links(damaged(150));
    let (client, proxies) = cluster.proxied_client().await;
    for proxy in &proxies {
        proxy.set(damaged(40));
    }
    let workload = Workload::start(&cluster, 1, Duration::from_secs(5)).await;
    let on_client_links = || -> u64 {
        proxies.iter().map(|proxy| proxy.counts().corrupted.load(Ordering::Relaxed)).sum()
    };
    let mut rounds = 0;
    while cluster.sum(|counts| &counts.corrupted) < 5 || on_client_links() < 5 {
        rounds += 1;
        assert!(rounds < 1000, "no bytes were damaged");
        check_put_and_get(&client, "damaged", &rounds.to_string()).await;
    }
    let calls = workload.finish().await;
    judge("damaged_bytes", &calls);
    for index in 0..4 {
        assert!(!cluster.logged(index, "a replica misbehaved"), "replica {index} blames another");
    }
    // A wrong MAC may be the network's doing, and the client says so; a wrong answer would not be.
    for replica in client.status().replicas {
        let reason = replica.suspect.map(|suspect| suspect.reason);
        assert_ne!(reason, Some(SuspectReason::Divergent), "{}", replica.url);
    }
}
