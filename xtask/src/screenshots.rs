//! `cargo xtask screenshots`: the pictures of the running page in docs/images.

use std::sync::Arc;

use anyhow::Result;

use crate::cluster::Cluster;
use crate::control::Control;
use crate::process::visible;
use crate::{builds, demo, workspace};

/// Arguments of `cargo xtask screenshots`.
#[derive(clap::Args)]
#[command(
    after_help = "Writes docs/images/editor-STATE-{desktop,phone}-{light,dark}.png from a running \
                  demo; the states are agreed, liar, history, documents and no-quorum."
)]
pub(crate) struct Args {
    /// The port of replica 0; the others take the ports after it
    #[arg(long, default_value_t = 7140)]
    port: u16,
}

/// Runs `cargo xtask screenshots`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let daemon = builds::daemon()?;
    let page = builds::page()?;
    let mut driver = demo::driver()?;
    let cluster = Arc::new(Cluster::start(&daemon, &page, args.port, None)?);
    let control = Control::start(Arc::clone(&cluster))?;
    cluster.describe(Some(&control.key()))?;
    driver
        .args(["screenshots.mjs", "--out"])
        .arg(workspace::path("docs/images"))
        .env("WEBBFT_DEMO", cluster.description());
    visible(&mut driver, "Pictures after the failure were not changed.")
}
