//! `cargo xtask lint`, whose steps are also the first of `cargo xtask test`.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::quiet;
use crate::steps::{self, Step};
use crate::ui::Phase;
use crate::workspace::root;
use crate::{builds, tools};

/// Arguments of `cargo xtask lint`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask lint\n  \
    cargo xtask lint --fix    reformat the Rust and the TypeScript first")]
pub(crate) struct Args {
    /// Reformat first, and apply the safe fixes of the TypeScript linter
    #[arg(long)]
    fix: bool,
}

/// Runs `cargo xtask lint`: every step, also after a failure.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.fix {
        let phase = Phase::start("formatting");
        quiet(&phase, tools::cargo().args(["fmt", "--all"]), "rustfmt cannot parse a file.")?;
        let js = tools::npm_ci(&phase, "js")?;
        quiet(&phase, builds::npm(&js).args(["run", "format"]), "Mend the rest by hand.")?;
        quiet(&phase, scripts(&js).arg("--write"), "Mend the rest by hand.")?;
        phase.done("");
    }
    steps::run(&steps(), true)
}

/// The lint steps.
pub(crate) fn steps() -> Vec<Step> {
    vec![
        Step { name: "lint-format", about: "rustfmt", run: format },
        Step { name: "lint-rust", about: "clippy, warnings denied, all targets", run: rust },
        Step {
            name: "lint-wasm",
            about: "clippy of the crates that run in the browser",
            run: wasm,
        },
        Step { name: "lint-js", about: "biome and tsc", run: js },
        Step {
            name: "lint-deps",
            about: "cargo-deny: licences, bans, sources, advisories",
            run: dependencies,
        },
    ]
}

fn format() -> Result<()> {
    let phase = Phase::start("cargo fmt --check");
    quiet(
        &phase,
        tools::cargo().args(["fmt", "--all", "--check"]),
        "`cargo fmt` puts this right.",
    )?;
    phase.done("");
    Ok(())
}

const MEND: &str =
    "Mend what clippy reports; a lint that is wrong here gets #[expect(…, reason = \"…\")].";

fn rust() -> Result<()> {
    let phase = Phase::start("cargo clippy --workspace --all-targets");
    quiet(
        &phase,
        tools::cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]),
        MEND,
    )?;
    phase.done("");
    Ok(())
}

fn wasm() -> Result<()> {
    let phase = Phase::start("cargo clippy for wasm32-unknown-unknown");
    tools::rust_target(&phase, tools::WASM)?;
    quiet(
        &phase,
        // As the browser gets it: the client part of the protocol only.
        tools::cargo()
            .args(["clippy", "--package", "webbft-protocol", "--no-default-features"])
            .args(["--package", "webbft-client-wasm", "--target", tools::WASM])
            .args(["--quiet", "--", "-D", "warnings"]),
        MEND,
    )?;
    phase.done("");
    Ok(())
}

/// biome on the scripts outside the npm workspace, by the workspace's rules.
fn scripts(js: &Path) -> Command {
    let mut command = Command::new(js.join("node_modules/.bin/biome"));
    command.current_dir(root()).args(["check", "--error-on-warnings", "--config-path", "js"]);
    command.args(["tests/browser", "tests/package", "xtask/tools"]);
    command.args(["examples/pages/counter", "examples/pages/kv"]);
    command
}

fn js() -> Result<()> {
    // The TypeScript facade is checked against the types that the Wasm build generates.
    builds::page()?;
    let phase = Phase::start("biome and tsc");
    let js = tools::npm_ci(&phase, "js")?;
    phase.detail("npm run lint");
    quiet(
        &phase,
        builds::npm(&js).args(["run", "lint"]),
        "`cargo xtask lint --fix` mends formatting and safe cases.",
    )?;
    quiet(&phase, &mut scripts(&js), "`cargo xtask lint --fix` mends formatting and safe cases.")?;
    phase.detail("npm run typecheck");
    quiet(&phase, builds::npm(&js).args(["run", "typecheck"]), "Mend the types.")?;
    phase.done("");
    Ok(())
}

fn dependencies() -> Result<()> {
    let phase = Phase::start("cargo deny check bans licenses sources");
    let deny = tools::cargo_deny(&phase)?;
    let run = |phase: &Phase, arguments: &[&str], hint: &str| {
        let mut command = Command::new(&deny);
        command.current_dir(root()).args(arguments);
        quiet(phase, &mut command, hint)
    };
    run(
        &phase,
        &["--log-level", "error", "check", "bans", "licenses", "sources"],
        "deny.toml says what is allowed, and why.",
    )?;
    phase.done("");
    let phase = Phase::start("cargo deny check advisories");
    if run(&phase, &["fetch", "db"], "").is_err() {
        crate::process::check_interrupt()?;
        phase.skipped(
            "NOT CHECKED, because the RustSec database could not be fetched from github.com",
        );
        return Ok(());
    }
    run(
        &phase,
        &["--log-level", "error", "check", "--disable-fetch", "advisories"],
        "Update the crate, or enter the advisory in deny.toml with the reason why it does not matter.",
    )?;
    phase.done("");
    Ok(())
}
