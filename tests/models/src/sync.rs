//! One instance through leader changes (rules S1 to S7, N2 to N4, D3).
//!
//! Scope: `CORRECT` correct replicas, the rest Byzantine; two values; up to four epochs. What a
//! correct replica said stays said and can be delivered at any time, or never. Every leader is
//! Byzantine unless the scope says that the last one is correct, which covers every assignment of
//! leaders: a correct leader does nothing that a Byzantine one could not. A replica that decided
//! goes on as if it had not; a decision is whatever some correct replica could decide. So the
//! state is what correct replicas voted and told in STOPDATAs, and the Byzantine replicas' part is
//! computed where it matters: they say what helps them, without forging signatures of others.

use std::cell::RefCell;

use rustc_hash::FxHashMap;

use crate::checker::{Label, Model, Step};

/// Epochs at most.
pub(crate) const EPOCHS: usize = 4;
/// Both values, as a set.
pub(crate) const ANY: u8 = 3;
/// The values.
pub(crate) const VALUES: [u8; 2] = [1, 2];

/// The rules; take one out by changing its field.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// S1: after an installation only a valid SYNC's choice is written.
    pub sync_first: bool,
    /// S2: no votes in lower epochs once a regency is installed.
    pub silent_below: bool,
    /// S3: STOPDATA is computed when the regency is installed, not when its STOP is sent.
    pub data_at_installation: bool,
    /// S3: it is said again as it was, not computed again.
    pub data_once: bool,
    /// S3: regency and STOPDATA are on disk.
    pub data_durable: bool,
    /// S5: who claims to have decided proves it by a certificate.
    pub proof: bool,
    /// N3: the ACCEPTs of a certificate are of one epoch.
    pub proof_epoch: bool,
    /// S6: only STOPDATAs of the SYNC's own regency.
    pub of_regency: bool,
    /// S6: only of members, each once.
    pub of_members: bool,
    /// S6: none that names the new epoch or a later one.
    pub of_lower_epochs: bool,
    /// S6: followers compute the choice again; false: the leader says it.
    pub recomputed: bool,
    /// S7: writesets count per replica; false: per entry.
    pub writers_distinct: bool,
    /// S7: f + 1 writers; false: one.
    pub writers_enough: bool,
    /// S7: the writers wrote in that epoch or a later one; false: in any.
    pub writers_not_before: bool,
    /// S7: a quorum accepted nothing else of that epoch or a later one.
    pub compatible: bool,
    /// S7: the highest epoch wins; false: any that fits.
    pub highest: bool,
    /// S7: unbound takes a quorum that accepted nothing; false: f + 1.
    pub unbound_quorum: bool,
    /// N1: the first epoch is 1; false: 0, which also means "accepted nothing".
    pub epoch_from_one: bool,
    /// N2: q WRITEs to accept; false: f + 1.
    pub write_quorum: bool,
    /// N2: f + 1 ACCEPTs are also enough to accept.
    pub accept_after_accepts: bool,
    /// A7: one WRITE an epoch.
    pub write_once: bool,
    /// N4: a WRITE is on disk before it leaves.
    pub writes_durable: bool,
    /// N4: and an ACCEPT.
    pub accepts_durable: bool,
    /// N4: and the batch.
    pub batches_durable: bool,
    /// D3: who lost the disk does not vote.
    pub learner: bool,
}

impl Rules {
    /// The rules as they are.
    pub const ALL: Self = Self {
        sync_first: true,
        silent_below: true,
        data_at_installation: true,
        data_once: true,
        data_durable: true,
        proof: true,
        proof_epoch: true,
        of_regency: true,
        of_members: true,
        of_lower_epochs: true,
        recomputed: true,
        writers_distinct: true,
        writers_enough: true,
        writers_not_before: true,
        compatible: true,
        highest: true,
        unbound_quorum: true,
        epoch_from_one: true,
        write_quorum: true,
        accept_after_accepts: true,
        write_once: true,
        writes_durable: true,
        accepts_durable: true,
        batches_durable: true,
        learner: true,
    };
}

