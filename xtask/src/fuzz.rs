//! `cargo xtask fuzz`: the targets of tests/fuzz under libFuzzer, guided by coverage.
//!
//! What cargo-bolero would do, on a stable compiler: libFuzzer needs the compiler's coverage pass,
//! which every compiler has, and no sanitizer, since there is no unsafe code of ours to watch.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{quiet, visible};
use crate::tools;
use crate::ui::Phase;
use crate::workspace::{path, root, shown, target};

/// The targets, each with its share of the time.
const TARGETS: [(&str, u64); 6] =
    [("wire", 1), ("http", 1), ("link", 1), ("snapshot", 1), ("replica", 6), ("proxy", 3)];
/// Where bolero keeps a target's inputs, from the root of the repository.
const KEPT: &str = "tests/fuzz/tests/__fuzz__";
/// Inputs are no longer than this.
const MAX_LEN: usize = 4096;
/// Inputs that are kept of one target.
const MAX_KEPT: usize = 24;

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
#[command(
    after_help = "An input that breaks a target is written to tests/fuzz/tests/__fuzz__/TARGET/crashes,\n\
    where `cargo test -p webbft-fuzz` repeats and shrinks it. What reaches new code is\n\
    collected in target/fuzz/corpus. `cargo test` alone runs each target for some seconds.\n\n\
    Examples:\n  \
    cargo xtask fuzz --minutes 10\n  \
    cargo xtask fuzz --minutes 60 --target replica\n  \
    cargo xtask fuzz --minutes 5 --keep     keep a few inputs that cover the most in the repository"
)]
pub(crate) struct Args {
    /// How long, all targets together
    #[arg(long)]
    minutes: u64,
    /// Run only this target; may be given several times
    #[arg(long, value_name = "TARGET", num_args = 1..)]
    target: Vec<String>,
    /// Afterwards replace the inputs that are kept in the repository
    #[arg(long)]
    keep: bool,
}

/// Runs `cargo xtask fuzz`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let chosen = |name: &str| args.target.is_empty() || args.target.iter().any(|n| n == name);
    if let Some(unknown) = args.target.iter().find(|name| TARGETS.iter().all(|(n, _)| n != name)) {
        bail!(
            "there is no target `{unknown}`; the targets are {}",
            TARGETS.map(|t| t.0).join(", ")
        );
    }
    let targets: Vec<(&str, u64)> = TARGETS.into_iter().filter(|(name, _)| chosen(name)).collect();
    let shares: u64 = targets.iter().map(|(_, share)| share).sum();
    let binaries = build()?;
    for (name, share) in &targets {
        let seconds = (args.minutes * 60 * share / shares).max(1);
        println!("\n{} {name}, {seconds} s", console::style("fuzzing").bold());
        fuzz(name, &binaries, seconds)?;
        if args.keep {
            keep(name, &binaries)?;
        }
    }
    println!("\nno target was broken");
    Ok(())
}

/// Builds the targets with coverage counters; gives the test binaries by name.
fn build() -> Result<Vec<(String, PathBuf)>> {
    let phase = Phase::start("fuzz targets with coverage counters");
    let counters = counting_compiler()?;
    let triple = host()?;
    let cargo = |format: &str| {
        let mut command = tools::cargo();
        command
            .args(["test", "--no-run", "--release", "--package", "webbft-fuzz"])
            // Others do not link: only these have a main function for libFuzzer.
            .args(TARGETS.iter().flat_map(|(name, _)| ["--test", name]))
            .args(["--message-format", format])
            // With a target named, build scripts and macros are built without these flags.
            .args(["--target", &triple])
            .arg("--target-dir")
            .arg(target().join("fuzz/build"))
            .env("RUSTFLAGS", "--cfg fuzzing --cfg fuzzing_libfuzzer")
            .env("RUSTC_WORKSPACE_WRAPPER", &counters)
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
            .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
        command
    };
    const HINT: &str =
        "libFuzzer is C++: the build needs a C++ compiler (on Debian: apt-get install g++).";
    quiet(&phase, &mut cargo("short"), HINT)?;
    // Where the binaries are, which only JSON says.
    let output = quiet(&phase, &mut cargo("json-render-diagnostics"), HINT)?;
    let mut binaries = Vec::new();
    for line in output.lines().filter(|line| line.starts_with('{')) {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        if let (Some(name), Some(binary)) =
            (message["target"]["name"].as_str(), message["executable"].as_str())
        {
            binaries.push((name.to_owned(), PathBuf::from(binary)));
        }
    }
    phase.done("");
    Ok(binaries)
}

