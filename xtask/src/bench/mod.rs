//! `cargo xtask bench`: how fast the service is, against the floor of the same run.
//!
//! Each workload runs against both groups in turn, several times: a ratio of neighbours survives a
//! noisy machine, a single rate does not.

mod goals;
mod group;
mod machine;
mod workload;

use std::path::{PathBuf, absolute};
use std::process::Command;
use std::{fs, iter};

use anyhow::{Context, Result};
use console::style;
use serde::Serialize;

use crate::process::quiet;
use crate::tools;
use crate::ui::Phase;
use crate::workspace::{root, target};
use goals::Goal;
use group::{Group, Kind};
use machine::Machine;
use workload::{Measured, WORKLOADS, Workload};

/// Times that each workload runs against each group.
const ROUNDS: usize = 5;
const QUICK_ROUNDS: usize = 2;
/// Seconds of measured time of one run, and before it.
const SECONDS: f64 = 6.0;
const QUICK_SECONDS: f64 = 3.0;
const WARM_UP: f64 = 1.5;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask bench --quick                 the goals, in under five minutes\n  \
    cargo xtask bench --only pipelined_0B     one workload\n  \
    cargo xtask bench --json results.json     with everything that was measured")]
pub(crate) struct Args {
    /// Shorter and fewer runs
    #[arg(long)]
    quick: bool,
    /// Run only the workloads whose names begin like this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Write machine facts, goals and all measurements to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Everything that one run found out.
#[derive(Serialize)]
struct Results {
    machine: Machine,
    rounds: usize,
    goals: Vec<Goal>,
    measured: Vec<Measured>,
}

/// Runs `cargo xtask bench`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let json = args.json.as_deref().map(absolute).transpose().context("no current directory")?;
    let workloads: Vec<&Workload> = WORKLOADS
        .iter()
        .filter(|workload| args.only.as_ref().is_none_or(|only| workload.name.starts_with(only)))
        .collect();
    anyhow::ensure!(
        !workloads.is_empty(),
        "no workload begins like that; there are: {}",
        WORKLOADS.iter().map(|workload| workload.name).collect::<Vec<_>>().join(", ")
    );
    let phase = Phase::start("release build");
    let mut build = tools::cargo();
    build.args(["build", "--release", "--package", "webbft-bench"]);
    quiet(&phase, &mut build, "The benchmarks do not build.")?;
    phase.done("");
    let machine = Machine::look();
    if let Some(load) = machine.load.filter(|load| *load > 0.5) {
        println!(
            "  {} something else uses this machine (load {load:.1}): CPU times are of some use, \
             rates and latencies of none",
            style("!").yellow()
        );
    }
    let (rounds, seconds) =
        if args.quick { (QUICK_ROUNDS, QUICK_SECONDS) } else { (ROUNDS, SECONDS) };
    let phase = Phase::start("four replicas, and four endpoints of the floor");
    let floor = Group::start(Kind::Floor, &phase)?;
    let service = Group::start(Kind::Service, &phase)?;
    phase.done("");
    let mut measured = Vec::new();
    for workload in workloads {
        let phase = Phase::start(workload.name);
        let mut pairs = Vec::new();
        for round in 0..rounds {
            let run = |group: &Group| {
                phase.detail(&format!("round {} of {rounds}, {}", round + 1, group.kind));
                load(group, workload, seconds, &phase)
            };
            pairs.push((run(&floor)?, run(&service)?));
        }
        let result = Measured::of(workload, pairs);
        phase.done(&result.line());
        measured.push(result);
    }
    let goals = goals::judge(&measured);
    print(&goals);
    if let Some(path) = json {
        let results = Results { machine, rounds, goals, measured };
        fs::write(&path, serde_json::to_string_pretty(&results)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn load(
    group: &Group,
    workload: &Workload,
    seconds: f64,
    phase: &Phase,
) -> Result<workload::Report> {
    let pids: Vec<String> = group.pids().map(|pid| pid.to_string()).collect();
    let mut command = Command::new(target().join("release/webbft-bench"));
    command
        .current_dir(root())
        .arg("load")
        .arg("--view")
        .arg(group.view())
        .args(["--pids", &pids.join(",")])
        .args(["--clients", &workload.clients.to_string()])
        .args(["--outstanding", &workload.outstanding.to_string()])
        .args(["--size", &workload.size.to_string()])
        .args(["--warm-up", &WARM_UP.to_string(), "--seconds", &seconds.to_string()])
        .args(iter::once("--unordered").filter(|_| !workload.ordered));
    let output = quiet(phase, &mut command, "The load failed.")?;
    serde_json::from_str(output.trim()).context("the load's report is not as expected")
}

fn print(goals: &[Goal]) {
    println!();
    for goal in goals {
        let verdict = if goal.met { style("met    ").green() } else { style("not met").yellow() };
        println!(
            "  {verdict} {:<34} {:>8.3} {} (goal: {} {})",
            goal.id, goal.measured, goal.unit, goal.sense, goal.bound
        );
    }
}
