//! What comes in over the streams of members and the connections of clients.

use bytes::Bytes;
use webbft_protocol::auth::{PeerLink, ServerHandshake};
use webbft_protocol::replica::LinkId;

use super::PeerInput;
use crate::sim::history::Fact;
use crate::sim::network::{Carried, End, Owner, pair_of};
use crate::sim::world::{Event, World};

/// Frames that one turn reads from one client link.
const FRAMES_A_TURN: usize = 16;

impl World {
    pub(in crate::sim) fn peer_input(&mut self, me: usize, other: usize, replaced: bool) {
        if self.replicas[me].is_down() {
            return;
        }
        self.replicas[me].peer_inputs.push_back((other, PeerInput::Up { replaced }));
        self.wake(me);
    }

    pub(in crate::sim) fn peer_lost(&mut self, me: usize, other: usize) {
        if self.replicas[me].is_down() {
            return;
        }
        self.replicas[me].peer_inputs.push_back((other, PeerInput::Down));
        self.wake(me);
    }

    pub(in crate::sim) fn peer_bytes(&mut self, me: usize, other: usize, bytes: Bytes) {
        if self.replicas[me].is_down() {
            return;
        }
        self.replicas[me].peer_inputs.push_back((other, PeerInput::Frame(bytes)));
        self.wake(me);
    }

    pub(in crate::sim) fn conn_at_replica(&mut self, id: u64) {
        let delay = self.delay();
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.broken || conn.client_end == End::Closed || self.replicas[conn.node].is_down() {
            return;
        }
        conn.replica_end = End::Open;
        let at = self.now + delay;
        conn.arrival = [at, at];
        self.queue.push(at, Event::ConnAtClient(id));
        self.replicas[conn.node].conns.insert(id);
    }

