//! The `webbft` command line.

mod client;
mod cluster;
mod http_get;
mod init;
mod replica;
mod supervise;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::Services;
use crate::log::{self, LogFormat};

/// Run replicas of a service that stays right while some of them lie, and talk to it.
#[derive(Debug, Parser)]
#[command(name = "webbft", version, after_help = EXAMPLES)]
struct Cli {
    /// What to log, for example `info`, `debug` or `webbft_replica=debug`; RUST_LOG otherwise.
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  webbft cluster --service kv
      four replicas of the key-value store on this machine, for development
  webbft invoke '{\"op\":\"put\",\"key\":\"a\",\"value\":\"1\"}'
      put a value, believed when three of the four replicas say the same
  webbft init --dir setup --n 4 --f 1 --host a.example --host b.example --host c.example \
--host d.example --service kv
      keys and configuration for four machines
  webbft replica --config setup/replica-0/replica.toml
      one replica, on its machine";

#[derive(Debug, Subcommand)]
enum Command {
    /// Set up a service: fresh keys, view.json, and a configuration for each replica.
    Init(init::InitArgs),
    /// Run one replica until SIGTERM or SIGINT.
    Replica(replica::ReplicaArgs),
    /// Run all replicas of a service on this machine, for development.
    Cluster(cluster::ClusterArgs),
    /// Invoke an operation and print the result on which the replicas agree.
    Invoke(client::InvokeArgs),
    /// Read without ordering and print the answer on which the replicas agree.
    Query(client::QueryArgs),
    /// Print the events of a topic.
    Subscribe(client::SubscribeArgs),
    /// Say which replicas answer and how far they are.
    Status(client::StatusArgs),
}

/// What a command that did not succeed says to the shell.
enum Failure {
    /// Something went wrong: exit code 1.
    Failed(anyhow::Error),
    /// The command line makes no sense: exit code 2.
    Usage(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Runs the command line of this process with these services.
#[must_use]
pub fn run(services: Services) -> ExitCode {
    let cli = Cli::parse();
    let (error, code) = match dispatch(cli, &services) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Failed(error)) => (error, 1),
        Err(Failure::Usage(error)) => (error, 2),
    };
    eprintln!("error: {error:#}");
    ExitCode::from(code)
}

fn dispatch(cli: Cli, services: &Services) -> Result<(), Failure> {
    // A client's own log lines are of interest only where something is wrong.
    let level = match cli.command {
        Command::Init(_) | Command::Replica(_) | Command::Cluster(_) => "info",
        _ => "error",
    };
    log::init(cli.log.as_deref(), level, cli.log_format).map_err(Failure::Usage)?;
    let logging = Logging { log: cli.log, format: cli.log_format };
    match cli.command {
        Command::Init(args) => init::run(&args, services),
        Command::Replica(args) => replica::run(args, services),
        Command::Cluster(args) => cluster::run(&args, services, &logging),
        Command::Invoke(args) => client::invoke(&args),
        Command::Query(args) => client::query(&args),
        Command::Subscribe(args) => client::subscribe(&args),
        Command::Status(args) => client::status(&args),
    }
}

/// How this process was told to log, for its children.
#[derive(Debug)]
struct Logging {
    log: Option<String>,
    format: LogFormat,
}
