//! `sim`: runs seeds of the simulator and says which of them failed, and how to see why.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use webbft_tests::linearizability::{self, Call};
use webbft_tests::sim::{Failure, Plan, Statistics, run_plan, run_seed};

/// Failing seeds that are printed; more of the same tells little.
const SHOWN: usize = 10;

/// Runs seeds of the simulator: the same seed is the same run.
#[derive(Debug, Parser)]
#[command(name = "sim")]
struct Arguments {
    /// The seeds, such as 0..2000 (the end excluded).
    #[arg(long, value_parser = parse_range, default_value = "0..200")]
    seeds: Range<u64>,
    /// Seeds at a time; all processors by default.
    #[arg(long)]
    jobs: Option<usize>,
    /// Print everything that happens (use it with one seed).
    #[arg(long)]
    trace: bool,
    /// Write what clients called and were told to this file, as JSON lines.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

/// The file of `--history`, or none.
struct Histories(Option<BufWriter<File>>);

impl Histories {
    fn create(path: Option<&PathBuf>) -> io::Result<Self> {
        path.map(File::create).transpose().map(|file| Self(file.map(BufWriter::new)))
    }

    fn write(&mut self, seed: u64, calls: &mut [Call]) -> io::Result<()> {
        for call in &mut *calls {
            call.seed = Some(seed);
        }
        self.0.as_mut().map_or(Ok(()), |file| linearizability::write(file, &*calls))
    }
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let wanted = "expected A..B with A < B, such as 0..2000";
    let (from, to) = text.split_once("..").ok_or(wanted)?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let range = number(from)?..number(to)?;
    if range.is_empty() { Err(wanted.to_owned()) } else { Ok(range) }
}

#[allow(clippy::print_stdout, clippy::print_stderr)] // the output of a command
fn main() -> ExitCode {
    let Arguments { seeds, jobs, trace, history } = Arguments::parse();
    let histories = match Histories::create(history.as_ref()) {
        Ok(file) => Mutex::new((file, Ok(()))),
        Err(error) => {
            eprintln!("the file of --history cannot be created: {error}");
            return ExitCode::from(2);
        }
    };
    let jobs = jobs
        .or_else(|| std::thread::available_parallelism().ok().map(Into::into))
        .unwrap_or(1)
        .max(1);
    let jobs = if trace { 1 } else { jobs };
    let began = Instant::now();
    let bar = ProgressBar::new(seeds.end - seeds.start);
    if trace {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let style = "{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new((Statistics::default(), Vec::<Failure>::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    if trace {
                        println!("{:#?}", Plan::draw(seed));
                    }
                    let mut outcome = if trace {
                        run_plan(Plan::draw(seed), true)
                    } else {
                        run_seed(seed, false)
                    };
                    {
                        let mut histories =
                            histories.lock().expect("no thread panics while it holds this");
                        if histories.1.is_ok() {
                            histories.1 = histories.0.write(seed, &mut outcome.calls);
                        }
                    }
                    let mut total = total.lock().expect("no thread panics while it holds this");
                    total.0.add(&outcome.statistics);
                    if !outcome.is_clean() {
                        bar.suspend(|| eprintln!("seed {seed} failed: {outcome}"));
                        total.1.push(Failure { seed, outcome });
                        bar.set_message(format!("({} failed)", total.1.len()));
                    }
                    bar.inc(1);
                    let (done, all) = (bar.position(), seeds.end - seeds.start);
                    if bar.is_hidden() && !trace && done * 10 / all > (done - 1) * 10 / all {
                        eprintln!("{done} of {all} seeds, {} failed", total.1.len());
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    let (statistics, mut failures) =
        total.into_inner().expect("no thread panics while it holds this");
    failures.sort_by_key(|failure| failure.seed);
    for Failure { seed, outcome } in failures.iter().take(SHOWN) {
        println!("seed {seed} failed:\n{outcome}");
        println!("  replay: cargo xtask sim --seeds {seed}..{} --trace\n", seed + 1);
    }
    if failures.len() > SHOWN {
        println!("and {} more seeds failed\n", failures.len() - SHOWN);
    }
    println!("simulated:\n{}", statistics.table(began.elapsed()));
    let (mut file, written) = histories.into_inner().expect("no thread panics while it holds this");
    let flush = |file: &mut Histories| file.0.as_mut().map_or(Ok(()), BufWriter::flush);
    if let Err(error) = written.and_then(|()| flush(&mut file)) {
        eprintln!("the file of --history cannot be written: {error}");
        return ExitCode::FAILURE;
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
