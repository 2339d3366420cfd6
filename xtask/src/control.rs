//! The controls of `cargo xtask demo`: an HTTP server on the loopback interface by which the demo's
//! own pages kill, pause, restart and corrupt its replicas.
//!
//! Any web site can make a browser send requests to the loopback interface. So a request has to
//! name this address as its host (a name that was made to resolve to it does not do), to come from
//! a page of one of the replicas, if from a page at all, and to bear the token that only the
//! addresses printed by the demo contain.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use serde_json::json;
use tiny_http::{Header, Method, Request, Response, Server};

use crate::cluster::{Action, Behaviour, Cluster};

/// The running server; dropping it ends it.
pub(crate) struct Control {
    server: Arc<Server>,
    address: SocketAddr,
    token: String,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Begins to serve on a port of the system's choice.
    pub(crate) fn start(cluster: Arc<Cluster>) -> Result<Self> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).context("the operating system gives no random bytes")?;
        let token: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let server = Server::http((Ipv4Addr::LOCALHOST, 0))
            .map_err(|error| anyhow!("cannot serve the demo's controls: {error}"))?;
        let address = server.server_addr().to_ip().context("the controls have no address")?;
        let server = Arc::new(server);
        let guard = Guard {
            host: address.to_string(),
            origins: cluster.replicas()?.into_iter().map(|replica| replica.url).collect(),
            token: token.clone(),
        };
        let thread = thread::spawn({
            let server = Arc::clone(&server);
            move || {
                for request in server.incoming_requests() {
                    answer(request, &guard, &cluster);
                }
            }
        });
        Ok(Self { server, address, token, thread: Some(thread) })
    }

    /// What a page needs to know, for the fragment of its address: port and token.
    pub(crate) fn key(&self) -> String {
        format!("{}.{}", self.address.port(), self.token)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            // It ends with an error only if it panicked, and then said so.
            let _ = thread.join();
        }
    }
}

/// Who may use the controls.
struct Guard {
    host: String,
    origins: Vec<String>,
    token: String,
}

/// What of a request the guard looks at.
#[derive(Clone, Copy, Default)]
struct Claims<'a> {
    host: Option<&'a str>,
    origin: Option<&'a str>,
    authorization: Option<&'a str>,
}

impl Guard {
    /// Does the request come from here? What the browser asks before it sends the token is let in.
    fn admits(&self, claims: Claims<'_>) -> bool {
        claims.host == Some(&self.host)
            && claims.origin.is_none_or(|origin| self.origins.iter().any(|ours| ours == origin))
    }

    fn knows_token(&self, claims: Claims<'_>) -> bool {
        let given = claims.authorization.and_then(|value| value.strip_prefix("Bearer "));
        given.is_some_and(|given| equal(given.as_bytes(), self.token.as_bytes()))
    }
}

/// Compares without telling by the time it takes where the difference is.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

fn answer(request: Request, guard: &Guard, cluster: &Cluster) {
    let header = |name: &'static str| {
        let found = request.headers().iter().find(|header| header.field.equiv(name));
        found.map(|header| header.value.as_str())
    };
    let claims = Claims {
        host: header("Host"),
        origin: header("Origin"),
        authorization: header("Authorization"),
    };
    let origin = claims.origin.filter(|_| guard.admits(claims)).map(str::to_owned);
    let (status, body) = if !guard.admits(claims) {
        (403, json!({ "message": "only the pages of this demo may use its controls" }))
    } else if *request.method() == Method::Options {
        (204, json!(null))
    } else if !guard.knows_token(claims) {
        (401, json!({ "message": "the token is wrong: open the address that the demo printed" }))
    } else {
        respond(request.method(), request.url(), cluster)
    };
    let mut response =
        Response::from_string(if status == 204 { String::new() } else { body.to_string() })
            .with_status_code(status)
            .with_header(fixed("Content-Type", "application/json"))
            .with_header(fixed("Cache-Control", "no-store"))
            .with_header(fixed("Vary", "Origin"));
    if let Some(origin) = origin {
        response = response
            .with_header(fixed("Access-Control-Allow-Origin", &origin))
            .with_header(fixed("Access-Control-Allow-Methods", "GET, POST"))
            .with_header(fixed("Access-Control-Allow-Headers", "Authorization"));
    }
    // It fails when the page is gone, which then does not need the answer.
    let _ = request.respond(response);
}

