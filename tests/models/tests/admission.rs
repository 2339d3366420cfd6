//! Admission (rules A1 to A7).

use webbft_models::admission::{
    ASKS, Admission, BLOCKED, FORGED, FRAMED, NOT_TOTAL, REFUSED, Rules, Scope,
};
use webbft_models::checker::{Explored, explore, walk};

const ALL: Rules = Rules::ALL;
const TWO_BODIES: Scope = Scope { numbers: [1, 1], correct_leader: true, liars: 1, restarts: 0 };
const TWO_NUMBERS: Scope = Scope { numbers: [1, 2], ..TWO_BODIES };

const fn lying(scope: Scope) -> Scope {
    Scope { correct_leader: false, ..scope }
}

const fn restarting(scope: Scope) -> Scope {
    Scope { restarts: 1, ..scope }
}

fn run(what: &str, rules: Rules, scope: Scope) -> Explored {
    let explored = explore(&Admission::<3> { rules, scope }, 50_000_000);
    eprintln!("{what}: {explored}");
    explored
}

#[test]
fn the_rules_hold() {
    run("two bodies", ALL, TWO_BODIES).assert_holds();
    run("two bodies, lying leader", ALL, lying(TWO_BODIES)).assert_holds();
    run("two numbers", ALL, TWO_NUMBERS).assert_holds();
    run("two numbers, lying leader, a restart", ALL, restarting(lying(TWO_NUMBERS))).assert_holds();
}

#[test]
#[ignore = "minutes, and gigabytes"]
fn the_rules_hold_with_restarts() {
    run("two bodies, lying leader", ALL, restarting(lying(TWO_BODIES))).assert_holds();
    run("two numbers", ALL, restarting(TWO_NUMBERS)).assert_holds();
    run("two bodies", ALL, restarting(TWO_BODIES)).assert_holds();
}

fn walks<const CORRECT: usize>(liars: usize, walks: usize) {
    for scope in [TWO_BODIES, TWO_NUMBERS, lying(TWO_BODIES)] {
        let scope = restarting(Scope { liars, ..scope });
        let walked = walk(&Admission::<CORRECT> { rules: ALL, scope }, 3, walks, 150);
        eprintln!("{CORRECT} correct: {} steps, {} ended", walked.steps, walked.ended);
        if let Some(counterexample) = &walked.counterexample {
            panic!("{counterexample}");
        }
    }
    // The walks get as far as where it matters.
    for rules in [
        Rules { vouches_enough: false, ..ALL },
        Rules { vouch_along: false, ..ALL },
        Rules { propose_admitted: false, ..ALL },
    ] {
        let scope = Scope { liars, ..TWO_BODIES };
        let walked = walk(&Admission::<CORRECT> { rules, scope }, 3, 10 * walks, 150);
        assert!(walked.counterexample.is_some(), "{rules:?}");
    }
}

#[test]
fn four_five_and_seven_replicas_walk_at_random_with_restarts() {
    walks::<3>(1, 6_000);
    walks::<4>(1, 4_000);
    walks::<5>(2, 4_000);
}

#[test]
fn each_rule_is_needed() {
    let forging = lying(TWO_BODIES);
    let defects = [
        ("A1 along", Rules { vouch_along: false, ..ALL }, TWO_BODIES, FRAMED, 6),
        ("A1 f + 1", Rules { vouch_along_enough: false, ..ALL }, forging, FORGED, 2),
        ("A1 begun", Rules { vouch_along_begun: false, ..ALL }, TWO_NUMBERS, ASKS, 5),
        ("A2 alike", Rules { digest_alike: false, ..ALL }, lying(TWO_BODIES), REFUSED, 3),
        ("A3 replaced", Rules { replaced: false, ..ALL }, restarting(TWO_BODIES), FRAMED, 6),
        ("A3 asked", Rules { asked_again: false, ..ALL }, TWO_NUMBERS, FRAMED, 15),
        ("A4 2f + 1", Rules { vouches_enough: false, ..ALL }, TWO_BODIES, FRAMED, 3),
        ("A4 2f + 1", Rules { vouches_enough: false, ..ALL }, forging, NOT_TOTAL, 3),
        ("A4 latched", Rules { present: false, ..ALL }, restarting(TWO_BODIES), FRAMED, 8),
        ("A5 admitted", Rules { clock_admitted: false, ..ALL }, TWO_BODIES, FRAMED, 3),
        ("A5 ends", Rules { clock_ends: false, ..ALL }, TWO_BODIES, FRAMED, 11),
        ("A6", Rules { propose_admitted: false, ..ALL }, TWO_BODIES, BLOCKED, 5),
        ("A8 clocks", Rules { no_local_expiry: false, ..ALL }, TWO_BODIES, BLOCKED, 8),
        ("A7 vouched", Rules { write_vouched: false, ..ALL }, forging, FORGED, 1),
        ("A7 delayed", Rules { write_delayed: false, ..ALL }, TWO_BODIES, FRAMED, 5),
    ];
    for (what, rules, scope, property, steps) in defects {
        let explored = run(what, rules, scope);
        explored.assert_breaks(property);
        let found = explored.counterexample.map(|counterexample| counterexample.steps.len());
        assert_eq!(found, Some(steps), "{what}: docs/models.md gives the length");
    }
}
