//! Random inputs get the replicas somewhere: a target that rejects everything would find nothing.

use std::collections::BTreeSet;

/// What some of the inputs must cause.
const WANTED: [&str; 9] = [
    "decided",
    "peer misbehaved",
    "leader suspected",
    "regency installed",
    "synchronised",
    "learning",
    "voting again",
    "checkpoint stable",
    "state transferred",
];
/// Inputs that are tried.
const INPUTS: u64 = 500;

#[test]
fn random_inputs_reach_leader_changes_and_checkpoints() {
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    for seed in 1..=INPUTS {
        // An xorshift generator: all that is wanted is bytes without a pattern.
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bytes: Vec<u8> = (0..4096)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[7]
            })
            .collect();
        reached.extend(webbft_fuzz::run_replicas(&bytes));
        if WANTED.iter().all(|kind| reached.contains(kind)) {
            return;
        }
    }
    panic!("of {WANTED:?} only {reached:?} were reached");
}
