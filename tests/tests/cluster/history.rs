//! Histories of real calls under faults, and whether they are linearizable.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use webbft_client::{Client, Outcome};
use webbft_tests::linearizability::{Call, Observed, Operation, Value, Verdict, check, write};

use crate::support::{Cluster, Options, PATIENCE};

/// Positions that the checker visits for a key before it gives up.
const LIMIT: usize = 2_000_000;
/// Keys in use: few, so that clients meet.
const KEYS: [&str; 3] = ["a", "b", "c"];

/// Clients that work on a few keys, and what they were told.
pub(crate) struct Workload {
    began: Instant,
    calls: Arc<Mutex<Vec<Call>>>,
    /// Calls that ended, whatever way.
    ended: watch::Sender<u64>,
    /// Calls that ended with a result.
    done: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    workers: Vec<JoinHandle<()>>,
}

impl Workload {
    /// Clients of a cluster that call without a pause; each call may take `patience`, and has an
    /// unknown outcome after that.
    pub(crate) async fn start(cluster: &Cluster, clients: usize, patience: Duration) -> Self {
        let mut workload = Self {
            began: Instant::now(),
            calls: Arc::default(),
            ended: watch::Sender::new(0),
            done: watch::Sender::new(0),
            stop: watch::Sender::new(false),
            workers: Vec::new(),
        };
        for number in 0..clients {
            let client = cluster.client().await;
            let worker = Worker {
                client,
                number,
                patience,
                began: workload.began,
                calls: Arc::clone(&workload.calls),
                ended: workload.ended.clone(),
                done: workload.done.clone(),
                stop: workload.stop.subscribe(),
                rng: ChaCha8Rng::seed_from_u64(number as u64),
            };
            workload.workers.push(tokio::spawn(worker.run()));
        }
        workload
    }

    /// Waits until so many more calls have ended.
    pub(crate) async fn more_ended(&self, count: u64) {
        wait(&self.ended, count, "calls end").await;
    }

    /// Waits until so many more calls have been answered.
    pub(crate) async fn more_done(&self, count: u64) {
        wait(&self.done, count, "calls are answered").await;
    }

    /// Stops the clients; gives all calls.
    pub(crate) async fn finish(self) -> Vec<Call> {
        self.stop.send_replace(true);
        for worker in self.workers {
            worker.await.unwrap();
        }
        let mut calls = std::mem::take(&mut *self.calls.lock().unwrap());
        calls.sort_by_key(|call| call.invoke);
        calls
    }
}

async fn wait(counter: &watch::Sender<u64>, count: u64, what: &str) {
    let mut counter = counter.subscribe();
    let target = *counter.borrow() + count;
    let reached = counter.wait_for(|now| *now >= target);
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    reached.unwrap_or_else(|_| panic!("no {count} more {what} in time")).unwrap();
}

struct Worker {
    client: Client,
    number: usize,
    patience: Duration,
    began: Instant,
    calls: Arc<Mutex<Vec<Call>>>,
    ended: watch::Sender<u64>,
    done: watch::Sender<u64>,
    stop: watch::Receiver<bool>,
    rng: ChaCha8Rng,
}

impl Worker {
    async fn run(mut self) {
        let mut serial = 0;
        let mut seen = Value::Absent;
        while !*self.stop.borrow() {
            serial += 1;
            let key = KEYS[self.rng.random_range(0..KEYS.len())].to_owned();
            let value = format!("{}-{serial}", self.number);
            let operation = match self.rng.random_range(0..10) {
                0..=3 => Operation::Get { key },
                4..=6 => Operation::Put { key, value },
                7 => Operation::Delete { key },
                _ => Operation::Cas { key, expect: seen.clone(), value },
            };
            // Half of the reads are ordered.
            let ordered = !matches!(operation, Operation::Get { .. }) || self.rng.random();
            if let Some(told) = self.call(operation, ordered).await
                && let Some(value) = told.value
            {
                seen = value;
            }
        }
    }

    /// Makes a call and takes it down.
    async fn call(&mut self, operation: Operation, ordered: bool) -> Option<Observed> {
        let payload = payload_of(&operation);
        let invoke = micros(self.began);
        let result = if ordered {
            self.client.invoke(payload).timeout(self.patience).await
        } else {
            self.client.query(payload).timeout(self.patience).await
        };
        let now = micros(self.began);
        let (ended, told) = match &result {
            Ok(reply) => (Some(now), Some(observed_in(&reply.result))),
            Err(error) => match error.outcome() {
                Outcome::NotSent | Outcome::NotExecuted => {
                    self.ended.send_modify(|count| *count += 1);
                    return None;
                }
                Outcome::Executed => (Some(now), None),
                Outcome::Unknown => (None, None),
            },
        };
        let client = format!("c{}", self.number);
        let call = Call { seed: None, client, operation, invoke, ended, result: told.clone() };
        self.calls.lock().unwrap().push(call);
        self.ended.send_modify(|count| *count += 1);
        if result.is_ok() {
            self.done.send_modify(|count| *count += 1);
        }
        told
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap()
}

/// The operation as the key-value service reads it: `op` beside its arguments.
fn payload_of(operation: &Operation) -> String {
    let mut json = serde_json::to_value(operation).unwrap();
    let mut arguments = json["args"].take();
    arguments["op"] = json["op"].take();
    arguments.to_string()
}

fn observed_in(result: &[u8]) -> Observed {
    let mut json: serde_json::Value = serde_json::from_slice(result).unwrap();
    serde_json::from_value(json["ok"].take()).unwrap_or_else(|_| panic!("{json}"))
}

/// Writes a history to a file, says where, and demands that it is linearizable.
pub(crate) fn judge(name: &str, calls: &[Call]) {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.jsonl"));
    let mut text = Vec::new();
    write(&mut text, calls).unwrap();
    std::fs::write(&path, text).unwrap();
    let unknown = calls.iter().filter(|call| call.ended.is_none()).count();
    println!("history: {} calls, {unknown} of unknown outcome, in {}", calls.len(), path.display());
    match check(calls, LIMIT) {
        Verdict::Linearizable => {}
        Verdict::Violation(violation) => panic!("{violation}"),
        Verdict::Undecided { key, positions } => {
            panic!("no order found for key {key} in {positions} positions")
        }
    }
}

/// A follower is killed, restarted, and paused with another, while six clients work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_linearizable_while_replicas_come_and_go() {
    let mut cluster = Cluster::start(&Options::default());
    let workload = Workload::start(&cluster, 6, Duration::from_millis(700)).await;
    workload.more_done(100).await;
    cluster.kill(3);
    workload.more_done(100).await;
    // Two are away: nothing can be ordered, and calls time out.
    cluster.pause(2);
    workload.more_ended(18).await;
    cluster.resume(2);
    workload.more_done(100).await;
    cluster.restart(3);
    cluster.wait_for_status(3, "a voter", |status| status["learner"] == false).await;
    // Back: without one of the others, it makes the quorum.
    cluster.pause(1);
    workload.more_done(100).await;
    cluster.resume(1);
    workload.more_done(100).await;
    let calls = workload.finish().await;
    assert!(calls.iter().any(|call| call.ended.is_none()), "no call timed out");
    judge("replicas_come_and_go", &calls);
}
