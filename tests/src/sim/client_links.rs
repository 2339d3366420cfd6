//! Client links: how they are opened, carry frames, are tampered with and break.

use bytes::Bytes;

use super::network::{Conn, Owner};
use super::plan::Sabotage;
use super::world::{Event, Phase, World};

impl World {
    /// Somebody opens a connection; gives its name.
    pub(super) fn open_conn(&mut self, owner: Owner, replica: usize) -> u64 {
        self.next_conn += 1;
        let id = self.next_conn;
        let delay = self.delay();
        let node = match self.twins.get(&replica) {
            Some(twin) if self.draw.chance(1, 2) => twin.node,
            _ => replica,
        };
        self.conns.insert(id, Conn::new(owner, replica, node));
        if self.now < self.replicas[replica].unreachable_until {
            // Refused at once, or no answer at all.
            if self.draw.chance(1, 2) {
                self.break_conn(id);
            }
        } else {
            self.queue.push(self.now + delay, Event::ConnAtReplica(id));
        }
        id
    }

    /// The connection breaks; both ends notice in their time.
    pub(super) fn break_conn(&mut self, id: u64) {
        let (first, second) = (self.delay(), self.delay());
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.broken {
            return;
        }
        conn.broken = true;
        self.queue.push(self.now + first, Event::ClosedAtReplica(id));
        self.queue.push(self.now + second, Event::ClosedAtClient(id));
    }

    /// Sends a message on a connection: direction 0 to the replica, 1 to the client.
    pub(super) fn send_conn(&mut self, id: u64, direction: usize, bytes: Bytes) {
        let delay = self.delay();
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.broken {
            return;
        }
        let faults = &self.plan.faults;
        let correct = matches!(conn.owner, Owner::Client(_));
        if self.phase == Phase::One && correct && self.draw.chance(faults.client_breaks, 1_000_000)
        {
            self.stats.count("client link broken");
            self.break_conn(id);
            return;
        }
        let tampered =
            self.phase == Phase::One && correct && self.draw.chance(faults.tampered, 1_000_000);
        let carried = if tampered {
            self.stats.count("frame tampered with");
            if self.plan.sabotage == Some(Sabotage::HarmlessTampering) {
                Conn::pretend_to_tamper(bytes)
            } else {
                conn.tamper(direction, &bytes, &mut self.draw)
            }
        } else {
            conn.pass(direction, bytes)
        };
        for carried in carried {
            let at = (self.now + delay).max(conn.arrival[direction] + 1);
            conn.arrival[direction] = at;
            let event = if direction == 0 { Event::ToReplica } else { Event::ToClient };
            self.queue.push(at, event(id, carried));
        }
    }
}
