//! Leaders that crash, freeze or are cut off while clients work.

use std::time::{Duration, Instant};

use webbft_tests::proxy::Link;

use crate::history::{Workload, judge};
use crate::support::{Cluster, Options, check_put_and_get, put};

/// Calls that clients must complete between two faults: enough instances for the time-out, which
/// grows with each leader change, to have decayed (rule S8).
const BETWEEN: u64 = 500;

/// A time without service that wants an explanation.
const SLOW: Duration = Duration::from_millis(1500);

/// Kills the leader of a working cluster `crashes` times; gives how long after each crash a call
/// begun right after it took.
async fn kill_leaders(cluster: &mut Cluster, crashes: usize) -> Vec<Duration> {
    let workload = Workload::start(cluster, 4, Duration::from_secs(30)).await;
    let probe = cluster.client().await;
    let mut outages = Vec::new();
    for crash in 0..crashes {
        workload.more_done(BETWEEN).await;
        let leader = cluster.leader(None);
        cluster.kill(leader);
        let killed = Instant::now();
        probe.invoke(put("probe", &crash.to_string())).await.unwrap();
        outages.push(killed.elapsed());
        if outages[crash] > SLOW {
            println!("crash {crash}, of replica {leader}, took {:?}:", outages[crash]);
            cluster.print_logs();
        }
        cluster.replaced(leader).await;
        cluster.restart(leader);
        // Until then it counts against f.
        cluster.whole().await;
    }
    workload.more_done(20).await;
    judge("leaders_killed", &workload.finish().await);
    outages
}

fn with_disks() -> Cluster {
    Cluster::start(&Options { durability: Some("sync"), ..Options::default() })
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100).saturating_sub(1)]
}

/// Each replica is leader, and killed, at least once. Nothing acknowledged is lost: the history,
/// with reads through the new leaders, is linearizable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_killed_under_load_are_replaced() {
    let mut cluster = with_disks();
    let outages = kill_leaders(&mut cluster, 5).await;
    println!("time without service: {outages:?}");
    // A few time-outs of the default 0.8 s, on a machine that may be busy.
    assert!(outages.iter().all(|outage| *outage < Duration::from_secs(10)), "{outages:?}");
}

/// The figures of docs/operations.md. `cargo test --release -p webbft-tests --test cluster --
/// --ignored time_without_service --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement of some minutes"]
async fn time_without_service() {
    let mut cluster = with_disks();
    let mut outages = kill_leaders(&mut cluster, 24).await;
    println!("in order: {outages:?}");
    outages.sort();
    println!(
        "time without service after a leader crash, {} crashes: median {:?}, p99 {:?}, shortest {:?}",
        outages.len(),
        percentile(&outages, 50),
        percentile(&outages, 99),
        outages[0],
    );
}

/// A leader that freezes is replaced, and follows when it wakes up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_leader_is_replaced_and_follows_later() {
    let cluster = Cluster::start(&Options::default());
    let workload = Workload::start(&cluster, 3, Duration::from_secs(30)).await;
    workload.more_done(50).await;
    for _ in 0..2 {
        let leader = cluster.leader(None);
        cluster.pause(leader);
        // Those that were on their way may still come in; the later ones need the new leader.
        workload.more_done(50).await;
        cluster.replaced(leader).await;
        cluster.resume(leader);
        let follows = |status: &serde_json::Value| status["leader"].as_u64() != Some(leader as u64);
        cluster.wait_for_status(leader, "a follower", follows).await;
        workload.more_done(BETWEEN).await;
    }
    judge("frozen_leaders", &workload.finish().await);
}

/// A leader that the others cannot reach is replaced, though clients reach it; it comes back
/// without having done anything of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_is_replaced() {
    let cluster = Cluster::start(&Options { proxied: true, ..Options::default() });
    let workload = Workload::start(&cluster, 3, Duration::from_secs(30)).await;
    workload.more_done(50).await;
    for link in [Link::stalled(), Link::cut()] {
        let leader = cluster.leader(None);
        cluster.part(&[leader], link);
        workload.more_done(50).await;
        cluster.replaced(leader).await;
        cluster.part(&[leader], Link::default());
        let follows = |status: &serde_json::Value| status["leader"].as_u64() != Some(leader as u64);
        cluster.wait_for_status(leader, "a follower", follows).await;
        workload.more_done(BETWEEN).await;
    }
    let client = cluster.client().await;
    check_put_and_get(&client, "calm", "healed").await;
    judge("leaders_cut_off", &workload.finish().await);
}
