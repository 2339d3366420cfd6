//! The simulator itself: the same seed is the same run, a few seeds are clean, and every
//! invariant reports the defect that it is there for.

use webbft_protocol::membership::ReplicaSet;
use webbft_tests::sim::service::Defect;
use webbft_tests::sim::{
    Client, Crash, CrashPoint, DiskFate, DiskSpeed, Faults, Misdeed, Outcome, Plan, S, Sabotage,
    Storage, run_plan, run_seed,
};

/// A calm run of four replicas and two clients with a defect.
fn sabotaged(sabotage: Sabotage) -> Outcome {
    let plan = Plan {
        clients: vec![Client::steady(), Client { reads: 6, ..Client::steady() }],
        sabotage: Some(sabotage),
        bound: 20 * S,
        ..Plan::calm(1, 4, 1)
    };
    run_plan(plan, false)
}

fn invariants(outcome: &Outcome) -> Vec<&'static str> {
    outcome.violations.iter().map(|violation| violation.invariant).collect()
}

#[test]
fn the_same_seed_twice_gives_the_same_hash() {
    let hashes: Vec<String> =
        [3, 3, 4].into_iter().map(|seed| run_seed(seed, false).hash).collect();
    assert_eq!(hashes[0], hashes[1]);
    assert_ne!(hashes[0], hashes[2]);
}

#[test]
fn some_seeds_are_clean() {
    for seed in 100_000..100_006 {
        let outcome = run_seed(seed, false);
        assert!(outcome.is_clean(), "seed {seed}: {outcome}");
    }
}

#[test]
fn a_calm_run_does_something() {
    let outcome = run_plan(Plan { phase_one: 15 * S, ..Plan::calm(1, 4, 1) }, false);
    assert!(outcome.is_clean(), "{outcome}");
    let calls = &outcome.statistics.calls;
    for kind in ["invoked", "read", "subscribed", "unsubscribed", "events delivered"] {
        assert!(calls.get(kind).is_some_and(|count| *count > 3), "{kind}: {calls:?}");
    }
    assert!(outcome.statistics.longest_call < S, "{} µs", outcome.statistics.longest_call);
}

#[test]
fn more_than_f_liars_are_reported() {
    let found = invariants(&sabotaged(Sabotage::LyingMajority));
    assert!(
        ["reply_validity", "reads_linearizable", "linearizability"]
            .iter()
            .all(|invariant| found.contains(invariant)),
        "{found:?}"
    );
}

#[test]
fn a_skipped_operation_is_reported() {
    let outcome = sabotaged(Sabotage::Defect(2, Defect::Skip(5)));
    let found = invariants(&outcome);
    assert!(found.contains(&"agreement") && found.contains(&"no_false_suspect"), "{outcome}");
}

#[test]
fn an_operation_executed_twice_is_reported() {
    let outcome = sabotaged(Sabotage::Defect(0, Defect::Twice(5)));
    assert!(invariants(&outcome).contains(&"exactly_once"), "{outcome}");
}

#[test]
fn a_forged_operation_is_reported() {
    let outcome = sabotaged(Sabotage::Defect(1, Defect::Forge(5)));
    assert!(invariants(&outcome).contains(&"no_forged_operation"), "{outcome}");
}

#[test]
fn an_unheard_leader_is_reported_as_suspected() {
    let outcome = sabotaged(Sabotage::LeaderUnheard);
    assert!(invariants(&outcome).contains(&"zero_leader_changes"), "{outcome}");
}

#[test]
fn stale_reads_are_reported() {
    let outcome = sabotaged(Sabotage::StaleReads);
    let found = invariants(&outcome);
    assert!(
        found.contains(&"reads_linearizable") && found.contains(&"linearizability"),
        "{outcome}"
    );
}

#[test]
fn lost_events_are_reported_as_stuck() {
    let outcome = sabotaged(Sabotage::EventsLost);
    assert!(outcome.stuck.iter().any(|what| what.contains("waits for event")), "{outcome}");
}

#[test]
fn clients_that_are_cut_off_are_reported_as_stuck() {
    let outcome = sabotaged(Sabotage::CutOff);
    assert!(outcome.stuck.iter().any(|what| what.contains("have not completed")), "{outcome}");
}

