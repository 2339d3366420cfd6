//! One instance through leader changes (rules S1 to S7, N1 to N4, D3).

use webbft_models::checker::{Explored, explore, walk};
use webbft_models::sync::{AGREEMENT, BINDING, DEAD_END, LeaderChange, NO_CHOICE, Rules, Scope};

const ALL: Rules = Rules::ALL;
/// Agreement itself, in as many steps as it takes.
const AGREE: Scope = Scope { binding: false, ..Scope::FOUR };
const PROGRESS: Scope = Scope { correct_leader: true, ..Scope::FOUR };

fn run(what: &str, rules: Rules, scope: Scope) -> Explored {
    let explored = explore(&LeaderChange::<3>::new(rules, scope), 20_000_000);
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
    run("agreement and binding", ALL, Scope::FOUR).assert_holds();
    run("progress", ALL, PROGRESS).assert_holds();
    run("a lost disk", ALL, Scope { lost_disks: 1, ..Scope::FOUR }).assert_holds();
}

#[test]
#[ignore = "minutes, and gigabytes"]
fn the_rules_hold_for_four_epochs() {
    run("four epochs", ALL, Scope { last_regency: 3, ..Scope::FOUR }).assert_holds();
}

#[test]
fn agreement_needs_what_replicas_do() {
    let defects = [
        ("S1", Rules { sync_first: false, ..ALL }, 10),
        ("S2", Rules { silent_below: false, ..ALL }, 10),
        ("S3 at installation", Rules { data_at_installation: false, ..ALL }, 11),
        ("S3 once", Rules { data_once: false, ..ALL }, 18),
        ("S3 durable", Rules { data_durable: false, ..ALL }, 11),
        ("N1 epoch from 1", Rules { epoch_from_one: false, ..ALL }, 10),
        ("N4 ACCEPT", Rules { accepts_durable: false, ..ALL }, 11),
    ];
    for (what, rules, steps) in defects {
        breaks(what, rules, AGREE, AGREEMENT, steps);
    }
    let silent = Scope { liars: 0, ..AGREE };
    breaks("N1, no liar", Rules { epoch_from_one: false, ..ALL }, silent, AGREEMENT, 15);
    let lost = Scope { lost_disks: 1, ..AGREE };
    breaks("D3", Rules { learner: false, ..ALL }, lost, AGREEMENT, 9);
}

#[test]
fn agreement_needs_what_a_sync_is_judged_by() {
    let defects = [
        ("S5 proof", Rules { proof: false, ..ALL }, 4),
        ("N3 one epoch", Rules { proof_epoch: false, ..ALL }, 17),
        ("S6 of the regency", Rules { of_regency: false, ..ALL }, 12),
        ("S6 of members", Rules { of_members: false, ..ALL }, 10),
        ("S6 recomputed", Rules { recomputed: false, ..ALL }, 10),
        ("S7 distinct writers", Rules { writers_distinct: false, ..ALL }, 10),
        ("S7 f + 1 writers", Rules { writers_enough: false, ..ALL }, 10),
        ("S7 writers not before", Rules { writers_not_before: false, ..ALL }, 11),
        ("S7 compatible", Rules { compatible: false, ..ALL }, 11),
        ("S7 unbound", Rules { unbound_quorum: false, ..ALL }, 10),
    ];
    for (what, rules, steps) in defects {
        breaks(what, rules, AGREE, AGREEMENT, steps);
    }
}

/// These do not keep replicas from disagreeing, but from getting stuck.
#[test]
fn progress_needs_the_vote_rules() {
    let defects = [
        ("N2 q WRITEs", Rules { write_quorum: false, ..ALL }, NO_CHOICE, 5),
        ("A7 once", Rules { write_once: false, ..ALL }, NO_CHOICE, 7),
        ("N4 WRITE", Rules { writes_durable: false, ..ALL }, NO_CHOICE, 7),
        ("N4 batches", Rules { batches_durable: false, ..ALL }, DEAD_END, 9),
    ];
    let scope = Scope { binding: false, ..PROGRESS };
    for (what, rules, property, steps) in defects {
        breaks(what, rules, scope, property, steps);
    }
}

/// What is only there so that everybody computes the same, or to refuse nonsense early.
#[test]
fn some_clauses_are_not_needed_for_agreement() {
    for rules in [Rules { highest: false, ..ALL }, Rules { of_lower_epochs: false, ..ALL }] {
        run("without", rules, Scope::FOUR).assert_holds();
        run("without", rules, PROGRESS).assert_holds();
    }
}

/// The model's liars can do harm: one more than f does.
#[test]
fn more_than_f_liars_break_agreement() {
    let scope = Scope { liars: 2, ..AGREE };
    let explored = explore(&LeaderChange::<2>::new(ALL, scope), 1_000_000);
    eprintln!("two liars: {explored}");
    explored.assert_breaks(AGREEMENT);
}

fn walks<const CORRECT: usize>(scope: Scope) {
    for scope in [scope, Scope { correct_leader: true, ..scope }] {
        let walked = walk(&LeaderChange::<CORRECT>::new(ALL, scope), 7, 3_000, 60);
        eprintln!("n = {}: {} steps, {} ended", scope.members, walked.steps, walked.ended);
        if let Some(counterexample) = &walked.counterexample {
            panic!("{counterexample}");
        }
    }
    // The walks get as far as where it matters.
    for rules in [
        Rules { compatible: false, ..ALL },
        Rules { writers_distinct: false, ..ALL },
        Rules { silent_below: false, ..ALL },
    ] {
        let walked = walk(&LeaderChange::<CORRECT>::new(rules, scope), 7, 30_000, 60);
        let found = walked.counterexample.map(|counterexample| counterexample.property);
        eprintln!("n = {}: {found:?} after {} steps", scope.members, walked.steps);
        assert_eq!(found, Some(BINDING));
    }
}

#[test]
fn five_replicas_walk_at_random() {
    walks::<4>(Scope { members: 5, ..Scope::FOUR });
}

#[test]
fn seven_replicas_walk_at_random() {
    walks::<5>(Scope { members: 7, liars: 2, faults: 2, ..Scope::FOUR });
}
