//! Replicas as processes that can be killed.

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use webbft_protocol::membership::{MacAlgorithm, View};
use webbft_replica::config::load_view;
use webbft_replica::init::{Setup, init};

use crate::support::{PATIENCE, free_places, wait_for_status};

const WEBBFT: &str = env!("CARGO_BIN_EXE_webbft");

/// Replicas of the key-value store, each a process; killed when this is dropped.
pub(crate) struct Processes {
    pub(crate) view: View,
    configs: Vec<PathBuf>,
    children: Vec<Option<Child>>,
    dir: tempfile::TempDir,
}

impl Processes {
    /// Sets `n` replicas up; starts none.
    pub(crate) fn new(n: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup {
            f: (n - 1) / 3,
            mac: MacAlgorithm::HmacSha256,
            service: "kv".to_owned(),
            places: free_places(n),
        };
        let configs = init(dir.path(), &setup).unwrap();
        let view = load_view(&dir.path().join("view.json")).unwrap();
        Self { view, configs, children: (0..n).map(|_| None).collect(), dir }
    }

    pub(crate) fn n(&self) -> usize {
        self.children.len()
    }

    /// Adds this to the configuration of each.
    pub(crate) fn configure(&self, text: &str) {
        for config in &self.configs {
            let old = fs::read_to_string(config).unwrap();
            fs::write(config, old + "\n" + text).unwrap();
        }
    }

    /// Where a replica keeps its files.
    pub(crate) fn data_dir(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("replica-{index}"))
    }

    pub(crate) fn address(&self, index: usize) -> SocketAddr {
        let url = &self.view.members[index].url;
        url.trim_start_matches("ws://").trim_end_matches("/ws").parse().unwrap()
    }

    fn log(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("log-{index}"))
    }

    /// What a replica has logged since its last start.
    pub(crate) fn logged(&self, index: usize) -> String {
        fs::read_to_string(self.log(index)).unwrap()
    }

    /// Waits until a replica has logged this since its last start.
    pub(crate) async fn wait_for_log(&self, index: usize, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.logged(index).contains(text) {
            assert!(Instant::now() < deadline, "replica {index} never logs: {text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts a replica; does not wait for it.
    pub(crate) fn spawn(&mut self, index: usize, arguments: &[&str]) {
        self.spawn_by(index, Command::new(WEBBFT), arguments);
    }

    /// Starts a replica of which no file may become larger than this.
    pub(crate) fn spawn_limited(&mut self, index: usize, mebibytes: u32, arguments: &[&str]) {
        let mut shell = Command::new("sh");
        // Ignored, the signal becomes an error of the write, as a full disk is one. Blocks of 512.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", mebibytes * 2048);
        shell.args(["-c", &script, "sh", WEBBFT]);
        self.spawn_by(index, shell, arguments);
    }

    fn spawn_by(&mut self, index: usize, mut command: Command, arguments: &[&str]) {
        assert!(self.children[index].is_none(), "replica {index} runs");
        let log = fs::File::create(self.log(index)).unwrap();
        command.arg("replica").arg("--config").arg(&self.configs[index]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.children[index] = Some(command.spawn().unwrap());
    }

    pub(crate) fn spawn_all(&mut self, arguments: &[&str]) {
        for index in 0..self.n() {
            self.spawn(index, arguments);
        }
    }

    /// Waits until a replica's status satisfies `condition`.
    pub(crate) fn wait(
        &mut self,
        index: usize,
        condition: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(self.address(index)).is_err() {
            let ended = self.children[index].as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "replica {index} ended: {}", self.logged(index));
            assert!(Instant::now() < deadline, "replica {index} does not serve");
            std::thread::sleep(Duration::from_millis(5));
        }
        wait_for_status(self.address(index), condition)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, index: usize) {
        let mut child = self.children[index].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGKILL to all, before any of them is waited for.
    pub(crate) fn kill_all(&mut self) {
        let mut children: Vec<_> = self.children.iter_mut().filter_map(Option::take).collect();
        for child in &mut children {
            child.kill().unwrap();
        }
        for mut child in children {
            child.wait().unwrap();
        }
    }

    /// SIGTERM; gives the exit code.
    pub(crate) fn stop(&mut self, index: usize) -> Option<i32> {
        let pid = self.children[index].as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.end_of(index).code()
    }

    /// Waits until a replica ends by itself.
    pub(crate) fn end_of(&mut self, index: usize) -> ExitStatus {
        let mut child = self.children[index].take().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() >= deadline {
                child.kill().unwrap();
                panic!("replica {index} does not end: {}", self.logged(index));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in self.children.iter_mut().filter_map(Option::as_mut) {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for index in 0..self.n() {
                let mut log = String::new();
                if let Ok(mut file) = fs::File::open(self.log(index)) {
                    let _ = file.read_to_string(&mut log);
                }
                eprintln!("log of replica {index}:\n{log}");
            }
        }
    }
}
