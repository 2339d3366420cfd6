//! Two consecutive instances (N3, N5, S5, S6).

use webbft_models::checker::{Explored, explore};
use webbft_models::instances::{DISAGREE, Instances, Rules, Scope};
use webbft_models::sync::{DEAD_END, NO_CHOICE};

const ALL: Rules = Rules::ALL;
const TWO_EPOCHS: Scope =
    Scope { last_regency: 1, values: [2, 2], correct_leader: false, binding: true };
const AGREE: Scope = Scope { binding: false, ..TWO_EPOCHS };
const PROGRESS: Scope = Scope { correct_leader: true, ..AGREE };
const THREE_EPOCHS: Scope = Scope { last_regency: 2, ..TWO_EPOCHS };

fn run(what: &str, rules: Rules, scope: Scope) -> Explored {
    let explored = explore(&Instances::new(rules, scope), 60_000_000);
    eprintln!("{what}: {explored}");
    explored
}

/// `rules` break `property`, in so many steps and no fewer.
fn breaks(what: &str, rules: Rules, scope: Scope, property: &str, steps: usize) {
    let explored = run(what, rules, scope);
    explored.assert_breaks(property);
    let found = explored.counterexample.map(|counterexample| counterexample.steps.len());
    assert_eq!(found, Some(steps), "{what}: docs/models.md gives the length");
}

#[test]
fn the_rules_hold() {
    run("two epochs", ALL, TWO_EPOCHS).assert_holds();
    run("two epochs, progress", ALL, PROGRESS).assert_holds();
    let one_value = Scope { values: [1, 1], ..THREE_EPOCHS };
    run("three epochs, one value", ALL, one_value).assert_holds();
    let progress = Scope { correct_leader: true, ..one_value };
    run("three epochs, one value, progress", ALL, progress).assert_holds();
}

#[test]
#[ignore = "a minute, and two gigabytes"]
fn the_rules_hold_for_three_epochs() {
    for values in [[1, 2], [2, 1]] {
        let scope = Scope { values, ..THREE_EPOCHS };
        run("three epochs", ALL, scope).assert_holds();
        run("three epochs, progress", ALL, Scope { correct_leader: true, ..scope }).assert_holds();
    }
}

#[test]
fn agreement_needs_each_rule() {
    let [first, second] = DISAGREE;
    let rules = Rules { proven_first: false, ..ALL };
    breaks("N3 proven first", rules, AGREE, second, 14);
    breaks("S6 highest", Rules { highest: false, ..ALL }, AGREE, first, 12);
    breaks("N1 instance", Rules { names_instance: false, ..ALL }, AGREE, first, 11);
}

#[test]
fn progress_needs_each_rule() {
    let defects = [
        ("N3 again", Rules { again: false, ..ALL }, DEAD_END, 9),
        ("S5 proof", Rules { proof: false, ..ALL }, DEAD_END, 4),
        ("S6 below", Rules { below_counts_not: false, ..ALL }, NO_CHOICE, 8),
        ("N5 fetched", Rules { fetched: false, ..ALL }, DEAD_END, 11),
        ("S6 learned", Rules { learned: false, ..ALL }, DEAD_END, 8),
    ];
    for (what, rules, property, steps) in defects {
        breaks(what, rules, PROGRESS, property, steps);
    }
}
