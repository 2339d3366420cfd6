//! What a run, and many runs, came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::invariants::Violation;
use super::service::Executed;
use crate::linearizability::Call;

/// Counts over one run or many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Runs.
    pub seeds: u64,
    /// Events processed.
    pub events: u64,
    /// Virtual time, in microseconds.
    pub simulated_micros: u64,
    /// Faults injected, by kind.
    pub faults: BTreeMap<String, u64>,
    /// What replicas did, by kind.
    pub deeds: BTreeMap<&'static str, u64>,
    /// Calls of correct clients, by how they ended.
    pub calls: BTreeMap<&'static str, u64>,
    /// Instances decided.
    pub instances: u64,
    /// Leader changes, added up over the runs.
    pub regencies: u64,
    /// Operations executed, those of attackers included.
    pub executed: u64,
    /// Runs in which nothing was executed: a fast run that does nothing shows nothing.
    pub idle: u64,
    /// The longest time a call took whose client did not set a timeout, in microseconds.
    pub longest_call: u64,
    /// Runs whose history was too entangled for the linearizability checker.
    pub undecided: u64,
    /// Violations found.
    pub violations: u64,
    /// Runs in which something never finished.
    pub stuck: u64,
}

impl Statistics {
    /// Counts a fault.
    pub fn count(&mut self, fault: &str) {
        match self.faults.get_mut(fault) {
            Some(count) => *count += 1,
            None => drop(self.faults.insert(fault.to_owned(), 1)),
        }
    }

    /// Counts the end of a call.
    pub fn ended(&mut self, how: &'static str) {
        *self.calls.entry(how).or_default() += 1;
    }

    /// Counts something that replicas did.
    pub fn did(&mut self, what: &'static str) {
        *self.deeds.entry(what).or_default() += 1;
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        self.seeds += 1;
        self.events += other.events;
        self.simulated_micros += other.simulated_micros;
        for (fault, count) in &other.faults {
            *self.faults.entry(fault.clone()).or_default() += count;
        }
        for (what, count) in &other.deeds {
            *self.deeds.entry(what).or_default() += count;
        }
        for (how, count) in &other.calls {
            *self.calls.entry(how).or_default() += count;
        }
        self.instances += other.instances;
        self.regencies += other.regencies;
        self.executed += other.executed;
        self.idle += u64::from(other.executed == 0);
        self.longest_call = self.longest_call.max(other.longest_call);
        self.undecided += other.undecided;
        self.violations += other.violations;
        self.stuck += other.stuck;
    }

    /// The table printed at the end, after `elapsed` of real time.
    #[must_use]
    pub fn table(&self, elapsed: Duration) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            text.push_str(&format!("  {name:<36} {value:>12}\n"));
        };
        let seconds = elapsed.as_secs_f64().max(0.001);
        line("seeds", self.seeds.to_string());
        line("seeds per second", format!("{:.1}", self.seeds as f64 / seconds));
        line("simulated hours", format!("{:.2}", self.simulated_micros as f64 / 3.6e9));
        line("events", self.events.to_string());
        line("instances decided", self.instances.to_string());
        line("leader changes", self.regencies.to_string());
        line("operations executed", self.executed.to_string());
        line("runs without an operation", self.idle.to_string());
        for (what, count) in &self.deeds {
            line(what, count.to_string());
        }
        for (how, count) in &self.calls {
            line(&format!("calls {how}"), count.to_string());
        }
        line("longest call (s)", format!("{:.1}", self.longest_call as f64 / 1e6));
        text.push_str("injected:\n");
        let mut line = |name: &str, value: String| {
            text.push_str(&format!("  {name:<36} {value:>12}\n"));
        };
        for (fault, count) in &self.faults {
            line(fault, count.to_string());
        }
        line("histories undecided", self.undecided.to_string());
        line("violations", self.violations.to_string());
        line("stuck", self.stuck.to_string());
        text
    }
}

/// What one run came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Broken invariants; the run ends at the first fact that breaks one.
    pub violations: Vec<Violation>,
    /// What never finished.
    pub stuck: Vec<String>,
    /// The hash of everything that happened.
    pub hash: String,
    /// Counts.
    pub statistics: Statistics,
    /// What the correct replicas executed.
    pub log: Vec<Executed>,
    /// What clients called and were told.
    pub calls: Vec<Call>,
}

impl Outcome {
    /// Did everything hold and finish?
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.stuck.is_empty()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Violation { invariant, what } in &self.violations {
            writeln!(f, "violation of {invariant}: {what}")?;
        }
        for what in &self.stuck {
            writeln!(f, "stuck: {what}")?;
        }
        Ok(())
    }
}
