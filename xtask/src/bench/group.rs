//! Four processes: replicas of the service that does nothing, or endpoints of the floor.

use std::fmt;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{Child, Terminate, check_interrupt, quiet};
use crate::ui::Phase;
use crate::workspace::{root, target};

/// How long a process may take to serve.
const START: Duration = Duration::from_secs(30);
/// Replicas.
const N: usize = 4;

/// What the processes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Floor,
    Service,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Floor => "floor",
            Self::Service => "service",
        })
    }
}

/// Running processes; dropping it ends them and removes their directory.
pub(crate) struct Group {
    pub(crate) kind: Kind,
    directory: PathBuf,
    processes: Vec<Child>,
}

/// A port from which on the group's ports are free: clients' from there, peers' 100 above.
fn base_port(kind: Kind) -> Result<u16> {
    let first: u16 = if kind == Kind::Floor { 24_000 } else { 26_000 };
    (0..8)
        .map(|attempt| first + attempt * 200)
        .find(|base| {
            (0..4)
                .flat_map(|index| [base + index, base + 100 + index])
                .all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        })
        .with_context(|| format!("no free ports from {first} on"))
}

impl Group {
    pub(crate) fn start(kind: Kind, phase: &Phase) -> Result<Self> {
        let release = target().join("release");
        let directory = target().join(format!("bench/{kind}"));
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot remove {}", directory.display()))?;
        }
        let mut init = Command::new(release.join("webbft-null"));
        init.current_dir(root()).args(["init", "--n", "4", "--f", "1", "--service", "null"]);
        init.args(["--base-port", &base_port(kind)?.to_string(), "--dir"]).arg(&directory);
        quiet(phase, &mut init, "No keys and configuration.")?;
        let mut group = Self { kind, directory, processes: Vec::new() };
        for index in 0..N {
            let replica = group.directory.join(format!("replica-{index}"));
            let mut command = match kind {
                Kind::Floor => {
                    let mut command = Command::new(release.join("webbft-bench"));
                    command.arg("floor").arg("--view").arg(group.view());
                    command.args(["--index", &index.to_string(), "--keys"]);
                    command.arg(replica.join("keys.toml"));
                    command
                }
                Kind::Service => {
                    let mut command = Command::new(release.join("webbft-null"));
                    command.args(["replica", "--durability", "memory", "--config"]);
                    command.arg(replica.join("replica.toml"));
                    command
                }
            };
            let log = File::create(group.log(index)).context("cannot create a log")?;
            command.current_dir(root()).stdout(log.try_clone()?).stderr(log);
            group.processes.push(Child::spawn(&mut command, Terminate::Leader)?);
        }
        group.wait_until_serving(phase)?;
        Ok(group)
    }

    pub(crate) fn view(&self) -> PathBuf {
        self.directory.join("view.json")
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.processes.iter().map(Child::pid)
    }

    fn log(&self, index: usize) -> PathBuf {
        self.directory.join(format!("log-{index}"))
    }

    fn wait_until_serving(&mut self, phase: &Phase) -> Result<()> {
        let deadline = Instant::now() + START;
        for index in 0..N {
            while !fs::read_to_string(self.log(index)).unwrap_or_default().contains("serving") {
                check_interrupt()?;
                phase.tick();
                let ended = self.processes[index].try_wait()?;
                if ended.is_some() || Instant::now() > deadline {
                    let log = fs::read_to_string(self.log(index)).unwrap_or_default();
                    bail!("{} process {index} does not serve; it printed:\n\n{log}", self.kind);
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for process in &mut self.processes {
            process.stop();
        }
        // Left in place when it cannot be removed: the next start empties it.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
