//! What goes wrong with replicas and between them.

use super::history::Fact;
use super::network::{End, pair_of};
use super::plan::{Crash, DiskFate, Storage};
use super::world::{Event, World};

impl World {
    pub(super) fn partition(&mut self, index: usize) {
        let partition = self.plan.faults.partitions[index];
        self.stats.count(match (partition.breaks, partition.one_way) {
            (true, _) => "partition that breaks streams",
            (false, false) => "partition that stalls streams",
            (false, true) => "partition in one direction",
        });
        self.trace(|| {
            let side: Vec<usize> = partition.side.iter().collect();
            format!("partition of {side:?} until {}", partition.until)
        });
        for pair in self.pairs.keys() {
            if partition.side.contains(pair.0) == partition.side.contains(pair.1) {
                continue;
            }
            let state = self.pairs.get(pair);
            if partition.breaks {
                state.cut_until = state.cut_until.max(partition.until);
                self.break_stream(pair);
            } else {
                for (side, from) in [pair.0, pair.1].into_iter().enumerate() {
                    if !partition.one_way || partition.side.contains(from) {
                        let until = &mut state.stalled_until[side];
                        *until = (*until).max(partition.until);
                    }
                }
            }
        }
        if partition.clients_too {
            let hit: Vec<u64> = self
                .conns
                .iter()
                .filter(|(_, conn)| partition.side.contains(conn.replica))
                .map(|(id, _)| *id)
                .collect();
            for conn in hit {
                self.break_conn(conn);
            }
            for replica in partition.side.iter() {
                if let Some(node) = self.replicas.get_mut(replica) {
                    node.unreachable_until = node.unreachable_until.max(partition.until);
                }
            }
        }
    }

    pub(super) fn cut_off(&mut self) {
        for node in &mut self.replicas {
            node.unreachable_until = u64::MAX;
        }
        let conns: Vec<u64> = self.conns.keys().copied().collect();
        for conn in conns {
            self.break_conn(conn);
        }
    }

    /// A replica's process stands still.
    pub(super) fn pause(&mut self, index: usize) {
        let pause = self.plan.faults.pauses[index];
        self.stats.count("replica paused");
        self.trace(|| format!("r{} stands still until {}", pause.replica, pause.until));
        let node = &mut self.replicas[pause.replica];
        node.paused_until = node.paused_until.max(pause.until);
    }

    /// A replica's wall clock is set.
    pub(super) fn clock_jump(&mut self, index: usize) {
        let jump = self.plan.faults.clock_jumps[index];
        self.stats.count("clock set");
        self.trace(|| format!("r{}'s clock is off by {}/1000 of the drift", jump.replica, jump.to));
        self.replicas[jump.replica].set_skew(jump.to);
    }

    /// At the end of phase one every clock is right, within the drift.
    pub(super) fn mend_clocks(&mut self) {
        for node in &mut self.replicas {
            let skew = self.plan.skew[node.position];
            node.set_skew(skew);
        }
    }

    /// Processes end: of those whose memory is lost no more than may be faulty at a time. One that
    /// has lost its memory counts as faulty until it votes again. A Byzantine one is faulty anyway.
    pub(super) fn crash(&mut self, index: usize) {
        let Crash { replicas, down, disk, .. } = self.plan.faults.crashes[index];
        for replica in replicas.iter() {
            // Of twins each stream leads to one or the other: they go on.
            let ends = !self.twins.contains_key(&replica) && !self.replicas[replica].is_down();
            if ends && (!self.replicas[replica].correct || self.may_forget(replica, disk)) {
                self.crash_one(replica, down, disk);
            }
        }
    }

    /// May this correct replica crash so that its disk has this fate? Where it forgets, it is a
    /// learner from now on.
    fn may_forget(&mut self, replica: usize, disk: DiskFate) -> bool {
        let remembers = matches!(self.plan.storage, Storage::Sync(_)) && disk == DiskFate::Kept;
        if !remembers && !self.replicas[replica].learning {
            let learning = self.replicas.iter().filter(|node| node.learning).count();
            if self.plan.liars().len() + learning >= self.plan.f {
                return false;
            }
            self.replicas[replica].learning = true;
        }
        true
    }

    fn crash_one(&mut self, replica: usize, down: u64, fate: DiskFate) {
        self.stats.count(match (self.plan.storage, fate) {
            _ if !self.replicas[replica].correct => "crash of a Byzantine replica",
            (Storage::Memory, _) => "crash, nothing kept",
            (_, DiskFate::Lost) => "crash, disk lost",
            (_, DiskFate::Damaged) => "crash, log damaged",
            (Storage::Sync(_), DiskFate::Kept) => "crash, log kept",
            (Storage::Async(_), DiskFate::Kept) => "crash, log behind",
        });
        self.trace(|| format!("r{replica} crashes; its disk is {fate:?}"));
        self.stop_process(replica);
        let disk = &mut self.replicas[replica].disk;
        disk.crash(&mut self.draw);
        match fate {
            DiskFate::Kept => {}
            DiskFate::Lost => {
                disk.lose();
                self.replicas[replica].lost_disk = true;
            }
            DiskFate::Damaged => disk.damage(&mut self.draw),
        }
        let at = self.now + down;
        self.replicas[replica].unreachable_until = at;
        for other in (0..self.plan.n).filter(|&other| other != replica) {
            let state = self.pairs.get(pair_of(replica, other).0);
            state.cut_until = state.cut_until.max(at);
        }
        self.queue.push(at, Event::Restart(replica));
    }

    /// What the world sees of a process that ends: its links break.
    fn stop_process(&mut self, me: usize) {
        self.replicas[me].stop();
        for other in (0..self.plan.n).filter(|&other| other != me) {
            let (pair, side) = pair_of(me, other);
            self.break_stream(pair);
            self.pairs.get(pair).up[side] = None;
        }
        let conns: Vec<u64> =
            self.conns.iter().filter(|(_, conn)| conn.node == me).map(|(id, _)| *id).collect();
        for id in conns {
            self.break_conn(id);
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.replica_end = End::Closed;
                conn.link = None;
                conn.inbox.clear();
            }
        }
    }

    /// And starts again.
    pub(super) fn restart(&mut self, me: usize) {
        self.trace(|| format!("r{me} starts again"));
        let now = self.clocks_of(me);
        let remembers = !self.replicas[me].learning;
        if self.replicas[me].correct {
            self.observe(&Fact::Restarted { replica: me, remembers });
        }
        let storage = self.plan.storage;
        let node = &mut self.replicas[me];
        let (snapshot, records) = node.disk.read().unwrap_or_else(|| {
            // The operator sets the damaged log aside.
            node.disk.lose();
            node.lost_disk = true;
            (None, Vec::new())
        });
        self.show_records(me, &records);
        self.replicas[me].start_again(now, storage, snapshot, records);
        self.wake(me);
    }
}
