//! The size of the browser client as a page downloads it.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::workspace::shown;

/// The Wasm module may have at most this many bytes, gzipped.
const LIMIT: usize = 100_000;

/// Reports the size of the module and fails when it is too large.
pub(crate) fn check(module: &Path) -> Result<()> {
    let bytes = fs::read(module).with_context(|| format!("cannot read {}", shown(module)))?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&bytes).context("cannot compress the module")?;
    let gzipped = encoder.finish().context("cannot compress the module")?.len();
    println!(
        "  {}: {} bytes, {gzipped} gzipped; the limit is {LIMIT} gzipped",
        shown(module),
        bytes.len()
    );
    if gzipped > LIMIT {
        bail!("the browser client is {} bytes over its limit", gzipped - LIMIT);
    }
    Ok(())
}
