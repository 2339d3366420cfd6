//! Four replicas with the editor service and page, each a child process that can be killed, paused,
//! started again, and made to misbehave.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde::Serialize;

use crate::process::{Child, check_interrupt, quiet};
use crate::ui::Phase;
use crate::workspace::{root, shown, target};

/// How many replicas, and how many of them may be faulty.
const N: u16 = 4;
const F: u16 = 1;
/// How far the ports on which the replicas talk to each other lie above those for clients.
const PEER_PORTS: u16 = 100;
/// How long the replicas may take to start.
const START: Duration = Duration::from_secs(30);
/// How long a replica may take to say that it serves.
const PROBE: Duration = Duration::from_secs(1);

/// How a replica treats its clients, as `webbft replica --byzantine` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Behaviour {
    /// As it should.
    Honest,
    /// Falsifies every reply and event.
    Lie,
    /// Never answers.
    Mute,
    /// Answers half a second late.
    Slow,
}

impl Behaviour {
    /// The misbehaviour of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Lie, Self::Mute, Self::Slow].into_iter().find(|kind| kind.argument() == Some(name))
    }

    const fn argument(self) -> Option<&'static str> {
        match self {
            Self::Honest => None,
            Self::Lie => Some("lie"),
            Self::Mute => Some("mute"),
            Self::Slow => Some("slow"),
        }
    }
}

/// What a replica's process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Running,
    Paused,
    Stopped,
}

/// What can be done to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Ends the process without warning.
    Kill,
    /// Stops the process where it stands.
    Pause,
    /// Lets a paused one go on.
    Resume,
    /// Starts it again, with this behaviour from now on.
    Restart(Behaviour),
}

/// One replica as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Replica {
    /// The number within the view.
    pub(crate) id: u16,
    /// The process; the last one where it has ended.
    pub(crate) pid: u32,
    /// Where it serves page and WebSocket.
    pub(crate) url: String,
    pub(crate) state: State,
    pub(crate) behaviour: Behaviour,
}

/// cluster.json, which the browser's driver reads.
#[derive(Serialize)]
struct ClusterFile<'a> {
    replicas: &'a [Replica],
    /// Port and token of the controls, where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    controls: Option<&'a str>,
}

struct Process {
    child: Child,
    behaviour: Behaviour,
    paused: bool,
}

/// The replicas in a throw-away directory; dropping it stops them and removes the directory.
pub(crate) struct Cluster {
    daemon: PathBuf,
    page: PathBuf,
    port: u16,
    directory: PathBuf,
    processes: Mutex<Vec<Process>>,
}

impl Cluster {
    /// Starts the replicas on `port` and the ports after it, one of which may misbehave, and waits
    /// until all serve.
    pub(crate) fn start(
        daemon: &Path,
        page: &Path,
        port: u16,
        byzantine: Option<(u16, Behaviour)>,
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
        quiet(
            &phase,
            Command::new(daemon)
                .args(["init", "--service", "editor", "--dir"])
                .arg(directory.join("cluster"))
                .args(["--n", &N.to_string(), "--f", &F.to_string()])
                .args(["--base-port", &port.to_string()]),
            "The keys and configurations of the replicas could not be written.",
        )?;
        let cluster = Cluster {
            daemon: daemon.to_path_buf(),
            page: page.to_path_buf(),
            port,
            directory,
            processes: Mutex::default(),
        };
        for id in 0..N {
            let behaviour = match byzantine {
                Some((liar, behaviour)) if liar == id => behaviour,
                _ => Behaviour::Honest,
            };
            let process = cluster.spawn(id, behaviour)?;
            cluster.processes().push(process);
        }
        cluster.wait_until_serving(&phase)?;
        cluster.describe(None)?;
        phase.done("");
        Ok(cluster)
    }

    /// The replicas, by number.
    pub(crate) fn replicas(&self) -> Result<Vec<Replica>> {
        (0..N).zip(self.processes().iter_mut()).map(|(id, it)| self.replica(id, it)).collect()
    }

