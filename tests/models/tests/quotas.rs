//! Quotas (rule A10).

use webbft_models::checker::{Explored, explore};
use webbft_models::quotas::{BLAMED, Quotas, REFUSED, Rules};

const ALL: Rules = Rules::ALL;

fn run(what: &str, rules: Rules) -> Explored {
    let explored = explore(&Quotas { rules }, 5_000_000);
    eprintln!("{what}: {explored}");
    explored
}

#[test]
fn the_rules_hold() {
    run("quotas", ALL).assert_holds();
}

#[test]
fn each_rule_is_needed() {
    let defects = [
        ("direct", Rules { direct_limited: false, ..ALL }, BLAMED, 5),
        ("share", Rules { share: 2, ..ALL }, BLAMED, 8),
        ("shared", Rules { shared: Some(6), ..ALL }, REFUSED, 11),
    ];
    for (what, rules, property, steps) in defects {
        let explored = run(what, rules);
        explored.assert_breaks(property);
        let found = explored.counterexample.map(|counterexample| counterexample.steps.len());
        assert_eq!(found, Some(steps), "{what}: docs/models.md gives the length");
    }
}
