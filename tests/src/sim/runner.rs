//! Runs one seed and survives what it does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use std::cell::RefCell;

use super::invariants::Violation;
use super::plan::Plan;
use super::report::{Outcome, Statistics};
use super::world::World;

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Panics are reported with the seed, not where they happen: services in the simulator panic on
/// purpose, and the replicas catch that.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let message = info.to_string();
            if message.contains("tests/src/sim/service.rs") {
                return;
            }
            LAST_PANIC.with_borrow_mut(|last| last.clone_from(&message));
            if !message.contains("protocol/src") {
                loud(info);
            }
        }));
    });
}

/// A seed that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What it came to.
    pub outcome: Outcome,
}

/// Runs a plan; a panic of what is tested counts as a violation.
#[must_use]
pub fn run_plan(plan: Plan, trace: bool) -> Outcome {
    quiet_panics();
    LAST_PANIC.with_borrow_mut(String::clear);
    let run = AssertUnwindSafe(|| World::new(plan, trace).run());
    catch_unwind(run).unwrap_or_else(|_| {
        let what = LAST_PANIC.with_borrow(String::clone);
        Outcome {
            violations: vec![Violation { invariant: "no_panic", what }],
            stuck: Vec::new(),
            hash: String::new(),
            statistics: Statistics { violations: 1, ..Statistics::default() },
            log: Vec::new(),
            calls: Vec::new(),
        }
    })
}

/// Runs the plan that belongs to a seed.
#[must_use]
pub fn run_seed(seed: u64, trace: bool) -> Outcome {
    run_plan(Plan::draw(seed), trace)
}
