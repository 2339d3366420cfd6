//! `cargo xtask screenshots`: the pictures of the running page in docs/images.

use anyhow::Result;

use crate::cluster::{Behaviour, Cluster};
use crate::process::visible;
use crate::{builds, demo, workspace};

/// Arguments of `cargo xtask screenshots`.
#[derive(clap::Args)]
#[command(
    after_help = "Writes docs/images/editor-{desktop,phone}-{light,dark}.png from a running \
                        demo in which replica 3 lies."
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
    let cluster = Cluster::start(&daemon, &page, args.port, Some((3, Behaviour::Lie)))?;
    driver
        .arg("screenshots.mjs")
        .arg("--cluster")
        .arg(cluster.description())
        .arg("--out")
        .arg(workspace::path("docs/images"));
    visible(&mut driver, "No picture was changed after the failure.")
}
