//! The tools that the commands need, found or fetched. Everything fetched goes to `target/tools`
//! or a `node_modules`; only `rustup target add` and, for root on Debian, `apt-get` change the
//! machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::{check_interrupt, quiet};
use crate::ui::Phase;
use crate::workspace::{path, root, shown, target};

/// The browser's target.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";
/// The target under which unit tests run as Wasm: it has a test harness, the browser's has none.
pub(crate) const WASI: &str = "wasm32-wasip1";

const CARGO_DENY: &str = "0.20.2";
/// The oldest Node that vite and the WASI runner work with.
const NODE: (u32, u32) = (20, 19);

/// Cargo, in the root of the repository, without what the cargo that runs us put in the environment.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root()).env("CARGO_TERM_PROGRESS_WHEN", "never");
    // Build scripts watch these; left in place they would make the same crates build twice.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Fails unless Node and npm are there and recent enough.
pub(crate) fn node() -> Result<()> {
    const ADVICE: &str = "Install Node.js 20.19 or later with npm (https://nodejs.org, or your \
                          system's packages nodejs and npm).";
    let version = output(Command::new("node").arg("--version")).with_context(|| ADVICE)?;
    let mut numbers = version.trim().trim_start_matches('v').split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= NODE => {}
        _ => bail!("Node {} is too old. {ADVICE}", version.trim()),
    }
    output(Command::new("npm").arg("--version")).with_context(|| ADVICE)?;
    Ok(())
}

/// Installs the npm project in `directory` as its lockfile says, unless that was done before.
pub(crate) fn npm_ci(phase: &Phase, directory: &str) -> Result<PathBuf> {
    node()?;
    let project = path(directory);
    let lock = fs::read(project.join("package-lock.json"))
        .with_context(|| format!("{directory}/package-lock.json is missing"))?;
    let stamp = project.join("node_modules/.installed-lock");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(project);
    }
    phase.detail(&format!("npm ci in {directory}"));
    quiet(
        phase,
        Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(&project),
        "The packages come from the npm registry: is it reachable? When package.json was changed, \
         run `npm install` there once and commit the lockfile.",
    )?;
    fs::write(&stamp, lock).with_context(|| format!("cannot write {}", shown(&stamp)))?;
    Ok(project)
}

/// Adds the standard library for a Wasm target when it is missing.
pub(crate) fn rust_target(phase: &Phase, target: &str) -> Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libraries = output(
        Command::new(rustc)
            .args(["--print", "target-libdir", "--target", target])
            .current_dir(root()),
    )?;
    if Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    if output(Command::new("rustup").arg("--version")).is_err() {
        bail!(
            "the Rust standard library for {target} is missing and rustup is not installed. \
             Install your system's package for it, or Rust by https://rustup.rs."
        );
    }
    quiet(
        phase,
        Command::new("rustup").args(["target", "add", target]).current_dir(root()),
        "rustup could not fetch the standard library: is static.rust-lang.org reachable?",
    )?;
    Ok(())
}

/// `wasm-bindgen` of exactly the version that Cargo.lock has for the crate: the two must match.
pub(crate) fn wasm_bindgen(phase: &Phase) -> Result<PathBuf> {
    let lock = fs::read_to_string(path("Cargo.lock")).context("cannot read Cargo.lock")?;
    let version = locked_version(&lock, "wasm-bindgen")
        .context("Cargo.lock has no wasm-bindgen: does client-wasm depend on it?")?;
    cargo_tool(phase, "wasm-bindgen-cli", "wasm-bindgen", &version, &[])
}

/// `cargo-deny`.
pub(crate) fn cargo_deny(phase: &Phase) -> Result<PathBuf> {
    cargo_tool(phase, "cargo-deny", "cargo-deny", CARGO_DENY, &["--no-default-features"])
}

/// `wasm-opt`, as published on npm.
pub(crate) fn wasm_opt(phase: &Phase) -> Result<PathBuf> {
    Ok(npm_ci(phase, "xtask/tools")?.join("node_modules/.bin/wasm-opt"))
}

/// Installs one program of a crate into target/tools unless that version is there.
fn cargo_tool(
    phase: &Phase,
    package: &str,
    program: &str,
    version: &str,
    options: &[&str],
) -> Result<PathBuf> {
    let tools = target().join("tools");
    let installed = tools.join("bin").join(program);
    if output(Command::new(&installed).arg("--version"))
        .is_ok_and(|text| text.split_whitespace().nth(1) == Some(version))
    {
        return Ok(installed);
    }
    phase.detail(&format!("installing {package} {version}"));
    // Without --locked: the lockfiles that tools publish may name versions that were withdrawn
    // since. The profile favours a quick build over a fast tool.
    quiet(
        phase,
        cargo()
            .args(["install", package, "--version", version, "--bin", program, "--force"])
            .args(options)
            .arg("--root")
            .arg(&tools)
            .arg("--target-dir")
            .arg(tools.join("build"))
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
        "The tool is built from source: can cargo reach its package registry?",
    )?;
    Ok(installed)
}