    /// Does something to a replica. An error says why it cannot be done, and then nothing was done.
    pub(crate) fn act(&self, id: u16, action: Action) -> Result<()> {
        let mut processes = self.processes();
        let liar = processes.iter().position(|process| process.behaviour == Behaviour::Lie);
        if action == Action::Restart(Behaviour::Lie)
            && let Some(liar) = liar
            && liar != usize::from(id)
        {
            bail!(
                "replica {liar} lies already: two that tell the same lie are more than the \
                 f = {F} against which the votes protect"
            );
        }
        let process = processes
            .get_mut(usize::from(id))
            .with_context(|| format!("there is no replica {id}"))?;
        let state = self.replica(id, process)?.state;
        match (action, state) {
            (Action::Kill, State::Running | State::Paused) => {
                process.child.signal(Signal::SIGKILL);
                process.child.stop();
                process.paused = false;
            }
            (Action::Pause, State::Running) => {
                process.child.signal(Signal::SIGSTOP);
                process.paused = true;
            }
            (Action::Resume, State::Paused) => {
                process.child.signal(Signal::SIGCONT);
                process.paused = false;
            }
            (Action::Restart(behaviour), _) => {
                process.child.signal(Signal::SIGCONT);
                process.child.stop();
                *process = self.spawn(id, behaviour)?;
            }
            (Action::Kill, State::Stopped) => bail!("replica {id} does not run"),
            (Action::Pause | Action::Resume, _) => {
                bail!("replica {id} is {}", format!("{state:?}").to_lowercase())
            }
        }
        Ok(())
    }

    /// Writes [`Cluster::description`]; `controls` is what [`crate::control`] gives pages.
    pub(crate) fn describe(&self, controls: Option<&str>) -> Result<()> {
        let file = ClusterFile { replicas: &self.replicas()?, controls };
        fs::write(self.description(), serde_json::to_string_pretty(&file)?)
            .context("cannot write cluster.json")
    }

    /// The file that describes the cluster as it was started.
    pub(crate) fn description(&self) -> PathBuf {
        self.directory.join("cluster.json")
    }

    /// The folder with what the replicas logged.
    pub(crate) fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replica(&self, id: u16, process: &mut Process) -> Result<Replica> {
        let state = match (process.child.try_wait()?, process.paused) {
            (Some(_), _) => State::Stopped,
            (None, true) => State::Paused,
            (None, false) => State::Running,
        };
        let (pid, behaviour) = (process.child.pid(), process.behaviour);
        let url = format!("http://{}", self.address(id));
        Ok(Replica { id, pid, url, state, behaviour })
    }

    fn address(&self, id: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port + id).into()
    }

    fn log(&self, id: u16) -> PathBuf {
        self.logs().join(format!("replica-{id}"))
    }

    fn spawn(&self, id: u16, behaviour: Behaviour) -> Result<Process> {
        fs::create_dir_all(self.logs()).context("cannot create the folder of the logs")?;
        let log: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(id))
            .with_context(|| format!("cannot open {}", shown(&self.log(id))))?;
        let mut command = Command::new(&self.daemon);
        command
            .current_dir(root())
            .args(["replica", "--stop-with-stdin", "--config"])
            .arg(self.directory.join(format!("cluster/replica-{id}/replica.toml")))
            .arg("--static")
            .arg(&self.page)
            .stdout(log.try_clone().context("cannot open a log twice")?)
            .stderr(log);
        if let Some(argument) = behaviour.argument() {
            command.args(["--byzantine", argument]);
        }
        let child = Child::spawn_attached(&mut command)?;
        Ok(Process { child, behaviour, paused: false })
    }

    fn wait_until_serving(&self, phase: &Phase) -> Result<()> {
        let deadline = Instant::now() + START;
        for id in 0..N {
            while !serves(self.address(id)) {
                check_interrupt()?;
                phase.tick();
                let ended = self.processes()[usize::from(id)].child.try_wait()?;
                if ended.is_some() || Instant::now() > deadline {
                    bail!("replica {id} does not serve; it printed:\n\n{}", self.last_lines(id));
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// The end of a replica's log, for an error message.
    fn last_lines(&self, id: u16) -> String {
        let log = fs::read_to_string(self.log(id)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut processes = self.processes();
        // All at once: each may take a moment.
        for process in processes.iter_mut() {
            process.child.signal(Signal::SIGTERM);
            process.child.signal(Signal::SIGCONT);
        }
        processes.clear();
        // Left in place when it cannot be removed: the next start on this port empties it.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Does the replica at `address` say that it is at work?
fn serves(address: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&address, PROBE)?;
        stream.set_read_timeout(Some(PROBE))?;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok::<_, std::io::Error>(status)
    };
    ask().is_ok_and(|status| &status == b"HTTP/1.1 200")
}
