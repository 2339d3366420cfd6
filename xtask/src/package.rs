//! `cargo xtask package`: the tarball of the npm package, checked and measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use console::style;
use serde::{Deserialize, Serialize};

use crate::process::quiet;
use crate::size::gzipped;
use crate::ui::{self, Phase};
use crate::workspace::{path, shown, target};
use crate::{builds, tools};

/// The Wasm may have at most this many bytes, gzipped.
pub(crate) const WASM_LIMIT: usize = 90_000;
/// What a bundler makes of `createClient` may have at most this many bytes, gzipped.
const JS_LIMIT: usize = 12_000;
const WASM: &str = "wasm/webbft_client_wasm_bg.wasm";

/// Arguments of `cargo xtask package`.
#[derive(clap::Args)]
#[command(
    after_help = "The tarball is put into target/package. Checked are its exports and types \
    (publint, attw), its public API against js/webbft/etc/*.api.md (`npm run api -w webbft` in js/ \
    brings those up to date), its reference (typedoc, into target/reference), and its sizes."
)]
pub(crate) struct Args {
    /// Print the report as JSON; progress goes to standard error
    #[arg(long)]
    json: bool,
}

/// Runs `cargo xtask package`.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.json {
        ui::progress_on_stderr();
    }
    let report = build()?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.print();
    }
    report.within_budget()
}

/// What is in the tarball.
#[derive(Serialize)]
pub(crate) struct Report {
    /// The file, from the root of the repository.
    tarball: String,
    /// Its size in bytes, gzipped as it is.
    bytes: u64,
    files: Vec<PackedFile>,
    exports: Vec<Export>,
    budgets: Vec<Budget>,
    /// What a bundler makes of `createClient` of each entry, minified.
    bundles: Vec<Bundle>,
}

#[derive(Serialize)]
struct PackedFile {
    path: String,
    bytes: usize,
    gzip: usize,
}

#[derive(Serialize)]
struct Export {
    entry: String,
    file: String,
    types: Option<String>,
}

#[derive(Serialize)]
struct Budget {
    what: String,
    gzip: usize,
    limit: usize,
}

#[derive(Serialize, Deserialize)]
struct Bundle {
    entry: String,
    bytes: usize,
    gzip: usize,
}

/// What `scripts/measure.mjs` prints.
#[derive(Deserialize)]
struct Measured {
    bundles: Vec<Bundle>,
    /// Bytes of a bundle that imports everything and uses nothing.
    unused: usize,
    /// Custom sections of the Wasm that a release must not have.
    sections: Vec<String>,
}

/// What `npm pack --json` prints.
#[derive(Deserialize)]
struct Packed {
    filename: String,
    size: u64,
    files: Vec<PackedPath>,
}

#[derive(Deserialize)]
struct PackedPath {
    path: String,
}

#[derive(Deserialize)]
struct Manifest {
    exports: BTreeMap<String, Target>,
}

/// An entry of `exports`: a file, or one per condition.
#[derive(Deserialize)]
#[serde(untagged)]
enum Target {
    File(String),
    Conditions { types: String, default: String },
}

/// Builds the package, packs it, and checks all but the budgets.
fn build() -> Result<Report> {
    builds::page()?;
    let tarball = tarball()?;
    let js = path("js");
    let package = js.join("webbft");
    let measured = measure(&package)?;
    let program = |name: &str| {
        let mut command = Command::new(js.join("node_modules/.bin").join(name));
        command.current_dir(&package).env("NO_COLOR", "1");
        command
    };
    check("publint", program("publint").arg("--strict").arg(&tarball.file), "Mend package.json.")?;
    check(
        "attw",
        program("attw")
            .args(["--profile", "esm-only", "--no-emoji", "--exclude-entrypoints", "wasm", "--"])
            .arg(&tarball.file),
        "The types of an entry cannot be found as package.json says.",
    )?;
    for report in ["webbft", "webbft-worker"] {
        check(
            &format!("API report {report}"),
            program("api-extractor").args(["run", "--config", &format!("etc/{report}.json")]),
            "Where the change of the public API is meant: `npm run api -w webbft` in js/, and commit \
             js/webbft/etc.",
        )?;
    }
    check(
        "reference",
        program("typedoc").arg("--out").arg(target().join("reference")),
        "Mend the comments that it names.",
    )?;
    report(&package, tarball, measured)
}

