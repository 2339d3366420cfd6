//! The checks that a mutant is put to: a test by name, or a range of the simulator's seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::process::{Captured, captured};
use crate::tools;
use crate::ui::Phase;

/// How long one check may run, its build included. A mutant may well loop for ever, which counts
/// as caught.
const LIMIT: Duration = Duration::from_secs(120);

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Check {
    /// `package target filter`: the tests of a package's test binary, or of its library where
    /// the target is `lib`, whose names contain the filter.
    Test(String),
    /// `A..B`: seeds of the simulator.
    Sim(String),
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Test(test) => write!(f, "{test}"),
            Self::Sim(seeds) => write!(f, "sim {seeds}"),
        }
    }
}

/// What came of a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing was noticed.
    Passed,
    /// Something was: what.
    Failed(String),
    /// The sources do not compile: what the compiler says.
    DoesNotCompile(String),
}

/// A copy of the workspace in which checks run.
pub(super) struct Place<'a> {
    /// The copy.
    pub(super) tree: &'a Path,
    /// Cargo's output directory for it.
    pub(super) build: &'a Path,
}

impl Place<'_> {
    fn cargo(&self) -> Command {
        let mut command = tools::cargo();
        command
            .current_dir(self.tree)
            .env("CARGO_TARGET_DIR", self.build)
            // Builds are most of the time, and nobody debugs a mutant.
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_TERM_COLOR", "never");
        command
    }

    /// Builds what the check needs, then runs it.
    pub(super) fn run(&self, phase: &Phase, check: &Check) -> Result<Verdict> {
        match check {
            Check::Test(test) => Ok(self.run_test(phase, test)?.0),
            Check::Sim(seeds) => self.run_simulator(phase, seeds),
        }
    }

    /// Runs all checks, each test binary once. They must pass where there is no mutant, and there
    /// must be a test for each.
    pub(super) fn run_all(&self, phase: &Phase, checks: &BTreeSet<&Check>) -> Result<()> {
        for (together, parts) in summary(checks)? {
            let (verdict, output) = match &together {
                Check::Test(test) => self.run_test(phase, test)?,
                Check::Sim(seeds) => (self.run_simulator(phase, seeds)?, String::new()),
            };
            match verdict {
                Verdict::Passed => {}
                Verdict::Failed(said) => bail!("`{together}` fails without a mutant: {said}"),
                Verdict::DoesNotCompile(said) => bail!("the workspace does not compile:\n{said}"),
            }
            if let Check::Test(_) = &together {
                all_exist(&output, &parts)?;
            }
        }
        Ok(())
    }

    /// Builds and runs tests; gives their output, too.
    fn run_test(&self, phase: &Phase, test: &str) -> Result<(Verdict, String)> {
        let (arguments, filter) = parse(test)?;
        let mut command = self.cargo();
        command.args(arguments).arg("--").args(filter);
        let Captured { status, output } = captured(phase, &mut command, Some(LIMIT))?;
        let verdict = match status {
            None => Verdict::Failed(hung()),
            Some(status) if status.success() => Verdict::Passed,
            Some(_) if output.contains("error: could not compile") => {
                return Ok((Verdict::DoesNotCompile(output), String::new()));
            }
            Some(_) => Verdict::Failed(first_failure(&output)),
        };
        Ok((verdict, output))
    }

    fn run_simulator(&self, phase: &Phase, seeds: &str) -> Result<Verdict> {
        let build = ["build", "--quiet", "--package", "webbft-tests", "--bin", "sim"];
        if let Some(error) = self.build(phase, build.into_iter())? {
            return Ok(Verdict::DoesNotCompile(error));
        }
        let binary: PathBuf = self.build.join("debug/sim");
        let mut command = Command::new(binary);
        command.current_dir(self.tree).args(["--seeds", seeds]);
        let Captured { status, output } = captured(phase, &mut command, Some(LIMIT))?;
        Ok(match status {
            None => Verdict::Failed(hung()),
            Some(status) if status.success() => Verdict::Passed,
            Some(_) => Verdict::Failed(first_violation(&output)),
        })
    }

    /// Runs a build; the compiler's words where it fails.
    fn build<'a>(
        &self,
        phase: &Phase,
        arguments: impl Iterator<Item = &'a str>,
    ) -> Result<Option<String>> {
        let mut command = self.cargo();
        let Captured { status, output } = captured(phase, command.args(arguments), None)?;
        Ok(status.is_none_or(|status| !status.success()).then_some(output))
    }
}

