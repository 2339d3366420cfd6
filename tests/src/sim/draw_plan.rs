//! The plan that belongs to a seed.
//!
//! Swarm testing: a seed first draws which kinds of faults are on at all. A run in which everything
//! goes wrong at once explores less than many runs in which a few things do.
//!
//! Most runs are short and quiet and a few are long or busy, so that a hundred thousand seeds are a
//! matter of minutes: what finds a bug is the variety of the schedules, not their length.

use webbft_protocol::membership::ReplicaSet;

use super::disk::DiskSpeed;
use super::draw::Draw;
use super::plan::{
    Attack, Attacker, Client, ClockJump, Crash, CrashPoint, DiskFate, Faults, Latency, MISDEEDS,
    MS, Misdeed, Partition, Pause, Plan, RecordKind, S, Slowness, Stage, Storage, WITHIN_DRIFT,
};

/// Replicas and faults among them, by how often they are drawn.
const SIZES: [(u32, usize, usize); 5] = [(2, 1, 0), (20, 4, 1), (3, 5, 1), (4, 7, 2), (1, 10, 3)];

/// What the first leader does more often than others.
const LEADER_MISDEEDS: [Misdeed; 6] = [
    Misdeed::StallAsLeader,
    Misdeed::ProposeToFew,
    Misdeed::EquivocateProposals,
    Misdeed::Selective,
    Misdeed::MuteToPeers,
    Misdeed::Twins,
];

impl Plan {
    /// The run that belongs to a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let (n, f) = draw_size(&mut draw);
        let (phase_one, phase_two) = draw_lengths(&mut draw);
        let byzantine = draw_byzantine(&mut draw, n, f);
        let byzantine_count = byzantine.len();
        let storage = draw_storage(&mut draw);
        let mut faults = draw_faults(&mut draw, (n, f - byzantine_count), phase_one);
        if !faults.is_none() && draw.chance(1, 3) {
            let liars: Vec<usize> = byzantine.iter().map(|(replica, _)| *replica).collect();
            faults.crashes = draw_crashes(&mut draw, (n, f), &liars, phase_one, storage);
        }
        let calm = faults.partitions.is_empty() && faults.peer_breaks == 0;
        let latency = Latency {
            base: *draw.pick(&[50, 200, 200, MS, 20 * MS, 60 * MS]),
            jitter: *draw.pick(&[20, 20, 200, 200, 2 * MS, 10 * MS]),
            spike_one_in: if calm { 0 } else { *draw.pick(&[0, 200, 2000]) },
        };
        // Short enough for leader changes in short runs, where the network allows it; on the
        // slowest of the networks drawn an operator would wait longer than usual.
        let quick = latency.base <= MS && latency.jitter <= 200;
        let request_timeout = if quick {
            *draw.pick(&[400 * MS, 400 * MS, S, 2 * S])
        } else {
            (2 * S).max(60 * (latency.base + 2 * latency.jitter))
        };
        let skew = (0..n).map(|_| draw.between(0..=1000) as i64 - 500).collect();
        // An operation costs n² messages: larger groups are asked for less.
        let rarer = (n * n).div_ceil(16) as u64;
        let mut clients: Vec<Client> =
            (0..draw.between(1..=3)).map(|_| draw_client(&mut draw, rarer)).collect();
        // Who stands still, or is cut off, falls behind by as much as the others do meanwhile.
        let away = !faults.pauses.is_empty() || !faults.partitions.is_empty();
        if quick && phase_one < 2 * S && away && draw.chance(1, 6) {
            clients[0].think = 3 * MS * rarer;
            clients[0].reads = 0;
            clients[0].outstanding = 8;
        }
        let attackers = if draw.chance(1, 3) {
            (0..draw.between(1..=2)).map(|_| draw_attacker(&mut draw, n, rarer)).collect()
        } else {
            Vec::new()
        };
        // Chunks are large, and hashing them takes longer than all else: few runs have several, and in
        // those who is behind needs them.
        let ballast = if (away || !faults.crashes.is_empty()) && draw.chance(1, 40) {
            *draw.pick(&[1, 1, 2, 3])
        } else {
            0
        };
        Self {
            seed: draw.number(),
            n,
            f,
            latency,
            faults,
            storage,
            request_timeout,
            checkpoint_every: if ballast > 0 { 3 } else { *draw.pick(&[1, 5, 5, 10, 10, 20, 50]) },
            ballast,
            checkpoint_pause: if ballast > 0 { 0 } else { *draw.pick(&[0, 0, 100 * MS, S]) },
            job_time: *draw.pick(&[10, MS, 30 * MS, 500 * MS]),
            skew,
            byzantine,
            clients,
            attackers,
            phase_one,
            phase_two,
            bound: 120 * S,
            events_kept: *draw.pick(&[4, 16, 256]),
            few_sessions: draw.chance(1, 10),
            sabotage: None,
        }
    }
}