struct Tarball {
    file: PathBuf,
    packed: Packed,
}

fn tarball() -> Result<Tarball> {
    let phase = Phase::start("tarball (npm pack)");
    let directory = target().join("package");
    fs::create_dir_all(&directory).context("cannot create target/package")?;
    let output = quiet(
        &phase,
        builds::npm(&path("js/webbft"))
            .args(["pack", "--json", "--pack-destination"])
            .arg(&directory),
        "npm could not pack the package.",
    )?;
    let json = output.find('[').map_or("", |start| &output[start..]);
    let packed: Vec<Packed> =
        serde_json::from_str(json).context("`npm pack --json` printed something unexpected")?;
    let packed = packed.into_iter().next().context("`npm pack` packed nothing")?;
    let file = directory.join(&packed.filename);
    phase.done(&format!("{} bytes", packed.size));
    Ok(Tarball { file, packed })
}

fn measure(package: &Path) -> Result<Measured> {
    let phase = Phase::start("bundles of the entries (esbuild)");
    let output = quiet(
        &phase,
        Command::new("node").arg("scripts/measure.mjs").current_dir(package),
        "An entry cannot be bundled, or awaits at its top level.",
    )?;
    let line = output.lines().last().unwrap_or_default();
    let measured: Measured =
        serde_json::from_str(line).context("scripts/measure.mjs printed something unexpected")?;
    if !measured.sections.is_empty() {
        bail!("the Wasm has sections that no release needs: {}", measured.sections.join(", "));
    }
    if measured.unused > 0 {
        bail!(
            "importing the package without using it costs {} bytes: a module has side effects",
            measured.unused
        );
    }
    phase.done("");
    Ok(measured)
}

fn check(title: &str, command: &mut Command, hint: &str) -> Result<()> {
    let phase = Phase::start(title);
    quiet(&phase, command, hint)?;
    phase.done("");
    Ok(())
}

fn report(package: &Path, tarball: Tarball, measured: Measured) -> Result<Report> {
    let mut files = Vec::new();
    for PackedPath { path } in tarball.packed.files {
        let bytes = fs::read(package.join(&path))
            .with_context(|| format!("cannot read the packed {path}"))?;
        files.push(PackedFile { gzip: gzipped(&bytes)?, bytes: bytes.len(), path });
    }
    let manifest = fs::read(package.join("package.json")).context("no js/webbft/package.json")?;
    let manifest: Manifest = serde_json::from_slice(&manifest).context(
        "an entry of `exports` in js/webbft/package.json is neither file nor conditions",
    )?;
    let exports = manifest
        .exports
        .into_iter()
        .map(|(entry, target)| match target {
            Target::File(file) => Export { entry, file, types: None },
            Target::Conditions { types, default } => {
                Export { entry, file: default, types: Some(types) }
            }
        })
        .collect();
    let wasm = files.iter().find(|file| file.path == WASM);
    let client = measured.bundles.iter().find(|bundle| bundle.entry == "webbft");
    let budgets = vec![
        Budget {
            what: "Wasm".to_owned(),
            gzip: wasm.with_context(|| format!("{WASM} is not in the tarball"))?.gzip,
            limit: WASM_LIMIT,
        },
        Budget {
            what: "JavaScript of createClient".to_owned(),
            gzip: client.context("createClient was not measured")?.gzip,
            limit: JS_LIMIT,
        },
    ];
    Ok(Report {
        tarball: shown(&tarball.file),
        bytes: tarball.packed.size,
        files,
        exports,
        budgets,
        bundles: measured.bundles,
    })
}

