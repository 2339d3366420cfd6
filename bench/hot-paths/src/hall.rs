//! Four replicas and their clients, who read what was sent to them in turns.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use webbft_protocol::auth::{
    ClientIdentity, NoiseKeypair, PeerLink, ReplicaLink, ServerHandshake, SigningKey,
};
use webbft_protocol::client::{
    ClientEvent, Endpoint, EndpointConfig, EndpointOptions, Phase, Transmit,
};
use webbft_protocol::membership::{
    Cid, Digest, MacAlgorithm, Member, ReplicaId, ServiceId, View, ViewNumber,
};
use webbft_protocol::replica::{
    LinkId, Parameters, Replica, ReplicaConfig, Start, ToClient, ToPeers,
};
use webbft_protocol::time::{Instant, Now, UnixMicros};

use crate::null::{self, Null};

/// Replicas.
const N: u8 = 4;
/// Microseconds from one turn to the next.
const TURN: u64 = 20;
/// Turns in which nothing is answered, after which something is wrong.
const PATIENCE: u64 = 100_000;

/// What the clients do.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How many there are.
    pub clients: usize,
    /// Requests that each keeps in flight.
    pub outstanding: usize,
    /// Bytes in a request, and in its result.
    pub size: usize,
}

/// What one run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Requests that were answered.
    pub answered: u64,
    /// Instances that ordered them.
    pub instances: u64,
}

/// A replica, and what was sent to it and not read yet.
struct Node {
    replica: Replica<Null>,
    keypair: NoiseKeypair,
    from_peers: VecDeque<(usize, Bytes)>,
    from_clients: VecDeque<(usize, Bytes)>,
    /// The links to the clients, once established.
    links: Vec<Option<ReplicaLink>>,
}

/// A client, and what was sent to it and not read yet.
struct Client {
    endpoint: Endpoint,
    inbox: VecDeque<(usize, Bytes)>,
}

/// Everybody.
struct Hall {
    view: Arc<View>,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    now: Now,
    payload: Bytes,
    answered: u64,
}

fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_secret(&[seed; 32])
}

pub(crate) fn keypair(seed: u8) -> NoiseKeypair {
    NoiseKeypair::from_secret([seed; 32])
}

pub(crate) fn view() -> View {
    let member = |seed: u8| Member {
        id: ReplicaId(seed.into()),
        url: format!("ws://replica-{seed}.invalid/ws"),
        peer_address: format!("replica-{seed}.invalid:1"),
        public_key: signing_key(seed).public(),
        noise_key: Digest(*keypair(seed).public()),
    };
    View {
        service: ServiceId([7; 16]),
        number: ViewNumber(0),
        f: 1,
        mac: MacAlgorithm::HmacSha256,
        activation: Cid(1),
        previous: Digest::default(),
        members: (0..N).map(member).collect(),
    }
}

/// 32 bytes that no two callers share.
fn seed(kind: u8, index: usize) -> [u8; 32] {
    let mut seed = [kind; 32];
    seed[..8].copy_from_slice(&(index as u64).to_le_bytes());
    seed
}

impl Hall {
    fn new(load: Load) -> anyhow::Result<Self> {
        let view = Arc::new(view());
        let now = Now { instant: Instant::from_micros(1), unix: UnixMicros(1_700_000_000_000_000) };
        let node = |me: u8| {
            let config = ReplicaConfig {
                view: Arc::clone(&view),
                me: me.into(),
                signing_key: signing_key(me),
                start: Start::Genesis,
                parameters: Parameters::default(),
            };
            Node {
                replica: Replica::new(config, Null, now),
                keypair: keypair(me),
                from_peers: VecDeque::new(),
                from_clients: VecDeque::new(),
                links: (0..load.clients).map(|_| None).collect(),
            }
        };
        let client = |index: usize| {
            let config = EndpointConfig {
                view: (*view).clone(),
                identity: ClientIdentity::from_secret(seed(1, index)),
                seed: seed(2, index),
                options: EndpointOptions { max_pending: 4096, ..EndpointOptions::default() },
            };
            let mut endpoint = Endpoint::new(config, now)?;
            endpoint.start(now);
            anyhow::Ok(Client { endpoint, inbox: VecDeque::new() })
        };
        let mut hall = Self {
            nodes: (0..N).map(node).collect(),
            clients: (0..load.clients).map(client).collect::<Result<_, _>>()?,
            view,
            now,
            payload: null::request(load.size).into(),
            answered: 0,
        };
        for (me, node) in hall.nodes.iter_mut().enumerate() {
            for peer in (0..usize::from(N)).filter(|&peer| peer != me) {
                node.replica.handle_peer_connected(now, peer);
            }
        }
        Ok(hall)
    }

