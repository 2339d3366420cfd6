//! A turn: read, let the replica work, hand out what it gives.

use bytes::Bytes;
use webbft_protocol::auth::PeerLink;
use webbft_protocol::replica::{LinkId, LogPosition, Notice};
use webbft_protocol::time::Now;
use webbft_protocol::wire::{ReplicaFrame, ReplicaHeader};

use super::{PeerInput, TURN_COST};
use crate::sim::history::Fact;
use crate::sim::plan::{MS, Sabotage, Stage};
use crate::sim::words::word_of_message;
use crate::sim::world::{Event, Phase, World};

/// The time that each frame of a turn takes, in microseconds.
const FRAME_COST: u64 = 5;
/// Instances between two comparisons of state.
const STATE_EVERY: u64 = 8;

impl World {
    pub(in crate::sim) fn clocks_of(&self, me: usize) -> Now {
        self.replicas[me].now(self)
    }

    pub(in crate::sim) fn wake(&mut self, me: usize) {
        let now = self.now;
        let node = &mut self.replicas[me];
        if node.turn_at.is_none() && node.running {
            let at = now.max(node.busy_until);
            node.turn_at = Some(at);
            self.queue.push(at, Event::Turn(me));
        }
    }

    pub(in crate::sim) fn turn(&mut self, me: usize) {
        let node = &mut self.replicas[me];
        if node.turn_at != Some(self.now) {
            return;
        }
        if self.now < node.paused_until {
            node.turn_at = Some(node.paused_until);
            self.queue.push(node.paused_until, Event::Turn(me));
            return;
        }
        node.turn_at = None;
        let now = self.replicas[me].now(self);
        let mut frames = 0;
        while let Some((other, input)) = self.replicas[me].peer_inputs.pop_front() {
            frames += 1;
            match input {
                PeerInput::Up { replaced } => {
                    let replica = &mut self.replicas[me].replica;
                    if replaced {
                        replica.handle_peer_disconnected(now, other);
                    }
                    replica.handle_peer_connected(now, other);
                }
                PeerInput::Down => {
                    self.replicas[me].replica.handle_peer_disconnected(now, other);
                }
                PeerInput::Frame(bytes) => self.read_peer(me, other, &bytes),
            }
        }
        for id in std::mem::take(&mut self.replicas[me].closed) {
            self.close_at_replica(me, id);
        }
        let ready: Vec<u64> = self.replicas[me].ready.iter().copied().collect();
        for id in ready {
            frames += self.read_conn(me, id);
        }
        self.fire_deadline(me);
        self.drain(me);
        let slow = self.phase == Phase::One;
        let node = &mut self.replicas[me];
        let cost = if slow { node.turn_cost } else { TURN_COST };
        node.busy_until = self.now + cost + FRAME_COST * frames;
        if self.readable(me) {
            self.wake(me);
        }
    }

    /// Is there something left that a turn could read?
    fn readable(&self, me: usize) -> bool {
        let node = &self.replicas[me];
        !node.peer_inputs.is_empty()
            || !node.closed.is_empty()
            || node.ready.iter().any(|id| {
                self.conns.get(id).is_some_and(|conn| conn.link.is_none())
                    || node.replica.accepts_more(LinkId(*id))
            })
    }

    pub(super) fn send_all(&mut self, me: usize, frames: Vec<(usize, Bytes)>) {
        for (to, bytes) in frames {
            self.send_peer(me, to, bytes);
        }
    }

    pub(in crate::sim) fn drain(&mut self, me: usize) {
        loop {
            let mut quiet = true;
            while let Some(out) = self.replicas[me].replica.poll_peer() {
                quiet = false;
                if self.plan.sabotage == Some(Sabotage::LeaderUnheard) && me == 0 {
                    continue;
                }
                if self.replicas[me].correct
                    && let Some(word) = word_of_message(&self.view, &out.message)
                {
                    self.observe(&Fact::Said { replica: me, word });
                }
                let frames = match &mut self.replicas[me].byzantine {
                    Some(byzantine) => byzantine.to_peers(&out, &mut self.draw),
                    None => {
                        let bytes = PeerLink::encode(&self.view, out.message);
                        out.to.iter().map(|to| (to, bytes.clone())).collect()
                    }
                };
                self.send_all(me, frames);
            }
            while let Some(out) = self.replicas[me].replica.poll_client() {
                quiet = false;
                self.answer(me, out.link, out.frame);
            }
            while let Some((position, record)) = self.replicas[me].replica.poll_record() {
                quiet = false;
                self.keep_record(me, position, record);
            }
            while let Some(job) = self.replicas[me].replica.poll_job() {
                quiet = false;
                self.begin_job(me, job);
            }
            while let Some(snapshot) = self.replicas[me].replica.poll_keep_snapshot() {
                quiet = false;
                self.begin_snapshot_write(me, snapshot);
            }
            while let Some(notice) = self.replicas[me].replica.poll_notice() {
                quiet = false;
                self.notice(me, notice);
            }
            if quiet {
                break;
            }
        }
        self.show_log(me);
        self.set_deadline(me);
        self.begin_disk_write(me);
        self.crash_if_due(me, Stage::HandedIn);
    }

