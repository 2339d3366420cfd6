//! Two consecutive instances through leader changes: an instance is *decided* on q authenticated
//! ACCEPTs and *proven* once q of their signatures are good (N3, S5, S6).
//!
//! Scope: as in `sync.rs`, with two instances. The Byzantine replica signs an ACCEPT well for one
//! receiver and badly for another, so a replica can be unable to prove what it decided. It votes
//! in instance 2 once it has proven instance 1. That instance 2 is proven is left out: a replica
//! that cannot prove it does all that one who can may do.

use std::cell::RefCell;

use rustc_hash::FxHashMap;

use crate::checker::{Label, Model, Step};
use crate::sync::{self, ANY, Data, LeaderChange, VALUES, at, put, short, swap_votes};

/// Correct replicas.
const CORRECT: usize = 3;
/// Regencies after the first.
const CHANGES: usize = 2;
/// The correct leader's SYNC is not about instance 1.
const SKIPPED: u8 = 3;

/// The rules; take one out by changing its field.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Only who has proven instance 1 votes in instance 2; false: who has decided it.
    pub proven_first: bool,
    /// Who has decided instance 1 but cannot prove it votes in it again in later epochs.
    pub again: bool,
    /// S5: a STOPDATA proves its last instance.
    pub proof: bool,
    /// S6: a SYNC is about the instance after the highest that is certified; false: the leader
    /// picks one up to that.
    pub highest: bool,
    /// S6: what a STOPDATA says of an instance that is certified by now does not count.
    pub below_counts_not: bool,
    /// N5: who missed a decision fetches it.
    pub fetched: bool,
    /// The certificates of a SYNC are learned, by its leader and by its receivers.
    pub learned: bool,
    /// N1: hashes and certificates name the instance; false: ACCEPTs of instance 2 certify
    /// instance 1, too.
    pub names_instance: bool,
}

impl Rules {
    /// The rules as they are.
    pub const ALL: Self = Self {
        proven_first: true,
        again: true,
        proof: true,
        highest: true,
        below_counts_not: true,
        fetched: true,
        learned: true,
        names_instance: true,
    };
}

/// How much can happen.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// Regencies 0 to this, at most 2.
    pub last_regency: usize,
    /// Values that leaders propose in each instance, one or two.
    pub values: [usize; 2],
    /// The leader of the last regency is correct.
    pub correct_leader: bool,
    /// Also check that every SYNC binds a decided value.
    pub binding: bool,
}

/// Properties: agreement in instance 1 and in instance 2.
pub const DISAGREE: [&str; 2] = [
    "two correct replicas decide instance 1 differently",
    "two correct replicas decide instance 2 differently",
];

/// A correct replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Replica {
    regency: u8,
    /// Votes in each instance, two bits an epoch.
    wrote: [u8; 2],
    accepted: [u8; 2],
    /// Its STOPDATAs, about the instance after the last that it had proven then.
    data: [Data; CHANGES],
    last: [u8; CHANGES],
    /// It has decided instance 1; noted only where a missing rule makes that matter.
    decided: bool,
    /// The value of instance 1 that it has proven.
    proven: u8,
}

/// A state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State {
    replicas: [Replica; CORRECT],
    /// What the correct leader of the last regency proposed in each instance.
    proposed: [u8; 2],
}

/// Values that SYNCs of a regency allow in the instance they are about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Allowed([u8; 2]);