    /// Everybody reads all that has come and then says what there is to say, once.
    fn turn(&mut self, again: bool) -> anyhow::Result<()> {
        self.now.instant = Instant::from_micros(self.now.instant.as_micros() + TURN);
        self.now.unix.0 += TURN;
        for me in 0..self.nodes.len() {
            self.read(me)?;
            self.write(me);
        }
        for index in 0..self.clients.len() {
            self.serve(index, again)?;
        }
        Ok(())
    }

    /// A replica's turn, as the daemon's core takes it.
    fn read(&mut self, me: usize) -> anyhow::Result<()> {
        let Node { replica, keypair, from_peers, from_clients, links } = &mut self.nodes[me];
        for (peer, frame) in mem::take(from_peers) {
            let link = PeerLink::authenticated(&self.view, peer);
            replica.handle_peer_message(self.now, link.open(&frame)?);
        }
        for (client, frame) in mem::take(from_clients) {
            let id = LinkId(client as u64);
            if let Some(link) = &mut links[client] {
                replica.handle_client_frame(self.now, id, link.open(&frame)?)?;
                continue;
            }
            let handshake = ServerHandshake { view: &self.view, keypair };
            let welcome = replica.welcome(self.now);
            let accepted = handshake
                .accept(&frame, &welcome, seed(3, me << 32 | client))
                .map_err(|(error, _)| error)?;
            replica.handle_client_connected(self.now, id, accepted.link.client());
            links[client] = Some(accepted.link);
            self.clients[client].inbox.push_back((me, accepted.reply.into()));
        }
        if replica.next_deadline().is_some_and(|deadline| deadline <= self.now.instant) {
            replica.handle_deadline(self.now);
        }
        Ok(())
    }

    fn write(&mut self, me: usize) {
        while let Some(ToPeers { to, message }) = self.nodes[me].replica.poll_peer() {
            let frame = PeerLink::encode(&self.view, message);
            for peer in to.iter() {
                self.nodes[peer].from_peers.push_back((me, frame.clone()));
            }
        }
        let Node { replica, links, .. } = &mut self.nodes[me];
        while let Some(ToClient { link, frame }) = replica.poll_client() {
            let Some(client) = usize::try_from(link.0).ok().filter(|&id| id < links.len()) else {
                continue;
            };
            if let Some(link) = &mut links[client] {
                self.clients[client].inbox.push_back((me, link.seal(&frame).into()));
            }
        }
        while replica.poll_notice().is_some() {}
    }

    fn serve(&mut self, index: usize, again: bool) -> anyhow::Result<()> {
        let Client { endpoint, inbox } = &mut self.clients[index];
        for (replica, frame) in mem::take(inbox) {
            endpoint.handle_message(self.now, replica, frame);
        }
        if endpoint.next_deadline().is_some_and(|deadline| deadline <= self.now.instant) {
            endpoint.handle_deadline(self.now);
        }
        while let Some(event) = endpoint.poll_event() {
            match event {
                ClientEvent::Completed { .. } => {
                    self.answered += 1;
                    if again {
                        endpoint.invoke(self.now, self.payload.clone(), None)?;
                    }
                }
                ClientEvent::Failed { error, .. } => bail!("a request failed: {error}"),
                _ => {}
            }
        }
        while let Some(transmit) = endpoint.poll_transmit() {
            match transmit {
                Transmit::Open { replica } => endpoint.handle_opened(self.now, replica),
                Transmit::Send { replica, bytes } => {
                    self.nodes[replica].from_clients.push_back((index, bytes));
                }
                Transmit::Close { replica } => bail!("the link to replica {replica} was closed"),
            }
        }
        Ok(())
    }

    fn turn_until(&mut self, again: bool, done: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let (mut answered, mut idle) = (self.answered, 0);
        while !done(self) {
            self.turn(again)?;
            idle = if self.answered > answered { 0 } else { idle + 1 };
            answered = self.answered;
            ensure!(idle < PATIENCE, "nothing was answered for {idle} turns");
        }
        Ok(())
    }
}

/// Orders requests until `count` of them are answered.
///
/// # Errors
/// Where a request is not answered: a defect.
pub fn run(load: Load, count: u64) -> anyhow::Result<Summary> {
    let mut hall = Hall::new(load)?;
    let ready = |client: &Client| client.endpoint.status().phase == Phase::Ready;
    hall.turn_until(false, |hall| hall.clients.iter().all(ready)).context("connecting")?;
    for client in &mut hall.clients {
        for _ in 0..load.outstanding {
            client.endpoint.invoke(hall.now, hall.payload.clone(), None)?;
        }
    }
    hall.turn_until(true, |hall| hall.answered >= count)?;
    let instances = hall.nodes[0].replica.status().last_cid.0;
    Ok(Summary { answered: hall.answered, instances })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_ordered_in_memory() {
        let load = Load { clients: 2, outstanding: 3, size: 64 };
        let summary = run(load, 60).unwrap();
        assert_eq!(run(load, 60).unwrap(), summary, "the same every time");
        assert!(summary.answered >= 60 && summary.instances < summary.answered, "{summary:?}");
    }
}
