//! Links: handshakes that fail, frames that are forged, back-off and pings.

use std::time::Duration;

use bytes::Bytes;

use crate::auth::ClientIdentity;
use crate::client::testing::{Net, view};
use crate::client::{
    ClientEvent, Endpoint, EndpointConfig, EndpointOptions, LinkState, Phase, SuspectReason,
    Transmit,
};
use crate::membership::{Digest, QuorumError, ServiceId, ViewError, ViewNumber};
use crate::time::Now;
use crate::wire::HelloRefusal;

fn suspect(replica: usize, reason: SuspectReason) -> ClientEvent {
    ClientEvent::Suspect { replica, reason, call: None }
}

#[test]
fn phases() {
    let mut net = Net::new(EndpointOptions::default());
    let mut phases = Vec::new();
    for replica in 0..4 {
        phases.push(net.endpoint.status().phase);
        net.open(replica);
    }
    phases.push(net.endpoint.status().phase);
    let (connecting, degraded) = (Phase::Connecting, Phase::Degraded);
    assert_eq!(phases, [connecting, connecting, connecting, degraded, Phase::Ready]);
    let status = net.endpoint.status();
    assert_eq!((status.n, status.f, status.connected, status.needed), (4, 1, 4, 3));
}

#[test]
fn an_invalid_view_makes_no_endpoint() {
    let config = EndpointConfig {
        view: view(3, 1),
        identity: ClientIdentity::from_secret([1; 32]),
        seed: [2; 32],
        options: EndpointOptions::default(),
    };
    let error = ViewError::Quorum(QuorumError::TooFew { n: 3, f: 1 });
    assert_eq!(Endpoint::new(config, Now::default()).err(), Some(error));
}

#[test]
fn refused_handshakes_are_shown_and_tried_again() {
    let mut net = Net::new(EndpointOptions::default());
    let right = net.view.clone();
    net.view.service = ServiceId([8; 16]);
    net.open(0);
    net.view = right.clone();
    net.view.number = ViewNumber(3);
    net.open(1);
    net.view = right;
    let replicas = net.endpoint.status().replicas;
    assert_eq!(
        [replicas[0].refused, replicas[1].refused],
        [Some(HelloRefusal::Service(ServiceId([8; 16]))), Some(HelloRefusal::View(ViewNumber(3)))]
    );
    assert!(matches!(replicas[0].state, LinkState::Waiting { .. }));
    // What is not authenticated accuses nobody.
    assert_eq!(net.events(), []);
    assert_eq!(net.closed, [0, 1]);
    net.millis(100);
    net.open(0);
    let replica = &net.endpoint.status().replicas[0];
    assert_eq!((replica.state, replica.refused), (LinkState::Open, None));
}

#[test]
fn another_key_than_the_view_names_is_no_replica() {
    let mut wrong = view(4, 1);
    wrong.members[2].noise_key = Digest::of(b"somebody else");
    let mut net = Net::of(wrong, EndpointOptions::default());
    net.open(2);
    assert_eq!(net.endpoint.status().replicas[2].refused, Some(HelloRefusal::Key));
    assert_eq!(net.endpoint.status().connected, 0);
}

#[test]
fn answers_that_are_no_handshake() {
    let mut net = Net::new(EndpointOptions::default());
    let now = net.now();
    for (replica, bytes, reason) in [
        (0, Bytes::new(), SuspectReason::Protocol),
        (1, Bytes::from_static(&[0, 3, 1, 2, 3]), SuspectReason::BadAuth),
        (2, Bytes::from_static(&[9; 200]), SuspectReason::Protocol),
    ] {
        net.endpoint.handle_opened(now, replica);
        while net.endpoint.poll_transmit().is_some() {}
        net.endpoint.handle_message(now, replica, bytes);
        assert_eq!(net.endpoint.poll_transmit(), Some(Transmit::Close { replica }));
        assert_eq!(net.events(), [suspect(replica, reason)]);
    }
}

#[test]
fn a_forged_frame_closes_the_link_and_the_next_one_works() {
    let mut net = Net::connected();
    net.hand_in(2, Bytes::from(vec![0; 64]));
    assert_eq!(net.events(), [suspect(2, SuspectReason::BadAuth)]);
    assert_eq!(net.closed, [2]);
    // Leftovers of the closed socket change nothing.
    net.hand_in(2, Bytes::from(vec![0; 64]));
    assert_eq!(net.events(), []);
    net.hand_in(1, Bytes::new());
    assert_eq!(net.events(), [suspect(1, SuspectReason::Protocol)]);
    assert_eq!(net.endpoint.status().phase, Phase::Offline);
    net.millis(100);
    net.open(2);
    net.open(1);
    assert_eq!(net.endpoint.status().phase, Phase::Ready);
}

#[test]
fn back_off_doubles_with_jitter_and_never_ends() {
    let mut net = Net::new(EndpointOptions::default());
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let before = net.now;
        net.lose(0);
        let LinkState::Waiting { retry_at } = net.endpoint.status().replicas[0].state else {
            panic!("it waits");
        };
        pauses.push(retry_at.since(before));
        net.dialled.retain(|&replica| replica != 0);
        net.pass(retry_at.since(before));
        assert!(net.dialled.contains(&0));
    }
    for (attempt, pause) in pauses.iter().enumerate() {
        let whole = Duration::from_millis(100 << attempt.min(10)).min(Duration::from_secs(5));
        assert!((whole / 2..=whole).contains(pause), "attempt {attempt}: {pause:?}");
    }
    // The network is back: at once.
    net.lose(0);
    net.dialled.clear();
    let now = net.now();
    net.endpoint.handle_network_change(now);
    net.drain();
    assert!(net.dialled.contains(&0));
}

#[test]
fn a_socket_that_does_not_open_is_given_up() {
    let mut net = Net::new(EndpointOptions::default());
    net.millis(5_000);
    let mut closed = net.closed.clone();
    closed.sort_unstable();
    assert_eq!(closed, [0, 1, 2, 3]);
}

#[test]
fn a_link_on_which_nothing_arrives_is_dead() {
    let mut net = Net::new(EndpointOptions::default());
    for replica in 0..4 {
        net.open(replica);
    }
    let start = net.now;
    while net.closed.is_empty() {
        let at = net.endpoint.next_deadline().expect("pings are due");
        net.now = at;
        let now = net.now();
        net.endpoint.handle_deadline(now);
        net.drain();
    }
    assert_eq!(net.closed, [0, 1, 2, 3]);
    assert_eq!(net.now.since(start), Duration::from_secs(8));
    assert_eq!(net.endpoint.status().phase, Phase::Offline);
}
