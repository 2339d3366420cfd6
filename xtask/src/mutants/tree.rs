//! A copy of the workspace that mutants may spoil.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::root;

/// Copies what git tracks, as it stands in the working tree, to `tree`. A file that is the same
/// already is left alone, so that Cargo builds again only what has changed; what is no longer
/// tracked goes.
pub(super) fn copy(tree: &Path) -> Result<()> {
    let files = tracked()?;
    for file in &files {
        let (from, to) = (root().join(file), tree.join(file));
        let bytes = match fs::read(&from) {
            Ok(bytes) => bytes,
            // Deleted, and the deletion not committed.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                remove(&to)?;
                continue;
            }
            Err(error) => return Err(error).context(format!("cannot read {}", file.display())),
        };
        if !fs::read(&to).is_ok_and(|known| known == bytes) {
            write(&to, &bytes)?;
        }
    }
    for stale in files_in(tree, tree)?.difference(&files) {
        remove(&tree.join(stale))?;
    }
    Ok(())
}

/// Writes a file and the folders above it.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn tracked() -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("git")
        .current_dir(root())
        .args(["ls-files", "-z"])
        .output()
        .context("cannot run git, which says what belongs to the workspace")?;
    if !output.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let names = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
    // Links lead to what the page's build makes, which no check of a mutant needs.
    let is_link = |name: &&str| root().join(name).is_symlink();
    let files = names.split('\0').filter(|name| !name.is_empty() && !is_link(name));
    Ok(files.map(PathBuf::from).collect())
}

/// All files below `folder`, relative to `tree`.
fn files_in(tree: &Path, folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.is_dir() {
            files.extend(files_in(tree, &path)?);
        } else if let Ok(relative) = path.strip_prefix(tree) {
            files.insert(relative.to_owned());
        }
    }
    Ok(files)
}