/// How much can happen.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// Byzantine replicas; the other members, if any, are down.
    pub liars: usize,
    /// Members.
    pub members: usize,
    /// Faults that quorums allow for.
    pub faults: usize,
    /// Regencies 0 to this.
    pub last_regency: usize,
    /// The leader of the last regency is correct.
    pub correct_leader: bool,
    /// Also check that every SYNC binds a decided value, which breaks before agreement does.
    pub binding: bool,
    /// Disks may be lost, of so many correct replicas.
    pub lost_disks: usize,
}

impl Scope {
    /// n = 4 with one Byzantine replica and three epochs.
    pub const FOUR: Self = Self {
        liars: 1,
        members: 4,
        faults: 1,
        last_regency: 2,
        correct_leader: false,
        binding: true,
        lost_disks: 0,
    };

    pub(crate) const fn quorum(&self) -> usize {
        (self.members + self.faults) / 2 + 1
    }
}

/// Properties.
pub const AGREEMENT: &str = "two correct replicas decide differently";
/// What makes agreement last.
pub const BINDING: &str = "a SYNC allows another value than the decided one";
/// A correct leader hears all correct replicas.
pub const NO_CHOICE: &str = "a correct leader who heard all correct replicas cannot choose";
/// Nothing is left to be delivered.
pub const DEAD_END: &str = "nothing can be decided under a correct leader";

/// What a STOPDATA says: the last epoch in which each value was written (two bits each, 0 for
/// never), what was accepted last (two bits of epoch, one of value), and that it was said (one).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Data(u8);

impl Data {
    const SAID: u8 = 128;

    pub(crate) fn new(written: [u8; 2], accepted: Option<(u8, u8)>) -> Self {
        let (epoch, value) = accepted.unwrap_or((0, 1));
        Self(written[0] | written[1] << 2 | epoch << 4 | (value - 1) << 6 | Self::SAID)
    }

    pub(crate) const fn said(self) -> bool {
        self.0 & Self::SAID != 0
    }

    /// The last epoch in which `value` was written, or 0.
    const fn written(self, value: u8) -> u8 {
        self.0 >> (2 * (value - 1)) & 3
    }

    const fn accepted(self) -> Option<(u8, u8)> {
        let epoch = self.0 >> 4 & 3;
        if epoch == 0 { None } else { Some((epoch, (self.0 >> 6 & 1) + 1)) }
    }

    pub(crate) fn swap_values(self) -> Self {
        if !self.said() {
            return self;
        }
        let accepted = self.accepted().map(|(epoch, value)| (epoch, 3 - value));
        Self::new([self.written(2), self.written(1)], accepted)
    }
}

/// A correct replica. Votes are two bits an epoch: a value, or a set of values where they stand
/// for what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Replica {
    regency: u8,
    /// What it knows that it voted.
    wrote: u8,
    accepted: u8,
    /// What it sent.
    writes: u8,
    accepts: u8,
    /// Its STOPDATA of each regency from 1, and a different one said later.
    data: [Data; EPOCHS - 1],
    again: [Data; EPOCHS - 1],
    /// A value taken as decided because a certificate says so.
    adopted: u8,
    /// It lost its disk or its batches.
    lost: u8,
}

const DISK: u8 = 1;
const BATCHES: u8 = 2;

pub(crate) const fn at(votes: u8, epoch: usize) -> u8 {
    votes >> (2 * epoch) & 3
}

pub(crate) fn put(votes: &mut u8, epoch: usize, value: u8) {
    *votes = *votes & !(3 << (2 * epoch)) | value << (2 * epoch);
}

pub(crate) const fn swap_votes(votes: u8) -> u8 {
    votes >> 1 & 0x55 | votes << 1 & 0xaa
}

impl Replica {
    /// What it would say about epochs before that of `regency`.
    fn tell(&self, regency: usize) -> Data {
        let mut written = [0; 2];
        let mut accepted = None;
        for epoch in 0..EPOCHS {
            let number = short(epoch + 1);
            if at(self.wrote, epoch) != 0 {
                written[usize::from(at(self.wrote, epoch)) - 1] = number;
            }
            if at(self.accepted, epoch) != 0 {
                accepted = Some((number, at(self.accepted, epoch)));
            }
        }
        // Only the last is kept, so what is left out here is gone.
        let below = short(regency);
        let written = written.map(|epoch| if epoch <= below { epoch } else { 0 });
        Data::new(written, accepted.filter(|(epoch, _)| *epoch <= below))
    }

