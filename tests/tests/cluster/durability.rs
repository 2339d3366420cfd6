//! Replicas that keep what they said on disk (`durability = "sync"`), and lose power or the disk.

use std::time::Duration;

use crate::history::{Workload, judge};
use crate::support::{Cluster, Options, check_put_and_get, get, text};

fn with_disks() -> Cluster {
    Cluster::start(&Options { durability: Some("sync"), ..Options::default() })
}

/// All four are killed in the middle of the work and started again: what clients were told is still
/// so, and their sessions go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_killed_at_once_lose_nothing_that_was_acknowledged() {
    let mut cluster = with_disks();
    let client = cluster.client().await;
    check_put_and_get(&client, "kept", "from the beginning").await;
    let workload = Workload::start(&cluster, 4, Duration::from_secs(30)).await;
    for _ in 0..2 {
        workload.more_done(150).await;
        cluster.kill_all();
        for index in 0..4 {
            cluster.restart(index);
        }
        workload.more_done(50).await;
    }
    judge("all_killed", &workload.finish().await);
    let read = client.query(get("kept")).await.unwrap();
    assert_eq!(text(&read.result), r#"{"ok":{"value":"from the beginning"}}"#);
    for index in 0..4 {
        assert_eq!(cluster.status(index).unwrap()["learner"], false, "replica {index}");
    }
}

/// A replica whose disk is gone fetches the state from the others, and votes once that is safe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_replica_rejoins_as_a_learner() {
    let mut cluster = with_disks();
    let client = cluster.client().await;
    check_put_and_get(&client, "kept", "before").await;
    let workload = Workload::start(&cluster, 2, Duration::from_secs(30)).await;
    workload.more_done(50).await;
    cluster.kill(3);
    cluster.wipe(3);
    workload.more_done(50).await;
    cluster.restart(3);
    assert!(cluster.logged(3, "learner=true"), "it does not know that it has forgotten");
    cluster.wait_for_status(3, "a voter", |status| status["learner"] == false).await;
    judge("wiped", &workload.finish().await);
    // It makes the quorum, with the state that it fetched.
    cluster.pause(2);
    let read = client.query(get("kept")).await.unwrap();
    assert_eq!(text(&read.result), r#"{"ok":{"value":"before"}}"#);
    check_put_and_get(&client, "kept", "after").await;
}
