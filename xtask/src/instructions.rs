//! `cargo xtask instructions`: how many instructions the hot paths take, against a budget.
//!
//! Times depend on the machine and on what else it does; the number of instructions of a program
//! without sockets, clocks and threads does not. valgrind counts them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use console::style;
use serde::Serialize;

use crate::process::quiet;
use crate::tools;
use crate::ui::Phase;
use crate::workspace::{path, shown, target};

/// Where the budgets are.
const BUDGETS: &str = "bench/hot-paths/budgets.json";
/// How far a path may be over its budget, in per cent: other versions of the system's C library
/// allocate and copy a little differently.
const MARGIN: u64 = 5;
/// How far below its budget a path may be before the budget is to be lowered, in per cent.
const SLACK: u64 = 15;

/// Paths, and how often each is run. A second run does it twice as often: the difference leaves
/// out what is done once.
const PATHS: [(&str, u64); 4] =
    [("ordered", 200), ("batched", 1024), ("link-0", 1000), ("link-1024", 1000)];

/// Arguments of `cargo xtask instructions`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask instructions             what `cargo xtask test` checks\n  \
    cargo xtask instructions --record    after a change that was meant: write the budgets anew")]
pub(crate) struct Args {
    /// Write what is counted to the budgets
    #[arg(long)]
    record: bool,
}

/// The instructions that one pass through a path takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
struct Budget {
    path: String,
    instructions: u64,
}

/// Runs `cargo xtask instructions`.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !comparable()? {
        return Ok(());
    }
    let phase = Phase::start("hot paths (cargo build --release)");
    tools::valgrind(&phase)?;
    let mut build = tools::cargo();
    build.args(["build", "--release", "--package", "webbft-hot-paths"]);
    quiet(&phase, &mut build, "Mend what the compiler reports, then run the command again.")?;
    phase.done("");
    let mut counted = Vec::new();
    for (path, count) in PATHS {
        let phase = Phase::start(path);
        let instructions = count_one(&phase, path, count)?;
        phase.done(&format!("{instructions} instructions"));
        counted.push(Budget { path: path.to_owned(), instructions });
    }
    let file = path(BUDGETS);
    if args.record {
        return fs::write(&file, serde_json::to_string_pretty(&counted)? + "\n")
            .with_context(|| format!("cannot write {}", shown(&file)));
    }
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", shown(&file)))?;
    let budgets: Vec<Budget> =
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", shown(&file)))?;
    judge(&counted, &budgets)
}

/// The step of `cargo xtask test`.
pub(crate) fn check() -> Result<()> {
    run(&Args { record: false })
}

/// Do the counts of this machine compare with the recorded ones? Says so where not.
fn comparable() -> Result<bool> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // The signatures' arithmetic has another implementation where there is no AVX2.
    let reason = if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        "the budgets are for Linux on x86-64"
    } else if !cpu.split_whitespace().any(|flag| flag == "avx2") {
        "the budgets are for processors with AVX2"
    } else if let Some(reason) = tools::no_valgrind() {
        reason
    } else {
        return Ok(true);
    };
    println!("  {} {reason}", style("NOT CHECKED:").yellow().bold());
    Ok(false)
}

/// The instructions of one pass.
fn count_one(phase: &Phase, path: &str, count: u64) -> Result<u64> {
    let once = total(phase, path, count)?;
    let twice = total(phase, path, 2 * count)?;
    let more = twice.checked_sub(once).context("twice as much took fewer instructions")?;
    Ok(more / count)
}

fn total(phase: &Phase, path: &str, count: u64) -> Result<u64> {
    let out = target().join(format!("callgrind-{path}"));
    let mut command = Command::new("valgrind");
    command
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(target().join("release/webbft-hot-paths"))
        .args([path, &count.to_string()]);
    quiet(phase, &mut command, "valgrind cannot run the program.")?;
    let total = totals(&out)?;
    // Of use to nobody any more.
    let _ = fs::remove_file(&out);
    Ok(total)
}

/// The sum in callgrind's file.
fn totals(out: &Path) -> Result<u64> {
    let text = fs::read_to_string(out).with_context(|| format!("cannot read {}", shown(out)))?;
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    total.with_context(|| format!("{} has no totals", shown(out)))
}

fn judge(counted: &[Budget], budgets: &[Budget]) -> Result<()> {
    let mut over = Vec::new();
    for Budget { path, instructions } in counted {
        let Some(budget) = budgets.iter().find(|budget| budget.path == *path) else {
            bail!("{BUDGETS} has no `{path}`: run `cargo xtask instructions --record`");
        };
        let percent = *instructions as f64 * 100.0 / budget.instructions.max(1) as f64;
        println!("  {path:<10} {instructions:>9} of {:>9}: {percent:.1} %", budget.instructions);
        if percent > (100 + MARGIN) as f64 {
            over.push(path.as_str());
        } else if percent < (100 - SLACK) as f64 {
            println!("  {path} is well below its budget: record it anew, so that it stays there");
        }
    }
    if over.is_empty() {
        return Ok(());
    }
    bail!(
        "more than {MARGIN} % over the budget: {}. Was that meant? Then run `cargo xtask \
         instructions --record` and say in the commit what it buys.",
        over.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(instructions: u64) -> Vec<Budget> {
        vec![Budget { path: "link-0".to_owned(), instructions }]
    }

    #[test]
    fn only_more_than_the_margin_fails() {
        assert!(judge(&budget(1050), &budget(1000)).is_ok());
        assert!(judge(&budget(1051), &budget(1000)).is_err());
        assert!(judge(&budget(1), &budget(1000)).is_ok());
        assert!(judge(&budget(1), &[]).is_err(), "a path without a budget");
    }
}
