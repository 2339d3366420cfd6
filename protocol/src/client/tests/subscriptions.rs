//! Subscriptions: order, lies, missing payloads, gaps, reconnects.

use bytes::Bytes;

use crate::client::testing::{Net, evidence};
use crate::client::{
    CallError, CallId, ClientEvent, EndpointOptions, InvokeError, Outcome, SuspectReason,
};
use crate::membership::{Cid, ClientId, Digest, ReplicaId, SessionId, ViewNumber};
use crate::time::UnixMicros;
use crate::wire::limits::MAX_ANNOUNCEMENT;
use crate::wire::{
    ClientHeader, ExecutionResult, Operation, Refusal, ReplicaHeader, Request, SessionKey, Topic,
    WITHHELD,
};

fn topic() -> Topic {
    Topic::new("t").unwrap()
}

/// A subscription of which `next` is the first event; inboxes empty.
fn subscribed(net: &mut Net, next: u64) -> (CallId, SessionId) {
    let now = net.now();
    let subscription = net.endpoint.subscribe(now, topic()).unwrap();
    net.drain();
    let request = net.request();
    assert_eq!(request.operation, Operation::Subscribe(topic()));
    for replica in 0..3 {
        net.reply(replica, &request, 1, &ExecutionResult::Subscribed { next }, true);
    }
    let evidence = evidence(3, [&[0, 1, 2], &[], &[3]], Some(1));
    assert_eq!(net.events(), [ClientEvent::Subscribed { subscription, next, evidence }]);
    let session = request.id.session;
    let resume = ClientHeader::Resume { session, topic: topic(), next };
    for replica in 0..4 {
        assert_eq!(net.headers(replica), std::slice::from_ref(&resume));
    }
    (subscription, session)
}

fn publish(
    net: &mut Net,
    replica: usize,
    session: SessionId,
    number: u64,
    payload: &[u8],
    full: bool,
) {
    let header = ReplicaHeader::Event {
        session,
        topic: topic(),
        number,
        view: ViewNumber(0),
        cid: Cid(10 + number),
        digest: Digest::of(payload),
        full,
    };
    net.say(replica, header, if full { payload } else { b"" });
}

fn event(
    subscription: CallId,
    number: u64,
    payload: &'static [u8],
    who: [&[usize]; 3],
) -> ClientEvent {
    let payload = Bytes::from_static(payload);
    let evidence = evidence(2, who, Some(10 + number));
    ClientEvent::Event { subscription, topic: topic(), number, payload, evidence }
}

fn gap(net: &mut Net, replica: usize, session: SessionId, first: u64) {
    net.say(replica, ReplicaHeader::Gap { session, topic: topic(), first }, b"");
}

#[test]
fn announcements_need_two_replicas_and_a_subscription() {
    let mut net = Net::connected();
    let unknown = net.endpoint.announce(CallId(1), Bytes::new());
    assert_eq!(unknown, Err(InvokeError::NoSubscription));
    let (id, session) = subscribed(&mut net, 1);
    let here = Bytes::from_static(b"here");
    assert_eq!(net.endpoint.announce(id, here.clone()), Ok(()));
    net.drain();
    let header = ClientHeader::Announce { session, topic: topic(), number: 1 };
    for replica in 0..4 {
        assert_eq!(net.headers(replica), std::slice::from_ref(&header));
    }
    let too_large = Bytes::from(vec![0; MAX_ANNOUNCEMENT + 1]);
    let error = InvokeError::AnnouncementTooLarge(MAX_ANNOUNCEMENT + 1);
    assert_eq!(net.endpoint.announce(id, too_large), Err(error));

    let client = ClientId([9; 16]);
    let sender = SessionKey { client, session: SessionId([3; 16]) };
    let heard =
        |topic: Topic, number| ReplicaHeader::Announcement { session, topic, sender, number };
    net.say(3, heard(topic(), 1), b"forged");
    net.say(0, heard(topic(), 1), b"here");
    for replica in 0..4 {
        net.say(replica, heard(Topic::new("other").unwrap(), 1), b"here");
    }
    assert_eq!(net.events(), []);
    net.say(2, heard(topic(), 1), b"here");
    net.say(1, heard(topic(), 1), b"here");
    let subscription = id;
    let event = ClientEvent::Announcement { subscription, topic: topic(), client, payload: here };
    assert_eq!(net.events(), [event]);
}

