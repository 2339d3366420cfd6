//! `webbft cluster`: all replicas of a service as child processes, for development.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum as _};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use webbft_protocol::membership::{ReplicaId, View};

use super::init::ShapeArgs;
use super::supervise::Signals;
use super::{Failure, Logging, http_get};
use crate::log::LogFormat;
use crate::{Durability, Misbehaviour, Services, config, init, storage};

/// How long the replicas may take to serve.
const START: Duration = Duration::from_secs(30);
/// How long a replica may take to stop cleanly before it is killed.
const STOP: Duration = Duration::from_secs(5);
/// The pause before a crashed replica is started again.
const RESTART: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  webbft cluster --service kv
  webbft cluster --service editor --static js/editor/dist --byzantine 3=lie
      replica 3 falsifies everything that it tells clients

Ctrl-C stops all replicas. A cluster in --dir is used again with its keys and its state; remove the \
directory to begin anew.")]
pub(super) struct ClusterArgs {
    /// The service that the replicas run.
    #[arg(long)]
    service: String,
    /// Where view.json, keys, configurations and cluster.json are; set up if absent.
    #[arg(long, default_value = ".webbft")]
    dir: PathBuf,
    #[command(flatten)]
    shape: ShapeArgs,
    /// Serve the files of this directory from every replica.
    #[arg(long = "static", value_name = "DIR")]
    static_dir: Option<PathBuf>,
    /// A replica that misbehaves: lie, mute or slow. May be repeated.
    #[arg(long, value_name = "ID=HOW", value_parser = parse_byzantine)]
    byzantine: Vec<(u16, Misbehaviour)>,
    /// What the replicas keep over a restart: `sync` everything, as replicas on machines of their
    /// own do by default; `async` what was on disk by then; `memory` nothing.
    #[arg(long, value_enum, default_value = "async", value_name = "MODE")]
    durability: Durability,
    /// Start a replica again when it crashes.
    #[arg(long)]
    restart: bool,
}

fn parse_byzantine(text: &str) -> Result<(u16, Misbehaviour), String> {
    let (id, how) = text.split_once('=').ok_or("write for example 3=lie")?;
    let id = id.parse().map_err(|_| format!("{id:?} is not the number of a replica"))?;
    let how = Misbehaviour::from_str(how, false)
        .map_err(|_| format!("{how:?} is none of lie, mute, slow"))?;
    Ok((id, how))
}

/// cluster.json.
#[derive(Debug, Serialize)]
struct ClusterFile {
    view: PathBuf,
    replicas: Vec<ClusterReplica>,
}

#[derive(Debug, Serialize)]
struct ClusterReplica {
    id: ReplicaId,
    pid: u32,
    url: String,
}

pub(super) fn run(
    args: &ClusterArgs,
    services: &Services,
    logging: &Logging,
) -> Result<(), Failure> {
    if let Some(dir) = args.static_dir.as_ref().filter(|dir| !dir.is_dir()) {
        return Err(Failure::Usage(anyhow!("--static {}: not a directory", dir.display())));
    }
    let setup = args.shape.setup(&args.service, &["127.0.0.1".to_owned()], services)?;
    let view_path = args.dir.join("view.json");
    if view_path.exists() {
        let state = match args.durability {
            Durability::Memory => "; the service begins anew (--durability memory)",
            Durability::Sync | Durability::Async => " and the state there",
        };
        eprintln!("using the keys in {}{state}", args.dir.display());
    } else {
        init::init(&args.dir, &setup)?;
    }
    let view = config::load_view(&view_path)?;
    if (view.n(), view.f) != (args.shape.n(), args.shape.f()) {
        return Err(Failure::Usage(anyhow!(
            "{} has n = {}, f = {}; choose another --dir, remove this one, or say the same numbers",
            view_path.display(),
            view.n(),
            view.f
        )));
    }
    for (id, _) in &args.byzantine {
        if view.index_of(ReplicaId(*id)).is_none() {
            return Err(Failure::Usage(anyhow!("--byzantine {id}=…: there is no replica {id}")));
        }
    }
    // All replicas begin together: there is nobody from whom one of them could have to learn.
    let dirs: Vec<_> =
        view.members.iter().map(|member| args.dir.join(format!("replica-{}", member.id))).collect();
    storage::data_dir::begin_anew(&dirs)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(Cluster { args, logging, view, view_path, lines: None }.run())?;
    Ok(())
}

struct Cluster<'a> {
    args: &'a ClusterArgs,
    logging: &'a Logging,
    view: View,
    view_path: PathBuf,
    lines: Option<mpsc::Sender<String>>,
}

/// A replica's process.
struct Replica {
    child: Child,
    /// Its end stops the replica, also when this process dies.
    stdin: ChildStdin,
}

/// Is a replica started together with all others, or again while they run?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Together {
    Yes,
    No,
}

