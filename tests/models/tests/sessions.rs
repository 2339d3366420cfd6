//! Sessions and the horizon (rules A8, A9, N6).

use webbft_models::checker::{Explored, explore};
use webbft_models::sessions::{AGED, KEPT, ORDER, Rules, Scope, Sessions, TWICE};

const ALL: Rules = Rules::ALL;
const ALONE: Scope = Scope { capacity: 2, others: false, pending: false };
const CROWDED: Scope = Scope { capacity: 1, others: true, pending: false };
const ROOMY: Scope = Scope { capacity: 2, ..CROWDED };
const PENDING: Scope = Scope { pending: true, ..ALONE };

fn run(what: &str, rules: Rules, scope: Scope) -> Explored {
    let explored = explore(&Sessions { rules, scope }, 5_000_000);
    eprintln!("{what}: {explored}");
    explored
}

#[test]
fn the_rules_hold() {
    for scope in [ALONE, CROWDED, ROOMY, PENDING] {
        run("sessions", ALL, scope).assert_holds();
    }
}

#[test]
fn each_rule_is_needed() {
    let defects = [
        ("A8 empty batches", Rules { empty_batches: false, ..ALL }, PENDING, KEPT, 6),
        ("A9 births", Rules { births_count: false, ..ALL }, ALONE, TWICE, 6),
        ("A9 horizon", Rules { horizon_follows: false, ..ALL }, ALONE, TWICE, 6),
        ("A9 eviction", Rules { eviction_raises: false, ..ALL }, CROWDED, TWICE, 5),
        ("A9 active", Rules { active_from_birth: false, ..ALL }, CROWDED, TWICE, 5),
        ("A9 higher", Rules { higher_invalid: false, ..ALL }, ALONE, ORDER, 2),
        ("A9 birth ahead", Rules { births_bounded: false, ..ALL }, CROWDED, AGED, 2),
        ("N6 time ahead", Rules { times_bounded: false, ..ALL }, ALONE, AGED, 1),
    ];
    for (what, rules, scope, property, steps) in defects {
        let explored = run(what, rules, scope);
        explored.assert_breaks(property);
        let found = explored.counterexample.map(|counterexample| counterexample.steps.len());
        assert_eq!(found, Some(steps), "{what}: docs/models.md gives the length");
    }
}
