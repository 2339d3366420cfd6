//! What survives what: processes that are killed, stopped, and robbed of their disks.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;
use webbft_client::{Client, Config};
use webbft_protocol::membership::View;

use crate::processes::Processes;
use crate::support::PATIENCE;

async fn connect(view: &View) -> Client {
    let mut config = Config::new(view.clone());
    config.options.call_timeout = PATIENCE;
    Client::connect(config).await.unwrap()
}

/// Puts `value`; gives the value before.
async fn put(client: &Client, value: u64) -> Option<u64> {
    let operation = format!(r#"{{"op":"put","key":"a","value":"{value}"}}"#);
    let reply = client.invoke(operation).await.unwrap();
    let reply: serde_json::Value = serde_json::from_slice(&reply.result).unwrap();
    reply["ok"]["previous"].as_str().map(|previous| previous.parse().unwrap())
}

async fn read(client: &Client) -> Option<u64> {
    let reply = client.invoke(r#"{"op":"get","key":"a"}"#).await.unwrap();
    let reply: serde_json::Value = serde_json::from_slice(&reply.result).unwrap();
    reply["ok"]["value"].as_str().map(|value| value.parse().unwrap())
}

/// A client that counts up until it is told to stop; it checks that every operation was executed
/// once and none was forgotten.
struct Counting {
    acknowledged: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Counting {
    fn start(client: Client) -> Self {
        let (acknowledge, acknowledged) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            for value in 1.. {
                let previous = put(&client, value).await.unwrap_or(0);
                assert_eq!(previous, value - 1, "what was acknowledged is the state");
                acknowledge.send_replace(value);
                if *stopped.borrow() {
                    return;
                }
            }
        });
        Self { acknowledged, stop, task }
    }

    /// Waits for this many more acknowledgements.
    async fn more(&mut self, count: u64) {
        let target = *self.acknowledged.borrow() + count;
        let waited =
            tokio::time::timeout(PATIENCE, self.acknowledged.wait_for(|value| *value >= target));
        waited.await.expect("the service answers").expect("the client goes on");
    }

    async fn finish(self) -> u64 {
        self.stop.send_replace(true);
        tokio::time::timeout(PATIENCE, self.task).await.expect("the service answers").unwrap();
        *self.acknowledged.borrow()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_loses_nothing_acknowledged_whoever_is_killed() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut replicas = Processes::new(4);
    // The log is also cut off now and then.
    replicas.configure("[checkpoints]\ninstances = 10\npause_seconds = 0\n");
    replicas.spawn_all(&["--durability", "sync"]);
    let client = connect(&replicas.view).await;
    let mut counting = Counting::start(client);
    counting.more(5).await;
    for round in 0..8 {
        // Somewhere within an instance; at first right after what was acknowledged, when a record
        // that was not waited for would still be on its way.
        tokio::time::sleep(Duration::from_micros(rng.random_range(0..1 + 3000 * round))).await;
        if round % 2 == 0 {
            let victim = rng.random_range(0..4);
            replicas.kill(victim);
            counting.more(3).await;
            replicas.spawn(victim, &["--durability", "sync"]);
            replicas.wait(victim, |status| status["learner"] == false);
        } else {
            replicas.kill_all();
            replicas.spawn_all(&["--durability", "sync"]);
            for index in 0..4 {
                replicas.wait(index, |status| status["learner"] == false);
            }
        }
        counting.more(3).await;
    }
    let last = counting.finish().await;

    // A client that was not there sees it, too, and all replicas have it.
    let client = connect(&replicas.view).await;
    assert_eq!(read(&client).await, Some(last));
    let cid =
        replicas.wait(0, |status| status["lastCid"].as_u64() >= Some(last))["lastCid"].as_u64();
    for index in 1..4 {
        replicas.wait(index, |status| status["lastCid"].as_u64() >= cid);
    }
}

#[tokio::test]
async fn a_checkpoint_takes_the_log_before_it_and_all_restart_from_it() {
    let mut replicas = Processes::new(4);
    replicas.configure("[checkpoints]\ninstances = 10\npause_seconds = 0\n");
    replicas.spawn_all(&["--durability", "sync"]);
    let client = connect(&replicas.view).await;
    put(&client, 1).await;
    let larger = "x".repeat(60_000);
    for number in 0..40 {
        let operation = format!(r#"{{"op":"put","key":"{number}","value":"{larger}"}}"#);
        client.invoke(operation).await.unwrap();
    }
    for index in 0..4 {
        replicas.wait_for_log(index, "the state of a checkpoint is on disk").await;
    }
    for value in 2..=5 {
        put(&client, value).await;
    }
    drop(client);
    replicas.kill_all();
    replicas.spawn_all(&["--durability", "sync"]);
    let client = connect(&replicas.view).await;
    assert_eq!(read(&client).await, Some(5));
    let get = client.invoke(r#"{"op":"get","key":"0"}"#).await.unwrap();
    assert!(get.result.len() > larger.len(), "what is in the snapshot only");
    for index in 0..4 {
        let log = replicas.logged(index);
        let line = log.lines().find(|line| line.contains("read from disk")).unwrap();
        let field = |name: &str| {
            let (_, rest) = line.split_once(name).unwrap();
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap();
            digits.parse::<u64>().unwrap()
        };
        let (checkpoint, records) = (field("checkpoint="), field("records="));
        assert!(checkpoint > 10, "{line}");
        // Of each instance a WRITE, an ACCEPT and a decision, or more of them where the leader
        // changed; there were as many before the checkpoint.
        let last = replicas.wait(index, |status| status["lastCid"].as_u64() > Some(checkpoint));
        let after = last["lastCid"].as_u64().unwrap() - checkpoint;
        assert!(records <= 4 * after + 10, "{after} instances after it: {line}");
        let size = fs::metadata(replicas.data_dir(index).join("state.redb")).unwrap().len();
        assert!(size < 100 << 20, "{size} bytes");
    }
}

#[tokio::test]
async fn async_survives_a_clean_stop_of_all_without_a_doubt() {
    let mut replicas = Processes::new(4);
    replicas.spawn_all(&["--durability", "async"]);
    let client = connect(&replicas.view).await;
    for value in 1..=20 {
        put(&client, value).await;
    }
    drop(client);
    for index in 0..4 {
        assert_eq!(replicas.stop(index), Some(0), "{}", replicas.logged(index));
    }
    replicas.spawn_all(&["--durability", "async"]);
    let client = connect(&replicas.view).await;
    assert_eq!(read(&client).await, Some(20));
    for index in 0..4 {
        let status = replicas.wait(index, |status| status["lastCid"].as_u64() >= Some(20));
        assert_eq!((&status["learner"], &status["durability"]), (&false.into(), &"async".into()));
    }
}

#[tokio::test]
async fn async_killed_all_at_once_goes_on_when_the_operator_says_so() {
    let mut replicas = Processes::new(4);
    replicas.spawn_all(&["--durability", "async"]);
    let client = connect(&replicas.view).await;
    for value in 1..=20 {
        put(&client, value).await;
    }
    drop(client);
    replicas.kill_all();
    replicas.spawn_all(&["--durability", "async"]);
    for index in 0..4 {
        replicas.wait(index, |status| status["learner"] == true);
    }
    replicas.kill_all();
    replicas.spawn_all(&["--durability", "async", "--accept-lost-votes"]);
    let client = connect(&replicas.view).await;
    let found = read(&client).await;
    assert!(found <= Some(20), "{found:?}");
    assert_eq!(put(&client, 100).await, found);
    for index in 0..4 {
        assert!(replicas.logged(index).contains("VOTING ALTHOUGH VOTES MAY BE FORGOTTEN"));
    }
}

#[tokio::test]
async fn one_killed_in_async_follows_until_it_is_safe_and_then_votes_again() {
    let mut replicas = Processes::new(4);
    replicas.spawn_all(&["--durability", "async"]);
    let client = connect(&replicas.view).await;
    put(&client, 1).await;
    replicas.kill(2);
    put(&client, 2).await;
    replicas.spawn(2, &["--durability", "async"]);
    replicas.wait(2, |status| status["learner"] == false);
    assert!(replicas.logged(2).contains("may have forgotten votes"));
    assert_eq!(put(&client, 3).await, Some(2));
}

#[tokio::test]
async fn a_damaged_storage_is_refused_by_name_and_the_replica_rejoins() {
    let mut replicas = Processes::new(4);
    replicas.spawn_all(&[]);
    let client = connect(&replicas.view).await;
    put(&client, 1).await;
    replicas.wait(1, |status| status["lastCid"].as_u64() >= Some(1));
    assert_eq!(replicas.stop(1), Some(0));
    let path = replicas.data_dir(1).join("state.redb");
    let mut file = fs::File::options().read(true).write(true).open(&path).unwrap();
    let mut page = [0; 4096];
    // The first page but the header's.
    file.seek(SeekFrom::Start(4096)).unwrap();
    file.read_exact(&mut page).unwrap();
    page.iter_mut().for_each(|byte| *byte ^= 0x55);
    let mut at = 4096;
    let len = file.metadata().unwrap().len();
    while at < len {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&page).unwrap();
        at += 4096;
    }
    drop(file);
    replicas.spawn(1, &[]);
    assert_eq!(replicas.end_of(1).code(), Some(1));
    let log = replicas.logged(1);
    assert!(log.contains("state.redb: damaged: ") && log.contains("--rejoin"), "{log}");

    put(&client, 2).await;
    replicas.spawn(1, &["--rejoin"]);
    replicas.wait(1, |status| status["learner"] == false);
    let log = replicas.logged(1);
    assert!(log.contains("may have forgotten votes"), "{log}");
    assert!(replicas.data_dir(1).join("state.redb.old-1").exists());
    // It has all, and its vote counts again.
    replicas.kill(0);
    assert_eq!(put(&client, 3).await, Some(2));
    replicas.kill(1);
    replicas.spawn(0, &[]);
    assert_eq!(put(&client, 4).await, Some(3));
    replicas.spawn(1, &[]);
    let status = replicas.wait(1, |status| status["lastCid"].as_u64() >= Some(4));
    assert_eq!(status["learner"], false, "it remembers since");
}

#[tokio::test]
async fn a_replica_whose_data_directory_was_wiped_does_not_vote_as_if_it_were_new() {
    let mut replicas = Processes::new(4);
    replicas.spawn_all(&[]);
    let client = connect(&replicas.view).await;
    put(&client, 1).await;
    replicas.kill(3);
    for name in ["state.redb", "incarnation"] {
        fs::remove_file(replicas.data_dir(3).join(name)).unwrap();
    }
    replicas.spawn(3, &[]);
    replicas.wait(3, |status| status["learner"] == false);
    let log = replicas.logged(3);
    assert!(log.contains("no memory of earlier runs"), "{log}");
    assert!(log.contains("may have forgotten votes"), "{log}");
    assert_eq!(put(&client, 2).await, Some(1));
}

#[tokio::test]
async fn storage_of_another_replica_is_refused() {
    let mut replicas = Processes::new(4);
    replicas.spawn_all(&[]);
    let client = connect(&replicas.view).await;
    put(&client, 1).await;
    replicas.kill(1);
    replicas.kill(2);
    let (one, two) = (replicas.data_dir(1), replicas.data_dir(2));
    fs::copy(two.join("state.redb"), one.join("state.redb")).unwrap();
    replicas.spawn(1, &[]);
    assert_eq!(replicas.end_of(1).code(), Some(1));
    let log = replicas.logged(1);
    assert!(log.contains("this is the storage of replica 2 in view 0"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_its_replica_only_and_space_brings_it_back() {
    let mut replicas = Processes::new(4);
    for index in 0..3 {
        replicas.spawn(index, &["--durability", "async"]);
    }
    replicas.spawn_limited(3, 1, &["--durability", "sync"]);
    let client = connect(&replicas.view).await;
    replicas.wait(3, |status| status["learner"] == false);
    let load = connect(&replicas.view).await;
    let (stop, stopped) = watch::channel(false);
    let load = tokio::spawn(async move {
        let value = "x".repeat(50_000);
        while !*stopped.borrow() {
            let put = format!(r#"{{"op":"put","key":"large","value":"{value}"}}"#);
            load.invoke(put).await.unwrap();
        }
    });
    let (status, mut replicas) = tokio::task::spawn_blocking(move || {
        let status = replicas.end_of(3);
        (status, replicas)
    })
    .await
    .unwrap();
    stop.send_replace(true);
    load.await.unwrap();
    assert_eq!(status.code(), Some(1));
    let log = replicas.logged(3);
    assert!(log.contains("the storage has failed: this replica stops"), "{log}");
    assert!(log.contains("state.redb: no space left"), "{log}");
    assert_eq!(put(&client, 1).await, None, "the others go on");

    replicas.spawn(3, &["--durability", "sync"]);
    let status = replicas.wait(3, |status| status["lastCid"].as_u64() > Some(1));
    assert_eq!(status["learner"], false, "it remembers its votes");
    replicas.kill(0);
    assert_eq!(put(&client, 2).await, Some(1), "with its vote");
}

#[tokio::test]
async fn a_single_replica_keeps_its_state_or_begins_anew() {
    let mut replicas = Processes::new(1);
    replicas.spawn(0, &[]);
    let client = connect(&replicas.view).await;
    put(&client, 1).await;
    drop(client);
    replicas.kill(0);
    replicas.spawn(0, &[]);
    assert_eq!(read(&connect(&replicas.view).await).await, Some(1));
    replicas.kill(0);

    let mut replicas = Processes::new(1);
    for _ in 0..2 {
        replicas.spawn(0, &["--durability", "memory"]);
        let client = connect(&replicas.view).await;
        assert_eq!(put(&client, 1).await, None);
        drop(client);
        replicas.kill(0);
    }
    assert!(replicas.logged(0).contains("the service begins anew with an empty state"));
}

/// docs/architecture.md has the figures.
/// `cargo test --release -p webbft-replica --test all what_durability_costs -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn what_durability_costs() {
    for mode in ["memory", "async", "sync"] {
        let mut replicas = Processes::new(4);
        replicas.spawn_all(&["--durability", mode]);
        let client = connect(&replicas.view).await;
        for value in 0..20 {
            put(&client, value).await;
        }
        let mut times = Vec::new();
        for value in 0..200 {
            let begun = Instant::now();
            put(&client, value).await;
            times.push(begun.elapsed());
        }
        times.sort();
        let begun = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        const CALLS: u64 = 4000;
        for value in 0..CALLS {
            let client = client.clone();
            tasks.spawn(async move { put(&client, value).await });
            if tasks.len() == 100 {
                tasks.join_next().await.unwrap().unwrap();
            }
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let rate = CALLS as f64 / begun.elapsed().as_secs_f64();
        eprintln!(
            "{mode:6}: alone median {:?}, p99 {:?}; 100 in flight {rate:.0}/s",
            times[100], times[198]
        );
    }
}