fn draw_size(draw: &mut Draw) -> (usize, usize) {
    let all: u32 = SIZES.iter().map(|(weight, ..)| weight).sum();
    let mut at = draw.between(1..=u64::from(all));
    for (weight, n, f) in SIZES {
        if at <= u64::from(weight) {
            return (n, f);
        }
        at -= u64::from(weight);
    }
    (4, 1)
}

/// Most runs take a few virtual seconds, one in thirty up to half a minute.
fn draw_lengths(draw: &mut Draw) -> (u64, u64) {
    match draw.below(30) {
        0 => (draw.between(5 * S..=20 * S), draw.between(S..=6 * S)),
        1..=3 => (draw.between(2 * S..=6 * S), draw.between(500 * MS..=2 * S)),
        _ => (draw.between(300 * MS..=2 * S), draw.between(200 * MS..=S)),
    }
}

fn draw_client(draw: &mut Draw, rarer: u64) -> Client {
    Client {
        think: *draw.pick(&[20 * MS, 100 * MS, 100 * MS, 300 * MS, 300 * MS, S]) * rarer,
        outstanding: *draw.pick(&[1, 2, 8]),
        reads: *draw.pick(&[0, 3, 7]),
        subscribes: draw.chance(2, 3),
        panics_one_in: *draw.pick(&[0, 0, 10]),
        item: *draw.pick(&[8, 100, 1500]),
        impatient_one_in: *draw.pick(&[0, 5]),
    }
}

fn draw_byzantine(draw: &mut Draw, n: usize, f: usize) -> Vec<(usize, Vec<Misdeed>)> {
    let mut candidates: Vec<usize> = (0..n).collect();
    let count = if f > 0 && draw.chance(3, 5) { draw.between(1..=f as u64) } else { 0 };
    let mut chosen = Vec::new();
    for _ in 0..count {
        // The first leader more often than the others.
        let at = if draw.chance(1, 3) { 0 } else { draw.below(candidates.len()) };
        let replica = candidates.swap_remove(at);
        let mut misdeeds = Vec::new();
        for _ in 0..draw.between(1..=3) {
            // What only a leader can do wrong more often where it leads.
            let misdeed = if replica == 0 && draw.chance(1, 2) {
                *draw.pick(&LEADER_MISDEEDS)
            } else {
                *draw.pick(&MISDEEDS)
            };
            if !misdeeds.contains(&misdeed) {
                misdeeds.push(misdeed);
            }
        }
        chosen.push((replica, misdeeds));
    }
    chosen.sort_by_key(|(replica, _)| *replica);
    chosen
}

