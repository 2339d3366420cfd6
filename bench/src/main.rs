//! `webbft-bench`: see `cargo xtask bench`.
#![allow(clippy::print_stdout, reason = "a command-line program reports on standard output")]

use std::process::ExitCode;

use clap::Parser;
use webbft_bench::{floor, load};

#[derive(Debug, Parser)]
#[command(name = "webbft-bench", about = "Load on a replicated service, and its floor")]
enum Command {
    /// Make load, and report rates, latencies and CPU times as one line of JSON
    Load(load::Args),
    /// Answer every request at once without ordering it: one replica of the floor
    Floor(floor::Args),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Load(args) => load::run(&args).and_then(|report| {
            println!("{}", serde_json::to_string(&report)?);
            Ok(())
        }),
        Command::Floor(args) => floor::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
