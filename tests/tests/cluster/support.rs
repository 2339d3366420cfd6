//! Daemons, what is between them, and clients.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rand::Rng as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use webbft_client::{Client, Config};
use webbft_protocol::membership::{MacAlgorithm, View};
use webbft_replica::config::load_view;
use webbft_replica::init::{Place, Setup, init};
use webbft_tests::proxy::{Link, Proxy};

/// The bound on what must come to pass; the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The timeout of calls that must fail for want of a quorum.
pub(crate) const SHORT: Duration = Duration::from_secs(3);
/// Lines of a replica's log that a failing test shows.
const LOG_SHOWN: usize = 40;

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
        // What cargo tells a test about its own package makes other packages' build scripts (ring's)
        // start anew each time, and with them a minute of compiling.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&*name);
            }
        }
        build.arg("--target-dir").arg(profile.parent().expect("a profile lies in a target"));
        assert!(build.status().expect("cargo runs").success(), "webbft does not build");
        profile.join("webbft")
    })
}

/// What kind of cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Replica 3 lies to clients.
    pub(crate) liar: bool,
    /// A proxy stands between every two replicas.
    pub(crate) proxied: bool,
    /// `sync`, `async`, or `memory` where nothing is said, which is fastest.
    pub(crate) durability: Option<&'static str>,
    /// Another service than `kv`.
    pub(crate) service: Option<&'static str>,
    /// A line for every `replica.toml`.
    pub(crate) setting: &'static str,
}

/// One replica's process.
struct Process {
    child: Child,
    log: Arc<Mutex<VecDeque<String>>>,
}

/// Four replicas.
pub(crate) struct Cluster {
    pub(crate) view: View,
    processes: Vec<Option<Process>>,
    configs: Vec<PathBuf>,
    /// Between replicas i < j, where i opens the connection.
    links: Vec<((usize, usize), Proxy)>,
    liar: bool,
    dir: tempfile::TempDir,
}