#[test]
fn a_tampered_frame_that_is_taken_is_reported() {
    let plan = Plan {
        faults: Faults { tampered: 20_000, ..Faults::default() },
        sabotage: Some(Sabotage::HarmlessTampering),
        ..Plan::calm(1, 4, 1)
    };
    let outcome = run_plan(plan, false);
    assert!(invariants(&outcome).contains(&"link_integrity"), "{outcome}");
}

/// Each misdeed alone, by the last f replicas, on a calm network: nothing breaks, nothing is stuck.
#[test]
fn every_misdeed_is_survived() {
    for misdeed in webbft_tests::sim::MISDEEDS {
        for (n, f) in [(4, 1), (7, 2)] {
            let plan = Plan {
                byzantine: (n - f..n).map(|replica| (replica, vec![misdeed])).collect(),
                phase_one: 2 * S,
                phase_two: S,
                ..Plan::calm(7, n, f)
            };
            let outcome = run_plan(plan, false);
            assert!(outcome.is_clean(), "{misdeed:?} of {f} of {n}: {outcome}");
        }
    }
}

/// A replica that lost its memory votes again, whatever a liar reports to it (rule D3).
#[test]
fn a_liar_keeps_no_learner_from_voting() {
    let crash = Crash {
        replicas: ReplicaSet::one(6),
        when: CrashPoint::At(S),
        down: S,
        disk: DiskFate::Kept,
    };
    let plan = Plan {
        byzantine: vec![(5, vec![Misdeed::LieInReports])],
        faults: Faults { crashes: vec![crash], ..Faults::default() },
        bound: 20 * S,
        ..Plan::calm(1, 7, 2)
    };
    let outcome = run_plan(plan, false);
    assert!(outcome.is_clean(), "{outcome}");
    let deeds = &outcome.statistics.deeds;
    for kind in ["replica without memory votes again", "replica caught misbehaving"] {
        assert!(deeds.contains_key(kind), "{kind}: {deeds:?}");
    }
}

/// A replica whose log is damaged starts with an empty one, fetches a state of several chunks, and
/// votes again; one that is Byzantine crashes and goes on.
#[test]
fn who_crashes_is_started_again() {
    let crash = |replica, at, disk| Crash {
        replicas: ReplicaSet::one(replica),
        when: CrashPoint::At(at),
        down: S,
        disk,
    };
    let crashes = vec![crash(6, 2 * S, DiskFate::Damaged), crash(5, S, DiskFate::Kept)];
    let plan = Plan {
        byzantine: vec![(5, vec![Misdeed::LieInVouches])],
        faults: Faults { crashes, ..Faults::default() },
        storage: Storage::Sync(DiskSpeed { base: 200, jitter: 10 }),
        ballast: 2,
        bound: 20 * S,
        ..Plan::calm(1, 7, 2)
    };
    let outcome = run_plan(plan, false);
    assert!(outcome.is_clean(), "{outcome}");
    let deeds = &outcome.statistics.deeds;
    for kind in ["replica without memory votes again", "state of several chunks transferred"] {
        assert!(deeds.contains_key(kind), "{kind}: {deeds:?}");
    }
    for kind in ["crash, log damaged", "crash of a Byzantine replica"] {
        assert!(outcome.statistics.faults.contains_key(kind), "{kind}");
    }
}

/// A replica that lies to clients is accused by them, and nobody else is (`no_false_suspect`).
#[test]
fn a_liar_is_suspected() {
    let plan = Plan { byzantine: vec![(3, vec![Misdeed::LieToClients])], ..Plan::calm(1, 4, 1) };
    let outcome = run_plan(plan, false);
    assert!(outcome.is_clean(), "{outcome}");
    assert!(outcome.statistics.calls.contains_key("suspicions"));
}

/// A partition that separates the leader from all others delays calls until it heals.
#[test]
fn a_partition_heals() {
    for breaks in [false, true] {
        let partition = webbft_tests::sim::Partition {
            from: S,
            until: 4 * S,
            side: ReplicaSet::one(0),
            breaks,
            one_way: false,
            clients_too: false,
        };
        let faults = Faults { partitions: vec![partition], ..Faults::default() };
        let outcome = run_plan(Plan { faults, ..Plan::calm(1, 4, 1) }, false);
        assert!(outcome.is_clean(), "{outcome}");
        assert!(outcome.statistics.longest_call > S, "nothing was delayed");
    }
}