impl Cluster<'_> {
    async fn run(mut self) -> anyhow::Result<()> {
        let mut signals = Signals::new()?;
        let cluster_file = self.args.dir.join("cluster.json");
        // An old one speaks of processes that are gone.
        match fs::remove_file(&cluster_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context("cannot remove the old cluster.json");
            }
            _ => {}
        }
        let (lines, mut printed) = mpsc::channel::<String>(1024);
        self.lines = Some(lines);
        let printer = tokio::spawn(async move {
            while let Some(line) = printed.recv().await {
                eprintln!("{line}");
            }
        });
        let mut exits = JoinSet::new();
        let mut pids = Vec::new();
        let (stop, _) = tokio::sync::watch::channel(false);
        let outcome = async {
            for index in 0..self.view.n() {
                let replica = self.spawn(index, Together::Yes)?;
                pids.push(replica.child.id().unwrap_or_default());
                exits.spawn(watch(index, replica, stop.subscribe()));
            }
            tokio::select! {
                _ = signals.next() => return Ok(()),
                serving = self.wait_until_serving() => serving?,
                Some(exit) = exits.join_next() => {
                    let (index, status) = exit?;
                    bail!("replica {index} did not start ({})", describe(status));
                }
            }
            self.write_cluster_file(&cluster_file, &pids)?;
            self.announce();
            loop {
                tokio::select! {
                    _ = signals.next() => return Ok(()),
                    Some(exit) = exits.join_next() => {
                        let (index, status) = exit?;
                        let id = self.view.members[index].id;
                        eprintln!("replica {id} ended: {}", describe(status));
                        if self.args.restart {
                            sleep(RESTART).await;
                            let replica = self.spawn(index, Together::No)?;
                            pids[index] = replica.child.id().unwrap_or_default();
                            eprintln!("replica {id} started again, pid {}", pids[index]);
                            exits.spawn(watch(index, replica, stop.subscribe()));
                            self.write_cluster_file(&cluster_file, &pids)?;
                        } else if exits.is_empty() {
                            bail!("all replicas have ended");
                        }
                    }
                }
            }
        }
        .await;
        stop.send_replace(true);
        while exits.join_next().await.is_some() {}
        // What it says is no longer so. Where that fails the next start removes it.
        drop(fs::remove_file(&cluster_file));
        drop(self.lines.take());
        drop(printer.await);
        outcome
    }

    fn spawn(&self, index: usize, together: Together) -> anyhow::Result<Replica> {
        let id = self.view.members[index].id;
        let config = self.args.dir.join(format!("replica-{id}")).join("replica.toml");
        let executable = std::env::current_exe().context("cannot find this executable")?;
        let mut command = Command::new(executable);
        command.arg("replica").arg("--stop-with-stdin").arg("--config").arg(config);
        command.args(["--durability", self.args.durability.name()]);
        if together == Together::Yes {
            // Whoever kills a whole cluster wants it back, and nobody else relies on it.
            command.arg("--accept-lost-votes");
        }
        if let Some(dir) = &self.args.static_dir {
            command.arg("--static").arg(dir);
        }
        if let Some((_, how)) = self.args.byzantine.iter().find(|(liar, _)| *liar == id.0) {
            command.args(["--byzantine", how.name()]);
        }
        if let Some(log) = &self.logging.log {
            command.args(["--log", log]);
        }
        if self.logging.format == LogFormat::Json {
            command.args(["--log-format", "json"]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        // A Ctrl-C in the terminal reaches this process only, which stops the replicas in order.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot start replica {id}"))?;
        let (Some(stdin), Some(stdout), Some(stderr), Some(lines)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take(), &self.lines)
        else {
            bail!("replica {id} was started without pipes");
        };
        tokio::spawn(copy_lines(id, stdout, lines.clone()));
        tokio::spawn(copy_lines(id, stderr, lines.clone()));
        Ok(Replica { child, stdin })
    }

    async fn wait_until_serving(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        for member in &self.view.members {
            let address = http_get::address_of(&member.url)?;
            while http_get::get(address, "/healthz").await.is_err() {
                if Instant::now() >= deadline {
                    bail!("replica {} does not serve after {} s", member.id, START.as_secs());
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    fn write_cluster_file(&self, path: &Path, pids: &[u32]) -> anyhow::Result<()> {
        let replicas = self.view.members.iter().zip(pids).map(|(member, pid)| {
            let url = format!("http://{}", http_get::address_of(&member.url)?);
            Ok(ClusterReplica { id: member.id, pid: *pid, url })
        });
        let file = ClusterFile {
            view: fs::canonicalize(&self.view_path)?,
            replicas: replicas.collect::<anyhow::Result<_>>()?,
        };
        // Whole or not at all: others wait for this file.
        let new = path.with_extension("json.new");
        fs::write(&new, serde_json::to_string_pretty(&file)? + "\n")
            .and_then(|()| fs::rename(&new, path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn announce(&self) {
        let view = self.view_path.display();
        eprintln!("\n{} replicas of {} serve:", self.view.n(), self.args.service);
        for member in &self.view.members {
            let url = member.url.replacen("ws", "http", 1);
            eprintln!("  {}  {}", member.id, url.trim_end_matches("/ws"));
        }
        eprintln!("view: {view}\nCtrl-C stops them.\n");
    }
}

/// Waits for a replica's end, or, when told to stop, brings it about.
async fn watch(
    index: usize,
    mut replica: Replica,
    mut stop: tokio::sync::watch::Receiver<bool>,
) -> (usize, std::io::Result<ExitStatus>) {
    let stopped = async {
        // An error means that the supervisor is gone.
        drop(stop.wait_for(|stop| *stop).await);
    };
    tokio::select! {
        status = replica.child.wait() => return (index, status),
        () = stopped => {}
    }
    drop(replica.stdin);
    let status = match timeout(STOP, replica.child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            eprintln!("replica {index} does not stop; it is killed");
            match replica.child.kill().await {
                Ok(()) => replica.child.wait().await,
                Err(error) => Err(error),
            }
        }
    };
    (index, status)
}

fn describe(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => format!("its exit status is unknown: {error}"),
    }
}

async fn copy_lines(id: ReplicaId, from: impl AsyncRead + Unpin, to: mpsc::Sender<String>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if to.send(format!("[{id}] {line}")).await.is_err() {
            return;
        }
    }
}
