//! What is run against both groups, and what it gives.

use serde::{Deserialize, Serialize};

/// A load.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) clients: usize,
    /// Requests of one client in flight.
    pub(crate) outstanding: usize,
    /// Bytes in a request, and in its result.
    pub(crate) size: usize,
    pub(crate) ordered: bool,
}

const fn ordered(name: &'static str, clients: usize, outstanding: usize, size: usize) -> Workload {
    Workload { name, clients, outstanding, size, ordered: true }
}

/// All loads, in the order in which they run.
pub(crate) const WORKLOADS: [Workload; 10] = [
    ordered("one_client_0B", 1, 1, 0),
    ordered("one_client_1KiB", 1, 1, 1 << 10),
    ordered("one_client_5KiB", 1, 1, 5 << 10),
    Workload { name: "one_client_read_0B", clients: 1, outstanding: 1, size: 0, ordered: false },
    ordered("closed250_0B", 250, 1, 0),
    ordered("closed250_1KiB", 250, 1, 1 << 10),
    ordered("closed250_5KiB", 250, 1, 5 << 10),
    ordered("pipelined_0B", 16, 64, 0),
    ordered("pipelined_1KiB", 16, 64, 1 << 10),
    ordered("pipelined_5KiB", 16, 64, 5 << 10),
];

/// What `webbft-bench load` prints, as far as it is used here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) rate: f64,
    pub(crate) failed: u64,
    pub(crate) failure: Option<String>,
    pub(crate) latency: Latency,
    pub(crate) cpu: Cpu,
}

/// Microseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

/// CPU seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cpu {
    pub(crate) clients: f64,
    pub(crate) servers: Vec<f64>,
    pub(crate) per_thousand: f64,
}

/// One workload's runs, floor and service in turn, and the medians.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) workload: Workload,
    pub(crate) floor: Median,
    pub(crate) service: Median,
    /// Median over the rounds of service against floor: CPU seconds a request.
    pub(crate) cpu_ratio: f64,
    /// The same of the median latencies.
    pub(crate) latency_ratio: f64,
    /// The same of the rates.
    pub(crate) rate_ratio: f64,
    runs: Vec<(Report, Report)>,
}

/// Medians over the rounds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Median {
    pub(crate) rate: f64,
    /// Milliseconds.
    pub(crate) p50_ms: f64,
    /// Milliseconds.
    pub(crate) p99_ms: f64,
    pub(crate) cpu_s_per_1000: f64,
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    f64::midpoint(low, high)
}

impl Median {
    fn of(reports: &[&Report]) -> Self {
        let over = |value: fn(&Report) -> f64| median(reports.iter().map(|report| value(report)));
        Self {
            rate: over(|report| report.rate),
            p50_ms: over(|report| report.latency.p50 as f64 / 1000.0),
            p99_ms: over(|report| report.latency.p99 as f64 / 1000.0),
            cpu_s_per_1000: over(|report| report.cpu.per_thousand),
        }
    }
}

impl Measured {
    /// At least one round.
    pub(crate) fn of(workload: &Workload, runs: Vec<(Report, Report)>) -> Self {
        let ratio = |value: fn(&Report) -> f64| {
            median(runs.iter().map(|(floor, service)| value(service) / value(floor)))
        };
        Self {
            workload: *workload,
            floor: Median::of(&runs.iter().map(|(floor, _)| floor).collect::<Vec<_>>()),
            service: Median::of(&runs.iter().map(|(_, service)| service).collect::<Vec<_>>()),
            cpu_ratio: ratio(|report| report.cpu.per_thousand),
            latency_ratio: ratio(|report| report.latency.p50 as f64),
            rate_ratio: ratio(|report| report.rate),
            runs,
        }
    }

    /// Requests that failed, in all runs.
    pub(crate) fn failed(&self) -> u64 {
        self.runs.iter().map(|(floor, service)| floor.failed + service.failed).sum()
    }

    /// The essence, for people.
    pub(crate) fn line(&self) -> String {
        let Median { rate, p50_ms, p99_ms, cpu_s_per_1000 } = &self.service;
        let failed = match self.failed() {
            0 => String::new(),
            count => format!(", {count} FAILED"),
        };
        format!(
            "{rate:.0}/s, {p50_ms:.2} ms (p99 {p99_ms:.2}), {cpu_s_per_1000:.4} CPU s per 1,000; \
             floor {:.0}/s, {:.2} ms, {:.4}: {:.2} × its CPU{failed}",
            self.floor.rate, self.floor.p50_ms, self.floor.cpu_s_per_1000, self.cpu_ratio
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rate: f64, p50: u64, per_thousand: f64) -> Report {
        Report {
            rate,
            failed: 0,
            failure: None,
            latency: Latency { mean: 0.0, p50, p90: p50, p99: p50, max: p50 },
            cpu: Cpu { clients: 0.0, servers: vec![], per_thousand },
        }
    }

    #[test]
    fn ratios_are_of_neighbours() {
        let runs = vec![
            (report(100.0, 1000, 0.1), report(50.0, 2000, 0.3)),
            (report(10.0, 9000, 0.2), report(5.0, 27000, 0.8)),
            (report(100.0, 1000, 0.1), report(80.0, 1500, 0.2)),
        ];
        let measured = Measured::of(&WORKLOADS[0], runs);
        assert!((measured.cpu_ratio - 3.0).abs() < 1e-9);
        assert!((measured.latency_ratio - 2.0).abs() < 1e-9);
        assert!((measured.rate_ratio - 0.5).abs() < 1e-9);
        assert!((measured.service.p50_ms - 2.0).abs() < 1e-9);
    }
}