/// P6: two replicas must say that an event is withheld; then it is passed over.
#[test]
fn withheld_events_are_passed_over() {
    let mut net = Net::connected();
    let (id, session) = subscribed(&mut net, 1);
    let withheld = |net: &mut Net, replica, number| {
        let (view, cid) = (ViewNumber(0), Cid(10 + number));
        let (topic, digest) = (topic(), WITHHELD);
        let full = false;
        let header = ReplicaHeader::Event { session, topic, number, view, cid, digest, full };
        net.say(replica, header, b"");
    };
    withheld(&mut net, 3, 1);
    publish(&mut net, 0, session, 1, b"one", true);
    assert_eq!(net.events(), []);
    publish(&mut net, 1, session, 1, b"one", true);
    let accused = |replica| ClientEvent::Suspect {
        replica,
        reason: SuspectReason::Divergent,
        call: Some(id),
    };
    let mut events = net.events();
    events.retain(|event| *event != ClientEvent::StatusChanged);
    assert_eq!(events, [event(id, 1, b"one", [&[0, 1], &[3], &[2]]), accused(3)]);
    for replica in 0..2 {
        withheld(&mut net, replica, 2);
        publish(&mut net, replica, session, 3, b"three", true);
    }
    assert_eq!(net.events(), [event(id, 3, b"three", [&[0, 1], &[], &[2, 3]])]);
}

#[test]
fn events_come_in_order_each_on_two_votes_and_liars_are_named() {
    let mut net = Net::connected();
    let (id, session) = subscribed(&mut net, 4);
    publish(&mut net, 0, session, 5, b"five", true);
    publish(&mut net, 1, session, 5, b"five", true);
    publish(&mut net, 3, session, 4, b"lie", true);
    publish(&mut net, 3, session, 5, b"lie", true);
    publish(&mut net, 0, session, 4, b"four", true);
    assert_eq!(net.events(), []);
    publish(&mut net, 1, session, 4, b"four", false);
    let suspect =
        ClientEvent::Suspect { replica: 3, reason: SuspectReason::Divergent, call: Some(id) };
    assert_eq!(
        net.events(),
        [
            event(id, 4, b"four", [&[0, 1], &[3], &[2]]),
            event(id, 5, b"five", [&[0, 1], &[3], &[2]]),
            suspect.clone(),
            suspect,
        ]
    );
    // Duplicates and late votes deliver nothing; a late lie is told once.
    publish(&mut net, 0, session, 4, b"four", true);
    publish(&mut net, 2, session, 4, b"four", true);
    let evidence = evidence(2, [&[0, 1, 2], &[3], &[]], Some(14));
    assert_eq!(net.events(), [ClientEvent::Votes { call: id, number: Some(4), evidence }]);
    for _ in 0..3 {
        publish(&mut net, 2, session, 4, b"lie", true);
    }
    let reason = SuspectReason::Divergent;
    assert_eq!(net.events(), [ClientEvent::Suspect { replica: 2, reason, call: Some(id) }]);
    // Another session, another topic: not ours.
    publish(&mut net, 0, SessionId([1; 16]), 6, b"six", true);
    publish(&mut net, 1, SessionId([1; 16]), 6, b"six", true);
    assert_eq!(net.events(), []);
}

