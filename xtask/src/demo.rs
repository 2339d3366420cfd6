//! `cargo xtask demo`: the shared editor on four local replicas.

use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use console::style;

use crate::cluster::{Behaviour, Cluster, Replica};
use crate::control::Control;
use crate::process::{interrupted, visible};
use crate::ui::Phase;
use crate::{builds, tools};

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask demo                      replica 3 lies in every reply and event\n  \
    cargo xtask demo --honest             nobody misbehaves until you press a button\n  \
    cargo xtask demo --byzantine 2=mute   replica 2 is silent\n  \
    cargo xtask demo --check              let two headless pages type, and exit with the verdict")]
pub(crate) struct Args {
    /// The port of replica 0; the others take the ports after it
    #[arg(long, default_value_t = 7100)]
    port: u16,
    /// Which replica misbehaves, and how: lie, mute or slow
    #[arg(long, value_name = "ID=KIND", default_value = "3=lie", value_parser = parse_byzantine)]
    byzantine: (u16, Behaviour),
    /// Start four honest replicas
    #[arg(long, conflicts_with = "byzantine")]
    honest: bool,
    /// Drive two pages headlessly for a few seconds, print what they saw, and exit with the verdict
    #[arg(long)]
    check: bool,
}

fn parse_byzantine(text: &str) -> Result<(u16, Behaviour), String> {
    let (id, kind) = text.split_once('=').ok_or("write for example 3=lie")?;
    let kind =
        Behaviour::named(kind).ok_or_else(|| format!("{kind:?} is none of lie, mute, slow"))?;
    match id.parse() {
        Ok(id @ 0..4) => Ok((id, kind)),
        _ => Err(format!("{id:?} is not the number of a replica: 0, 1, 2 or 3")),
    }
}

/// Runs `cargo xtask demo`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let byzantine = (!args.honest).then_some(args.byzantine);
    println!("Building what is missing");
    let daemon = builds::daemon()?;
    let page = builds::page()?;
    // Fetched before the replicas start, so that nothing is left running when it fails.
    let chromium = args.check.then(driver).transpose()?;
    println!("Starting");
    let cluster = Arc::new(Cluster::start(&daemon, &page, args.port, byzantine)?);
    let control = Control::start(Arc::clone(&cluster))?;
    println!();
    for replica in cluster.replicas()? {
        println!("{}", describe(&replica, &control));
    }
    println!();
    if let Some(mut driver) = chromium {
        driver.arg("check.mjs").arg("--cluster").arg(cluster.description());
        if let Some((liar, Behaviour::Lie)) = byzantine {
            driver.args(["--liar", &liar.to_string()]);
        }
        return visible(&mut driver, "What the pages saw is printed above.");
    }
    advise(&cluster);
    while !interrupted() {
        thread::sleep(Duration::from_millis(100));
    }
    let stopping = Phase::start("stopping the replicas");
    drop(control);
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

fn describe(replica: &Replica, control: &Control) -> String {
    let role = match replica.behaviour {
        Behaviour::Lie => style("lies in every reply and event").red().to_string(),
        Behaviour::Mute => style("never answers").red().to_string(),
        Behaviour::Slow => style("answers late").red().to_string(),
        Behaviour::Honest if replica.id == 0 => "leader".to_owned(),
        Behaviour::Honest => String::new(),
    };
    let url = style(format!("{}/#demo={}", replica.url, control.key())).cyan();
    format!("  replica {}  {url}  {role}", replica.id)
}

fn advise(cluster: &Cluster) {
    println!(
        "Open one of the pages in two windows, from the same replica or from two, and type in both.\n\
         Four replicas tolerate one that misbehaves. The panel shows who voted how, and has buttons\n\
         that kill, pause, slow down or corrupt a replica, and start it again. Break two, and writing\n\
         stops until one of them is back; nothing wrong is shown."
    );
    println!("The replicas' logs: {}", crate::workspace::shown(&cluster.logs()));
    println!("{}", style("Ctrl-C stops everything.").bold());
}