    fn say(&mut self, regency: usize, data: Data) {
        let (first, again) = (&mut self.data[regency - 1], &mut self.again[regency - 1]);
        if !first.said() {
            *first = data;
        } else if *first != data {
            *again = data;
        }
    }

    fn holds(&self, value: u8) -> bool {
        let wrote = (0..EPOCHS).any(|epoch| at(self.wrote, epoch) == value);
        wrote && self.lost & (DISK | BATCHES) == 0
    }

    fn swap_values(&self) -> Self {
        Self {
            wrote: swap_votes(self.wrote),
            accepted: swap_votes(self.accepted),
            writes: swap_votes(self.writes),
            accepts: swap_votes(self.accepts),
            data: self.data.map(Data::swap_values),
            again: self.again.map(Data::swap_values),
            adopted: swap_votes(self.adopted),
            ..*self
        }
    }
}

/// A state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State<const CORRECT: usize> {
    replicas: [Replica; CORRECT],
    /// What the correct leader of the last regency chose.
    sync: u8,
}

/// The model.
#[derive(Debug)]
pub struct LeaderChange<const CORRECT: usize> {
    /// The rules in force.
    pub rules: Rules,
    /// The scope.
    pub scope: Scope,
    /// Values that a SYNC can justify, by epoch and STOPDATAs.
    known: RefCell<FxHashMap<Told, u8>>,
}

/// A regency, and the STOPDATAs of each correct replica that could be in its SYNC.
type Told = (usize, Vec<Vec<Data>>);