fn fixed(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("names of ours, and an origin of ours, are ASCII")
}

/// `GET /replicas` and `POST /replicas/ID/ACTION`; both give all replicas.
fn respond(method: &Method, path: &str, cluster: &Cluster) -> (u16, serde_json::Value) {
    let replicas = || match cluster.replicas() {
        Ok(replicas) => (200, json!({ "replicas": replicas })),
        Err(error) => (500, json!({ "message": format!("{error:#}") })),
    };
    match (method, parse(path)) {
        (Method::Get, Some(None)) => replicas(),
        (Method::Post, Some(Some((id, action)))) => match cluster.act(id, action) {
            Ok(()) => replicas(),
            Err(error) => (409, json!({ "message": format!("{error:#}") })),
        },
        _ => (404, json!({ "message": format!("there is no {method} {path}") })),
    }
}

/// The replica and the action that a path names; `Some(None)` for all replicas.
fn parse(path: &str) -> Option<Option<(u16, Action)>> {
    let mut parts = path.strip_prefix("/replicas")?.split('/').skip(1);
    let Some(id) = parts.next() else { return Some(None) };
    let action = match parts.next()? {
        "kill" => Action::Kill,
        "pause" => Action::Pause,
        "resume" => Action::Resume,
        "restart" => Action::Restart(Behaviour::Honest),
        name => Action::Restart(Behaviour::named(name)?),
    };
    parts.next().is_none().then_some(Some((id.parse().ok()?, action)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_replica_and_action() {
        assert_eq!(parse("/replicas"), Some(None));
        assert_eq!(parse("/replicas/2/kill"), Some(Some((2, Action::Kill))));
        assert_eq!(parse("/replicas/3/lie"), Some(Some((3, Action::Restart(Behaviour::Lie)))));
        assert_eq!(
            parse("/replicas/3/restart"),
            Some(Some((3, Action::Restart(Behaviour::Honest))))
        );
        for wrong in ["/", "/replica", "/replicas/", "/replicas/1", "/replicas/1/explode"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(parse("/replicas/x/kill"), None);
        assert_eq!(parse("/replicas/1/kill/2"), None);
    }

    #[test]
    fn only_the_pages_of_the_demo_with_the_token_are_let_in() {
        let guard = Guard {
            host: "127.0.0.1:5000".to_owned(),
            origins: vec!["http://127.0.0.1:7100".to_owned()],
            token: "0123".to_owned(),
        };
        let good = Claims {
            host: Some("127.0.0.1:5000"),
            origin: Some("http://127.0.0.1:7100"),
            authorization: Some("Bearer 0123"),
        };
        let verdict = |claims: Claims<'_>| (guard.admits(claims), guard.knows_token(claims));
        assert_eq!(verdict(good), (true, true));
        assert_eq!(verdict(Claims { origin: None, ..good }), (true, true));
        assert!(!verdict(Claims { host: Some("rebound.example:5000"), ..good }).0);
        assert!(!verdict(Claims { host: None, ..good }).0);
        assert!(!verdict(Claims { origin: Some("http://evil.example"), ..good }).0);
        assert!(!verdict(Claims { origin: Some("null"), ..good }).0);
        for authorization in [None, Some("0123"), Some("Bearer 0124"), Some("Bearer 01234")] {
            assert_eq!(verdict(Claims { authorization, ..good }), (true, false));
        }
    }
}
