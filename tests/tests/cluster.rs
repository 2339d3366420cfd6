//! Real processes: four `webbft replica` daemons of the key-value store on the loopback
//! interface, and native clients. Each test has daemons, ports and a directory of its own.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that fails is to panic")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use webbft_client::{CallError, Client, Config, SubscriptionEvent};
use webbft_protocol::client::{CallError as Cause, SuspectReason};
use webbft_protocol::membership::{MacAlgorithm, View};
use webbft_replica::config::load_view;
use webbft_replica::init::{Place, Setup, init};

/// The bound on what must come to pass; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// The timeout of calls that must fail for want of a quorum.
const SHORT: Duration = Duration::from_secs(3);

/// The `webbft` binary beside this test's, built if need be.
fn webbft() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("a test has a path");
        // target/PROFILE/deps/cluster-HASH
        let profile = test.ancestors().nth(2).expect("the test lies in a target directory");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "webbft-replica", "--bin", "webbft"]);
        if profile.file_name().is_some_and(|name| name == "release") {
            build.arg("--release");
        }
        build.arg("--target-dir").arg(profile.parent().expect("a profile lies in a target"));
        assert!(build.status().expect("cargo runs").success(), "webbft does not build");
        profile.join("webbft")
    })
}

struct Cluster {
    view: View,
    children: Vec<Option<Child>>,
    _dir: tempfile::TempDir,
}

impl Cluster {
    /// Four replicas that serve; replica 3 lies if asked to.
    fn start(liar: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Held together, so that the ports are different.
        let listeners: Vec<_> = (0..8).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let port = |index: usize| listeners[index].local_addr().unwrap().port();
        let places = (0..4).map(|index| Place {
            host: "127.0.0.1".to_owned(),
            http_port: port(2 * index),
            peer_port: port(2 * index + 1),
        });
        let setup = Setup {
            f: 1,
            mac: MacAlgorithm::HmacSha256,
            service: "kv".to_owned(),
            places: places.collect(),
        };
        let configs = init(dir.path(), &setup).unwrap();
        let view = load_view(&dir.path().join("view.json")).unwrap();
        drop(listeners);
        let children = configs
            .iter()
            .enumerate()
            .map(|(index, config)| Some(launch(config, liar && index == 3)))
            .collect();
        Self { view, children, _dir: dir }
    }

    fn signal(&self, index: usize, signal: &str) {
        let pid = self.children[index].as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(status.success(), "kill {signal} {pid}");
    }

    fn kill(&mut self, index: usize) {
        self.signal(index, "-KILL");
        self.children[index].take().expect("it runs").wait().unwrap();
    }

    async fn client(&self) -> Client {
        let mut config = Config::ephemeral(self.view.clone()).unwrap();
        config.options.call_timeout = PATIENCE;
        Client::connect(config).await.unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for mut child in self.children.drain(..).flatten() {
            // SIGKILL ends stopped processes, too.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts one replica and waits until it serves.
fn launch(config: &Path, liar: bool) -> Child {
    let mut command = Command::new(webbft());
    // With its standard input goes the replica: no test leaves one behind.
    command.args(["replica", "--stop-with-stdin", "--config"]).arg(config);
    if liar {
        command.args(["--byzantine", "lie"]);
    }
    let mut child =
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap());
    let (serving, served) = channel();
    // Reads on for as long as the replica writes, so that its pipe never fills.
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            if line.contains("serving") {
                let _ = serving.send(());
            }
        }
    });
    served.recv_timeout(PATIENCE).expect("the replica serves");
    child
}

fn put(key: &str, value: &str) -> String {
    serde_json::json!({ "op": "put", "key": key, "value": value }).to_string()
}

fn get(key: &str) -> String {
    serde_json::json!({ "op": "get", "key": key }).to_string()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

async fn check_put_and_get(client: &Client, key: &str, value: &str) {
    client.invoke(put(key, value)).await.unwrap();
    let read = client.query(get(key)).await.unwrap();
    assert_eq!(text(&read.result), format!(r#"{{"ok":{{"value":"{value}"}}}}"#));
    assert!(read.evidence.matching.len() >= 3, "{:?}", read.evidence);
}

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
    let cluster = Cluster::start(false);
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
    let mut cluster = Cluster::start(false);
    let client = cluster.client().await;
    let mut changes = client.subscribe("kv").await.unwrap();
    check_put_and_get(&client, "a", "before").await;
    cluster.kill(2);
    check_put_and_get(&client, "a", "after").await;
    assert_eq!(next_event(&mut changes).await.0, 1);
    assert_eq!(next_event(&mut changes).await.0, 2);

    cluster.kill(3);
    let began = Instant::now();
    let error = client.invoke_within(put("a", "lost"), SHORT).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Failed { error: Cause::NoQuorum | Cause::Timeout, .. }),
        "{error:?}"
    );
    // Once it has noticed that both are gone it says so.
    let error = client.invoke_within(put("a", "lost"), SHORT).await.unwrap_err();
    assert!(matches!(&error, CallError::Failed { error: Cause::NoQuorum, .. }), "{error:?}");
    assert!(error.to_string().contains("quorum"), "{error}");
    assert!(began.elapsed() < 2 * SHORT + Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn paused_replicas_resume() {
    let cluster = Cluster::start(false);
    let client = cluster.client().await;
    cluster.signal(3, "-STOP");
    for round in 0..20 {
        check_put_and_get(&client, "a", &format!("paused {round}")).await;
    }
    // A second one: no quorum, though all connections stand.
    cluster.signal(2, "-STOP");
    let error = client.invoke_within(put("b", "1"), SHORT).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Failed { error: Cause::NoQuorum | Cause::Timeout, .. }),
        "{error:?}"
    );
    // The one that missed twenty batches comes back, and makes the quorum with what it fetches.
    cluster.signal(3, "-CONT");
    check_put_and_get(&client, "a", "resumed").await;
    cluster.signal(2, "-CONT");
    check_put_and_get(&client, "a", "all").await;
}

#[tokio::test]
async fn a_liar_changes_nothing_and_is_suspected() {
    let cluster = Cluster::start(true);
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
    let cluster = Cluster::start(false);
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