/// Free ports below those that the system gives to outgoing connections: they are still free when a
/// replica is started again.
fn free_ports(count: usize) -> Vec<u16> {
    let seed = RandomState::new().build_hasher().finish();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut listeners = Vec::new();
    while listeners.len() < count {
        // Held together, so that they are different.
        listeners.extend(TcpListener::bind(("127.0.0.1", rng.random_range(10_000..32_000))));
    }
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

impl Cluster {
    /// Four replicas that serve.
    pub(crate) fn start(options: &Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports = free_ports(8);
        let places = ports.chunks(2).map(|ports| Place {
            host: "127.0.0.1".to_owned(),
            http_port: ports[0],
            peer_port: ports[1],
        });
        let setup = Setup {
            f: 1,
            mac: MacAlgorithm::HmacSha256,
            service: options.service.unwrap_or("kv").to_owned(),
            places: places.collect(),
        };
        let configs = init(dir.path(), &setup).unwrap();
        let view = load_view(&dir.path().join("view.json")).unwrap();
        let mut cluster = Self {
            view,
            processes: Vec::new(),
            configs,
            links: Vec::new(),
            liar: options.liar,
            dir,
        };
        if options.proxied {
            cluster.put_proxies_between();
        }
        cluster.edit_configs(options.durability.unwrap_or("memory"), options.setting);
        cluster.processes = (0..4).map(|index| Some(cluster.launch(index))).collect();
        cluster
    }

    fn edit_configs(&self, durability: &str, setting: &str) {
        for config in &self.configs {
            let text = std::fs::read_to_string(config).unwrap();
            let written = text.lines().find(|line| line.starts_with("durability")).unwrap();
            let text = text.replace(written, &format!("durability = {durability:?}\n{setting}"));
            std::fs::write(config, text).unwrap();
        }
    }

    /// Each replica is told that the others, which it dials, are where the proxies are.
    fn put_proxies_between(&mut self) {
        for (me, config) in self.configs.iter().enumerate() {
            let mut view = self.view.clone();
            for other in me + 1..4 {
                let target = self.view.members[other].peer_address.parse().unwrap();
                let seed = (me * 4 + other) as u64;
                let proxy = Proxy::start(target, seed).unwrap();
                view.members[other].peer_address = proxy.address().to_string();
                self.links.push(((me, other), proxy));
            }
            let name = format!("view-{me}.json");
            std::fs::write(self.dir.path().join(&name), serde_json::to_vec(&view).unwrap())
                .unwrap();
            let text = std::fs::read_to_string(config).unwrap();
            assert!(text.contains("../view.json"), "{text}");
            std::fs::write(config, text.replace("../view.json", &format!("../{name}"))).unwrap();
        }
    }

    /// The proxy between two replicas, and whether the first of them opened the connection.
    pub(crate) fn link(&self, from: usize, to: usize) -> (&Proxy, bool) {
        let pair = (from.min(to), from.max(to));
        let found = self.links.iter().find(|(link, _)| *link == pair);
        (&found.expect("the cluster is proxied").1, from < to)
    }

    /// The same happens on all links between replicas.
    pub(crate) fn set_links(&self, link: Link) {
        for (_, proxy) in &self.links {
            proxy.set(link);
        }
    }

    /// On all links between these replicas and the others.
    pub(crate) fn part(&self, side: &[usize], link: Link) {
        for ((from, to), proxy) in &self.links {
            if side.contains(from) != side.contains(to) {
                proxy.set(link);
            }
        }
    }

    /// Sums over all proxies.
    pub(crate) fn sum(
        &self,
        of: impl Fn(&webbft_tests::proxy::Counts) -> &std::sync::atomic::AtomicU64,
    ) -> u64 {
        let count = |proxy: &Proxy| of(proxy.counts()).load(std::sync::atomic::Ordering::Relaxed);
        self.links.iter().map(|(_, proxy)| count(proxy)).sum()
    }

    /// Starts one replica and waits until it serves.
    fn launch(&self, index: usize) -> Process {
        let mut command = Command::new(webbft());
        // With its standard input goes the replica: no test leaves one behind.
        command.args(["replica", "--stop-with-stdin", "--config"]).arg(&self.configs[index]);
        if self.liar && index == 3 {
            command.args(["--byzantine", "lie"]);
        }
        let command = command.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&log);
        let (serving, served) = channel();
        // Reads on for as long as the replica writes, so that its pipe never fills.
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let serves = line.contains("serving");
                kept.lock().unwrap().push_back(line);
                if serves {
                    let _ = serving.send(());
                }
            }
        });
        let process = Process { child, log };
        if served.recv_timeout(PATIENCE).is_err() {
            panic!("replica {index} does not serve: {:#?}", process.log.lock().unwrap());
        }
        process
    }

    /// What a replica has logged since it was started last.
    pub(crate) fn logged(&self, index: usize, what: &str) -> bool {
        let process = self.processes[index].as_ref().expect("it was started");
        process.log.lock().unwrap().iter().any(|line| line.contains(what))
    }

    fn signal(&self, index: usize, signal: &str) {
        let pid = self.processes[index].as_ref().expect("it runs").child.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(status.success(), "kill {signal} {pid}");
    }

    /// SIGSTOP.
    pub(crate) fn pause(&self, index: usize) {
        self.signal(index, "-STOP");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self, index: usize) {
        self.signal(index, "-CONT");
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, index: usize) {
        self.signal(index, "-KILL");
        self.processes[index].take().expect("it runs").child.wait().unwrap();
    }

    /// SIGKILL to all, before any of them is waited for.
    pub(crate) fn kill_all(&mut self) {
        for index in 0..4 {
            self.signal(index, "-KILL");
        }
        for process in &mut self.processes {
            process.take().expect("it runs").child.wait().unwrap();
        }
    }

    /// Removes what a replica that was killed has stored.
    pub(crate) fn wipe(&self, index: usize) {
        assert!(self.processes[index].is_none(), "it runs");
        let dir = self.configs[index].parent().unwrap();
        let kept = ["replica.toml", "keys.toml"];
        let mut wiped = 0;
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if kept.iter().all(|name| entry.file_name() != *name) {
                assert!(entry.file_type().unwrap().is_file(), "{entry:?}");
                std::fs::remove_file(entry.path()).unwrap();
                wiped += 1;
            }
        }
        assert!(wiped > 0, "nothing was stored in {}", dir.display());
    }

    /// Starts a replica that was killed.
    pub(crate) fn restart(&mut self, index: usize) {
        assert!(self.processes[index].is_none(), "it runs");
        self.processes[index] = Some(self.launch(index));
    }

    /// The document at a path of a replica's port, where it answers in time.
    fn get(&self, index: usize, path: &str) -> Option<String> {
        let timeout = Duration::from_secs(2);
        let address = self.http_address(index);
        let mut stream = TcpStream::connect_timeout(&address, timeout).ok()?;
        stream.set_read_timeout(Some(timeout)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    /// Where a replica serves clients.
    pub(crate) fn http_address(&self, index: usize) -> SocketAddr {
        let url = &self.view.members[index].url;
        let address = url.trim_start_matches("ws://").trim_end_matches("/ws");
        address.parse().expect("init wrote an address")
    }

    /// A replica's status, where it answers.
    pub(crate) fn status(&self, index: usize) -> Option<serde_json::Value> {
        serde_json::from_str(&self.get(index, "/status.json")?).ok()
    }

    /// Waits until a replica's status is as wanted.
    pub(crate) async fn wait_for_status(
        &self,
        index: usize,
        what: &str,
        wanted: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status(index);
            if let Some(status) = &status
                && wanted(status)
            {
                return status.clone();
            }
            assert!(Instant::now() < deadline, "replica {index} is never {what}: {status:?}");
            // Asking is all that can be done: the status is a page, not a stream.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The leader, as a running replica other than `except` knows it: the one with the highest
    /// regency is asked.
    pub(crate) fn leader(&self, except: Option<usize>) -> usize {
        let asked =
            (0..4).filter(|index| Some(*index) != except && self.processes[*index].is_some());
        let known = asked.filter_map(|index| self.status(index));
        let latest = known.max_by_key(|status| status["regency"].as_u64());
        let leader = latest.and_then(|status| status["leader"].as_u64());
        usize::try_from(leader.expect("a replica runs and knows its leader")).unwrap()
    }

    /// Waits until all four replicas run, vote and are connected to each other.
    pub(crate) async fn whole(&self) {
        for index in 0..4 {
            self.wait_for_status(index, "a voter with all its peers", |status| {
                let peers = status["peers"].as_array().expect("a list");
                status["learner"] == false && peers.iter().all(|peer| peer["connected"] == true)
            })
            .await;
        }
    }

    /// Waits until the other replicas follow another leader than this.
    pub(crate) async fn replaced(&self, leader: usize) {
        let deadline = Instant::now() + PATIENCE;
        // What a status says may be a quarter of a second old.
        while self.leader(Some(leader)) == leader {
            assert!(Instant::now() < deadline, "replica {leader} is leader for ever");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A client with links of its own.
    pub(crate) async fn client(&self) -> Client {
        Self::client_of(self.view.clone()).await
    }

    async fn client_of(view: View) -> Client {
        let mut config = Config::new(view);
        config.options.call_timeout = PATIENCE;
        Client::connect(config).await.unwrap()
    }

    /// A client whose link to each replica leads through a proxy.
    pub(crate) async fn proxied_client(&self) -> (Client, Vec<Proxy>) {
        let mut view = self.view.clone();
        let mut proxies = Vec::new();
        for (index, member) in view.members.iter_mut().enumerate() {
            let proxy = Proxy::start(self.http_address(index), 100 + index as u64).unwrap();
            member.url = format!("ws://{}/ws", proxy.address());
            proxies.push(proxy);
        }
        (Self::client_of(view).await, proxies)
    }

    /// What the running replicas have logged last.
    pub(crate) fn print_logs(&self) {
        for (index, process) in self.processes.iter().enumerate() {
            let Some(process) = process else { continue };
            let log = process.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for line in log.iter().skip(log.len().saturating_sub(LOG_SHOWN)) {
                println!("r{index}: {line}");
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        let mut panicked = Vec::new();
        for (index, process) in self.processes.iter_mut().enumerate() {
            let Some(mut process) = process.take() else { continue };
            // SIGKILL ends stopped processes, too.
            let _ = process.child.kill();
            let _ = process.child.wait();
            let log = process.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            panicked.extend(log.iter().find(|line| line.contains("panicked")).map(|_| index));
        }
        assert!(panicked.is_empty() || std::thread::panicking(), "replicas {panicked:?} panicked");
    }
}

pub(crate) fn put(key: &str, value: &str) -> String {
    serde_json::json!({ "op": "put", "key": key, "value": value }).to_string()
}

pub(crate) fn get(key: &str) -> String {
    serde_json::json!({ "op": "get", "key": key }).to_string()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

pub(crate) async fn check_put_and_get(client: &Client, key: &str, value: &str) {
    client.invoke(put(key, value)).await.unwrap();
    let read = client.query(get(key)).await.unwrap();
    assert_eq!(text(&read.result), format!(r#"{{"ok":{{"value":"{value}"}}}}"#));
    assert!(read.evidence.matching.len() >= 3, "{:?}", read.evidence);
}

/// The same replicas behind something that does not let WebSockets through.
pub(crate) async fn without_websockets(view: &View) -> View {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut view = view.clone();
    for member in &mut view.members {
        let replica = member.url.trim_start_matches("ws://").trim_end_matches("/ws").to_owned();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        member.url = format!("ws://{}/ws", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let replica = replica.clone();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                        if client.read_buf(&mut head).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    if String::from_utf8_lossy(&head).to_lowercase().contains("upgrade: websocket")
                    {
                        let refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
                        let _ = client.write_all(refusal).await;
                        return;
                    }
                    let mut server = tokio::net::TcpStream::connect(replica).await.unwrap();
                    server.write_all(&head).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
    }
    view
}