#[test]
fn events_that_overtake_the_confirmation_are_kept() {
    let mut net = Net::connected();
    let now = net.now();
    let id = net.endpoint.subscribe(now, topic()).unwrap();
    net.drain();
    let request = net.request();
    let session = request.id.session;
    for replica in 0..3 {
        publish(&mut net, replica, session, 7, b"old", true);
        publish(&mut net, replica, session, 8, b"new", true);
    }
    assert_eq!(net.events(), []);
    for replica in 0..3 {
        net.reply(replica, &request, 1, &ExecutionResult::Subscribed { next: 8 }, true);
    }
    let evidence = evidence(3, [&[0, 1, 2], &[], &[3]], Some(1));
    assert_eq!(
        net.events(),
        [
            ClientEvent::Subscribed { subscription: id, next: 8, evidence },
            event(id, 8, b"new", [&[0, 1, 2], &[], &[3]]),
        ]
    );
}

#[test]
fn a_missing_payload_is_fetched_from_a_replica_that_matched() {
    let mut net = Net::connected();
    let (id, session) = subscribed(&mut net, 1);
    publish(&mut net, 1, session, 1, b"one", false);
    publish(&mut net, 2, session, 1, b"one", false);
    assert_eq!(net.events(), []);
    net.millis(100);
    let fetch = ClientHeader::FetchEvent { session, topic: topic(), number: 1 };
    let asked = [0, 1, 2, 3].map(|replica| net.headers(replica));
    assert_eq!(asked, [vec![], vec![fetch.clone()], vec![], vec![]]);
    net.millis(200);
    let asked = [0, 1, 2, 3].map(|replica| net.headers(replica));
    assert_eq!(asked, [vec![], vec![], vec![fetch], vec![]]);
    publish(&mut net, 2, session, 1, b"one", true);
    assert_eq!(net.events(), [event(id, 1, b"one", [&[1, 2], &[], &[0, 3]])]);
    net.millis(1000);
    assert_eq!(net.headers(1), []);
}

#[test]
fn a_lost_last_event_is_noticed_by_two_heads_and_not_by_one() {
    let mut net = Net::connected();
    let (_, session) = subscribed(&mut net, 1);
    let resume = ClientHeader::Resume { session, topic: topic(), next: 1 };
    let heads = |number| ReplicaHeader::Heads { session, heads: vec![(topic(), number)] };
    net.say(3, heads(u64::MAX), b"");
    net.millis(1000);
    assert_eq!(net.headers(0), []);
    net.say(0, heads(1), b"");
    net.millis(100);
    for replica in 0..4 {
        assert_eq!(net.headers(replica), std::slice::from_ref(&resume));
    }
}

#[test]
fn a_gap_needs_two_voices_and_is_as_small_as_the_second() {
    let mut net = Net::connected();
    let (id, session) = subscribed(&mut net, 1);
    gap(&mut net, 3, session, u64::MAX);
    net.millis(1000);
    assert_eq!(net.events(), []);
    gap(&mut net, 0, session, 6);
    net.millis(100);
    let missed = ClientEvent::Gap { subscription: id, topic: topic(), missed_from: 1, next: 6 };
    assert_eq!(net.events(), [missed]);
    net.headers(1);
    publish(&mut net, 0, session, 6, b"six", true);
    publish(&mut net, 1, session, 6, b"six", true);
    assert_eq!(net.events(), [event(id, 6, b"six", [&[0, 1], &[], &[2, 3]])]);
}

#[test]
fn a_gap_at_some_replicas_is_none_if_others_have_the_events() {
    let mut net = Net::connected();
    let (id, session) = subscribed(&mut net, 1);
    gap(&mut net, 3, session, 2);
    gap(&mut net, 0, session, 2);
    publish(&mut net, 1, session, 1, b"one", true);
    publish(&mut net, 2, session, 1, b"one", true);
    net.millis(1000);
    assert_eq!(net.events(), [event(id, 1, b"one", [&[1, 2], &[], &[0, 3]])]);
}

