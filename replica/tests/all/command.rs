//! The `webbft` command, as a user runs it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, free_places};

const WEBBFT: &str = env!("CARGO_BIN_EXE_webbft");

fn webbft(args: &[&str]) -> Output {
    Command::new(WEBBFT).args(args).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn terminate(pid: u32) {
    assert!(Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap().success());
}

/// Kills the child where a test fails before it ends.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It has ended where the test went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait(child: &mut Guard) -> std::process::ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn wrong_usage_has_exit_code_2_and_failure_1() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    for args in [
        &["init", "--dir", dir, "--service", "nonsense"][..],
        &["init", "--dir", dir, "--service", "kv", "--n", "3", "--f", "1"],
        &["init", "--dir", dir, "--service", "kv", "--host", "a,b"],
        &["invoke", "not json"],
        &["cluster", "--service", "kv", "--byzantine", "3=nonsense"],
        &["nonsense"],
    ] {
        let output = webbft(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
    }
    let output = webbft(&["replica", "--config", "/nonexistent/replica.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "error: /nonexistent/replica.toml: No such file or directory (os error 2)\n"
    );
}

#[test]
fn init_refuses_to_overwrite_and_a_replica_stops_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let port = free_places(1)[0].http_port.min(65_000).to_string();
    let init = ["init", "--dir", path, "--service", "kv", "--n", "1", "--f", "0", "--base-port"];
    let args = [&init[..], &[port.as_str()]].concat();
    assert!(webbft(&args).status.success());
    let again = webbft(&args);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("its keys are not overwritten"));

    let config = dir.path().join("replica-0/replica.toml");
    let mut child = Guard(
        Command::new(WEBBFT)
            .args(["replica", "--config", config.to_str().unwrap()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(child.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("serving") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before it served");
    }
    terminate(child.0.id());
    assert_eq!(wait(&mut child).code(), Some(0));
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("stopping"), "{rest}");
}

/// A base port of which the ports of four replicas are free.
fn base_port() -> String {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let bind = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port));
    let free = |base: u16| (base..base + 4).all(|p| bind(p).is_ok() && bind(p + 100).is_ok());
    // From somewhere that depends on the process and the test, so that no two at once meet.
    let start = 20_000 + u16::try_from(std::process::id() % 100).unwrap() * 100;
    let start = start + 1000 * CALLS.fetch_add(1, Ordering::Relaxed);
    let base = (start..start + 1000).step_by(200).find(|base| free(*base));
    base.expect("free ports").to_string()
}