/// What goes wrong where `spare` more replicas may be faulty: each kind is on in some of the runs.
fn draw_faults(draw: &mut Draw, (n, spare): (usize, usize), phase_one: u64) -> Faults {
    let mut faults = Faults::default();
    if draw.chance(1, 4) {
        return faults;
    }
    let group = n > 1;
    if draw.chance(1, 3) {
        faults.peer_breaks = *draw.pick(&[1000, 5000]);
    }
    if draw.chance(1, 3) {
        faults.client_breaks = *draw.pick(&[1000, 10_000]);
    }
    if draw.chance(1, 3) {
        faults.tampered = *draw.pick(&[1000, 10_000]);
    }
    if group && draw.chance(1, 3) {
        faults.partitions =
            (0..draw.between(1..=3)).map(|_| draw_partition(draw, n, phase_one)).collect();
    }
    if group && draw.chance(1, 4) {
        faults.pauses = draw_pauses(draw, n, phase_one);
    }
    if draw.chance(1, 5) {
        faults.clock_jumps = draw_clock_jumps(draw, (n, spare), phase_one);
    }
    if group && draw.chance(1, 8) {
        let slow = |draw: &mut Draw| Slowness {
            replica: draw_leader_or_other(draw, n),
            turn: *draw.pick(&[MS, 5 * MS, 50 * MS, 400 * MS]),
        };
        faults.slow = (0..draw.between(1..=2)).map(|_| slow(draw)).collect();
    }
    faults
}

fn draw_partition(draw: &mut Draw, n: usize, phase_one: u64) -> Partition {
    let from = draw.between(0..=phase_one);
    let length = draw.between(50 * MS..=8 * S);
    let breaks = draw.chance(1, 3);
    Partition {
        from,
        until: (from + length).min(phase_one),
        side: if draw.chance(1, 3) {
            ReplicaSet::one(draw_leader_or_other(draw, n))
        } else {
            draw_subset(draw, n)
        },
        breaks,
        one_way: !breaks && draw.chance(1, 2),
        clients_too: draw.chance(1, 3),
    }
}

/// The first leader a third of the time, or more.
fn draw_leader_or_other(draw: &mut Draw, n: usize) -> usize {
    if draw.chance(1, 3) { 0 } else { draw.below(n) }
}

/// Pauses here and there, or one replica's after another's, so that the one that has just woken up
/// and is behind is needed at once.
fn draw_pauses(draw: &mut Draw, n: usize, phase_one: u64) -> Vec<Pause> {
    let mut pauses = Vec::new();
    let count = draw.between(1..=4);
    let relay = draw.chance(1, 2);
    let mut from = draw.between(0..=phase_one / 2);
    let first = draw_leader_or_other(draw, n);
    for index in 0..usize::try_from(count).unwrap_or(1) {
        let replica = if relay { (first + index) % n } else { draw.below(n) };
        let until = from + draw.between(20 * MS..=(phase_one / 2).max(21 * MS));
        pauses.push(Pause { replica, from, until: until.min(phase_one) });
        from = if relay {
            until.saturating_sub(draw.between(0..=5 * MS))
        } else {
            draw.between(0..=phase_one)
        };
        if from >= phase_one {
            break;
        }
    }
    pauses
}

/// Any clock may jump within the drift; beyond it only those of as many replicas as may be faulty,
/// for nothing can move while too few agree on the time.
fn draw_clock_jumps(draw: &mut Draw, (n, spare): (usize, usize), phase_one: u64) -> Vec<ClockJump> {
    let wild: Vec<usize> = (0..spare).map(|_| 1 + draw.below(n - 1)).collect();
    (0..draw.between(1..=6))
        .map(|_| {
            let at = draw.between(0..=phase_one);
            if !wild.is_empty() && draw.chance(1, 2) {
                let to = *draw.pick(&[-1_000_000, -3000, -1100, 1100, 3000, 1_000_000]);
                ClockJump { replica: *draw.pick(&wild), at, to }
            } else {
                let to = draw.between(0..=2 * WITHIN_DRIFT.unsigned_abs()) as i64 - WITHIN_DRIFT;
                ClockJump { replica: draw.below(n), at, to }
            }
        })
        .collect()
}