/// Two replicas announced an event of which the payload got lost, and by now nobody keeps it.
#[test]
fn a_payload_that_is_gone_is_a_gap() {
    let mut net = Net::connected();
    let (id, session) = subscribed(&mut net, 1);
    publish(&mut net, 0, session, 1, b"lost", false);
    publish(&mut net, 1, session, 1, b"lost", false);
    net.millis(1000);
    let fetch = ClientHeader::FetchEvent { session, topic: topic(), number: 1 };
    let resume = ClientHeader::Resume { session, topic: topic(), next: 1 };
    for replica in 0..2 {
        assert_eq!(net.headers(replica)[..2], [fetch.clone(), resume.clone()]);
    }
    assert_eq!(net.headers(2)[0], resume);
    gap(&mut net, 0, session, 7);
    assert_eq!(net.events(), []);
    gap(&mut net, 2, session, 7);
    net.millis(30_000);
    let gap = ClientEvent::Gap { subscription: id, topic: topic(), missed_from: 1, next: 7 };
    assert_eq!(net.events(), [gap]);
}

#[test]
fn a_new_link_resumes_after_the_last_event() {
    let mut net = Net::connected();
    let (_, session) = subscribed(&mut net, 1);
    for replica in 0..2 {
        publish(&mut net, replica, session, 1, b"one", true);
    }
    net.lose(2);
    net.millis(200);
    net.open(2);
    assert_eq!(net.headers(2), [ClientHeader::Resume { session, topic: topic(), next: 2 }]);
}

#[test]
fn one_replica_cannot_fill_the_buffer_of_the_others() {
    let options = EndpointOptions { events_ahead: 4, ..EndpointOptions::default() };
    let mut net = Net::new(options);
    for replica in 0..4 {
        net.open(replica);
    }
    net.events();
    let (id, session) = subscribed(&mut net, 1);
    for number in (2..1000).rev() {
        publish(&mut net, 3, session, number, b"junk", true);
    }
    for number in [4, 3, 2, 1] {
        for replica in 0..2 {
            publish(&mut net, replica, session, number, b"x", true);
        }
    }
    let delivered: Vec<u64> = net
        .events()
        .iter()
        .filter_map(|event| match event {
            ClientEvent::Event { subscription, number, .. } if *subscription == id => Some(*number),
            _ => None,
        })
        .collect();
    assert_eq!(delivered, [1, 2, 3, 4]);
}

#[test]
fn unsubscribing() {
    let mut net = Net::connected();
    let (id, session) = subscribed(&mut net, 1);
    let now = net.now();
    assert_eq!(net.endpoint.subscribe(now, topic()), Err(InvokeError::AlreadySubscribed));
    assert_eq!(net.endpoint.unsubscribe(now, CallId(99)), Err(InvokeError::NoSubscription));
    let call = net.endpoint.unsubscribe(now, id).unwrap();
    net.drain();
    assert_eq!(net.endpoint.unsubscribe(now, id), Err(InvokeError::NoSubscription));
    let request = net.request();
    for replica in 0..2 {
        publish(&mut net, replica, session, 1, b"one", true);
    }
    assert_eq!(net.events(), [event(id, 1, b"one", [&[0, 1], &[], &[2, 3]])]);
    for replica in 0..3 {
        net.reply(replica, &request, 9, &ExecutionResult::Unsubscribed, true);
    }
    let evidence = evidence(3, [&[0, 1, 2], &[], &[3]], Some(9));
    let result = Bytes::new();
    assert_eq!(net.events(), [ClientEvent::Completed { call, result, evidence }]);
    for replica in 0..2 {
        publish(&mut net, replica, session, 2, b"two", true);
    }
    assert_eq!(net.events(), []);
    assert!(net.endpoint.subscribe(now, topic()).is_ok());
}

#[test]
fn a_subscription_that_is_refused_leaves_the_topic_free() {
    let mut net = Net::connected();
    let now = net.now();
    let call = net.endpoint.subscribe(now, topic()).unwrap();
    net.drain();
    let request = net.request();
    for replica in 0..3 {
        net.reply(replica, &request, 1, &ExecutionResult::TooManySubscriptions, true);
    }
    let evidence = evidence(3, [&[0, 1, 2], &[], &[3]], Some(1));
    let (error, outcome) = (CallError::TooManySubscriptions, Outcome::Executed);
    assert_eq!(net.events(), [ClientEvent::Failed { call, error, outcome, evidence }]);
    assert!(net.endpoint.subscribe(now, topic()).is_ok());
}