/// Adds a step: its label, whether it is fair, and the replica after it.
type Push<'a> = &'a mut dyn FnMut(&'static str, &[u8], bool, Replica);

/// A regency, whether a certificate for instance 1 exists, and the STOPDATAs with their last
/// instance.
type Told = (usize, bool, Vec<(u8, Data)>);

/// The model.
#[derive(Debug)]
pub struct Instances {
    /// The rules in force.
    pub rules: Rules,
    /// The scope.
    pub scope: Scope,
    /// S7, as in one instance.
    choice: LeaderChange<CORRECT>,
    /// For every subset of correct STOPDATAs, and for all of them only.
    known: RefCell<FxHashMap<(bool, Told), Option<Allowed>>>,
}

const QUORUM: usize = 3;

fn tell(votes: (u8, u8), regency: usize) -> Data {
    let (mut written, mut accepted) = ([0; 2], None);
    for epoch in 0..regency {
        let number = short(epoch + 1);
        if at(votes.0, epoch) != 0 {
            written[usize::from(at(votes.0, epoch)) - 1] = number;
        }
        if at(votes.1, epoch) != 0 {
            accepted = Some((number, at(votes.1, epoch)));
        }
    }
    Data::new(written, accepted)
}

impl Instances {
    /// The model with these rules.
    #[must_use]
    pub fn new(rules: Rules, scope: Scope) -> Self {
        let choice = LeaderChange::new(sync::Rules::ALL, sync::Scope::FOUR);
        Self { rules, scope, choice, known: RefCell::default() }
    }

    /// Correct replicas that accepted `value`, and could so by this epoch.
    fn accepts(state: &State, cid: usize, epoch: usize, value: u8) -> usize {
        let same = |replica: &&Replica| at(replica.accepted[cid], epoch) == value;
        state.replicas.iter().filter(same).count()
    }

    /// The values of an instance that q ACCEPTs of one epoch stand for, with so much help.
    fn decidable(&self, state: &State, cid: usize, help: usize) -> u8 {
        let mut found = 0;
        for epoch in 0..=self.scope.last_regency {
            for value in VALUES {
                if Self::accepts(state, cid, epoch, value) + help >= QUORUM {
                    found |= value;
                }
            }
        }
        found
    }

    /// The values of instance 1 that a certificate can be made for, with so much help.
    fn certifiable(&self, state: &State, help: usize) -> u8 {
        let other = if self.rules.names_instance { 0 } else { self.decidable(state, 1, help) };
        self.decidable(state, 0, help) | other
    }

    /// What these STOPDATAs allow.
    fn choose(&self, datas: &[(u8, Data, bool)]) -> Allowed {
        let mut found = Allowed::default();
        let Some(highest) = datas.iter().map(|(last, ..)| *last).max() else { return found };
        let lowest = if self.rules.highest { highest } else { 0 };
        for k in lowest..=highest {
            let told: Vec<(Data, bool)> = datas
                .iter()
                .map(|&(last, data, liar)| {
                    let counts = last == k || (last < k && !self.rules.below_counts_not);
                    (if counts { data } else { Data::new([0; 2], None) }, liar)
                })
                .collect();
            found.0[usize::from(k)] |= self.choice.choose(&told);
        }
        found
    }

    /// Everything that the Byzantine replica can usefully say in the STOPDATA of `regency`.
    fn lies(&self, regency: usize, certificate: bool) -> Vec<(u8, Data)> {
        let highest = if certificate || !self.rules.proof { 1 } else { 0 };
        (0..=highest)
            .flat_map(|last| self.choice.lies(regency).into_iter().map(move |data| (last, data)))
            .collect()
    }

    /// What SYNCs of a regency allow; of a correct leader who heard all correct replicas: what it
    /// may choose, or `None` where it may be unable to.
    fn allowed(&self, state: &State, regency: usize, all: bool) -> Option<Allowed> {
        let said = |replica: &&Replica| replica.data[regency - 1].said();
        let mut datas: Vec<(u8, Data)> = state
            .replicas
            .iter()
            .filter(said)
            .map(|replica| (replica.last[regency - 1], replica.data[regency - 1]))
            .collect();
        if all && datas.len() < CORRECT {
            return Some(Allowed::default());
        }
        datas.sort_unstable();
        let key = (all, (regency, self.certifiable(state, 1) != 0, datas));
        if let Some(found) = self.known.borrow().get(&key) {
            return *found;
        }
        let (_, (_, certificate, datas)) = &key;
        let lies = self.lies(regency, *certificate);
        let lies = || lies.iter().map(Some).chain([None]);
        let mut found = Allowed::default();
        let mut able = true;
        let every = (1_usize << datas.len()) - 1;
        for set in if all { every } else { 0 }..=every {
            let mut picked: Vec<(u8, Data, bool)> = Vec::new();
            for (index, (last, data)) in datas.iter().enumerate() {
                if set >> index & 1 == 1 {
                    picked.push((*last, *data, false));
                }
            }
            for lie in lies() {
                picked.extend(lie.map(|(last, data)| (*last, *data, true)));
                let choice = self.choose(&picked);
                able &= choice != Allowed::default();
                found = Allowed([found.0[0] | choice.0[0], found.0[1] | choice.0[1]]);
                picked.truncate(picked.len() - usize::from(lie.is_some()));
            }
        }
        let found = (able || !all).then_some(found);
        self.known.borrow_mut().insert(key, found);
        found
    }

    /// The values that a replica may be led to write in an instance. After a SYNC about instance
    /// 1 the leader proposes freely in instance 2 (S1).
    fn writable(&self, state: &State, cid: usize, epoch: usize) -> u8 {
        if self.scope.correct_leader && epoch == self.scope.last_regency {
            return if state.proposed[cid] == SKIPPED { 0 } else { state.proposed[cid] };
        }
        if epoch == 0 {
            return ANY;
        }
        let allowed = self.allowed(state, epoch, false).unwrap_or_default();
        if cid == 1 && allowed.0[0] != 0 { ANY } else { allowed.0[cid] }
    }

    fn in_scope(&self, cid: usize) -> &'static [u8] {
        &VALUES[..self.scope.values[cid]]
    }

    fn lead(&self, state: &State, steps: &mut Vec<Step<State>>) {
        let mut push = |name, arguments: &[u8], fair, proposed| {
            let after = State { proposed, ..*state };
            steps.push(Step { label: Label::new(name, arguments), fair, after });
        };
        if state.proposed == [0; 2] {
            let last = self.scope.last_regency;
            let heard = self.allowed(state, last, true).unwrap_or_default();
            let any = self.allowed(state, last, false).unwrap_or_default();
            for cid in 0..2 {
                for &value in self.in_scope(cid) {
                    let proposed = if cid == 0 { [value, 0] } else { [SKIPPED, value] };
                    if (heard.0[cid] | any.0[cid]) & value != 0 {
                        let name = "the correct leader's SYNC is about instance {}: {}";
                        let fair = heard.0[cid] & value != 0;
                        push(name, &[short(cid + 1), value], fair, proposed);
                    }
                }
            }
        } else if state.proposed[1] == 0 && state.replicas.iter().any(|r| r.proven != 0) {
            for &value in self.in_scope(1) {
                let name = "the correct leader proposes {} in instance 2";
                push(name, &[value], true, [state.proposed[0], value]);
            }
        }
    }

    fn votes(&self, state: &State, who: usize, push: Push<'_>) {
        let replica = &state.replicas[who];
        let epoch = usize::from(replica.regency);
        let last = epoch == self.scope.last_regency && self.scope.correct_leader;
        for cid in 0..2 {
            let open = if cid == 0 {
                replica.proven == 0 && (self.rules.again || !replica.decided)
            } else if self.rules.proven_first {
                replica.proven != 0
            } else {
                replica.proven != 0 || self.decidable(state, 0, 1) != 0
            };
            if !open {
                continue;
            }
            let given = |value| [short(who), value, short(cid + 1), short(epoch + 1)];
            if at(replica.wrote[cid], epoch) == 0 {
                let writable = self.writable(state, cid, epoch);
                for &value in self.in_scope(cid).iter().filter(|value| writable & **value != 0) {
                    let mut changed = *replica;
                    put(&mut changed.wrote[cid], epoch, value);
                    push("{} writes {} in instance {}, epoch {}", &given(value), last, changed);
                }
            }
            if at(replica.accepted[cid], epoch) != 0 {
                continue;
            }
            for &value in self.in_scope(cid) {
                let same = |replica: &&Replica| at(replica.wrote[cid], epoch) == value;
                let writers = state.replicas.iter().filter(same).count();
                let accepts = Self::accepts(state, cid, epoch, value);
                if writers + 1 >= QUORUM || accepts > 0 {
                    let mut changed = *replica;
                    put(&mut changed.accepted[cid], epoch, value);
                    let fair = writers >= QUORUM || accepts > 1;
                    push(
                        "{} accepts {} in instance {}, epoch {}",
                        &given(value),
                        last && fair,
                        changed,
                    );
                }
            }
        }
    }
}

