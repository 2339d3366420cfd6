//! Leaving a regency (rules S2, S4, S9).

use webbft_models::checker::{Explored, explore};
use webbft_models::stops::{Lapse, PROVED, Rules, STALE, STARVED, STUCK, Scope, Stops};

const STALE_STOPS: Scope = Scope {
    regencies: 1,
    instances: true,
    clocks_run_out: false,
    proof: false,
    orders: true,
    patience: None,
};
const TWO_REGENCIES: Scope =
    Scope { regencies: 2, instances: false, clocks_run_out: true, orders: false, ..STALE_STOPS };
const PROGRESS: Scope = Scope { clocks_run_out: true, orders: false, ..STALE_STOPS };
const STARVING: Scope = Scope { patience: Some(5), orders: false, ..STALE_STOPS };
const PROOF: Scope = Scope { proof: true, orders: false, ..STALE_STOPS };

fn run(what: &str, rules: Rules, scope: Scope) -> Explored {
    let explored = explore(&Stops { rules, scope }, 2_000_000);
    eprintln!("{what}: {explored}");
    explored
}

fn lapsing(lapse: Lapse) -> Rules {
    Rules { lapse, ..Rules::ALL }
}

#[test]
fn the_rules_hold() {
    run("two regencies", Rules::ALL, TWO_REGENCIES).assert_holds();
    run("progress", Rules::ALL, PROGRESS).assert_holds();
    run("stale STOPs", Rules::ALL, STALE_STOPS).assert_holds();
    run("starving", Rules::ALL, STARVING).assert_holds();
    run("proof", Rules::ALL, PROOF).assert_holds();
}

#[test]
fn s4_a_stop_counts_for_lower_regencies_too() {
    let rules = Rules { counts_below: false, ..Rules::ALL };
    run("S4", rules, TWO_REGENCIES).assert_breaks(STUCK);
}

#[test]
fn s9_a_stop_that_never_lapses_serves_a_liar() {
    run("never lapses", lapsing(Lapse::Never), STALE_STOPS).assert_breaks(STALE);
}

#[test]
fn s9_a_stop_that_a_later_vote_voids_lets_a_leader_starve_a_client() {
    run("a vote voids", lapsing(Lapse::Vote), STARVING).assert_breaks(STARVED);
    run("a vote voids", lapsing(Lapse::Vote), STALE_STOPS).assert_breaks(STALE);
}

#[test]
fn s9_a_stop_that_is_renewed_until_the_next_vote_stands_while_nothing_is_ordered() {
    let rules = lapsing(Lapse::VoteUnlessRenewed);
    run("renewed", rules, STARVING).assert_holds();
    run("renewed", rules, STALE_STOPS).assert_breaks(STALE);
}

#[test]
fn s9_a_stop_with_evidence_stands() {
    let rules = Rules { proof_stands: false, ..lapsing(Lapse::Vote) };
    run("evidence lapses", rules, PROOF).assert_breaks(PROVED);
}
