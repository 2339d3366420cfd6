//! `cargo xtask sim`: the simulator over a range of seeds.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::process::{quiet, visible};
use crate::tools;
use crate::ui::Phase;
use crate::workspace::{root, shown, target};

/// How long the simulator runs in `cargo xtask test`, at least.
const TEST_TIME: Duration = Duration::from_secs(60);
/// Seeds a round, in `cargo xtask test`.
const ROUND: u64 = 100;

/// Arguments of `cargo xtask sim`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask sim --seeds 0..2000\n  \
    cargo xtask sim --seeds 1234..1235    repeat one run; what follows `--` goes to the simulator")]
pub(crate) struct Args {
    /// The seeds to run, from A up to but without B
    #[arg(long, value_name = "A..B")]
    seeds: String,
    /// Runs at the same time; by default one for each processor
    #[arg(long)]
    jobs: Option<usize>,
    /// More arguments for the simulator
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Runs `cargo xtask sim`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut command = simulator()?;
    command.args(["--seeds", &args.seeds]);
    if let Some(jobs) = args.jobs {
        command.args(["--jobs", &jobs.to_string()]);
    }
    command.args(&args.rest);
    visible(&mut command, "Repeat a failing seed S by `cargo xtask sim --seeds S..S+1`.")
}

/// Runs other seeds every time, round by round, for about a minute.
pub(crate) fn fresh_seeds() -> Result<()> {
    let simulator = simulator()?.get_program().to_owned();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    // One range a second, from an arbitrary but short number.
    let first = now.as_secs() % 10_000_000 * 1_000;
    println!("  seeds from {first} on; repeat by `cargo xtask sim --seeds A..B`");
    let started = Instant::now();
    let mut next = first;
    while started.elapsed() < TEST_TIME {
        let range = format!("{next}..{}", next + ROUND);
        let mut command = Command::new(&simulator);
        command.current_dir(root()).args(["--seeds", &range]);
        visible(&mut command, &format!("Repeat it by `cargo xtask sim --seeds {range}`."))?;
        next += ROUND;
    }
    println!("  ran seeds {first}..{next}");
    Ok(())
}

/// Builds the simulator and gives the command that runs it.
fn simulator() -> Result<Command> {
    let phase = Phase::start("simulator (cargo build --release)");
    quiet(
        &phase,
        tools::cargo().args(["build", "--release", "--package", "webbft-tests", "--bin", "sim"]),
        "Mend what the compiler reports.",
    )?;
    let binary = target().join("release/sim");
    if !binary.is_file() {
        bail!("the build made no {}", shown(&binary));
    }
    phase.done("");
    let mut command = Command::new(binary);
    command.current_dir(root());
    Ok(command)
}