impl Model for Instances {
    type State = State;

    fn initial(&self) -> State {
        State { replicas: [Replica::default(); CORRECT], proposed: [0; 2] }
    }

    fn steps(&self, state: &State, steps: &mut Vec<Step<State>>) {
        let scope = &self.scope;
        if scope.correct_leader {
            self.lead(state, steps);
        }
        for (who, replica) in state.replicas.iter().enumerate() {
            let mut push = |name, arguments: &[u8], fair, changed: Replica| {
                if changed != *replica {
                    let mut after = *state;
                    after.replicas[who] = changed;
                    steps.push(Step { label: Label::new(name, arguments), fair, after });
                }
            };
            let name = short(who);
            for regency in usize::from(replica.regency) + 1..=scope.last_regency {
                let mut changed = *replica;
                changed.regency = short(regency);
                let about = usize::from(replica.proven != 0);
                let votes = (replica.wrote[about], replica.accepted[about]);
                changed.data[regency - 1] = tell(votes, regency);
                changed.last[regency - 1] = short(about);
                let fair = scope.correct_leader && regency == scope.last_regency;
                push("{} installs regency {}: STOPDATA", &[name, short(regency)], fair, changed);
            }
            if replica.proven == 0 {
                for value in VALUES {
                    let mut changed = *replica;
                    changed.proven = value;
                    let others = state.replicas.iter().any(|other| other.proven == value);
                    let told = state.proposed[0] == SKIPPED
                        && usize::from(replica.regency) == scope.last_regency
                        && self.certifiable(state, 1) & value != 0;
                    if told && self.rules.learned {
                        push(
                            "{} learns {} in instance 1 from the SYNC",
                            &[name, value],
                            true,
                            changed,
                        );
                    } else if others && self.rules.fetched {
                        let label = "{} fetches the decision of instance 1: {}";
                        push(label, &[name, value], true, changed);
                    } else if self.certifiable(state, 1) & value != 0 {
                        let fair = self.certifiable(state, 0) & value != 0;
                        push("{} proves {} in instance 1", &[name, value], fair, changed);
                    }
                }
                if !self.rules.again && self.decidable(state, 0, 1) != 0 {
                    let changed = Replica { decided: true, ..*replica };
                    push("{} decides instance 1 and cannot prove it", &[name], false, changed);
                }
            }
            self.votes(state, who, &mut push);
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        let proven = state.replicas.iter().fold(0, |all, replica| all | replica.proven);
        let decided = [self.decidable(state, 0, 1) | proven, self.decidable(state, 1, 1)];
        for cid in 0..2 {
            if decided[cid] == ANY {
                return Some(DISAGREE[cid]);
            }
        }
        for regency in 1..=self.scope.last_regency {
            if !self.scope.binding {
                break;
            }
            let allowed = self.allowed(state, regency, false).unwrap_or_default();
            for cid in 0..2 {
                for epoch in 0..regency {
                    for value in VALUES {
                        let decides = Self::accepts(state, cid, epoch, value) + 1 >= QUORUM;
                        // Instance 2 is free after a SYNC about instance 1.
                        let free = cid == 1 && allowed.0[0] != 0;
                        if decides && (allowed.0[cid] & !value != 0 || free) {
                            return Some(sync::BINDING);
                        }
                    }
                }
            }
        }
        let due = self.scope.correct_leader && state.proposed == [0; 2];
        let unable = due && self.allowed(state, self.scope.last_regency, true).is_none();
        unable.then_some(sync::NO_CHOICE)
    }

    fn stuck(&self, state: &State) -> Option<&'static str> {
        let proven = state.replicas.iter().all(|replica| replica.proven != 0);
        let done = proven && self.decidable(state, 1, 0) != 0;
        (self.scope.correct_leader && !done).then_some(sync::DEAD_END)
    }

    /// Correct replicas are alike, and so are the two values of an instance.
    fn canonical(&self, state: &State) -> State {
        let mut best = None;
        for swapped in [[false, false], [true, false], [false, true], [true, true]] {
            let apart = swapped[0] != swapped[1] && !self.rules.names_instance;
            if apart || (0..2).any(|cid| swapped[cid] && self.scope.values[cid] < 2) {
                continue;
            }
            let swap = |cid: usize, votes: u8| if swapped[cid] { swap_votes(votes) } else { votes };
            let mut other = *state;
            for cid in 0..2 {
                other.proposed[cid] = swap(cid, other.proposed[cid]);
                for replica in &mut other.replicas {
                    replica.wrote[cid] = swap(cid, replica.wrote[cid]);
                    replica.accepted[cid] = swap(cid, replica.accepted[cid]);
                }
            }
            for replica in &mut other.replicas {
                replica.proven = swap(0, replica.proven);
                for (data, last) in replica.data.iter_mut().zip(replica.last) {
                    if swapped[usize::from(last)] {
                        *data = data.swap_values();
                    }
                }
            }
            other.replicas.sort_unstable();
            best = Some(best.map_or(other, |best: State| best.min(other)));
        }
        best.unwrap_or(*state)
    }
}
