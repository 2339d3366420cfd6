//! The project's own commands. `cargo xtask --help` lists them; CONTRIBUTING.md says when to use which.
#![allow(clippy::print_stdout, reason = "a command-line program reports on standard output")]

mod bench;
mod builds;
mod cluster;
mod control;
mod demo;
mod fuzz;
mod glue;
mod instructions;
mod lint;
mod mutants;
mod package;
mod process;
mod screenshots;
mod sim;
mod size;
mod steps;
mod test;
mod tools;
mod ui;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Builds, demonstrates and tests WebBFT",
    after_help = "Start with `cargo xtask demo`, then open the page that it prints in two windows.\n\
                  Each command fetches the tools it needs into target/tools; `cargo xtask <command> --help` \
                  shows examples."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start four local replicas, one of them lying, and serve the shared editor
    Demo(demo::Args),
    /// Build the daemon, the browser client and the editor page
    Build(builds::Args),
    /// Run every check and test, including the set-up
    Test(test::Args),
    /// Check formatting, lints and types of the Rust and the TypeScript, and the dependencies' licences
    Lint(lint::Args),
    /// Run the simulator over a range of seeds
    Sim(sim::Args),
    /// Check whether a history of calls to a key-value store is linearizable
    CheckHistory(sim::CheckHistoryArgs),
    /// Put known defects into a copy of the sources and see that each is caught
    Mutants(mutants::Args),
    /// Feed hostile input to decoders, replicas and clients, guided by coverage
    Fuzz(fuzz::Args),
    /// Measure speed and CPU time against the floor: the same clients and no ordering
    Bench(bench::Args),
    /// Count the instructions of the hot paths and compare them with their budgets
    Instructions(instructions::Args),
    /// Pack the npm package, check it, and print its sizes and exports
    Package(package::Args),
    /// Take the screenshots of the README from a running demo
    Screenshots(screenshots::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = process::catch_interrupts().and_then(|()| match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Build(args) => builds::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Lint(args) => lint::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::CheckHistory(args) => sim::check_history(&args),
        Command::Mutants(args) => mutants::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Instructions(args) => instructions::run(&args),
        Command::Package(args) => package::run(&args),
        Command::Screenshots(args) => screenshots::run(&args),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<process::Interrupted>() => {
            eprintln!("Interrupted.");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("{} {error:#}", console::style("error:").red().bold());
            ExitCode::FAILURE
        }
    }
}
