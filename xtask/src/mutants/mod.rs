//! `cargo xtask mutants`: known defects put back one at a time, each of which a check must catch.

mod checks;
mod list;
mod tree;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use console::style;
use serde::Serialize;

use crate::process::check_interrupt;
use crate::ui::{Phase, seconds};
use crate::workspace::{root, shown, target};

use checks::{Check, Place, Verdict};
use list::Mutant;

/// Arguments of `cargo xtask mutants`.
#[derive(clap::Args)]
#[command(
    after_help = "The mutants are data, in tests/mutants/*.toml: a text that is replaced in a copy of the\n\
    workspace (target/mutants/tree), and the checks that must fail then. The checks run\n\
    without a mutant first.\n\n\
    Examples:\n  \
    cargo xtask mutants\n  \
    cargo xtask mutants --list\n  \
    cargo xtask mutants --only A4 --only Q      every mutant whose id or rule begins with A4 or Q\n  \
    cargo xtask mutants --json mutants.json     the results as JSON, too"
)]
pub(crate) struct Args {
    /// Run only the mutants whose id or rule begins with this; may be given several times
    #[arg(long, value_name = "ID", num_args = 1..)]
    only: Vec<String>,
    /// List the mutants and end
    #[arg(long)]
    list: bool,
    /// Write the results to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What became of a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Caught,
    Survived,
    DoesNotCompile,
}

/// One line of the results.
#[derive(Debug, Serialize)]
struct Report<'a> {
    id: &'a str,
    rule: &'a str,
    what: &'a str,
    outcome: Outcome,
    /// The check that caught it.
    check: Option<String>,
    /// What that check said.
    said: String,
    seconds: f64,
}

/// Runs `cargo xtask mutants`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let all = list::read(root())?;
    list::validate(root(), &all)?;
    let mutants = select(all, &args.only)?;
    if args.list {
        let width = mutants.iter().map(|mutant| mutant.id.len()).max().unwrap_or(0);
        for Mutant { id, rule, what, .. } in &mutants {
            println!("{id:width$}  {rule:4}  {what}");
        }
        println!("{} mutants", mutants.len());
        return Ok(());
    }
    let tree = target().join("mutants/tree");
    let build = target().join("mutants/build");
    fs::create_dir_all(&tree).with_context(|| format!("cannot make {}", shown(&tree)))?;
    let phase = Phase::start("copy of the workspace");
    tree::copy(&tree)?;
    phase.done("");
    let place = Place { tree: &tree, build: &build };
    baseline(&place, &mutants)?;
    let results = run_all(&place, &mutants)?;
    print(&results);
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&results).context("cannot write JSON")?;
        fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    let missed = results.iter().filter(|result| result.outcome != Outcome::Caught).count();
    if missed > 0 {
        bail!("{missed} of {} mutants were not caught: write the test that fails", results.len());
    }
    println!("{} mutants, all caught", results.len());
    Ok(())
}

/// A cheap step of `cargo xtask test`: the mutants apply to the sources as they are now.
pub(crate) fn check() -> Result<()> {
    let phase = Phase::start("every mutant applies to the sources");
    let mutants = list::read(root())?;
    list::validate(root(), &mutants)?;
    list::cover(root(), &mutants)?;
    phase.done(&format!("{} mutants", mutants.len()));
    Ok(())
}

fn select(all: Vec<Mutant>, only: &[String]) -> Result<Vec<Mutant>> {
    let matches = |mutant: &Mutant, name: &String| {
        mutant.id.starts_with(name.as_str()) || mutant.rule.starts_with(name.as_str())
    };
    if let Some(unknown) = only.iter().find(|name| !all.iter().any(|mutant| matches(mutant, name)))
    {
        bail!("no mutant's id or rule begins with `{unknown}`; see cargo xtask mutants --list");
    }
    let chosen = |mutant: &Mutant| only.is_empty() || only.iter().any(|name| matches(mutant, name));
    Ok(all.into_iter().filter(chosen).collect())
}

/// A check that fails without a mutant says nothing about mutants.
fn baseline(place: &Place<'_>, mutants: &[Mutant]) -> Result<()> {
    let checks: BTreeSet<&Check> =
        mutants.iter().flat_map(|mutant| mutant.caught_by.iter()).collect();
    let phase = Phase::start(&format!("{} checks without a mutant", checks.len()));
    place.run_all(&phase, &checks)?;
    phase.done("");
    Ok(())
}

fn run_all<'a>(place: &Place<'_>, mutants: &'a [Mutant]) -> Result<Vec<Report<'a>>> {
    let started = Instant::now();
    let mut results = Vec::with_capacity(mutants.len());
    for (index, mutant) in mutants.iter().enumerate() {
        check_interrupt()?;
        let left = match u32::try_from(index) {
            Ok(done) if done > 0 => {
                let each = started.elapsed() / done;
                let to_do = u32::try_from(mutants.len() - index).unwrap_or(u32::MAX);
                format!(", {} left", seconds(each.saturating_mul(to_do)))
            }
            _ => String::new(),
        };
        let title = format!("[{}/{}{left}] {}", index + 1, mutants.len(), mutant.id);
        let phase = Phase::start(&title);
        let began = Instant::now();
        let result = run_one(place, &phase, mutant);
        let result = finish(mutant, result?, began.elapsed());
        phase.done(&describe(&result));
        results.push(result);
    }
    Ok(results)
}

