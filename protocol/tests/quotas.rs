//! Quotas and repairs of admission at whole replicas (rules A3 and A10).
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Net, START};
use webbft_protocol::membership::{Digest, SessionId};
use webbft_protocol::ordering::VouchFault;
use webbft_protocol::replica::{ClientFault, Notice, Parameters, PeerFault};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::limits::SESSION_WINDOW;
use webbft_protocol::wire::{
    ClientHeader, Frame, PeerMessage, Refusal, ReplicaHeader, Request, RequestId, Vouch, VouchGroup,
};

/// A3: vouches about a session that a replica does not know yet are ignored, and asked for again
/// once it has caught up; here its own vouch is needed.
#[test]
fn vouches_that_came_too_early_are_asked_for_again() {
    let parameters =
        Parameters { fetch_delay: Duration::from_millis(100), ..Parameters::default() };
    let mut net = Net::with(4, 1, parameters);
    let client = net.client();
    net.isolate(3);
    for number in 1..=3 {
        net.invoke(client, number, "early");
        net.run();
    }
    net.isolate(2);
    net.connect(3, 0);
    net.connect(3, 1);
    let body = net.request(client, 4, Net::execute("late"));
    net.submit(client, &body, &[0, 1]);
    // The vouches arrive before the decisions that make sense of them.
    net.wait_ms(50);
    assert_eq!(net.logs()[3], [] as [&str; 0]);
    net.wait_ms(2000);
    for replica in [0, 1, 3] {
        assert_eq!(net.logs()[replica], ["early", "early", "early", "late"], "replica {replica}");
    }
}

/// A10: a session may have as many requests in flight as the window, counted from its last ordered
/// one.
#[test]
fn a_number_beyond_the_window_is_refused() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    net.invoke(client, 1, "one");
    net.run();
    net.clients[client].received[3].clear();
    let last = net.request(client, 1 + SESSION_WINDOW, Net::execute("x"));
    net.submit(client, &last, &[3]);
    net.run();
    assert_eq!(net.clients[client].received[3], []);
    let number = 2 + SESSION_WINDOW;
    let beyond = net.request(client, number, Net::execute("x"));
    net.submit(client, &beyond, &[3]);
    net.run();
    let (session, request) = (net.clients[client].session, Request::digest(&beyond));
    let refusal = Refusal::Window;
    let header = ReplicaHeader::Refused { session, number, request, refusal };
    assert_eq!(net.clients[client].received[3], [Frame::bare(header)]);
}

/// A10: a peer may vouch for as many new sessions as n correct replicas could, and no more; what it
/// uses up is its own share.
#[test]
fn a_peer_vouches_for_so_many_sessions_and_no_more() {
    let mut parameters = Parameters::default();
    parameters.admission.new_sessions = 2;
    let mut net = Net::with(4, 1, parameters);
    let client = net.client();
    for session in 0..9_u8 {
        let id = RequestId { session: SessionId([100 + session; 16]), ..net.id(client, 1) };
        let vouch = Vouch { id, digest: Digest([1; 32]) };
        let groups = VouchGroup::gather([(vouch, UnixMicros(START))]);
        net.tell(3, 1, PeerMessage::Vouches { replace: false, groups });
        let expected = if session < 8 {
            vec![]
        } else {
            let fault = PeerFault::Vouch(VouchFault::Sessions);
            vec![Notice::PeerMisbehaved { peer: 3, fault }]
        };
        let notices: Vec<Notice> = std::iter::from_fn(|| net.replicas[1].poll_notice()).collect();
        assert_eq!(notices, expected, "session {session}");
    }
    net.invoke(client, 1, "modest");
    net.run();
    assert_eq!(net.logs(), vec![vec!["modest"]; 4]);
    let blamed = |notice: &&Notice| matches!(notice, Notice::PeerMisbehaved { .. });
    assert_eq!(net.notices[1].iter().find(blamed), None);
}

/// A link's client speaks for itself, and to its own service.
#[test]
fn a_request_in_anothers_name_closes_the_link() {
    let mut net = Net::new(4, 1);
    let (victim, thief) = (net.client(), net.client());
    let stolen = net.request(victim, 1, Net::execute("x"));
    let frame = |body| Frame::new(ClientHeader::Request { full: true }, body);
    let victims_id = net.clients[victim].identity.id();
    assert_eq!(
        net.send(thief, 0, &frame(stolen.clone())),
        Err(ClientFault::OtherClient(victims_id))
    );
    let mut elsewhere = Request::decode(&stolen).unwrap();
    elsewhere.service.0 = [9; 16];
    assert_eq!(net.send(victim, 0, &frame(elsewhere.encode())), Err(ClientFault::OtherService));
}