fn hung() -> String {
    format!("does not end within {} s", LIMIT.as_secs())
}

/// Cargo's arguments for a check's test binary, and the filter for its tests.
fn parse(test: &str) -> Result<(Vec<&str>, Option<&str>)> {
    let mut words = test.split_whitespace();
    let (package, target) = words
        .next()
        .zip(words.next())
        .with_context(|| format!("`{test}` is not `package target filter`"))?;
    let mut arguments = vec!["test", "--package", package];
    match target {
        "lib" => arguments.push("--lib"),
        _ => arguments.extend(["--test", target]),
    }
    Ok((arguments, words.next()))
}

/// Fewer checks that run at least the same, each test binary once, with those that they stand for.
fn summary<'a>(checks: &BTreeSet<&'a Check>) -> Result<BTreeMap<Check, Vec<&'a str>>> {
    let mut summary: BTreeMap<Check, Vec<&str>> = BTreeMap::new();
    for &check in checks {
        match check {
            Check::Sim(seeds) => {
                summary.entry(check.clone()).or_default().push(seeds);
            }
            Check::Test(test) => {
                parse(test)?;
                let words: Vec<&str> = test.split_whitespace().take(2).collect();
                summary.entry(Check::Test(words.join(" "))).or_default().push(test);
            }
        }
    }
    Ok(summary)
}

/// Whether the output of a test binary mentions a test for each check; one that runs nothing
/// catches nothing.
fn all_exist(output: &str, checks: &[&str]) -> Result<()> {
    let tests: Vec<&str> = output
        .lines()
        .filter_map(|line| Some(line.strip_prefix("test ")?.split_once(" ... ")?.0))
        .collect();
    for check in checks {
        let (_, filter) = parse(check)?;
        let filter = filter.unwrap_or_default();
        if !tests.iter().any(|test| test.contains(filter)) {
            bail!("no test's name contains what `{check}` asks for");
        }
    }
    Ok(())
}

/// The first test that failed.
fn first_failure(output: &str) -> String {
    output
        .lines()
        .find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .unwrap_or("the test binary ended early")
        .to_owned()
}

/// The first seed that failed, and of which invariant.
fn first_violation(output: &str) -> String {
    let mut lines = output.lines().map(str::trim).skip_while(|line| !line.contains(" failed:"));
    let text = [lines.next(), lines.next()].into_iter().flatten().collect::<Vec<_>>().join(" ");
    if text.is_empty() { "the simulator ended early".to_owned() } else { shortened(&text, 120) }
}

fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_read_from_the_output() {
        let output = "\nrunning 2 tests\ntest a::b ... ok\ntest a::c ... FAILED\n";
        assert_eq!(first_failure(output), "a::c");
        assert_eq!(first_failure("signal"), "the test binary ended early");
        let output = "seed 7 failed: agreement\n  r1 and r2 differ\nseed 9 failed: stuck\n";
        assert_eq!(first_violation(output), "seed 7 failed: agreement r1 and r2 differ");
        assert_eq!(shortened("abc", 2), "ab…");
    }
    #[test]
    fn each_test_binary_is_run_once() {
        let checks = ["p lib a", "p lib b", "p votes c"].map(|test| Check::Test(test.to_owned()));
        let summary = summary(&checks.iter().collect()).expect("well-formed");
        let test = |test: &str| Check::Test(test.to_owned());
        let expected =
            [(test("p lib"), vec!["p lib a", "p lib b"]), (test("p votes"), vec!["p votes c"])];
        assert_eq!(summary, expected.into());
        assert_eq!(parse("p lib a").expect("well-formed").1, Some("a"));
        assert!(parse("p").is_err());
        assert!(all_exist("test m::a ... ok", &["p lib a", "p lib"]).is_ok());
        assert!(all_exist("test m::a ... ok", &["p lib b"]).is_err());
    }
}
