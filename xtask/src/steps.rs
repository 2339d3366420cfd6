//! Named steps run one after the other, with a table of times at the end.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use console::style;

use crate::process::Interrupted;
use crate::ui::seconds;

/// One step of `cargo xtask test` or `lint`.
pub(crate) struct Step {
    /// The name for `--only`.
    pub(crate) name: &'static str,
    /// What it does, for `--list`.
    pub(crate) about: &'static str,
    /// Does it; an error is its failure.
    pub(crate) run: fn() -> Result<()>,
}

/// The steps that `only` names: by their name, or by the part before its first dash. All when
/// `only` is empty.
pub(crate) fn select(steps: Vec<Step>, only: &[String]) -> Result<Vec<Step>> {
    let matches = |step: &Step, name: &str| {
        step.name == name || step.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
    };
    if let Some(unknown) = only.iter().find(|name| !steps.iter().any(|step| matches(step, name))) {
        let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
        bail!("there is no step `{unknown}`; the steps are {}", names.join(", "));
    }
    Ok(steps
        .into_iter()
        .filter(|step| only.is_empty() || only.iter().any(|name| matches(step, name)))
        .collect())
}

/// Runs the steps in order. Stops at the first failure unless `keep_going`. Prints the table and,
/// as the last line, `N passed, N failed`.
pub(crate) fn run(steps: &[Step], keep_going: bool) -> Result<()> {
    let started = Instant::now();
    let mut results: Vec<(&str, Result<()>, Duration)> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        println!(
            "\n{} {}",
            style(format!("[{}/{}] {}", index + 1, steps.len(), step.name)).bold(),
            style(step.about).dim()
        );
        let began = Instant::now();
        let result = (step.run)();
        if let Err(error) = &result {
            if error.is::<Interrupted>() {
                return result;
            }
            println!("{} {}: {error:#}", style("failed:").red().bold(), step.name);
        }
        let failed = result.is_err();
        results.push((step.name, result, began.elapsed()));
        if failed && !keep_going {
            break;
        }
    }
    let width = steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
    println!();
    for (name, result, time) in &results {
        let verdict =
            if result.is_ok() { style("passed").green() } else { style("FAILED").red().bold() };
        println!("  {name:width$}  {verdict}  {:>12}", seconds(*time));
    }
    for step in &steps[results.len()..] {
        println!("  {:width$}  not run", step.name);
    }
    println!("  {:width$}          {:>12}\n", "total", seconds(started.elapsed()));
    let failed = results.iter().filter(|(_, result, _)| result.is_err()).count();
    println!("{} passed, {failed} failed", results.len() - failed);
    if failed > 0 {
        let first =
            results.iter().find(|(_, result, _)| result.is_err()).map_or("", |entry| entry.0);
        bail!("run `cargo xtask test --only {first}` to repeat the first failure");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Vec<Step> {
        ["lint-rust", "lint-js", "rust"].map(|name| Step { name, about: "", run: || Ok(()) }).into()
    }

    fn names(only: &[&str]) -> Result<Vec<&'static str>> {
        let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
        Ok(select(steps(), &only)?.iter().map(|step| step.name).collect())
    }

    #[test]
    fn steps_are_selected_by_name_or_group() {
        assert_eq!(names(&[]).expect("all"), ["lint-rust", "lint-js", "rust"]);
        assert_eq!(names(&["lint"]).expect("a group"), ["lint-rust", "lint-js"]);
        assert_eq!(names(&["rust"]).expect("a name"), ["rust"]);
        assert_eq!(
            names(&["rus"]).expect_err("unknown").to_string(),
            "there is no step `rus`; the steps are lint-rust, lint-js, rust"
        );
    }

    #[test]
    fn a_failure_ends_the_run_unless_told_to_go_on() {
        fn fails() -> Result<()> {
            bail!("on purpose")
        }
        let mut list = steps();
        list[0].run = fails;
        assert!(run(&list, false).is_err());
        assert!(run(&list, true).is_err());
        assert!(run(&steps(), false).is_ok());
    }
}