fn draw_storage(draw: &mut Draw) -> Storage {
    let speed = DiskSpeed {
        base: *draw.pick(&[20, 200, 5 * MS, 40 * MS]),
        jitter: *draw.pick(&[10, 500, 10 * MS]),
    };
    match draw.below(8) {
        0..=3 => Storage::Sync(speed),
        4 => Storage::Async(speed),
        _ => Storage::Memory,
    }
}

/// Crashes of one, of some or of all at once: those whose memory is lost one at a time.
fn draw_crashes(
    draw: &mut Draw,
    (n, f): (usize, usize),
    liars: &[usize],
    phase_one: u64,
    storage: Storage,
) -> Vec<Crash> {
    let logged = matches!(storage, Storage::Sync(_));
    let spare = f - liars.len();
    if !logged && f == 0 {
        return Vec::new();
    }
    (0..draw.between(1..=5))
        .map(|_| {
            let only_liars = !logged && spare == 0;
            let one = if !liars.is_empty() && (only_liars || draw.chance(1, 6)) {
                *draw.pick(liars)
            } else {
                draw_leader_or_other(draw, n)
            };
            let disk = if logged && f > 0 && draw.chance(1, 6) {
                *draw.pick(&[DiskFate::Lost, DiskFate::Damaged])
            } else {
                DiskFate::Kept
            };
            let replicas = if logged && disk == DiskFate::Kept {
                match draw.below(4) {
                    0 => (0..n).collect(),
                    1 => draw_subset(draw, n),
                    _ => ReplicaSet::one(one),
                }
            } else {
                ReplicaSet::one(one)
            };
            let when = if logged && draw.chance(2, 3) {
                draw_record_point(draw, one)
            } else {
                CrashPoint::At(draw.between(0..=phase_one))
            };
            let down = *draw.pick(&[MS, 20 * MS, 300 * MS, 2 * S]);
            Crash { replicas, when, down, disk }
        })
        .collect()
}

/// Early in the run more often than late, and around leader changes, which are rare.
fn draw_record_point(draw: &mut Draw, replica: usize) -> CrashPoint {
    let kind = *draw.pick(&[
        RecordKind::Written,
        RecordKind::Accepted,
        RecordKind::Decided,
        RecordKind::Regency,
        RecordKind::Sync,
    ]);
    let most = match kind {
        RecordKind::Regency | RecordKind::Sync => 2,
        _ => *draw.pick(&[3_u32, 20, 100]),
    };
    CrashPoint::Record {
        replica,
        nth: draw.between32(1..=most),
        kind,
        stage: *draw.pick(&[Stage::HandedIn, Stage::Durable, Stage::Told]),
    }
}

/// Any set of replicas, the empty one and all of them included.
pub fn draw_subset(draw: &mut Draw, n: usize) -> ReplicaSet {
    (0..n).filter(|_| draw.chance(1, 2)).collect()
}

fn draw_attacker(draw: &mut Draw, n: usize, rarer: u64) -> Attacker {
    let subset = draw_subset(draw, n);
    let attack = *draw.pick(&[
        Attack::WrongMac(subset),
        Attack::Withhold(subset),
        Attack::TwoBodies(subset),
        Attack::AnySubset,
        Attack::AnySubset,
        Attack::SkipNumbers,
        Attack::Flood,
        Attack::Replay,
        Attack::Garbage,
        Attack::Sessions,
    ]);
    // Links that are closed for what came over them cost a handshake each.
    let rarer = match attack {
        Attack::WrongMac(_) | Attack::AnySubset | Attack::Replay | Attack::Garbage => 2 * rarer,
        Attack::Flood => 4 * rarer,
        _ => rarer,
    };
    Attacker { attack, period: *draw.pick(&[40 * MS, 100 * MS, 300 * MS]) * rarer }
}
