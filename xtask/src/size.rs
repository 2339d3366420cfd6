//! The size of the browser client as a page downloads it.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::package::WASM_LIMIT;
use crate::workspace::shown;

/// Reports the size of the module and fails when it is too large.
pub(crate) fn check(module: &Path) -> Result<()> {
    let bytes = fs::read(module).with_context(|| format!("cannot read {}", shown(module)))?;
    let gzipped = gzipped(&bytes)?;
    println!(
        "  {}: {} bytes, {gzipped} gzipped; the limit is {WASM_LIMIT} gzipped",
        shown(module),
        bytes.len()
    );
    if gzipped > WASM_LIMIT {
        bail!("the browser client is {} bytes over its limit", gzipped - WASM_LIMIT);
    }
    Ok(())
}

/// How many bytes are left of `bytes` when a server compresses them as well as it can.
pub(crate) fn gzipped(bytes: &[u8]) -> Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).context("cannot compress")?;
    Ok(encoder.finish().context("cannot compress")?.len())
}
