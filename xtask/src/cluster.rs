//! A running `webbft cluster` with the editor service and page.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process::{Child, Terminate, check_interrupt};
use crate::ui::Phase;
use crate::workspace::{root, shown, target};

/// How many replicas, and how many of them may be faulty.
const N: u16 = 4;
const F: u16 = 1;
/// How far the ports on which the replicas talk to each other lie above those for clients.
const PEER_PORTS: u16 = 100;
/// How long the replicas may take to start.
const START: Duration = Duration::from_secs(30);

/// One replica, as `cluster.json` lists it.
#[derive(Deserialize)]
pub(crate) struct Replica {
    /// The number within the view.
    pub(crate) id: u16,
    /// The process.
    pub(crate) pid: u32,
    /// Where it serves page and WebSocket.
    pub(crate) url: String,
}

#[derive(Deserialize)]
struct ClusterFile {
    replicas: Vec<Replica>,
}

/// Four replicas in a throw-away directory; dropping it stops them and removes the directory.
pub(crate) struct Cluster {
    /// The replicas, by number.
    pub(crate) replicas: Vec<Replica>,
    supervisor: Child,
    directory: PathBuf,
}

impl Cluster {
    /// Starts the replicas on `port` and the ports after it, and waits until all serve.
    /// `byzantine` is `ID=KIND` as `webbft cluster` takes it.
    pub(crate) fn start(
        daemon: &Path,
        page: &Path,
        port: u16,
        byzantine: Option<&str>,
    ) -> Result<Self> {
        let phase = Phase::start("four replicas");
        let offsets = (0..N).flat_map(|replica| [replica, PEER_PORTS + replica]);
        for used in offsets.map(|offset| port.checked_add(offset)) {
            let used =
                used.with_context(|| format!("--port {port} leaves no room for the others"))?;
            TcpListener::bind((Ipv4Addr::LOCALHOST, used)).with_context(|| {
                format!("port {used} is taken (is another demo running?); choose another by --port")
            })?;
        }
        let directory = target().join(format!("demo/{port}"));
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot remove the old {}", shown(&directory)))?;
        }
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", shown(&directory)))?;
        let log = File::create(directory.join("log")).context("cannot create the demo's log")?;
        let mut command = Command::new(daemon);
        command
            .current_dir(root())
            .args(["cluster", "--service", "editor", "--dir"])
            .arg(directory.join("cluster"))
            .args(["--n", &N.to_string(), "--f", &F.to_string()])
            .args(["--base-port", &port.to_string(), "--static"])
            .arg(page)
            .stdout(log.try_clone().context("cannot open the demo's log twice")?)
            .stderr(log);
        if let Some(byzantine) = byzantine {
            command.args(["--byzantine", byzantine]);
        }
        let supervisor = Child::spawn(&mut command, Terminate::Leader)?;
        let mut cluster = Cluster { replicas: Vec::new(), supervisor, directory };
        cluster.wait_until_serving(&phase)?;
        phase.done("");
        Ok(cluster)
    }

    /// The file that describes the running cluster.
    pub(crate) fn description(&self) -> PathBuf {
        self.directory.join("cluster/cluster.json")
    }

    /// What the replicas logged.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Fails when the supervisor has ended, which it never does by itself.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        if let Some(status) = self.supervisor.try_wait()? {
            bail!("`webbft cluster` ended ({status}); it printed:\n\n{}", self.last_lines());
        }
        Ok(())
    }

    fn wait_until_serving(&mut self, phase: &Phase) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            check_interrupt()?;
            self.check_running()?;
            phase.tick();
            // Written whole once every replica serves; absent until then.
            if let Ok(text) = fs::read(self.description()) {
                let file: ClusterFile =
                    serde_json::from_slice(&text).context("cluster.json is not as expected")?;
                self.replicas = file.replicas;
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "the replicas did not serve within {} s; they printed:\n\n{}",
                    START.as_secs(),
                    self.last_lines()
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The end of the log, for an error message.
    fn last_lines(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.supervisor.stop();
        // Left in place when it cannot be removed: the next start on this port empties it.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
