//! `webbft invoke`, `query`, `subscribe` and `status`: the native client.

use std::future::Future;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde::Serialize;
use tokio::time::Instant;
use webbft_client::{
    Client, Config, Evidence, NoQuorum, Outcome, Reply, SubscriptionError, SubscriptionEvent,
    Transport,
};
use webbft_protocol::membership::{ReplicaId, ReplicaSet, View};

use super::{Failure, http_get};
use crate::config::load_view;

/// Which service to talk to, and how patiently.
#[derive(Debug, Args)]
struct ServiceArgs {
    /// The view of the service, as `webbft init` writes it.
    #[arg(long, value_name = "FILE", default_value = ".webbft/view.json")]
    view: PathBuf,
    /// How long to wait for a quorum, connecting included; for example 500ms, 5s.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// How to reach the replicas: auto takes HTTP for those that no WebSocket gets through to.
    #[arg(long, value_enum, value_name = "HOW", default_value = "auto")]
    transport: TransportArg,
    /// Say on standard error which replicas agreed.
    #[arg(long, short)]
    verbose: bool,
}

/// A choice of transport on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "lower")]
enum TransportArg {
    Auto,
    WebSocket,
    Http,
}

impl From<TransportArg> for Transport {
    fn from(arg: TransportArg) -> Self {
        match arg {
            TransportArg::Auto => Self::Auto,
            TransportArg::WebSocket => Self::WebSocket,
            TransportArg::Http => Self::Http,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  webbft invoke '{\"op\":\"put\",\"key\":\"a\",\"value\":\"1\"}'
  webbft invoke --view setup/view.json --verbose '{\"op\":\"get\",\"key\":\"a\"}'

Exit codes: 0 the replicas agreed on a result, 1 they did not, 2 wrong usage.")]
pub(super) struct InvokeArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Ask without ordering, as `webbft query` does.
    #[arg(long)]
    unordered: bool,
    /// The operation, in the service's JSON.
    operation: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  webbft query '{\"op\":\"get\",\"key\":\"a\"}'

Exit codes: 0 the replicas agreed on an answer, 1 they did not, 2 wrong usage.")]
pub(super) struct QueryArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The query, in the service's JSON.
    query: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  webbft subscribe kv
      the changes of the key-value store, one JSON line each, until Ctrl-C")]
pub(super) struct SubscribeArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// End after this many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// The topic.
    topic: String,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn invoke(args: &InvokeArgs) -> Result<(), Failure> {
    call(&args.service, &args.operation, !args.unordered)
}

pub(super) fn query(args: &QueryArgs) -> Result<(), Failure> {
    call(&args.service, &args.query, false)
}

fn call(args: &ServiceArgs, payload: &str, ordered: bool) -> Result<(), Failure> {
    // Replicas would refuse it as well, less clearly.
    serde_json::from_str::<serde::de::IgnoredAny>(payload).map_err(|error| {
        Failure::Usage(anyhow!("this is not JSON: {error}\n  {payload}\nquote it for the shell"))
    })?;
    let view = load_view(&args.view)?;
    block_on(async {
        let deadline = Instant::now() + args.timeout;
        let client = connect(&view, args).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        let payload = payload.to_owned();
        let call = if ordered { client.invoke(payload) } else { client.query(payload) };
        let result = call.timeout(left).await;
        let Reply { result, evidence } =
            result.map_err(|error| explain(&view, &SubscriptionError::Call(error)))?;
        print_line(&result)?;
        if args.verbose {
            eprintln!("{}", describe(&view, &evidence));
        }
        client.close().await;
        Ok(())
    })
}

pub(super) fn subscribe(args: &SubscribeArgs) -> Result<(), Failure> {
    let view = load_view(&args.service.view)?;
    block_on(async {
        let client = connect(&view, &args.service).await?;
        let subscribed = client.subscribe(args.topic.as_str()).await;
        let mut subscription = subscribed.map_err(|error| explain(&view, &error))?;
        if args.service.verbose {
            eprintln!("subscribed; the next event has number {}", subscription.first());
        }
        let mut left = args.count;
        while left != Some(0) {
            match subscription.next().await? {
                Some(SubscriptionEvent::Event { number, payload, evidence }) => {
                    print_line(&payload)?;
                    if args.service.verbose {
                        eprintln!("event {number}: {}", describe(&view, &evidence));
                    }
                    left = left.map(|left| left - 1);
                }
                Some(SubscriptionEvent::Gap { missed_from, next }) => {
                    eprintln!("events {missed_from} to {} are lost", next.saturating_sub(1));
                }
                None => return Err(anyhow!("the client was closed")),
            }
        }
        client.close().await;
        Ok(())
    })
}

/// A line of `webbft status`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReplicaLine {
    id: ReplicaId,
    url: String,
    /// Does it hold the key that the view names? Only such a replica has a link.
    answers: bool,
    /// What it says of itself on /status.json, which nothing authenticates.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<serde_json::Value>,
}

pub(super) fn status(args: &StatusArgs) -> Result<(), Failure> {
    let view = load_view(&args.service.view)?;
    block_on(async {
        let client = Client::start(config(&view, &args.service))?;
        let mut status = client.watch_status();
        // Whoever does not answer in time does not answer.
        let all = status.wait_for(|status| status.connected == status.n);
        let patience = args.service.timeout.min(Duration::from_secs(2));
        let timed_out = tokio::time::timeout(patience, all).await.is_err();
        let status = client.status();
        let mut lines = Vec::new();
        for info in &status.replicas {
            let answers = info.state == webbft_protocol::client::LinkState::Open;
            let own = match http_get::address_of(&info.url) {
                Ok(address) if answers => http_get::get(address, "/status.json").await.ok(),
                _ => None,
            };
            lines.push(ReplicaLine {
                id: info.id,
                url: info.url.clone(),
                answers,
                status: own.and_then(|body| serde_json::from_slice(&body).ok()),
            });
        }
        client.close().await;
        if args.json {
            print_line(serde_json::to_string_pretty(&lines)?.as_bytes())?;
        } else {
            print_line(table(&lines).as_bytes())?;
        }
        let (connected, n, needed) = (status.connected, status.n, status.needed);
        if connected < needed {
            return Err(no_quorum(connected, n, needed));
        }
        if timed_out && args.service.verbose {
            eprintln!("{connected} of {n} replicas answer, {needed} are needed");
        }
        Ok(())
    })
}

fn table(lines: &[ReplicaLine]) -> String {
    let width = lines.iter().map(|line| line.url.len()).max().unwrap_or_default();
    let mut table = format!("replica  {:width$}  answers  last cid  leader  state", "url");
    for line in lines {
        let field = |name: &str| match line.status.as_ref().map(|status| &status[name]) {
            Some(value) if !value.is_null() => value.to_string(),
            _ => "-".to_owned(),
        };
        let state = match line.status.as_ref().map(|status| &status["learner"]) {
            Some(serde_json::Value::Bool(true)) => "learner: follows without voting",
            Some(serde_json::Value::Bool(false)) => "votes",
            _ => "-",
        };
        table += &format!(
            "\n{:<7}  {:width$}  {:<7}  {:>8}  {:>6}  {state}",
            line.id,
            line.url,
            if line.answers { "yes" } else { "no" },
            field("lastCid"),
            field("leader"),
        );
    }
    table
}

fn config(view: &View, args: &ServiceArgs) -> Config {
    Config { transport: args.transport.into(), ..Config::new(view.clone()) }
}

async fn connect(view: &View, args: &ServiceArgs) -> anyhow::Result<Client> {
    let client = Client::start(config(view, args))?;
    match client.ready(args.timeout).await {
        Ok(()) => Ok(client),
        Err(NoQuorum { connected, needed, unreachable, obstacle }) => {
            let error = no_quorum(connected, view.n(), needed);
            let error = obstacle.map_or(error, |why| anyhow!("the replicas {why}"));
            Err(error.context(format!("no answer from {}", unreachable.join(", "))))
        }
    }
}

fn no_quorum(connected: usize, n: usize, needed: usize) -> anyhow::Error {
    let verb = if connected == 1 { "answers" } else { "answer" };
    anyhow!("no quorum: {connected} of {n} replicas {verb}, {needed} are needed")
}

/// A failed call in words, with who said what and whether it may have been executed.
fn explain(view: &View, error: &SubscriptionError) -> anyhow::Error {
    let outcome = match error.outcome() {
        Outcome::NotSent => "it was not sent",
        Outcome::Unknown => "it may have been executed",
        Outcome::Executed => "it was executed",
        Outcome::NotExecuted => "it was not executed",
    };
    let who = error
        .quorum()
        .map_or_else(String::new, |evidence| format!("; {}", describe(view, evidence)));
    anyhow!("{error}{who}; {outcome}")
}

fn describe(view: &View, evidence: &Evidence) -> String {
    let ids = |set: ReplicaSet| {
        let ids: Vec<_> = set.iter().map(|index| view.members[index].id.to_string()).collect();
        if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
    };
    let Evidence { matching, differing, silent, needed, cid, .. } = evidence;
    let cid = cid.map_or_else(String::new, |cid| format!(" (instance {cid})"));
    format!(
        "the same from replicas {}{cid}; another answer: {}; none so far: {}; {needed} needed",
        ids(*matching),
        ids(*differing),
        ids(*silent)
    )
}

fn print_line(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work).map_err(Failure::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::view;
    use webbft_protocol::membership::{Cid, ViewNumber};

    #[test]
    fn evidence_names_replicas() {
        let evidence = Evidence {
            view: ViewNumber(0),
            needed: 3,
            matching: [0, 1, 2].into_iter().collect(),
            differing: ReplicaSet::one(3),
            silent: ReplicaSet::EMPTY,
            cid: Some(Cid(7)),
        };
        assert_eq!(
            describe(&view(4, 1), &evidence),
            "the same from replicas 0, 1, 2 (instance 7); another answer: 3; none so far: none; \
             3 needed"
        );
    }

    #[test]
    fn the_table_says_who_answers() {
        let line = |id, answers, status| ReplicaLine {
            id: ReplicaId(id),
            url: "ws://h:1/ws".to_owned(),
            answers,
            status,
        };
        let own = serde_json::json!({"lastCid": 12, "leader": 0, "learner": false});
        assert_eq!(
            table(&[line(0, true, Some(own)), line(1, false, None)]),
            "replica  url          answers  last cid  leader  state\n\
             0        ws://h:1/ws  yes            12       0  votes\n\
             1        ws://h:1/ws  no              -       -  -"
        );
    }
}
