//! CPU time of processes, from the kernel's books.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// The unit of `/proc/PID/stat`: fixed at 100 per second for programs on Linux.
const TICKS: u64 = 100;

/// User and system time that a process has used so far, all threads together.
///
/// # Errors
/// Where there is no such process, or no `/proc`.
pub fn used(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse(&text).with_context(|| format!("{path} does not look as on Linux"))
}

fn parse(stat: &str) -> anyhow::Result<Duration> {
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("no name")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    ensure!(fields.len() > 12, "{} fields", fields.len());
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_user_and_system_time() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 100 1 1";
        assert_eq!(parse(stat).unwrap(), Duration::from_secs(2));
        assert!(parse("7 (a) S 1").is_err());
        assert!(used(std::process::id()).is_ok());
    }
}
