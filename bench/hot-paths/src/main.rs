//! Runs one path a number of times; see `cargo xtask instructions`.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use webbft_hot_paths::hall::{self, Load};
use webbft_hot_paths::links;

const USAGE: &str = "usage: webbft-hot-paths ordered|batched|link-0|link-1024 COUNT";

fn run() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, count] = args.as_slice() else { bail!(USAGE) };
    let count = count.parse().context(USAGE)?;
    match path.as_str() {
        "ordered" => hall::run(Load { clients: 1, outstanding: 1, size: 0 }, count).map(drop),
        "batched" => hall::run(Load { clients: 16, outstanding: 16, size: 0 }, count).map(drop),
        "link-0" => links::exchange(0, count),
        "link-1024" => links::exchange(1024, count),
        _ => bail!(USAGE),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