    pub(in crate::sim) fn arrive_at_replica(&mut self, id: u64, carried: Carried) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.broken || conn.replica_end != End::Open {
            return;
        }
        conn.inbox.push_back(carried);
        let node = conn.node;
        self.replicas[node].ready.insert(id);
        self.wake(node);
    }

    pub(in crate::sim) fn closed_at_replica(&mut self, id: u64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let node = conn.node;
        let was_open = std::mem::replace(&mut conn.replica_end, End::Closed) == End::Open;
        if was_open {
            self.replicas[node].closed.push(id);
            self.wake(node);
        }
        self.forget_conn(id);
    }

    pub(in crate::sim) fn forget_conn(&mut self, id: u64) {
        if self.conns.get(&id).is_some_and(|conn| {
            conn.client_end == End::Closed && conn.replica_end == End::Closed && conn.link.is_none()
        }) {
            self.conns.remove(&id);
        }
    }

    /// The replica's driver closes a connection.
    pub(super) fn close_at_replica(&mut self, me: usize, id: u64) {
        let delay = self.delay();
        let node = &mut self.replicas[me];
        node.conns.remove(&id);
        node.ready.remove(&id);
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.link.take().is_some() {
            let clocks = self.clocks(self.replicas[me].origin, self.replicas[me].skew);
            self.replicas[me].replica.handle_client_disconnected(clocks, LinkId(id));
        }
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.inbox.clear();
        if conn.replica_end == End::Open && !conn.broken {
            let at = (now + delay).max(conn.arrival[1] + 1);
            self.queue.push(at, Event::ClosedAtClient(id));
        }
        conn.replica_end = End::Closed;
        self.forget_conn(id);
    }

    pub(super) fn read_peer(&mut self, me: usize, other: usize, bytes: &Bytes) {
        let now = self.replicas[me].now(self);
        match PeerLink::authenticated(&self.view, other).open(bytes) {
            Ok(message) => {
                self.trace(|| format!("r{me} <- r{other} {:?}", message.message));
                let node = &mut self.replicas[me];
                if let Some(byzantine) = &mut node.byzantine {
                    let frames = byzantine.heard(other, &message.message, &mut self.draw);
                    self.send_all(me, frames);
                }
                self.replicas[me].replica.handle_peer_message(now, message);
            }
            Err(error) => {
                self.trace(|| format!("r{me} <- r{other}: {error}"));
                self.stats.count("malformed frame between replicas");
                let position = self.replicas[me].position;
                self.break_stream(pair_of(position, other).0);
            }
        }
    }

    pub(super) fn read_conn(&mut self, me: usize, id: u64) -> u64 {
        let mut frames = 0;
        while frames < FRAMES_A_TURN as u64 {
            let Some(conn) = self.conns.get_mut(&id) else { break };
            if conn.link.is_some() && !self.replicas[me].replica.accepts_more(LinkId(id)) {
                return frames;
            }
            let Some(carried) = conn.inbox.pop_front() else { break };
            frames += 1;
            if !self.read_frame(me, id, carried) {
                self.close_at_replica(me, id);
                return frames;
            }
        }
        if self.conns.get(&id).is_none_or(|conn| conn.inbox.is_empty()) {
            self.replicas[me].ready.remove(&id);
        }
        frames
    }

    /// One message on a client connection; false: close it.
    fn read_frame(&mut self, me: usize, id: u64, carried: Carried) -> bool {
        let now = self.replicas[me].now(self);
        let Carried { bytes, must_fail } = carried;
        let Some(conn) = self.conns.get_mut(&id) else { return true };
        let correct = matches!(conn.owner, Owner::Client(_));
        let Some(link) = &mut conn.link else {
            return self.shake_hands(me, id, &bytes, must_fail);
        };
        match link.open(&bytes) {
            Ok(_) if must_fail => {
                self.observe(&Fact::TamperedFrameTaken { by: format!("replica {me}") });
                false
            }
            Ok(frame) => {
                self.trace(|| format!("r{me} <- link {id} {:?}", frame.header));
                let node = &mut self.replicas[me];
                if let Some(byzantine) = &mut node.byzantine {
                    let frames = byzantine.overhear(&frame, &mut self.draw);
                    self.send_all(me, frames);
                }
                let replica = &mut self.replicas[me].replica;
                match replica.handle_client_frame(now, LinkId(id), frame) {
                    Ok(()) => true,
                    Err(fault) => {
                        self.trace(|| format!("r{me} closes link {id}: {fault}"));
                        self.stats.did("client link closed for a fault");
                        if correct {
                            let what = format!("replica {me} blames a correct client: {fault}");
                            self.stuck(what);
                        }
                        false
                    }
                }
            }
            Err(error) => {
                self.trace(|| format!("r{me} closes link {id}: {error}"));
                self.stats.did("frame refused by a replica");
                if correct && !must_fail {
                    let what = format!("replica {me} refuses a frame that is as it was sent");
                    self.stuck(what);
                }
                false
            }
        }
    }

    fn shake_hands(&mut self, me: usize, id: u64, bytes: &Bytes, must_fail: bool) -> bool {
        let now = self.replicas[me].now(self);
        let seed = self.draw.bytes32();
        let node = &mut self.replicas[me];
        let mut welcome = node.replica.welcome(now);
        if let Some(byzantine) = &node.byzantine {
            welcome = byzantine.welcome(welcome, &mut self.draw);
        }
        let handshake = ServerHandshake { view: &self.view, keypair: &node.noise };
        match handshake.accept(bytes, &welcome, seed) {
            Ok(_) if must_fail => {
                self.observe(&Fact::TamperedFrameTaken { by: format!("replica {me}") });
                false
            }
            Ok(accepted) => {
                let client = accepted.link.client();
                node.replica.handle_client_connected(now, LinkId(id), client);
                self.trace(|| format!("r{me} accepts link {id} of {client:?}"));
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.link = Some(accepted.link);
                }
                self.send_conn(id, 1, accepted.reply.into());
                true
            }
            Err((error, refusal)) => {
                self.trace(|| format!("r{me} refuses link {id}: {error}"));
                self.stats.did("handshake refused");
                self.send_conn(id, 1, refusal.into());
                false
            }
        }
    }
}