/// A script that runs the compiler with coverage counters, for our own crates only: signatures
/// and hashes are slow enough, and nothing is to be found in them.
fn counting_compiler() -> Result<PathBuf> {
    const SCRIPT: &str = "#!/bin/sh\n\
        exec \"$@\" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \\\n  \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \\\n  \
        -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares\n";
    let folder = target().join("fuzz");
    fs::create_dir_all(&folder).context("cannot make target/fuzz")?;
    let script = folder.join("rustc-with-counters");
    // Written anew it would make Cargo build everything again.
    if fs::read_to_string(&script).is_ok_and(|known| known == SCRIPT) {
        return Ok(script);
    }
    fs::write(&script, SCRIPT).context("cannot write target/fuzz/rustc-with-counters")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
        .context("cannot make target/fuzz/rustc-with-counters executable")?;
    Ok(script)
}

fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .current_dir(root())
        .args(["--print", "host-tuple"])
        .output()
        .context("cannot run rustc")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn command(name: &str, binaries: &[(String, PathBuf)], arguments: &[String]) -> Result<Command> {
    let binary = binaries
        .iter()
        .find_map(|(of, binary)| (of == name).then_some(binary))
        .with_context(|| format!("the build made no test `{name}`"))?;
    let mut command = Command::new(binary);
    command
        .current_dir(root())
        .args([name, "--exact", "--nocapture", "--test-threads", "1"])
        .env("BOLERO_LIBFUZZER_ARGS", arguments.join(" "));
    Ok(command)
}

/// The folders of collected and of kept inputs and of those that break the target, as libFuzzer
/// takes them: from the root of the repository, since its arguments cannot hold a space.
fn folders(name: &str) -> Result<[String; 3]> {
    let collected = shown(&target().join("fuzz/corpus").join(name));
    let folders = [collected, format!("{KEPT}/{name}/corpus"), format!("{KEPT}/{name}/crashes")];
    for folder in &folders {
        fs::create_dir_all(path(folder)).with_context(|| format!("cannot make {folder}"))?;
    }
    Ok(folders)
}

fn fuzz(name: &str, binaries: &[(String, PathBuf)], seconds: u64) -> Result<()> {
    let [collected, kept, broken] = folders(name)?;
    begin(&collected)?;
    let arguments = [
        collected,
        kept,
        format!("-artifact_prefix={broken}/"),
        format!("-max_total_time={seconds}"),
        format!("-max_len={MAX_LEN}"),
        // A sequence of inputs has to be long to get anywhere.
        "-len_control=0".to_owned(),
        "-timeout=60".to_owned(),
        "-use_value_profile=1".to_owned(),
        "-print_final_stats=1".to_owned(),
    ];
    visible(
        &mut command(name, binaries, &arguments)?,
        "Repeat and shrink it by `cargo test -p webbft-fuzz`, then write a test for what it found.",
    )?;
    // Nothing broke: the folder is empty unless an earlier run left something.
    let _ = fs::remove_dir(path(&broken));
    Ok(())
}

/// Inputs to begin with, where nothing has been collected: any bytes, and enough of them.
fn begin(collected: &str) -> Result<()> {
    let folder = path(collected);
    if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Ok(());
    }
    let mut random = fs::File::open("/dev/urandom").context("cannot open /dev/urandom")?;
    for index in 0..32 {
        let mut bytes = vec![0; MAX_LEN / 2];
        random.read_exact(&mut bytes).context("cannot read /dev/urandom")?;
        let file = folder.join(format!("random-{index}"));
        fs::write(&file, bytes).with_context(|| format!("cannot write {}", shown(&file)))?;
    }
    Ok(())
}

/// Replaces the kept inputs by a few that together cover much of what all collected ones do.
fn keep(name: &str, binaries: &[(String, PathBuf)]) -> Result<()> {
    let phase = Phase::start(&format!("inputs of {name} to keep"));
    let [collected, kept, _] = folders(name)?;
    let merged = target().join("fuzz/merged").join(name);
    if merged.exists() {
        fs::remove_dir_all(&merged).context("cannot empty target/fuzz/merged")?;
    }
    fs::create_dir_all(&merged).context("cannot make target/fuzz/merged")?;
    let arguments = [shown(&merged), collected, kept.clone(), "-set_cover_merge=1".to_owned()];
    quiet(&phase, &mut command(name, binaries, &arguments)?, "libFuzzer cannot merge the corpus.")?;
    let mut inputs = Vec::new();
    for entry in fs::read_dir(&merged).context("cannot read target/fuzz/merged")? {
        let file = entry.context("cannot read target/fuzz/merged")?.path();
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", shown(&file)))?;
        if bytes.len() <= MAX_LEN {
            inputs.push((bytes.len(), file));
        }
    }
    // From short to long, so many apart that as many remain as are kept.
    inputs.sort();
    let step = inputs.len().div_ceil(MAX_KEPT).max(1);
    let folder = path(&kept);
    fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {kept}"))?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {kept}"))?;
    let mut count = 0;
    for (_, file) in inputs.iter().rev().step_by(step) {
        let name = file.file_name().context("an input has no name")?;
        fs::copy(file, folder.join(name)).with_context(|| format!("cannot write to {kept}"))?;
        count += 1;
    }
    phase.done(&format!("{count} of {}", inputs.len()));
    Ok(())
}
