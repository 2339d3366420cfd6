//! `check-history`: says whether a history of calls to a key-value store is linearizable.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use webbft_tests::linearizability::{Verdict, check, read};

/// Says whether a history of calls to a key-value store is linearizable. Exit code 0: it is; 1: it
/// is not, or the search was given up; 2: there is no history to check.
#[derive(Debug, Parser)]
#[command(name = "check-history")]
struct Arguments {
    /// Calls as JSON lines: {client, op, args, invoke, return, result}, and `seed` where the file
    /// holds several runs.
    file: PathBuf,
    /// Positions that the search may visit for each key before it gives up.
    #[arg(long, default_value_t = 1_000_000)]
    limit: usize,
}

#[allow(clippy::print_stderr)] // the output of a command
fn main() -> ExitCode {
    let Arguments { file, limit } = Arguments::parse();
    match run(&file, limit) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[allow(clippy::print_stdout)] // the output of a command
fn run(path: &Path, limit: usize) -> Result<bool> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let runs = read(BufReader::new(file)).with_context(|| path.display().to_string())?;
    let (mut calls, mut unknown, mut good) = (0, 0, 0);
    for (seed, run) in &runs {
        calls += run.len();
        unknown += run.iter().filter(|call| call.ended.is_none()).count();
        let name = seed.map_or_else(String::new, |seed| format!("seed {seed}: "));
        match check(run, limit) {
            Verdict::Linearizable => good += 1,
            Verdict::Violation(violation) => println!("{name}{violation}"),
            Verdict::Undecided { key, positions } => println!(
                "{name}undecided: no order found for key {key:?} in {positions} positions; try a \
                 higher --limit\n"
            ),
        }
    }
    println!(
        "{calls} calls ({unknown} of unknown outcome) in {} runs: {good} linearizable, {} not",
        runs.len(),
        runs.len() - good
    );
    Ok(good == runs.len())
}
