//! The mutants as data: `tests/mutants/*.toml`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::checks::Check;

/// The folder of the lists, from the root of the repository.
pub(super) const FOLDER: &str = "tests/mutants";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutant: Vec<Mutant>,
}

/// A defect to be put into the sources, and the checks that must notice it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mutant {
    /// Its name, unique.
    pub(super) id: String,
    /// The rule of docs/protocol.md that it breaks.
    pub(super) rule: String,
    /// What is wrong with it, in one sentence.
    pub(super) what: String,
    /// The source file, from the root of the repository.
    pub(super) file: String,
    /// Text that occurs once in the file.
    pub(super) find: String,
    /// What comes in its place.
    pub(super) replace: String,
    /// Further replacements that belong to the same defect.
    #[serde(default)]
    pub(super) also: Vec<Edit>,
    /// Tried in this order until one fails.
    pub(super) caught_by: Vec<Check>,
}

/// A replacement in one file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    /// As in [`Mutant`].
    pub(super) file: String,
    /// As in [`Mutant`].
    pub(super) find: String,
    /// As in [`Mutant`].
    pub(super) replace: String,
}

impl Mutant {
    /// All its replacements.
    pub(super) fn edits(&self) -> Vec<Edit> {
        let first = Edit {
            file: self.file.clone(),
            find: self.find.clone(),
            replace: self.replace.clone(),
        };
        std::iter::once(first).chain(self.also.iter().cloned()).collect()
    }

    /// The files it changes, from `root`, with their new text.
    pub(super) fn apply(&self, root: &Path) -> Result<Vec<(String, String)>> {
        let mut changed: Vec<(String, String)> = Vec::new();
        for edit in self.edits() {
            let index = match changed.iter().position(|(file, _)| *file == edit.file) {
                Some(index) => index,
                None => {
                    let path = root.join(&edit.file);
                    let text = fs::read_to_string(path)
                        .with_context(|| format!("cannot read {}", edit.file))?;
                    changed.push((edit.file.clone(), text));
                    changed.len() - 1
                }
            };
            let text = &mut changed[index].1;
            *text = replaced(text, &edit.find, &edit.replace)
                .with_context(|| format!("in {}", edit.file))?;
        }
        Ok(changed)
    }
}

fn replaced(text: &str, find: &str, replace: &str) -> Result<String> {
    match text.matches(find).count() {
        1 if find != replace => Ok(text.replacen(find, replace, 1)),
        1 => bail!("`find` and `replace` are the same"),
        count => bail!("the text of `find` occurs {count} times, not once:\n{find}"),
    }
}

/// All mutants, by file and then in the file's order.
pub(super) fn read(root: &Path) -> Result<Vec<Mutant>> {
    let folder = root.join(FOLDER);
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {FOLDER}"))? {
        let path = entry.with_context(|| format!("cannot read {FOLDER}"))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    let mut mutants = Vec::new();
    for path in files {
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let list: List = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        mutants.extend(list.mutant);
    }
    Ok(mutants)
}

/// The rules of docs/protocol.md that are marked †: each answers a counterexample.
fn marked_rules(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| {
            let (rule, rest) = line.strip_prefix("- **")?.split_once("**")?;
            rest.trim_start().starts_with('†').then_some(rule)
        })
        .collect()
}

/// Fails where a marked rule has no mutant that takes it out.
pub(super) fn cover(root: &Path, mutants: &[Mutant]) -> Result<()> {
    const RULES: &str = "docs/protocol.md";
    let text = fs::read_to_string(root.join(RULES)).with_context(|| format!("no {RULES}"))?;
    let rules = marked_rules(&text);
    if rules.is_empty() {
        bail!("{RULES} marks no rule with †");
    }
    for rule in rules {
        if !mutants.iter().any(|mutant| mutant.rule == rule) {
            bail!("rule {rule} is marked with † in {RULES}, and no mutant takes it out");
        }
    }
    Ok(())
}

/// Whether every mutant has a name of its own, names checks and applies to the sources.
pub(super) fn validate(root: &Path, mutants: &[Mutant]) -> Result<()> {
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for mutant in mutants {
        if !names.insert(&mutant.id) {
            wrong.push(format!("{}: another mutant has this id", mutant.id));
        }
        if mutant.caught_by.is_empty() {
            wrong.push(format!("{}: `caught_by` names no check", mutant.id));
        }
        if let Err(error) = mutant.apply(root) {
            wrong.push(format!("{}: {error:#}", mutant.id));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!(
        "{} of {} mutants do not apply. Adapt them in {FOLDER} to what the sources say now:\n\n{}",
        wrong.len(),
        mutants.len(),
        wrong.join("\n\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_rules_are_found() {
        let text = "- **A1** A replica\n- **A2** † The digest\nsee **A3** †\n- **S10** † (C) It";
        assert_eq!(marked_rules(text), ["A2", "S10"]);
    }

    #[test]
    fn a_text_is_replaced_where_it_occurs_once() {
        assert_eq!(replaced("a < b", "<", "<=").expect("once"), "a <= b");
        let twice = replaced("a < b < c", "<", "<=").expect_err("twice").to_string();
        assert_eq!(twice, "the text of `find` occurs 2 times, not once:\n<");
        assert!(replaced("a", "b", "c").is_err());
        assert!(replaced("a", "a", "a").is_err());
    }
}
