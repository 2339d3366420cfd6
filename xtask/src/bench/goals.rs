//! The goals, and whether this run met them.

use serde::Serialize;

use super::workload::Measured;

/// One goal.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) id: &'static str,
    pub(crate) measured: f64,
    /// `at most` or `at least`.
    pub(crate) sense: &'static str,
    pub(crate) bound: f64,
    pub(crate) unit: &'static str,
    pub(crate) met: bool,
}

type Value = fn(&Measured) -> f64;

const FLOOR: &str = "× the floor";
const MS: &str = "ms";
const CPU: &str = "CPU s per 1,000";

/// Workload, name, what is looked at, upper bound, unit.
const GOALS: [(&str, &str, Value, f64, &str); 14] = [
    ("closed250_0B", "closed250_0B_cpu_vs_floor", |m| m.cpu_ratio, 1.0, FLOOR),
    ("closed250_1KiB", "closed250_1KiB_cpu_vs_floor", |m| m.cpu_ratio, 1.0, FLOOR),
    ("closed250_5KiB", "closed250_5KiB_cpu_vs_floor", |m| m.cpu_ratio, 1.0, FLOOR),
    ("pipelined_0B", "pipelined_0B_cpu_vs_floor", |m| m.cpu_ratio, 1.8, FLOOR),
    ("pipelined_1KiB", "pipelined_1KiB_cpu_vs_floor", |m| m.cpu_ratio, 1.35, FLOOR),
    ("pipelined_5KiB", "pipelined_5KiB_cpu_vs_floor", |m| m.cpu_ratio, 1.15, FLOOR),
    // What the floor of the founding measurements needed, times the bound above.
    ("pipelined_0B", "pipelined_0B_cpu_s_per_1000", |m| m.service.cpu_s_per_1000, 0.0108, CPU),
    ("one_client_0B", "one_client_0B_ms", |m| m.service.p50_ms, 0.28, MS),
    ("one_client_1KiB", "one_client_1KiB_ms", |m| m.service.p50_ms, 0.28, MS),
    ("one_client_5KiB", "one_client_5KiB_ms", |m| m.service.p50_ms, 0.33, MS),
    ("one_client_0B", "one_client_0B_p99_ms", |m| m.service.p99_ms, 0.5, MS),
    ("one_client_1KiB", "one_client_1KiB_p99_ms", |m| m.service.p99_ms, 0.5, MS),
    ("one_client_5KiB", "one_client_5KiB_p99_ms", |m| m.service.p99_ms, 0.5, MS),
    ("one_client_read_0B", "one_client_read_0B_vs_floor", |m| m.latency_ratio, 1.3, FLOOR),
];

/// The goals of the workloads that were run.
pub(crate) fn judge(measured: &[Measured]) -> Vec<Goal> {
    let judged = GOALS.iter().filter_map(|&(workload, id, value, bound, unit)| {
        let found = measured.iter().find(|measured| measured.workload.name == workload)?;
        let value = value(found);
        // A run with failures met nothing, whatever the rest says.
        let met = value <= bound && found.failed() == 0;
        Some(Goal { id, measured: value, sense: "at most", bound, unit, met })
    });
    judged.collect()
}
