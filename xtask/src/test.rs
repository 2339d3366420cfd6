//! `cargo xtask test`: everything, in steps.

use std::process::Command;
use std::sync::Arc;

use anyhow::Result;

use crate::cluster::Cluster;
use crate::control::Control;
use crate::process::visible;
use crate::steps::{self, Step};
use crate::ui::Phase;
use crate::workspace::{self, path};
use crate::{builds, demo, instructions, lint, mutants, package, sim, size, tools};

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask test\n  \
    cargo xtask test --list\n  \
    cargo xtask test --only rust --only browser\n  \
    cargo xtask test --only lint              every step whose name begins with lint-")]
pub(crate) struct Args {
    /// Run only this step, or the steps of this group; may be given several times
    #[arg(long, value_name = "STEP", num_args = 1..)]
    only: Vec<String>,
    /// Run the steps after a failure too
    #[arg(long)]
    keep_going: bool,
    /// List the steps and end
    #[arg(long)]
    list: bool,
}

/// Runs `cargo xtask test`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let steps = steps::select(all(), &args.only)?;
    if args.list {
        for step in steps {
            println!("{:14} {}", step.name, step.about);
        }
        return Ok(());
    }
    steps::run(&steps, args.keep_going)
}

fn all() -> Vec<Step> {
    let mut steps = vec![Step { name: "setup", about: "tools and packages", run: setup }];
    steps.extend(lint::steps());
    steps.extend([
        Step {
            name: "mutants",
            about: "every known defect can still be put back (cargo xtask mutants does it)",
            run: mutants::check,
        },
        Step {
            name: "rust",
            about: "cargo test of the whole workspace, clusters of daemons included",
            run: rust,
        },
        Step {
            name: "protocol-wasm",
            about: "the protocol's unit tests as Wasm",
            run: protocol_wasm,
        },
        Step {
            name: "codemirror",
            about: "the editor service's rebase against CodeMirror's",
            run: codemirror,
        },
        Step { name: "js", about: "tests of the npm package and the page", run: js },
        Step {
            name: "package",
            about: "the npm package, packed, in projects of its users",
            run: package::test,
        },
        Step { name: "wasm-size", about: "size of the browser client", run: wasm_size },
        Step {
            name: "sim",
            about: "the simulator, about a minute of new seeds",
            run: sim::fresh_seeds,
        },
        Step {
            name: "instructions",
            about: "instructions of the hot paths against their budgets, counted by valgrind",
            run: instructions::check,
        },
        Step {
            name: "browser",
            about: "the page and the package in Chromium and Firefox against real replicas",
            run: browser,
        },
        Step {
            name: "guide",
            about: "the guide \"Your first replicated service\", the quickstart and the small pages",
            run: guide,
        },
    ]);
    steps
}

fn setup() -> Result<()> {
    let phase = Phase::start("Node.js, Rust targets, Chromium, Firefox");
    tools::node()?;
    tools::rust_target(&phase, tools::WASM)?;
    tools::rust_target(&phase, tools::WASI)?;
    tools::chromium(&phase)?;
    tools::firefox(&phase)?;
    phase.done("");
    let phase = Phase::start("wasm-bindgen, wasm-opt, cargo-deny");
    tools::wasm_bindgen(&phase)?;
    tools::wasm_opt(&phase)?;
    tools::cargo_deny(&phase)?;
    phase.done("");
    let phase = Phase::start("npm packages");
    for project in ["js", "examples/tests/codemirror", "tests/browser"] {
        tools::npm_ci(&phase, project)?;
    }
    phase.done("");
    Ok(())
}

fn rust() -> Result<()> {
    visible(tools::cargo().args(["test", "--workspace"]), "The failing tests are named above.")
}

/// Tests that need unwinding cannot run here: a Wasm panic ends the program. They say so by
/// `#[cfg_attr(target_family = "wasm", ignore = "…")]`.
fn protocol_wasm() -> Result<()> {
    let phase = Phase::start("target wasm32-wasip1");
    tools::node()?;
    tools::rust_target(&phase, tools::WASI)?;
    phase.done("");
    let runner = format!("node --no-warnings {}", path("xtask/tools/wasi-runner.mjs").display());
    visible(
        tools::cargo()
            .args(["test", "--package", "webbft-protocol", "--tests", "--target", tools::WASI])
            .env("CARGO_TARGET_WASM32_WASIP1_RUNNER", runner),
        "The failing test is the last one named above.",
    )
}

fn codemirror() -> Result<()> {
    let phase = Phase::start("packages");
    let project = tools::npm_ci(&phase, "examples/tests/codemirror")?;
    phase.done("");
    visible(
        Command::new("node").args(["generate.mjs", "--check"]).current_dir(project),
        "The recorded cases differ from what CodeMirror does now.",
    )
}

fn js() -> Result<()> {
    let daemon = builds::daemon()?;
    builds::page()?;
    visible(
        builds::npm(&path("js")).arg("test").env("WEBBFT_BIN", daemon),
        "The failing tests are named above.",
    )
}

fn wasm_size() -> Result<()> {
    size::check(&builds::wasm()?)
}

/// Where the demo of the browser tests serves.
const DEMO_PORT: u16 = 7440;

/// The same tests in both browsers; those of the demo's page in one.
fn browser() -> Result<()> {
    let daemon = builds::daemon()?;
    let page = builds::page()?;
    let phase = Phase::start("Firefox");
    let firefox = tools::firefox(&phase)?;
    phase.done("");
    for browser in ["chromium", "firefox"] {
        println!("\n  In {browser}");
        let mut driver = demo::driver()?;
        driver
            .args(["--test", "--test-concurrency=1", "--test-reporter=spec"])
            .args(["editor.test.mjs", "package.test.mjs", "faults.test.mjs"])
            .env("BROWSER", browser)
            .env("FIREFOX", &firefox)
            .env("WEBBFT_BIN", &daemon)
            .env("WEBBFT_PAGE", &page);
        visible(&mut driver, &format!("The failing tests in {browser} are named above."))?;
    }
    println!("\n  A demo, in chromium");
    let cluster = Arc::new(Cluster::start(&daemon, &page, DEMO_PORT, None)?);
    let control = Control::start(Arc::clone(&cluster))?;
    cluster.describe(Some(&control.key()))?;
    let mut driver = demo::driver()?;
    driver
        .args(["--test", "--test-concurrency=1", "--test-reporter=spec"])
        .arg("collaboration.test.mjs")
        .env("WEBBFT_DEMO", cluster.description());
    visible(&mut driver, "The failing tests of the demo are named above.")
}

fn guide() -> Result<()> {
    let daemon = builds::daemon()?;
    builds::page()?;
    let mut driver = demo::driver()?;
    driver
        .args(["--test", "--test-concurrency=1", "--test-reporter=spec"])
        .args(["pages.test.mjs", "quickstart.test.mjs", "guide.test.mjs"])
        .env("WEBBFT_BIN", daemon)
        .env("CARGO_TARGET_DIR", workspace::target());
    visible(&mut driver, "The guide or the README says what does not work, or the reverse.")
}