#[test]
fn a_subscription_outlives_its_session_and_goes_on_where_it_was() {
    let mut net = Net::connected();
    let (id, session) = subscribed(&mut net, 1);
    for replica in 0..2 {
        publish(&mut net, replica, session, 1, b"one", true);
    }
    net.events();
    // Replicas that know no topics of the session answer pings without heads.
    net.millis(10_000);
    let probe = net.request();
    assert_eq!(probe.operation, Operation::Unsubscribe(Topic::new("webbft/none").unwrap()));
    for replica in [0, 1] {
        let header = ReplicaHeader::Refused {
            session,
            number: probe.id.number,
            request: Request::digest(&probe.encode()),
            refusal: Refusal::SessionExpired,
        };
        net.say(replica, header, b"");
    }
    for replica in 0..3 {
        let (nonce, last_cid, time, leader) = (0, Cid(9), UnixMicros(9), ReplicaId(0));
        net.say(replica, ReplicaHeader::Pong { nonce, last_cid, time, leader }, b"");
    }
    let request = net.request();
    let fresh = request.id.session;
    assert_ne!(fresh, session);
    assert_eq!((request.id.number, request.operation.clone()), (1, Operation::Subscribe(topic())));
    for replica in 0..3 {
        net.reply(replica, &request, 20, &ExecutionResult::Subscribed { next: 5 }, true);
    }
    // From event 2 on, not from 5.
    let resume = ClientHeader::Resume { session: fresh, topic: topic(), next: 2 };
    assert_eq!(net.headers(0), [resume]);
    for replica in 0..2 {
        publish(&mut net, replica, fresh, 2, b"two", true);
    }
    assert_eq!(net.events(), [event(id, 2, b"two", [&[0, 1], &[], &[2, 3]])]);
}

#[test]
fn a_subscription_given_up_on_the_way_is_ended_unless_there_is_another_by_then() {
    let mut net = Net::connected();
    let now = net.now();
    let given_up = net.endpoint.subscribe(now, topic()).unwrap();
    net.drain();
    let first = net.request();
    net.endpoint.cancel(now, given_up);
    net.drain();
    let confirm = |net: &mut Net, request: &Request, next: u64| {
        for replica in 0..3 {
            net.reply(replica, request, 1, &ExecutionResult::Subscribed { next }, true);
        }
    };
    confirm(&mut net, &first, 1);
    let end = net.request();
    assert_eq!(end.operation, Operation::Unsubscribe(topic()));
    assert_eq!(end.id.number, first.id.number + 1);
    for replica in 0..3 {
        net.reply(replica, &end, 2, &ExecutionResult::Unsubscribed, true);
    }
    let error = CallError::Cancelled;
    let outcome = Outcome::Unknown;
    let evidence = evidence(3, [&[], &[], &[0, 1, 2, 3]], None);
    let failed = ClientEvent::Failed { call: given_up, error, outcome, evidence };
    assert_eq!(net.events(), [failed]);

    // Another one has come meanwhile: the replicas are told nothing.
    let given_up = net.endpoint.subscribe(now, topic()).unwrap();
    net.drain();
    let first = net.request();
    net.endpoint.cancel(now, given_up);
    let wanted = net.endpoint.subscribe(now, topic()).unwrap();
    net.drain();
    let second = net.request();
    net.events();
    confirm(&mut net, &first, 1);
    confirm(&mut net, &second, 1);
    assert!(matches!(
        net.events()[..],
        [ClientEvent::Subscribed { subscription, next: 1, .. }] if subscription == wanted
    ));
    let resumes = |header: &ClientHeader| matches!(header, ClientHeader::Resume { .. });
    let heard = net.headers(0);
    assert!(heard.iter().all(resumes), "{heard:?}");
}
