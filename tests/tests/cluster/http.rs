//! The HTTP transport: the same semantics, and the way out where WebSockets do not get through.

use webbft_client::{Client, Code, Config, LinkTransport, Offline, SubscriptionEvent, Transport};
use webbft_protocol::membership::View;

use crate::support::{
    Cluster, Options, PATIENCE, check_put_and_get, put, text, without_websockets,
};

async fn connect(view: &View, transport: Transport) -> Client {
    let mut config = Config { transport, ..Config::new(view.clone()) };
    config.options.call_timeout = PATIENCE;
    Client::connect(config).await.unwrap()
}

async fn carried_by(client: &Client, transport: LinkTransport) {
    let mut transports = client.watch_transports();
    let all = transports.wait_for(|all| all.iter().all(|link| *link == Some(transport)));
    tokio::time::timeout(PATIENCE, all).await.expect("all links are of this kind").unwrap();
}

#[tokio::test]
async fn calls_large_results_and_events_go_over_http() {
    let mut cluster = Cluster::start(&Options { liar: true, ..Options::default() });
    let client = connect(&cluster.view, Transport::Http).await;
    carried_by(&client, LinkTransport::Http).await;
    let mut changes = client.subscribe("kv").await.unwrap();
    for number in 1..=3 {
        let large = number.to_string().repeat(64 << 10);
        check_put_and_get(&client, "a", &large).await;
        let event = tokio::time::timeout(PATIENCE, changes.next()).await.unwrap().unwrap();
        let Some(SubscriptionEvent::Event { number: came, payload, .. }) = event else {
            panic!("{event:?}");
        };
        assert_eq!(came, number);
        assert_eq!(text(&payload), format!(r#"{{"key":"a","value":"{large}"}}"#));
    }
    // Many at once: the bodies of POSTs carry many.
    let calls = (0..200).map(|number| {
        let put = put(&format!("many {number}"), "1");
        tokio::spawn(client.invoke(put))
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    // A replica that restarts is dialled again, over HTTP; the liar makes its reply needed.
    cluster.kill(0);
    let error = client.invoke(put("a", "2")).timeout(std::time::Duration::from_secs(1)).await;
    assert!(matches!(error.unwrap_err().code(), Code::Timeout | Code::NoQuorum));
    cluster.restart(0);
    carried_by(&client, LinkTransport::Http).await;
    check_put_and_get(&client, "a", "back").await;
    client.close().await;
    let closed = client.invoke(put("a", "late")).offline(Offline::Fail).await.unwrap_err();
    assert_eq!(closed.code(), Code::Closed);
}

#[tokio::test]
async fn http_is_found_where_websockets_are_blocked() {
    let cluster = Cluster::start(&Options::default());
    let client = connect(&cluster.view, Transport::Auto).await;
    carried_by(&client, LinkTransport::WebSocket).await;

    let blocked = without_websockets(&cluster.view).await;
    let client = connect(&blocked, Transport::Auto).await;
    carried_by(&client, LinkTransport::Http).await;
    check_put_and_get(&client, "a", "1").await;

    let mut config = Config { transport: Transport::WebSocket, ..Config::new(blocked) };
    config.options.call_timeout = std::time::Duration::from_secs(1);
    let error = Client::connect(config).await.unwrap_err();
    assert_eq!(error.code(), Code::Offline, "{error}");
}
