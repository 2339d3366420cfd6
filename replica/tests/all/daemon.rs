//! Whole replicas in one process, asked by the native client over real sockets.

use std::time::{Duration, Instant};

use crate::support::{Group, PATIENCE, get, wait_for_status};
use webbft_client::{Client, Config, ConnectError};
use webbft_protocol::membership::View;
use webbft_replica::Misbehaviour;

async fn connect(view: &View, timeout: Duration) -> Result<Client, ConnectError> {
    let mut config = Config::new(view.clone());
    config.options.call_timeout = timeout;
    Client::connect(config).await
}

async fn put(client: &Client, value: &str) -> String {
    let operation = format!(r#"{{"op":"put","key":"a","value":"{value}"}}"#);
    let reply = client.invoke(operation).await.unwrap();
    String::from_utf8(reply.result.to_vec()).unwrap()
}

async fn read(client: &Client) -> String {
    let reply = client.query(r#"{"op":"get","key":"a"}"#).await.unwrap();
    String::from_utf8(reply.result.to_vec()).unwrap()
}

#[tokio::test]
async fn one_replica_may_stop_two_may_not() {
    let mut group = Group::start(4, None);
    let client = connect(&group.view, PATIENCE).await.unwrap();
    assert_eq!(put(&client, "1").await, r#"{"ok":{"previous":null}}"#);
    assert_eq!(read(&client).await, r#"{"ok":{"value":"1"}}"#);

    group.stop(3);
    assert_eq!(put(&client, "2").await, r#"{"ok":{"previous":"1"}}"#);
    assert_eq!(read(&client).await, r#"{"ok":{"value":"2"}}"#);

    group.stop(2);
    let begun = Instant::now();
    let Err(ConnectError::NoQuorum(error)) = connect(&group.view, Duration::from_secs(1)).await
    else {
        panic!("two of four replicas are no quorum");
    };
    assert!((error.connected, error.needed) == (2, 3), "{error}");
    let timeout = Duration::from_secs(2);
    let error = client.invoke(r#"{"op":"get","key":"a"}"#).timeout(timeout).await.unwrap_err();
    assert!(error.to_string().contains("quorum"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(15), "the timeouts are kept");

    // Without memory, and back as one that follows until it is safe.
    group.restart(3);
    let status = wait_for_status(group.address(3), |status| status["lastCid"].as_u64() > Some(1));
    assert_eq!(status["replica"], 3);
}

#[tokio::test]
async fn a_liar_convinces_nobody() {
    let group = Group::start(4, Some((3, Misbehaviour::Lie)));
    let client = connect(&group.view, PATIENCE).await.unwrap();
    for value in ["1", "2", "3"] {
        let operation = format!(r#"{{"op":"put","key":"a","value":"{value}"}}"#);
        let reply = client.invoke(operation).await.unwrap();
        assert!(!reply.evidence.matching.contains(3), "{:?}", reply.evidence);
    }
    assert_eq!(read(&client).await, r#"{"ok":{"value":"3"}}"#);
    let mut status = client.watch_status();
    let suspected = status.wait_for(|status| status.replicas[3].suspect.is_some());
    tokio::time::timeout(PATIENCE, suspected).await.expect("the liar is suspected").unwrap();
    assert!(client.status().replicas[..3].iter().all(|replica| replica.suspect.is_none()));
    assert!(get(group.address(3), "/status.json").contains(r#""byzantine": "lie""#));
}

#[tokio::test]
async fn mute_and_slow_replicas_do_not_stop_the_others() {
    for misbehaviour in [Misbehaviour::Mute, Misbehaviour::Slow] {
        let group = Group::start(4, Some((1, misbehaviour)));
        let client = connect(&group.view, PATIENCE).await.unwrap();
        assert_eq!(put(&client, "1").await, r#"{"ok":{"previous":null}}"#);
        assert_eq!(read(&client).await, r#"{"ok":{"value":"1"}}"#);
    }
}

#[tokio::test]
async fn one_replica_alone_is_the_baseline() {
    let group = Group::start(1, None);
    let client = connect(&group.view, PATIENCE).await.unwrap();
    assert_eq!(put(&client, "1").await, r#"{"ok":{"previous":null}}"#);
    assert_eq!(read(&client).await, r#"{"ok":{"value":"1"}}"#);
}

#[test]
fn the_port_serves_view_status_health_and_metrics() {
    let group = Group::start(1, None);
    let address = group.address(0);
    let view = get(address, "/view.json");
    assert!(view.contains("access-control-allow-origin: *"), "{view}");
    let json = view.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(serde_json::from_str::<View>(json).unwrap(), group.view);
    assert!(get(address, "/healthz").starts_with("HTTP/1.0 200 "));
    let metrics = get(address, "/metrics");
    assert!(metrics.contains("\nwebbft_last_cid 0\n"), "{metrics}");
    let page = get(address, "/");
    assert!(page.contains("content-security-policy: default-src 'self'; script-src 'self'"));
    assert!(page.contains("x-content-type-options: nosniff"));
    assert!(get(address, "/nothing").starts_with("HTTP/1.0 404 "));
}

#[test]
fn pages_are_served_with_the_right_types() {
    let mut group = Group::start(1, None);
    group.stop(0);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    let page = dir.path().join("page");
    std::fs::create_dir(&page).unwrap();
    for (name, text) in [("index.html", "<p>page"), ("a.wasm", "\0asm"), ("a.js", "1")] {
        std::fs::write(page.join(name), text).unwrap();
    }
    group.restart_with_page(0, page);
    let address = group.address(0);
    for (path, status, kind) in [
        ("/", "200", "text/html"),
        ("/index.html", "200", "text/html"),
        ("/some/view", "200", "text/html"),
        ("/a.wasm", "200", "application/wasm"),
        ("/a.js", "200", "text/javascript"),
        ("/b.js", "404", ""),
        ("/view.json", "200", "application/json"),
    ] {
        let answer = get(address, path);
        assert!(answer.starts_with(&format!("HTTP/1.0 {status} ")), "{path}: {answer}");
        assert!(answer.contains(&format!("content-type: {kind}")) || kind.is_empty(), "{answer}");
        assert!(answer.contains("x-content-type-options: nosniff"), "{answer}");
    }
    for path in ["/../secret", "/%2e%2e/secret", "/..%2fsecret"] {
        let answer = get(address, path);
        assert!(!answer.ends_with("secret"), "{path}: {answer}");
    }
}
