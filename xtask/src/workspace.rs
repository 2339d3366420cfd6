//! Where things are in the repository.

use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    // xtask/ stands directly in the root.
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the manifest directory of xtask has a parent")
}

/// A path inside the repository.
pub(crate) fn path(relative: &str) -> PathBuf {
    root().join(relative)
}

/// Cargo's output directory: `CARGO_TARGET_DIR` when set (relative to the root), else `target`.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => path("target"),
    }
}

/// The path as the user would type it from the root of the repository.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