/// Adds a step: its label, whether it is fair, and the replica after it.
type Push<'a> = &'a mut dyn FnMut(&'static str, &[u8], bool, Replica);

/// STOPDATAs in a SYNC.
#[derive(Debug, Default)]
struct Picked {
    datas: Vec<(Data, bool)>,
}

impl<const CORRECT: usize> LeaderChange<CORRECT> {
    /// The model with these rules.
    #[must_use]
    pub fn new(rules: Rules, scope: Scope) -> Self {
        Self { rules, scope, known: RefCell::default() }
    }

    /// S7: the values that these STOPDATAs allow; none where they leave it open.
    pub(crate) fn choose(&self, datas: &[(Data, bool)]) -> u8 {
        let rules = &self.rules;
        let quorum = self.scope.quorum();
        if datas.len() < quorum {
            return 0;
        }
        let accepted =
            |data: Data| data.accepted().filter(|(epoch, _)| rules.epoch_from_one || *epoch != 1);
        let mut found = 0;
        for epoch in (1..=3).rev() {
            for value in VALUES {
                if !datas.iter().any(|&(data, _)| accepted(data) == Some((epoch, value))) {
                    continue;
                }
                let compatible = datas.iter().filter(|&&(data, _)| match accepted(data) {
                    None => true,
                    Some(known) => known.0 < epoch || known == (epoch, value),
                });
                let least = if rules.writers_not_before { epoch } else { 1 };
                let writers: usize = datas
                    .iter()
                    .filter(|&&(data, _)| data.written(value) >= least)
                    .map(|&(_, liar)| if liar && !rules.writers_distinct { 2 } else { 1 })
                    .sum();
                let enough = if rules.writers_enough { self.scope.faults + 1 } else { 1 };
                let fits = compatible.count() >= quorum || !rules.compatible;
                if fits && writers >= enough {
                    found |= value;
                }
            }
            // Of two values of one epoch that fit, the hashes decide which.
            if found != 0 && rules.highest {
                return found;
            }
        }
        let nothing = datas.iter().filter(|&&(data, _)| accepted(data).is_none()).count();
        let enough = if rules.unbound_quorum { quorum } else { self.scope.faults + 1 };
        if nothing >= enough && (found == 0 || !rules.highest) { ANY } else { found }
    }

    /// Everything that a Byzantine replica can usefully say in the STOPDATA of `regency`.
    pub(crate) fn lies(&self, regency: usize) -> Vec<Data> {
        let highest =
            short(if self.rules.of_lower_epochs { regency } else { (regency + 1).min(3) });
        let accepted = (1..=highest).flat_map(|epoch| VALUES.map(|value| Some((epoch, value))));
        let accepted: Vec<_> = accepted.chain([None]).collect();
        let mut lies = Vec::new();
        for written in [[0, 0], [highest, 0], [0, highest], [highest, highest]] {
            lies.extend(accepted.iter().map(|accepted| Data::new(written, *accepted)));
        }
        lies
    }

    /// Adds every choice that is possible with one of `options` of each further sender, or with
    /// none of it.
    fn pick(&self, options: &[Vec<Data>], liars: usize, lies: &[Data], picked: &mut Picked) -> u8 {
        let Some((own, others)) = options.split_first() else {
            return self.pick_lies(liars, lies, picked);
        };
        let mut found = self.pick(others, liars, lies, picked);
        for data in own {
            picked.datas.push((*data, false));
            found |= self.pick(others, liars, lies, picked);
            picked.datas.pop();
        }
        found
    }

    /// The liars are alike: what the next says is not before what the last said.
    fn pick_lies(&self, liars: usize, lies: &[Data], picked: &mut Picked) -> u8 {
        let mut found = self.choose(&picked.datas);
        if liars == 0 || found == ANY {
            return found;
        }
        for (index, lie) in lies.iter().enumerate() {
            picked.datas.push((*lie, true));
            found |= self.pick_lies(liars - 1, &lies[index..], picked);
            picked.datas.pop();
        }
        found
    }

    /// The values that some SYNC of `regency` allows.
    fn allowed(&self, state: &State<CORRECT>, regency: usize) -> u8 {
        if regency == 0 || !self.rules.sync_first || !self.rules.recomputed {
            return ANY;
        }
        let mut options: Vec<Vec<Data>> = state
            .replicas
            .iter()
            .map(|replica| {
                let mut datas: Vec<Data> = (1..=self.scope.last_regency)
                    .filter(|&of| of == regency || !self.rules.of_regency)
                    .flat_map(|of| [replica.data[of - 1], replica.again[of - 1]])
                    .filter(|data| data.said())
                    .collect();
                datas.sort_unstable();
                datas.dedup();
                datas
            })
            .collect();
        options.sort_unstable();
        let key = (regency, options);
        if let Some(found) = self.known.borrow().get(&key) {
            return *found;
        }
        let invented = usize::from(!self.rules.of_members);
        let liars = self.scope.liars + invented;
        let found = self.pick(&key.1, liars, &self.lies(regency), &mut Picked::default());
        self.known.borrow_mut().insert(key, found);
        found
    }

    /// The values that a correct leader of the last regency, who heard all correct replicas and
    /// perhaps the liars, may choose. None: it may be unable to.
    fn chosen(&self, state: &State<CORRECT>) -> Option<u8> {
        let last = self.scope.last_regency;
        let mut datas = Picked::default();
        for replica in state.replicas.iter().filter(|replica| replica.lost & DISK == 0) {
            let data = replica.data[last - 1];
            if !data.said() {
                return Some(0);
            }
            datas.datas.push((data, false));
        }
        let (able, found) = self.chosen_with(self.scope.liars, &self.lies(last), &mut datas);
        able.then_some(found)
    }

    /// Can it choose whatever some of so many liars say, and what?
    fn chosen_with(&self, liars: usize, lies: &[Data], picked: &mut Picked) -> (bool, u8) {
        let found = self.choose(&picked.datas);
        let mut all = (found != 0, found);
        for (index, lie) in lies.iter().enumerate().filter(|_| liars > 0) {
            picked.datas.push((*lie, true));
            let (able, found) = self.chosen_with(liars - 1, &lies[index..], picked);
            picked.datas.pop();
            all = (all.0 && able, all.1 | found);
        }
        all
    }

    fn count(
        state: &State<CORRECT>,
        votes: impl Fn(&Replica) -> u8,
        epoch: usize,
        value: u8,
    ) -> usize {
        state.replicas.iter().filter(|replica| at(votes(replica), epoch) & value != 0).count()
    }

    /// Could a correct replica decide `value` in `epoch`, with so much help?
    fn decidable(&self, state: &State<CORRECT>, epoch: usize, value: u8, help: usize) -> bool {
        Self::count(state, |replica| replica.accepts, epoch, value) + help >= self.scope.quorum()
    }

    /// ACCEPTs of any epoch make a certificate.
    fn mixed(&self, state: &State<CORRECT>, value: u8) -> bool {
        let accepted =
            |replica: &&Replica| (0..EPOCHS).any(|epoch| at(replica.accepts, epoch) & value != 0);
        state.replicas.iter().filter(accepted).count() + self.scope.liars >= self.scope.quorum()
    }

    fn votes(&self, state: &State<CORRECT>, who: usize, push: Push<'_>) {
        let (rules, scope) = (&self.rules, &self.scope);
        let replica = &state.replicas[who];
        let current = usize::from(replica.regency);
        let lowest = if rules.silent_below { current } else { 0 };
        for epoch in lowest..=current {
            let number = short(epoch + 1);
            let last = epoch == scope.last_regency && scope.correct_leader;
            let written = at(replica.wrote, epoch);
            if written == 0 || !rules.write_once {
                let allowed = if last { state.sync } else { self.allowed(state, epoch) };
                for value in VALUES.into_iter().filter(|value| allowed & value != 0) {
                    let mut changed = *replica;
                    put(&mut changed.wrote, epoch, value);
                    let sent = at(replica.writes, epoch) | value;
                    put(&mut changed.writes, epoch, sent);
                    let name = if epoch == 0 {
                        "{} writes {} in epoch {}"
                    } else if allowed == ANY {
                        "{} writes {} in epoch {}: a SYNC leaves the choice"
                    } else {
                        "{} writes {} in epoch {}: a SYNC binds it"
                    };
                    push(name, &[short(who), value, number], last, changed);
                }
            }
            if at(replica.accepted, epoch) != 0 {
                continue;
            }
            for value in VALUES {
                let writers = Self::count(state, |replica| replica.writes, epoch, value);
                let needed = if rules.write_quorum { scope.quorum() } else { scope.faults + 1 };
                let accepts = Self::count(state, |replica| replica.accepts, epoch, value);
                let after_writes = |help| writers + help >= needed;
                let after_accepts =
                    |help| accepts + help > scope.faults && rules.accept_after_accepts;
                if after_writes(scope.liars) || after_accepts(scope.liars) {
                    let mut changed = *replica;
                    put(&mut changed.accepted, epoch, value);
                    let sent = at(replica.accepts, epoch) | value;
                    put(&mut changed.accepts, epoch, sent);
                    let name = if after_writes(scope.liars) {
                        "{} accepts {} in epoch {}"
                    } else {
                        "{} accepts {} in epoch {} as f + 1 did"
                    };
                    let fair = last && (after_writes(0) || after_accepts(0));
                    push(name, &[short(who), value, number], fair, changed);
                }
            }
        }
    }

    fn crashes(
        &self,
        replica: &Replica,
        lost_disks: usize,
        push: &mut dyn FnMut(&'static str, Replica),
    ) {
        let rules = &self.rules;
        if lost_disks < self.scope.lost_disks {
            let Replica { writes, accepts, data, again, .. } = *replica;
            let mut changed =
                Replica { writes, accepts, data, again, lost: BATCHES, ..Replica::default() };
            if rules.learner {
                changed.lost |= DISK;
            }
            push("{} loses its disk", changed);
        }
        if !rules.writes_durable {
            push("{} restarts and forgets its WRITEs", Replica { wrote: 0, ..*replica });
        }
        if !rules.accepts_durable {
            push("{} restarts and forgets its ACCEPTs", Replica { accepted: 0, ..*replica });
        }
        if !rules.batches_durable {
            let lost = replica.lost | BATCHES;
            push("{} restarts and forgets its batches", Replica { lost, ..*replica });
        }
        if !rules.data_durable {
            push("{} restarts and forgets its regency", Replica { regency: 0, ..*replica });
        }
    }
}

impl<const CORRECT: usize> Model for LeaderChange<CORRECT> {
    type State = State<CORRECT>;

    fn initial(&self) -> State<CORRECT> {
        State { replicas: [Replica::default(); CORRECT], sync: 0 }
    }

    fn steps(&self, state: &State<CORRECT>, steps: &mut Vec<Step<State<CORRECT>>>) {
        let (rules, scope) = (&self.rules, &self.scope);
        if scope.correct_leader && state.sync == 0 {
            // It may choose as soon as it can; it will once it has heard everyone.
            let heard = self.chosen(state).unwrap_or(0);
            let found = heard | self.allowed(state, scope.last_regency);
            for value in VALUES.into_iter().filter(|value| found & value != 0) {
                let held = found == ANY || state.replicas.iter().any(|r| r.holds(value));
                if held {
                    let after = State { sync: value, ..*state };
                    let label = Label::new("the correct leader's SYNC proposes {}", &[value]);
                    steps.push(Step { label, fair: heard & value != 0, after });
                }
            }
        }
        let lost_disks = state.replicas.iter().filter(|replica| replica.lost != 0).count();
        for (who, replica) in state.replicas.iter().enumerate() {
            let mut push = |name, arguments: &[u8], fair, changed: Replica| {
                if changed != *replica {
                    let mut after = *state;
                    after.replicas[who] = changed;
                    steps.push(Step { label: Label::new(name, arguments), fair, after });
                }
            };
            if replica.lost & DISK != 0 {
                continue;
            }
            let name = short(who);
            let current = usize::from(replica.regency);
            for regency in current + 1..=scope.last_regency {
                let mut changed = *replica;
                changed.regency = short(regency);
                let said_early = !rules.data_at_installation && replica.data[regency - 1].said();
                if !said_early {
                    changed.say(regency, replica.tell(regency));
                }
                let fair = scope.correct_leader && regency == scope.last_regency;
                push("{} installs regency {}: STOPDATA", &[name, short(regency)], fair, changed);
                if !rules.data_at_installation && !said_early {
                    changed.regency = replica.regency;
                    push(
                        "{} sends STOPDATA({}) with its STOP",
                        &[name, short(regency)],
                        false,
                        changed,
                    );
                }
            }
            for regency in 1..=current {
                if !rules.data_once {
                    let mut changed = *replica;
                    changed.say(regency, replica.tell(regency));
                    push("{} computes STOPDATA({}) again", &[name, short(regency)], false, changed);
                }
            }
            for value in VALUES {
                let shown = !rules.proof && replica.regency > 0;
                let mixed = !rules.proof_epoch && self.mixed(state, value);
                if replica.adopted == 0 && (shown || mixed) {
                    let mut changed = *replica;
                    changed.adopted = value;
                    push("{} takes {} as decided: certificate", &[name, value], false, changed);
                }
            }
            self.votes(state, who, &mut push);
            self.crashes(replica, lost_disks, &mut |label, changed| {
                push(label, &[name], false, changed);
            });
        }
    }

    fn violation(&self, state: &State<CORRECT>) -> Option<&'static str> {
        let mut decided = state.replicas.iter().fold(0, |all, replica| all | replica.adopted);
        for epoch in 0..=self.scope.last_regency {
            for value in VALUES {
                if !self.decidable(state, epoch, value, self.scope.liars) {
                    continue;
                }
                decided |= value;
                if !self.scope.binding {
                    continue;
                }
                for later in epoch + 1..=self.scope.last_regency {
                    if self.allowed(state, later) & !value != 0 {
                        return Some(BINDING);
                    }
                }
            }
        }
        if decided == ANY {
            return Some(AGREEMENT);
        }
        let choice_due = self.scope.correct_leader && state.sync == 0;
        (choice_due && self.chosen(state).is_none()).then_some(NO_CHOICE)
    }

    fn stuck(&self, state: &State<CORRECT>) -> Option<&'static str> {
        let last = self.scope.last_regency;
        let decided = VALUES.into_iter().any(|value| self.decidable(state, last, value, 0));
        (self.scope.correct_leader && !decided).then_some(DEAD_END)
    }

    /// Correct replicas are alike, and so are the values.
    fn canonical(&self, state: &State<CORRECT>) -> State<CORRECT> {
        let mut same = *state;
        same.replicas.sort_unstable();
        let mut swapped = State {
            replicas: state.replicas.map(|replica| replica.swap_values()),
            sync: swap_votes(state.sync),
        };
        swapped.replicas.sort_unstable();
        same.min(swapped)
    }
}

pub(crate) fn short(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}