/// A browser of the tests.
struct Browser {
    name: &'static str,
    /// The environment variable that names another one.
    variable: &'static str,
    programs: &'static [&'static str],
    /// Debian's packages.
    packages: &'static [&'static str],
}

/// Chromium or Chrome: `CHROMIUM`, an installed one, or on Debian and its relatives, for root, the
/// system's package.
pub(crate) fn chromium(phase: &Phase) -> Result<PathBuf> {
    browser(
        phase,
        &Browser {
            name: "Chromium",
            variable: "CHROMIUM",
            programs: &[
                "chromium",
                "chromium-browser",
                "google-chrome",
                "google-chrome-stable",
                "chrome",
            ],
            packages: &["chromium", "fonts-dejavu-core"],
        },
    )
}

/// Firefox, found like Chromium. Driven through WebDriver BiDi: any since 129 will do.
pub(crate) fn firefox(phase: &Phase) -> Result<PathBuf> {
    browser(
        phase,
        &Browser {
            name: "Firefox",
            variable: "FIREFOX",
            programs: &["firefox-esr", "firefox"],
            packages: &["firefox-esr", "fonts-dejavu-core"],
        },
    )
}

/// May, and can, packages be installed?
fn is_debian_root() -> bool {
    Path::new("/etc/debian_version").exists() && nix::unistd::geteuid().is_root()
}

fn apt_install(phase: &Phase, packages: &[&str], advice: &str) -> Result<()> {
    phase.detail(&format!("apt-get install {}", packages[0]));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        quiet(phase, &mut command, advice)
    };
    apt(&["update", "-q"])?;
    apt(&[&["install", "-q", "-y", "--no-install-recommends"], packages].concat())?;
    Ok(())
}

/// Why there will be no valgrind: it is neither installed nor to be had without a password.
pub(crate) fn no_valgrind() -> Option<&'static str> {
    (installed(&["valgrind"]).is_none() && !is_debian_root())
        .then_some("valgrind is not installed (on Debian: apt-get install valgrind)")
}

/// Installs valgrind where it is missing.
pub(crate) fn valgrind(phase: &Phase) -> Result<()> {
    if installed(&["valgrind"]).is_some() {
        return Ok(());
    }
    apt_install(phase, &["valgrind"], "Install valgrind, on Debian: apt-get install valgrind.")
}

fn browser(phase: &Phase, browser: &Browser) -> Result<PathBuf> {
    let Browser { name, variable, programs, packages } = browser;
    if let Some(named) = std::env::var_os(variable) {
        let named = PathBuf::from(named);
        if !named.is_file() {
            bail!("{variable} names {}, which is no file", named.display());
        }
        return Ok(named);
    }
    if let Some(found) = installed(programs) {
        return Ok(found);
    }
    let advice = format!(
        "Install {name} (on Debian: apt-get install {}), or name the program in the environment \
         variable {variable}.",
        packages[0]
    );
    if !is_debian_root() {
        bail!("no {name} was found. {advice}");
    }
    apt_install(phase, packages, &advice)?;
    installed(programs).with_context(|| format!("apt-get installed no {name}. {advice}"))
}

fn installed(programs: &[&str]) -> Option<PathBuf> {
    let directories: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    programs
        .iter()
        .flat_map(|name| directories.iter().map(move |directory| directory.join(name)))
        .find(|candidate| candidate.is_file())
}

/// The version of `package` in a Cargo.lock; the highest when there are several.
fn locked_version(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines();
    let mut found = None;
    while lines.any(|line| line == name) {
        let version = lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')?;
        found = Some(version.to_owned());
    }
    found
}

/// The standard output of a command that must succeed.
fn output(command: &mut Command) -> Result<String> {
    check_interrupt()?;
    let shown = crate::process::line(command);
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        bail!("{shown} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locked_version_is_that_of_the_exact_name() {
        let lock = "[[package]]\nname = \"wasm-bindgen-shared\"\nversion = \"0.9.9\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\n";
        assert_eq!(locked_version(lock, "wasm-bindgen").as_deref(), Some("0.2.130"));
        assert_eq!(locked_version(lock, "wasm"), None);
    }
}
