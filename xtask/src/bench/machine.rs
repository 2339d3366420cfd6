//! What the figures were measured on.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use serde::Serialize;

/// Facts that the reader of a figure needs.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    processor: Option<String>,
    memory_kib: Option<u64>,
    kernel: Option<String>,
    rustc: Option<String>,
    commit: Option<String>,
    /// Processes that wanted to run during the last minute, on average, before this run.
    pub(crate) load: Option<f64>,
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).current_dir(crate::workspace::root()).output();
    let output = output.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Machine {
    /// What can be found out.
    pub(crate) fn look() -> Self {
        let load = fs::read_to_string("/proc/loadavg").ok();
        Self {
            cores: available_parallelism().map_or(1, Into::into),
            processor: field("/proc/cpuinfo", "model name"),
            memory_kib: field("/proc/meminfo", "MemTotal")
                .and_then(|text| text.split_whitespace().next()?.parse().ok()),
            kernel: output("uname", &["-sr"]),
            rustc: output("rustc", &["--version"]),
            commit: output("git", &["rev-parse", "HEAD"]),
            load: load.and_then(|text| text.split_whitespace().next()?.parse().ok()),
        }
    }
}