    fn answer(&mut self, me: usize, link: LinkId, frame: ReplicaFrame) {
        if self.plan.sabotage == Some(Sabotage::EventsLost)
            && matches!(frame.header, ReplicaHeader::Event { .. } | ReplicaHeader::Heads { .. })
        {
            return;
        }
        let frames = match &mut self.replicas[me].byzantine {
            Some(byzantine) => byzantine.to_client(frame, &mut self.draw),
            None => vec![frame],
        };
        for frame in frames {
            self.trace(|| format!("r{me} -> link {} {:?}", link.0, frame.header));
            let Some(conn) = self.conns.get_mut(&link.0) else { continue };
            let Some(end) = &mut conn.link else { continue };
            let bytes = end.seal(&frame);
            self.send_conn(link.0, 1, bytes.into());
        }
    }

    fn notice(&mut self, me: usize, notice: Notice) {
        self.trace(|| format!("r{me} notes {notice:?}"));
        if !self.replicas[me].correct {
            return;
        }
        match notice {
            Notice::Decided { cid, hash, .. } => {
                self.stats.instances = self.stats.instances.max(cid.0);
                let after = self.replicas[me].accepted_up_to(cid);
                self.observe_after(me, after, Fact::Decided { replica: me, cid, hash });
            }
            Notice::LeaderSuspected { .. } => {
                self.stats.did("leader suspected");
                self.observe(&Fact::LeaderSuspected { replica: me });
            }
            Notice::RegencyInstalled { regency, .. } => {
                self.stats.regencies = self.stats.regencies.max(u64::from(regency.0));
                let after = self.replicas[me].regency_recorded;
                self.observe_after(me, after, Fact::RegencyInstalled { replica: me, regency });
            }
            Notice::CheckpointStable { .. } => self.stats.did("checkpoint stable at a replica"),
            Notice::CheckpointSkipped { .. } => self.stats.did("checkpoint skipped"),
            Notice::StateTransferred { cid, hash, .. } => {
                self.stats.did("state transferred");
                if self.plan.ballast > 0 {
                    self.stats.did("state of several chunks transferred");
                }
                self.observe_after(
                    me,
                    LogPosition::default(),
                    Fact::Transferred { replica: me, cid, hash },
                );
            }
            Notice::StateDiverged { .. }
            | Notice::CheckpointDisputed(_)
            | Notice::TransferFailed { .. }
            | Notice::SnapshotFailed { .. }
                if self.plan.sabotage.is_none() =>
            {
                self.stuck(format!("replica {me}: {notice:?}"));
            }
            Notice::PeerMisbehaved { peer, fault } if !self.plan.liars().contains(&peer) => {
                let what = format!("replica {me} blames correct replica {peer}: {fault}");
                self.stuck(what);
            }
            Notice::PeerMisbehaved { .. } => self.stats.did("replica caught misbehaving"),
            Notice::Voting { .. } => {
                self.stats.did("replica without memory votes again");
                self.replicas[me].learning = false;
            }
            _ => {}
        }
    }

    /// Shows the invariants what the replica has executed since they last looked.
    fn show_log(&mut self, me: usize) {
        if !self.replicas[me].correct {
            return;
        }
        loop {
            let node = &mut self.replicas[me];
            let place = node.shown;
            let Some(entry) = node.replica.service().log().get(place).cloned() else { break };
            node.shown += 1;
            let after = node.accepted_up_to(entry.cid);
            self.observe_after(me, after, Fact::Executed { replica: me, place, entry });
        }
        let last = self.replicas[me].last_cid();
        if last.0.is_multiple_of(STATE_EVERY) && last > self.replicas[me].state_shown {
            self.observe_state(me);
        }
    }

    /// Shows the invariants a digest of the replica's state.
    pub(in crate::sim) fn observe_state(&mut self, me: usize) {
        let node = &mut self.replicas[me];
        let cid = node.last_cid();
        node.state_shown = cid;
        let digest = node.replica.service().digest();
        let after = node.accepted_up_to(cid);
        self.observe_after(me, after, Fact::State { replica: me, cid, digest });
    }

    // Time.

    fn set_deadline(&mut self, me: usize) {
        let now = self.now;
        let node = &mut self.replicas[me];
        let Some(deadline) = node.replica.next_deadline() else {
            node.timer_at = None;
            return;
        };
        let at = deadline.as_micros().saturating_sub(node.origin).max(now + 1);
        if node.timer_at != Some(at) {
            node.timer_at = Some(at);
            self.queue.push(at, Event::ReplicaTimer(me));
        }
    }

    pub(in crate::sim) fn replica_timer(&mut self, me: usize) {
        if self.replicas[me].timer_at != Some(self.now) {
            return;
        }
        self.replicas[me].timer_at = None;
        self.wake(me);
    }

    fn fire_deadline(&mut self, me: usize) {
        let now = self.replicas[me].now(self);
        let node = &mut self.replicas[me];
        if node.replica.next_deadline().is_none_or(|deadline| deadline > now.instant) {
            node.late_deadlines = 0;
            return;
        }
        node.replica.handle_deadline(now);
        // A deadline that does not move would make the driver spin.
        let still = node.replica.next_deadline().is_some_and(|deadline| deadline <= now.instant);
        node.late_deadlines = if still { node.late_deadlines + 1 } else { 0 };
        if node.late_deadlines > 100 {
            self.stuck(format!("replica {me} wants to be woken again and again at the same time"));
        }
    }

    pub(in crate::sim) fn misdeed(&mut self, me: usize) {
        let node = &mut self.replicas[me];
        if let Some(byzantine) = &mut node.byzantine {
            let frames = byzantine.spontaneous(&mut self.draw);
            if !frames.is_empty() {
                self.stats.count("misdeed of a Byzantine replica");
            }
            self.send_all(me, frames);
        }
        let next = self.now + self.draw.between(20 * MS..=120 * MS);
        self.queue.push(next, Event::Misdeed(me));
    }
}
