//! A small explicit-state model checker: breadth first over canonical states, so that a
//! counterexample is a shortest one, and random walks where the states are too many.

use std::fmt;
use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxBuildHasher;

/// One thing that can happen in a state, and the state after it.
#[derive(Debug, Clone)]
pub struct Step<S> {
    /// What happens, for the trace.
    pub label: Label,
    /// It happens sooner or later if it stays possible and the faulty do nothing more.
    pub fair: bool,
    /// The state after it.
    pub after: S,
}

/// What a step is called in a trace: a name and up to four numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// The step's name, with `{}` where an argument belongs.
    pub name: &'static str,
    /// The arguments.
    pub arguments: [u8; 4],
}

impl Label {
    /// A label; arguments beyond the fourth are left out.
    #[must_use]
    pub fn new(name: &'static str, given: &[u8]) -> Self {
        let mut arguments = [0; 4];
        for (to, from) in arguments.iter_mut().zip(given) {
            *to = *from;
        }
        Self { name, arguments }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut arguments = self.arguments.iter();
        for (index, part) in self.name.split("{}").enumerate() {
            if index > 0 {
                write!(f, "{}", arguments.next().copied().unwrap_or_default())?;
            }
            f.write_str(part)?;
        }
        Ok(())
    }
}

/// A protocol at small scope.
pub trait Model {
    /// A state; equal states must be indistinguishable to `steps`.
    type State: Clone + Eq + Hash + fmt::Debug;

    /// Where it begins.
    fn initial(&self) -> Self::State;

    /// Everything that can happen in `state`. Steps that change nothing may be left in.
    fn steps(&self, state: &Self::State, steps: &mut Vec<Step<Self::State>>);

    /// The property that `state` breaks.
    fn violation(&self, state: &Self::State) -> Option<&'static str>;

    /// The property that `state` breaks because nothing fair can happen in it any more.
    fn stuck(&self, _state: &Self::State) -> Option<&'static str> {
        None
    }

    /// The representative of the states that differ from `state` by names only.
    fn canonical(&self, state: &Self::State) -> Self::State {
        state.clone()
    }

    /// One line for the last state of a trace.
    fn describe(&self, state: &Self::State) -> String {
        format!("{state:?}")
    }
}

/// A shortest path to a state that breaks a property.
#[derive(Debug, Clone)]
pub struct Counterexample {
    /// The property.
    pub property: &'static str,
    /// What happened, in order.
    pub steps: Vec<Label>,
    /// The last state.
    pub state: String,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} after {} steps:", self.property, self.steps.len())?;
        for (index, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:4}. {step}", index + 1)?;
        }
        write!(f, "      {}", self.state)
    }
}

/// What an exploration found.
#[derive(Debug, Clone)]
pub struct Explored {
    /// Distinct canonical states seen.
    pub states: usize,
    /// The longest shortest path to a state.
    pub depth: usize,
    /// Were all reachable states seen? Not after a counterexample, nor at the limit.
    pub complete: bool,
    /// The first counterexample.
    pub counterexample: Option<Counterexample>,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.complete { "all" } else { "not all" };
        write!(f, "{} states ({how}), depth {}", self.states, self.depth)?;
        match &self.counterexample {
            Some(counterexample) => write!(f, "; {counterexample}"),
            None => f.write_str("; no property broken"),
        }
    }
}

