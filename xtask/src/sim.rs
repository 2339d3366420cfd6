//! `cargo xtask sim`: the simulator over a range of seeds.

use std::path::{PathBuf, absolute};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::process::{quiet, visible};
use crate::tools;
use crate::ui::Phase;
use crate::workspace::{root, shown, target};

/// How long the simulator runs in `cargo xtask test`, about.
const TEST_TIME: Duration = Duration::from_secs(60);
/// Seeds of the first, short run.
const TRIAL: u64 = 20;
/// Seeds of the second run, at most.
const MOST: u64 = 9_000;

/// Arguments of `cargo xtask sim`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask sim --seeds 0..2000\n  \
    cargo xtask sim --seeds 1234..1235 --trace    repeat one run and print all that happens")]
pub(crate) struct Args {
    /// The seeds to run, from A up to but without B
    #[arg(long, value_name = "A..B")]
    seeds: String,
    /// Runs at the same time; by default one for each processor
    #[arg(long)]
    jobs: Option<usize>,
    /// Print everything that happens, for a single seed
    #[arg(long)]
    trace: bool,
    /// Write what clients called and were told to this file, as JSON lines
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

/// Runs `cargo xtask sim`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut command = simulator()?;
    command.args(["--seeds", &args.seeds]);
    if let Some(jobs) = args.jobs {
        command.args(["--jobs", &jobs.to_string()]);
    }
    if args.trace {
        command.arg("--trace");
    }
    if let Some(history) = &args.history {
        command.arg("--history").arg(absolute(history).context("no current directory")?);
    }
    visible(&mut command, "Each failing seed is printed with the command that repeats it.")
}

/// Runs other seeds every time: a few to learn how fast they are, then as many as fill the time.
pub(crate) fn fresh_seeds() -> Result<()> {
    let simulator = simulator()?.get_program().to_owned();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let first = now.as_secs() % 1_000_000 * 10_000;
    let run = |from: u64, count: u64| {
        let range = format!("{from}..{}", from + count);
        println!("  seeds {range}; to repeat them: cargo xtask sim --seeds {range}");
        let mut command = Command::new(&simulator);
        command.current_dir(root()).args(["--seeds", &range]);
        visible(&mut command, &format!("Repeat it by `cargo xtask sim --seeds {range}`."))
    };
    let started = Instant::now();
    run(first, TRIAL)?;
    // As many as fit into the rest of the time at the same speed.
    let trial = started.elapsed().as_millis().max(1);
    let rest = TEST_TIME.saturating_sub(started.elapsed()).as_millis();
    let count = u64::try_from(u128::from(TRIAL) * rest / trial).unwrap_or(MOST);
    run(first + TRIAL, count.clamp(TRIAL, MOST))
}

/// Arguments of `cargo xtask check-history`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask sim --seeds 0..100 --history calls.jsonl\n  \
    cargo xtask check-history calls.jsonl")]
pub(crate) struct CheckHistoryArgs {
    /// Calls as JSON lines: {client, op, args, invoke, return, result}, and seed where the file
    /// holds several runs
    file: PathBuf,
    /// Positions that the search may visit for each key before it gives up
    #[arg(long)]
    limit: Option<usize>,
}

/// Runs `cargo xtask check-history`.
pub(crate) fn check_history(args: &CheckHistoryArgs) -> Result<()> {
    let mut command = binary("check-history", "linearizability checker")?;
    command.arg(absolute(&args.file).context("no current directory")?);
    if let Some(limit) = args.limit {
        command.args(["--limit", &limit.to_string()]);
    }
    visible(&mut command, "What it says is printed above.")
}

/// Builds the simulator and gives the command that runs it.
fn simulator() -> Result<Command> {
    binary("sim", "simulator")
}

fn binary(name: &str, about: &str) -> Result<Command> {
    let phase = Phase::start(&format!("{about} (cargo build --release)"));
    quiet(
        &phase,
        tools::cargo().args(["build", "--release", "--package", "webbft-tests", "--bin", name]),
        "Mend what the compiler reports.",
    )?;
    let binary = target().join("release").join(name);
    if !binary.is_file() {
        bail!("the build made no {}", shown(&binary));
    }
    phase.done("");
    let mut command = Command::new(binary);
    command.current_dir(root());
    Ok(command)
}
