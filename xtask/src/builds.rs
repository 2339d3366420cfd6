//! What the commands build: the daemon, the browser client in Wasm, and the editor page.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::glue;
use crate::process::{check_interrupt, quiet};
use crate::tools;
use crate::ui::Phase;
use crate::workspace::{path, shown, target};

const MEND_RUST: &str = "Mend what the compiler reports, then run the command again.";

/// Arguments of `cargo xtask build`.
#[derive(clap::Args)]
#[command(after_help = "The results: target/release/webbft, js/webbft/wasm, js/webbft/dist and \
                        js/editor/dist. What is up to date is left as it is.")]
pub(crate) struct Args {}

/// Runs `cargo xtask build`.
pub(crate) fn run(_: &Args) -> Result<()> {
    daemon()?;
    page()?;
    Ok(())
}

/// Builds the daemon; its path.
pub(crate) fn daemon() -> Result<PathBuf> {
    let phase = Phase::start("daemon (cargo build --release)");
    quiet(
        &phase,
        tools::cargo().args(["build", "--release", "--package", "webbft-replica"]),
        MEND_RUST,
    )?;
    let binary = target().join("release/webbft");
    if !binary.is_file() {
        bail!("the build made no {}: does webbft-replica have a binary `webbft`?", shown(&binary));
    }
    phase.done("");
    Ok(binary)
}

/// Keeps the builder's directories out of the module's panic messages.
fn remapped_paths() -> String {
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let mut flags = format!("--remap-path-prefix={}=webbft", path("").display());
    if let Some(home) = cargo_home {
        flags.push_str(&format!(" --remap-path-prefix={}=cargo", home.display()));
    }
    flags
}

/// Builds the browser client: cargo, wasm-bindgen, wasm-opt. These are the steps of `wasm-pack
/// build`, called directly so that each tool's version is ours to choose and nothing is downloaded
/// on the way. The optimised module's path.
pub(crate) fn wasm() -> Result<PathBuf> {
    let phase = Phase::start("browser client (Wasm)");
    let _alone = alone(&phase)?;
    tools::node()?;
    tools::rust_target(&phase, tools::WASM)?;
    quiet(
        &phase,
        tools::cargo()
            .args(["build", "--package", "webbft-client-wasm", "--profile", "wasm"])
            .args(["--target", tools::WASM])
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", remapped_paths()),
        MEND_RUST,
    )?;
    let compiled = target().join(tools::WASM).join("wasm/webbft_client_wasm.wasm");
    let bytes = fs::read(&compiled).with_context(|| {
        format!("the build made no {}: is client-wasm a cdylib?", shown(&compiled))
    })?;
    let package = path("js/webbft/wasm");
    let module = package.join("webbft_client_wasm_bg.wasm");
    // The input of the last complete run; equal bytes give equal results.
    let stamp = target().join("xtask/client-instance.wasm");
    if module.is_file() && fs::read(&stamp).is_ok_and(|last| last == bytes) {
        phase.done("up to date");
        return Ok(module);
    }
    let bindgen = tools::wasm_bindgen(&phase)?;
    phase.detail("wasm-bindgen");
    if package.exists() {
        fs::remove_dir_all(&package).context("cannot empty js/webbft/wasm")?;
    }
    quiet(
        &phase,
        Command::new(bindgen)
            .arg(&compiled)
            // The package says where the module is, and `webbft/inline` that it is nowhere.
            .args(["--target", "no-modules", "--omit-default-module-path"])
            .args(["--remove-name-section", "--remove-producers-section", "--out-dir"])
            .arg(&package),
        "wasm-bindgen could not read the compiled client.",
    )?;
    rewrite(&package.join("webbft_client_wasm.js"), glue::module)?;
    rewrite(&package.join("webbft_client_wasm.d.ts"), glue::types)?;
    let optimiser = tools::wasm_opt(&phase)?;
    phase.detail("wasm-opt");
    let unoptimised = target().join("xtask/client_bg.wasm");
    fs::rename(&module, &unoptimised).with_context(|| format!("no {}", shown(&module)))?;
    quiet(
        &phase,
        Command::new(optimiser)
            .arg(&unoptimised)
            .args(["-Oz", "--output"])
            .arg(&module)
            // What every browser since 2022 has and rustc assumes.
            .args(["--enable-bulk-memory", "--enable-bulk-memory-opt", "--enable-sign-ext"])
            .args(["--enable-mutable-globals", "--enable-nontrapping-float-to-int"])
            .args(["--enable-reference-types", "--enable-multivalue"]),
        "wasm-opt could not optimise the client.",
    )?;
    fs::write(&stamp, bytes).with_context(|| format!("cannot write {}", shown(&stamp)))?;
    phase.done("");
    Ok(module)
}

fn rewrite(file: &Path, change: impl Fn(&str) -> Result<String>) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("no {}", shown(file)))?;
    fs::write(file, change(&text)?).with_context(|| format!("cannot write {}", shown(file)))
}

/// Builds the npm package and the editor page, after the browser client; the folder to serve.
pub(crate) fn page() -> Result<PathBuf> {
    wasm()?;
    let phase = Phase::start("editor page");
    let _alone = alone(&phase)?;
    let js = tools::npm_ci(&phase, "js")?;
    let page = js.join("editor/dist");
    let stamp = target().join("xtask/page.stamp");
    let inputs = inputs(&js)?;
    if page.join("index.html").is_file() && fs::read_to_string(&stamp).is_ok_and(|s| s == inputs) {
        phase.done("up to date");
        return Ok(page);
    }
    for workspace in ["webbft", "editor"] {
        phase.detail(&format!("npm run build -w {workspace}"));
        quiet(&phase, npm(&js).args(["run", "build", "-w", workspace]), "Mend what it reports.")?;
    }
    if !page.join("index.html").is_file() {
        bail!("the build made no js/editor/dist/index.html");
    }
    fs::write(&stamp, inputs).with_context(|| format!("cannot write {}", shown(&stamp)))?;
    phase.done("");
    Ok(page)
}

/// Waits until no other `cargo xtask` writes the results under js/; held until it is dropped.
fn alone(phase: &Phase) -> Result<Flock<File>> {
    let directory = target().join("xtask");
    fs::create_dir_all(&directory).context("cannot create target/xtask")?;
    let mut file =
        File::create(directory.join("lock")).context("cannot create target/xtask/lock")?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((unlocked, Errno::EWOULDBLOCK)) => file = unlocked,
            Err((_, error)) => return Err(error).context("cannot lock target/xtask/lock"),
        }
        phase.detail("another cargo xtask is building");
        check_interrupt()?;
        thread::sleep(Duration::from_millis(100));
    }
}

/// npm in `directory`, without its own chatter.
pub(crate) fn npm(directory: &Path) -> Command {
    let mut command = Command::new("npm");
    command.current_dir(directory).env("npm_config_loglevel", "error");
    command.env("npm_config_update_notifier", "false");
    command
}

/// Names, sizes and times of the files below `directory`, leaving out installed packages and
/// results. Equal for equal inputs; an edited, added or removed file makes it differ.
fn inputs(directory: &Path) -> Result<String> {
    let mut list = Vec::new();
    let mut folders = vec![directory.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("no {}", shown(&folder)))? {
            let entry = entry?;
            let data = entry.metadata()?;
            if !data.is_dir() {
                let path = entry.path();
                list.push(format!("{} {} {:?}", path.display(), data.len(), data.modified()?));
            } else if ["node_modules", "dist"].iter().all(|other| entry.file_name() != *other) {
                folders.push(entry.path());
            }
        }
    }
    list.sort();
    Ok(list.join("\n"))
}