type Found = (Outcome, Option<String>, String);

fn run_one(place: &Place<'_>, phase: &Phase, mutant: &Mutant) -> Result<Found> {
    let spoiled = Spoiled::new(place.tree, mutant)?;
    for check in &mutant.caught_by {
        match place.run(phase, check)? {
            Verdict::Passed => {}
            Verdict::Failed(said) => return Ok((Outcome::Caught, Some(check.to_string()), said)),
            Verdict::DoesNotCompile(said) => return Ok((Outcome::DoesNotCompile, None, said)),
        }
    }
    spoiled.restore()?;
    let tried: Vec<String> = mutant.caught_by.iter().map(ToString::to_string).collect();
    Ok((Outcome::Survived, None, tried.join("; ")))
}

fn finish<'a>(mutant: &'a Mutant, found: Found, time: Duration) -> Report<'a> {
    let (outcome, check, said) = found;
    let Mutant { id, rule, what, .. } = mutant;
    Report { id, rule, what, outcome, check, said, seconds: time.as_secs_f64() }
}

/// The copy with a mutant in it. Dropping it restores the sources.
struct Spoiled {
    originals: Vec<(PathBuf, Vec<u8>)>,
}

impl Spoiled {
    fn new(tree: &Path, mutant: &Mutant) -> Result<Self> {
        let mut spoiled = Self { originals: Vec::new() };
        for (file, text) in mutant.apply(tree)? {
            let path = tree.join(file);
            let original =
                fs::read(&path).with_context(|| format!("cannot read {}", shown(&path)))?;
            spoiled.originals.push((path.clone(), original));
            tree::write(&path, text.as_bytes())?;
        }
        Ok(spoiled)
    }

    fn restore(mut self) -> Result<()> {
        std::mem::take(&mut self.originals)
            .into_iter()
            .try_for_each(|(path, original)| tree::write(&path, &original))
    }
}

impl Drop for Spoiled {
    fn drop(&mut self) {
        for (path, original) in &self.originals {
            // The next run copies the workspace anew.
            let _ = tree::write(path, original);
        }
    }
}

fn describe(result: &Report<'_>) -> String {
    match (result.outcome, &result.check) {
        (Outcome::Caught, Some(check)) => {
            format!("{} by {check}: {}", style("caught").green(), result.said)
        }
        (Outcome::Caught, None) => style("caught").green().to_string(),
        (Outcome::Survived, _) => {
            format!("{} {}", style("SURVIVED").red().bold(), result.said)
        }
        (Outcome::DoesNotCompile, _) => {
            format!("{}\n{}", style("does not compile").red().bold(), result.said)
        }
    }
}

fn print(results: &[Report<'_>]) {
    let width = results.iter().map(|result| result.id.len()).max().unwrap_or(0);
    println!();
    for Report { id, outcome, check, seconds, .. } in results {
        let (verdict, by) = match outcome {
            Outcome::Caught => (style("caught").green(), check.as_deref().unwrap_or_default()),
            Outcome::Survived => (style("SURVIVED").red().bold(), ""),
            Outcome::DoesNotCompile => (style("no build").red().bold(), ""),
        };
        println!("  {id:width$}  {verdict:8}  {seconds:6.1} s  {by}");
    }
    println!();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(id: &str, rule: &str) -> Mutant {
        Mutant {
            id: id.to_owned(),
            rule: rule.to_owned(),
            what: String::new(),
            file: "f".to_owned(),
            find: "a".to_owned(),
            replace: "b".to_owned(),
            also: Vec::new(),
            caught_by: vec![Check::Sim("0..1".to_owned())],
        }
    }

    #[test]
    fn mutants_are_selected_by_the_beginning_of_id_or_rule() {
        let all = || vec![mutant("quorum-one-less", "Q1"), mutant("latched", "A4")];
        let ids = |only: &[&str]| -> Vec<String> {
            let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
            let chosen = select(all(), &only).expect("known");
            chosen.into_iter().map(|mutant| mutant.id).collect()
        };
        assert_eq!(ids(&[]), ["quorum-one-less", "latched"]);
        assert_eq!(ids(&["A4"]), ["latched"]);
        assert_eq!(ids(&["quorum"]), ["quorum-one-less"]);
        assert!(select(all(), &["X".to_owned()]).is_err());
    }

    #[test]
    fn a_spoiled_file_is_restored() {
        let folder = std::env::temp_dir().join(format!("webbft-mutants-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("f");
        fs::write(&file, "a").expect("written");
        let spoiled = Spoiled::new(&folder, &mutant("m", "A1")).expect("applies");
        assert_eq!(fs::read_to_string(&file).expect("there"), "b");
        drop(spoiled);
        assert_eq!(fs::read_to_string(&file).expect("there"), "a");
        fs::remove_dir_all(&folder).expect("removed");
    }
}