/// Visits every state that can be reached, nearest first, up to `limit` states, and stops at the
/// first that breaks a property.
pub fn explore<M: Model>(model: &M, limit: usize) -> Explored {
    let hasher = FxBuildHasher;
    let mut states: Vec<M::State> = vec![model.canonical(&model.initial())];
    let mut parents: Vec<u32> = vec![0];
    let mut seen: HashTable<u32> = HashTable::new();
    seen.insert_unique(hasher.hash_one(&states[0]), 0, |_| 0);
    let (mut next, mut depth, mut level_end) = (0, 0, 1);
    let mut steps = Vec::new();
    while next < states.len() {
        if next == level_end {
            depth += 1;
            level_end = states.len();
        }
        let state = states[next].clone();
        steps.clear();
        model.steps(&state, &mut steps);
        let moves = steps.iter().any(|step| step.fair && step.after != state);
        let broken =
            model.violation(&state).or_else(|| if moves { None } else { model.stuck(&state) });
        if let Some(property) = broken {
            let counterexample = Some(trace(model, property, &states, &parents, next));
            return Explored { states: states.len(), depth, complete: false, counterexample };
        }
        for step in &steps {
            let after = model.canonical(&step.after);
            let hash = hasher.hash_one(&after);
            if seen.find(hash, |&index| states[index as usize] == after).is_some() {
                continue;
            }
            if states.len() >= limit.min(u32::MAX as usize) {
                return Explored {
                    states: states.len(),
                    depth,
                    complete: false,
                    counterexample: None,
                };
            }
            let index = u32::try_from(states.len()).expect("below the limit checked above");
            seen.insert_unique(hash, index, |&index| hasher.hash_one(&states[index as usize]));
            states.push(after);
            parents.push(u32::try_from(next).expect("an index of a state"));
        }
        next += 1;
    }
    Explored { states: states.len(), depth, complete: true, counterexample: None }
}

/// Finds names for the canonical states on the path to `last`.
fn trace<M: Model>(
    model: &M,
    property: &'static str,
    states: &[M::State],
    parents: &[u32],
    last: usize,
) -> Counterexample {
    let mut path = vec![last];
    while let Some(&index) = path.last().filter(|&&index| index != 0) {
        path.push(parents[index] as usize);
    }
    let mut state = model.initial();
    let mut labels = Vec::new();
    let mut steps = Vec::new();
    for &index in path.iter().rev().skip(1) {
        steps.clear();
        model.steps(&state, &mut steps);
        let step = steps
            .iter()
            .find(|step| model.canonical(&step.after) == states[index])
            .expect("canonical must not depend on names");
        labels.push(step.label);
        state = step.after.clone();
    }
    Counterexample { property, steps: labels, state: model.describe(&state) }
}

/// What random walks found.
#[derive(Debug, Clone)]
pub struct Walked {
    /// Steps taken in all walks.
    pub steps: usize,
    /// Walks that ended because nothing could happen any more.
    pub ended: usize,
    /// The first counterexample, not a shortest one.
    pub counterexample: Option<Counterexample>,
}

/// Takes `walks` random walks of at most `length` steps. In every other walk a step that is not
/// fair is taken only once in eight times, so that it gets far.
pub fn walk<M: Model>(model: &M, seed: u64, walks: usize, length: usize) -> Walked {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut taken, mut ended) = (0, 0);
    let mut steps: Vec<Step<M::State>> = Vec::new();
    for number in 0..walks {
        let mut state = model.initial();
        let mut labels = Vec::new();
        for _ in 0..=length {
            steps.clear();
            model.steps(&state, &mut steps);
            steps.retain(|step| step.after != state);
            let moves = steps.iter().any(|step| step.fair);
            let broken =
                model.violation(&state).or_else(|| if moves { None } else { model.stuck(&state) });
            if let Some(property) = broken {
                let state = model.describe(&state);
                let counterexample = Some(Counterexample { property, steps: labels, state });
                return Walked { steps: taken, ended, counterexample };
            }
            if moves && number % 2 == 1 && random.random_range(0..8) != 0 {
                steps.retain(|step| step.fair);
            }
            let Some(step) = steps.choose(&mut random) else {
                ended += 1;
                break;
            };
            labels.push(step.label);
            state = step.after.clone();
            taken += 1;
        }
    }
    Walked { steps: taken, ended, counterexample: None }
}

impl Explored {
    /// Every state was seen and no property broken.
    ///
    /// # Panics
    /// With the counterexample, or at the limit.
    pub fn assert_holds(&self) {
        assert!(self.complete && self.counterexample.is_none(), "{self}");
    }

    /// `property` is what breaks first.
    ///
    /// # Panics
    /// Where nothing breaks, or something else.
    pub fn assert_breaks(&self, property: &str) {
        let found = self.counterexample.as_ref().map(|counterexample| counterexample.property);
        assert_eq!(found, Some(property), "{self}");
    }
}
