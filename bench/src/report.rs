//! What one load reports.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies in microseconds, up to a minute, to three digits.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

const HIGHEST: u64 = 60_000_000;

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, HIGHEST, 3).expect("the bounds are legal"))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(HIGHEST);
        self.0.saturating_record(micros);
    }

    pub(crate) fn summary(&self) -> Summary {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Summary {
            count: self.0.len(),
            mean: self.0.mean(),
            deviation: self.0.stdev(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max(),
        }
    }
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Summary {
    pub count: u64,
    pub mean: f64,
    pub deviation: f64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// CPU seconds in the measured time.
#[derive(Debug, Clone, Serialize)]
pub struct Cpu {
    /// The process that made the load.
    pub clients: f64,
    /// Each of the others, in the order given.
    pub servers: Vec<f64>,
    /// All together, for a thousand requests.
    pub per_thousand: f64,
}

/// The measured time.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Report {
    pub clients: usize,
    pub outstanding: usize,
    pub size: usize,
    pub ordered: bool,
    pub seconds: f64,
    pub completed: u64,
    pub failed: u64,
    /// The last failure, in words.
    pub failure: Option<String>,
    /// Completed requests a second.
    pub rate: f64,
    pub latency: Summary,
    pub cpu: Cpu,
    /// Completed requests in each `slice` of the time.
    pub slices: Vec<Slice>,
}

/// A stretch of the measured time.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Slice {
    /// Seconds from the start of the measured time.
    pub at: f64,
    pub completed: u64,
    pub latency: Summary,
}