impl Report {
    fn print(&self) {
        println!("\n{}  {} bytes", style(&self.tarball).bold(), self.bytes);
        println!("\n  {:>9} {:>9}", "bytes", "gzipped");
        for PackedFile { path, bytes, gzip } in &self.files {
            println!("  {bytes:>9} {gzip:>9}  {path}");
        }
        println!("\nExports");
        for Export { entry, file, types } in &self.exports {
            let types = types.as_ref().map_or_else(String::new, |types| format!("  {types}"));
            println!("  {entry:18} {file}{types}");
        }
        println!("\ncreateClient in an application's bundle, minified");
        for Bundle { entry, bytes, gzip } in &self.bundles {
            println!("  {bytes:>9} {gzip:>9}  {entry}");
        }
        println!("\nBudgets, in bytes gzipped");
        for Budget { what, gzip, limit } in &self.budgets {
            let verdict = if gzip <= limit { style("within").green() } else { style("OVER").red() };
            println!("  {gzip:>9} of {limit:>6}  {verdict}  {what}");
        }
    }

    fn within_budget(&self) -> Result<()> {
        let over: Vec<String> = self
            .budgets
            .iter()
            .filter(|budget| budget.gzip > budget.limit)
            .map(|Budget { what, gzip, limit }| format!("{what} by {} bytes", gzip - limit))
            .collect();
        if over.is_empty() { Ok(()) } else { bail!("over budget: {}", over.join(", ")) }
    }
}

/// The step `package`: what `cargo xtask package` does, and the tarball in projects of its users.
pub(crate) fn test() -> Result<()> {
    let report = build()?;
    report.print();
    report.within_budget()?;
    let daemon = builds::daemon()?;
    let phase = Phase::start("projects in target/package/projects");
    let projects = projects(&phase, &path(&report.tarball))?;
    phase.done("");
    let mut driver = crate::demo::driver()?;
    driver
        .current_dir(path("tests/package"))
        .args(["--test", "--test-reporter=spec", "package.test.mjs"])
        .env("WEBBFT_BIN", daemon)
        .env("WEBBFT_PROJECTS", projects);
    crate::process::visible(&mut driver, "The failing tests are named above.")
}

/// Copies the projects, and installs what they need and the tarball.
fn projects(phase: &Phase, tarball: &Path) -> Result<PathBuf> {
    let projects = target().join("package/projects");
    copy(&path("tests/package/projects"), &projects)?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(path("tests/package").join(file), projects.join(file))
            .with_context(|| format!("cannot copy tests/package/{file}"))?;
    }
    tools::node()?;
    phase.detail("npm install");
    // Not `npm ci`: what a lockfile has of other systems' binaries depends on where it was made.
    quiet(
        phase,
        builds::npm(&projects)
            .args(["install", "--no-save", "--no-audit", "--no-fund"])
            .arg(tarball),
        "The packages come from the npm registry: is it reachable?",
    )?;
    Ok(projects)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", shown(to)))?;
    for entry in fs::read_dir(from).with_context(|| format!("no {}", shown(from)))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.metadata()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)
                .with_context(|| format!("cannot write {}", shown(&target)))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(gzip: usize) -> Report {
        Report {
            tarball: String::new(),
            bytes: 0,
            files: Vec::new(),
            exports: Vec::new(),
            budgets: vec![Budget { what: "Wasm".to_owned(), gzip, limit: 100 }],
            bundles: Vec::new(),
        }
    }

    #[test]
    fn one_byte_over_budget_is_an_error() {
        assert!(report(100).within_budget().is_ok());
        let error = report(101).within_budget().expect_err("over");
        assert_eq!(error.to_string(), "over budget: Wasm by 1 bytes");
    }

    #[test]
    fn both_forms_of_exports_are_read() {
        let json = r#"{"exports": {"./wasm": "./a.wasm", ".": {"types": "./a.d.ts", "default": "./a.js"}}}"#;
        let manifest: Manifest = serde_json::from_str(json).expect("a manifest");
        let Target::File(file) = &manifest.exports["./wasm"] else { panic!("not a file") };
        assert_eq!(file, "./a.wasm");
        let Target::Conditions { types, default } = &manifest.exports["."] else {
            panic!("no conditions")
        };
        assert_eq!((types.as_str(), default.as_str()), ("./a.d.ts", "./a.js"));
    }
}