fn wait_for_file(path: &Path) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(text) = std::fs::read_to_string(path) {
            return text;
        }
        assert!(Instant::now() < deadline, "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_cluster_serves_until_two_of_its_replicas_are_killed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cluster");
    let port = base_port();
    let mut cluster = Guard(
        Command::new(WEBBFT)
            .args(["cluster", "--service", "kv", "--base-port", &port, "--dir"])
            .arg(&path)
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let description = wait_for_file(&path.join("cluster.json"));
    let description: serde_json::Value = serde_json::from_str(&description).unwrap();
    let kill = |index: usize| {
        let pid = description["replicas"][index]["pid"].to_string();
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    };
    let view = path.join("view.json");
    let view = view.to_str().unwrap();
    let run = |args: &[&str]| {
        webbft(&[&args[..1], &["--view", view, "--timeout", "20s"], &args[1..]].concat())
    };
    let put = |value: &str| {
        let operation = format!(r#"{{"op":"put","key":"a","value":"{value}"}}"#);
        let output = run(&["invoke", "--verbose", &operation]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("the same from replicas"));
        text(&output.stdout)
    };
    assert_eq!(put("1"), "{\"ok\":{\"previous\":null}}\n");
    kill(3);
    assert_eq!(put("2"), "{\"ok\":{\"previous\":\"1\"}}\n");
    let get = run(&["query", r#"{"op":"get","key":"a"}"#]);
    assert_eq!(text(&get.stdout), "{\"ok\":{\"value\":\"2\"}}\n");
    let status = run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let answers: Vec<_> = (0..4).map(|index| status[index]["answers"].as_bool()).collect();
    assert_eq!(answers, [Some(true), Some(true), Some(true), Some(false)]);

    kill(2);
    let begun = Instant::now();
    let output =
        webbft(&["invoke", "--view", view, "--timeout", "1s", r#"{"op":"get","key":"a"}"#]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("no quorum: 2 of 4 replicas answer, 3 are needed"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20), "the timeout is kept");

    terminate(cluster.0.id());
    assert_eq!(wait(&mut cluster).code(), Some(0));
    assert!(!path.join("cluster.json").exists(), "it says what is no longer so");
}

#[test]
fn a_cluster_of_one_is_the_editor_without_replication() {
    for service in ["editor", "editor-ds"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster");
        let (view, port) = (path.join("view.json"), base_port());
        let start = || {
            let args = ["cluster", "--service", service, "--n", "1", "--base-port", &port, "--dir"];
            let mut command = Command::new(WEBBFT);
            let child = command.args(args).arg(&path).stderr(Stdio::null()).spawn().unwrap();
            let cluster = Guard(child);
            wait_for_file(&path.join("cluster.json"));
            cluster
        };
        let run = |how: &str, operation: &str| {
            let view = view.to_str().unwrap();
            let output = webbft(&[how, "--view", view, "--timeout", "20s", "-v", operation]);
            assert!(output.status.success(), "{}", text(&output.stderr));
            let agreed = text(&output.stderr);
            assert!(agreed.contains("the same from replicas 0"), "{agreed}");
            text(&output.stdout)
        };
        let mut cluster = start();
        let edit = |base: u64, spans: &str| {
            let edit =
                format!(r#"{{"op":"edit","doc":"d","base":{base},"tag":"","spans":[{spans}]}}"#);
            run("invoke", &edit)
        };
        assert_eq!(run("invoke", r#"{"op":"create","doc":"d"}"#), "{\"ok\":{\"version\":0}}\n");
        let hello = r#"{"from":0,"to":0,"insert":"hello"}"#;
        assert_eq!(edit(0, hello), "{\"ok\":{\"version\":1}}\n");
        // Both know version 1.
        let (front, end) =
            (r#"{"from":0,"to":1,"insert":"J"}"#, r#"{"from":5,"to":5,"insert":"!"}"#);
        assert_eq!(edit(1, front), "{\"ok\":{\"version\":2}}\n");
        assert_eq!(edit(1, end), "{\"ok\":{\"version\":3}}\n");
        let read = r#"{"op":"read","doc":"d"}"#;
        let text = "{\"ok\":{\"version\":3,\"text\":\"Jello!\"}}\n";
        assert_eq!(run("query", read), text);
        terminate(cluster.0.id());
        assert_eq!(wait(&mut cluster).code(), Some(0));

        let mut cluster = start();
        assert_eq!(run("query", read), text, "as it was when it stopped");
        terminate(cluster.0.id());
        assert_eq!(wait(&mut cluster).code(), Some(0));
    }
}

#[test]
fn a_cluster_that_is_started_again_has_its_state() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cluster");
    let port = base_port();
    let view = path.join("view.json");
    let start = |durability: &[&str]| {
        let cluster = Guard(
            Command::new(WEBBFT)
                .args(["cluster", "--service", "kv", "--base-port", &port, "--dir"])
                .arg(&path)
                .args(durability)
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        wait_for_file(&path.join("cluster.json"));
        cluster
    };
    let invoke = |operation: &str| {
        let view = view.to_str().unwrap();
        let output = webbft(&["invoke", "--view", view, "--timeout", "20s", operation]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let get = r#"{"op":"get","key":"a"}"#;
    let mut cluster = start(&["--durability", "memory"]);
    invoke(r#"{"op":"put","key":"a","value":"0"}"#);
    terminate(cluster.0.id());
    assert_eq!(wait(&mut cluster).code(), Some(0));

    let mut cluster = start(&[]);
    assert_eq!(invoke(get), "{\"ok\":{\"value\":null}}\n", "nothing was kept in memory");
    invoke(r#"{"op":"put","key":"a","value":"1"}"#);
    terminate(cluster.0.id());
    assert_eq!(wait(&mut cluster).code(), Some(0));

    let mut cluster = start(&[]);
    assert_eq!(invoke(get), "{\"ok\":{\"value\":\"1\"}}\n");
    // The whole machine goes down, so to say: the replicas follow their supervisor.
    let pids: Vec<_> = {
        let file = std::fs::read_to_string(path.join("cluster.json")).unwrap();
        let file: serde_json::Value = serde_json::from_str(&file).unwrap();
        (0..4).map(|index| file["replicas"][index]["pid"].to_string()).collect()
    };
    cluster.0.kill().unwrap();
    wait(&mut cluster);
    for pid in pids {
        // It may have noticed already.
        let _ = Command::new("kill").args(["-KILL", &pid]).stderr(Stdio::null()).status().unwrap();
    }
    std::fs::remove_file(path.join("cluster.json")).unwrap();
    let _cluster = start(&[]);
    assert_eq!(invoke(get), "{\"ok\":{\"value\":\"1\"}}\n", "it does not wait for an operator");
}
