//! `cargo xtask demo`: the shared editor on four local replicas.

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use console::style;

use crate::cluster::{Cluster, Replica};
use crate::process::{interrupted, visible};
use crate::ui::Phase;
use crate::{builds, tools};

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask demo                      replica 3 lies in every reply and event\n  \
    cargo xtask demo --honest             nobody lies: kill one replica and go on typing\n  \
    cargo xtask demo --byzantine 2=mute   replica 2 is silent\n  \
    cargo xtask demo --check              let two headless pages type, and exit with the verdict")]
pub(crate) struct Args {
    /// The port of replica 0; the others take the ports after it
    #[arg(long, default_value_t = 7100)]
    port: u16,
    /// Which replica misbehaves, and how: lie, mute or slow
    #[arg(long, value_name = "ID=KIND", default_value = "3=lie")]
    byzantine: String,
    /// Start four honest replicas
    #[arg(long, conflicts_with = "byzantine")]
    honest: bool,
    /// Drive two pages headlessly for a few seconds, print what they saw, and exit with the verdict
    #[arg(long)]
    check: bool,
}

/// Runs `cargo xtask demo`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let byzantine = (!args.honest).then_some(args.byzantine.as_str());
    println!("Building what is missing");
    let daemon = builds::daemon()?;
    let page = builds::page()?;
    // Fetched before the replicas start, so that nothing is left running when it fails.
    let chromium = args.check.then(driver).transpose()?;
    println!("Starting");
    let mut cluster = Cluster::start(&daemon, &page, args.port, byzantine)?;
    println!();
    for replica in &cluster.replicas {
        println!("{}", describe(replica, byzantine));
    }
    println!();
    if let Some(mut driver) = chromium {
        driver.arg("check.mjs").arg("--cluster").arg(cluster.description());
        if let Some(liar) = byzantine.and_then(|text| text.strip_suffix("=lie")) {
            driver.args(["--liar", liar]);
        }
        return visible(&mut driver, "What the pages saw is printed above.");
    }
    advise(&cluster, byzantine);
    while !interrupted() {
        cluster.check_running()?;
        thread::sleep(Duration::from_millis(100));
    }
    let stopping = Phase::start("stopping the replicas");
    drop(cluster);
    stopping.done("");
    Ok(())
}

/// Node in tests/browser, with its packages installed and the browser named.
pub(crate) fn driver() -> Result<Command> {
    let phase = Phase::start("browser driver");
    let directory = tools::npm_ci(&phase, "tests/browser")?;
    let chromium = tools::chromium(&phase)?;
    phase.done("");
    let mut command = Command::new("node");
    command.current_dir(directory).env("CHROMIUM", chromium);
    Ok(command)
}

fn describe(replica: &Replica, byzantine: Option<&str>) -> String {
    let role = match byzantine.and_then(|text| text.split_once('=')) {
        Some((id, kind)) if id == replica.id.to_string() => {
            let what = match kind {
                "lie" => "lies in every reply and event",
                "mute" => "never answers",
                "slow" => "answers late",
                other => other,
            };
            style(what).red().to_string()
        }
        _ if replica.id == 0 => "leader".to_owned(),
        _ => String::new(),
    };
    let url = style(format!("{}/", replica.url.trim_end_matches('/'))).cyan();
    format!("  replica {}  {url}  pid {:<7} {role}", replica.id, replica.pid)
}

fn advise(cluster: &Cluster, byzantine: Option<&str>) {
    println!(
        "Open one of the pages in two windows, from the same replica or from two, and type in both."
    );
    match byzantine {
        Some(_) => println!(
            "Four replicas tolerate one that misbehaves: the text stays right, and the panel shows\n\
             who voted how. `cargo xtask demo --honest` starts four honest replicas."
        ),
        None => {
            let victim = cluster.replicas.iter().rev().find(|replica| replica.id != 0);
            println!(
                "Four replicas tolerate the loss of one. In another terminal: kill -9 {}   then go on typing.",
                victim.map_or_else(|| "PID".to_owned(), |replica| replica.pid.to_string())
            );
        }
    }
    println!("The replicas' log: {}", crate::workspace::shown(&cluster.log()));
    println!("{}", style("Ctrl-C stops everything.").bold());
}
