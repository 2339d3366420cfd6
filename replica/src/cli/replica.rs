//! `webbft replica`.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::Args;
use tokio::io::AsyncReadExt as _;
use tracing::info;

use super::{Failure, supervise};
use crate::config::Config;
use crate::daemon::Daemon;
use crate::{Durability, Misbehaviour, Recovery, Services};

#[derive(Debug, Args)]
pub(super) struct ReplicaArgs {
    /// The replica's configuration, as `webbft init` writes it.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Serve the files of this directory, in place of `static_dir`.
    #[arg(long = "static", value_name = "DIR")]
    static_dir: Option<PathBuf>,
    /// What is kept over a restart, in place of `durability`.
    #[arg(long, value_enum, value_name = "MODE")]
    durability: Option<Durability>,
    /// Set the storage aside, which is damaged or out of date, and fetch the state from the other
    /// replicas. This one votes again when that is safe.
    #[arg(long)]
    rejoin: bool,
    /// Vote although the last stop was not clean and votes may be forgotten. Only where so many
    /// replicas of a service with durability "async" stopped at once that it does not go on
    /// otherwise: what clients were told last may be taken back.
    #[arg(long)]
    accept_lost_votes: bool,
    /// Misbehave towards clients on purpose; for demonstrations and tests.
    #[arg(long, value_enum, value_name = "HOW")]
    byzantine: Option<Misbehaviour>,
    /// Stop when standard input ends: how `webbft cluster` stops its children, and how they
    /// notice that it is gone.
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

pub(super) fn run(args: ReplicaArgs, services: &Services) -> Result<(), Failure> {
    let mut config = Config::read(&args.config)?;
    if let Some(dir) = args.static_dir {
        config.set_static_dir(dir).map_err(Failure::Usage)?;
    }
    if let Some(durability) = args.durability {
        config.set_durability(durability);
    }
    let ReplicaArgs { rejoin, accept_lost_votes, .. } = args;
    let recovery = Recovery { rejoin, accept_lost_votes };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before the replica starts: a signal from now on stops it cleanly.
    let mut signals = runtime.block_on(async { supervise::Signals::new() })?;
    let daemon = Daemon::start(config, services, recovery, args.byzantine)?;
    let failed = runtime.block_on(async {
        tokio::select! {
            signal = signals.next() => {
                info!(signal, "stopping");
                false
            }
            () = stdin_ended(), if args.stop_with_stdin => false,
            () = daemon.ended() => true,
        }
    });
    // The thread that waits for standard input must not hold the process up.
    runtime.shutdown_background();
    daemon.stop().context("the replica failed")?;
    if failed { Err(anyhow!("the replica ended by itself").into()) } else { Ok(()) }
}

async fn stdin_ended() {
    let mut buffer = [0; 64];
    let mut stdin = tokio::io::stdin();
    while matches!(stdin.read(&mut buffer).await, Ok(1..)) {}
}
