//! Replicas in this process, on free ports of the loopback interface.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use webbft_examples::kv::Kv;
use webbft_protocol::execution::Json;
use webbft_protocol::membership::{MacAlgorithm, View};
use webbft_replica::config::{Config, load_view};
use webbft_replica::daemon::Daemon;
use webbft_replica::init::{Place, Setup, init};
use webbft_replica::{Misbehaviour, Recovery, Services};

/// The bound on everything that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Replicas of the key-value store.
pub(crate) struct Group {
    pub(crate) view: View,
    pub(crate) daemons: Vec<Option<Daemon>>,
    configs: Vec<PathBuf>,
    _dir: tempfile::TempDir,
}

pub(crate) fn free_places(n: usize) -> Vec<Place> {
    // All at once, so that they are different.
    let listeners: Vec<_> = (0..2 * n).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let port = |index: usize| listeners[index].local_addr().unwrap().port();
    let place = |index| Place {
        host: "127.0.0.1".to_owned(),
        http_port: port(2 * index),
        peer_port: port(2 * index + 1),
    };
    (0..n).map(place).collect()
}

pub(crate) fn services() -> Services {
    Services::new().add("kv", Json::<Kv>::default)
}

impl Group {
    /// Sets up and starts `n` replicas; `liar` misbehaves.
    pub(crate) fn start(n: usize, liar: Option<(usize, Misbehaviour)>) -> Self {
        Self::start_with(n, liar, "")
    }

    /// The same, with more sections in each configuration.
    pub(crate) fn start_with(
        n: usize,
        liar: Option<(usize, Misbehaviour)>,
        sections: &str,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup {
            f: (n - 1) / 3,
            mac: MacAlgorithm::HmacSha256,
            service: "kv".to_owned(),
            places: free_places(n),
        };
        let configs = init(dir.path(), &setup).unwrap();
        for config in &configs {
            let text = std::fs::read_to_string(config).unwrap();
            let text = format!("{text}\n[limits]\nhandshake_seconds = 1\n{sections}");
            std::fs::write(config, text).unwrap();
        }
        let view = load_view(&dir.path().join("view.json")).unwrap();
        let mut group = Self { view, daemons: Vec::new(), configs, _dir: dir };
        for index in 0..n {
            let misbehaviour = liar.filter(|(liar, _)| *liar == index).map(|(_, how)| how);
            group.daemons.push(Some(group.launch(index, misbehaviour)));
        }
        group
    }

    fn launch(&self, index: usize, misbehaviour: Option<Misbehaviour>) -> Daemon {
        let config = Config::read(&self.configs[index]).unwrap();
        Daemon::start(config, &services(), Recovery::default(), misbehaviour).unwrap()
    }

    pub(crate) fn stop(&mut self, index: usize) {
        self.daemons[index].take().unwrap().stop().unwrap();
    }

    pub(crate) fn restart(&mut self, index: usize) {
        self.daemons[index] = Some(self.launch(index, None));
    }

    pub(crate) fn restart_with_page(&mut self, index: usize, page: PathBuf) {
        let mut config = Config::read(&self.configs[index]).unwrap();
        config.set_static_dir(page).unwrap();
        self.daemons[index] =
            Some(Daemon::start(config, &services(), Recovery::default(), None).unwrap());
    }

    pub(crate) fn address(&self, index: usize) -> SocketAddr {
        self.daemons[index].as_ref().unwrap().http_address()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for daemon in self.daemons.iter_mut().filter_map(Option::take) {
            let stopped = daemon.stop();
            if !std::thread::panicking() {
                stopped.unwrap();
            }
        }
    }
}

/// Sends `request` and gives all that comes until the other end closes.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => answer,
    }
}

/// Asks for a path; gives the whole answer as text.
pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    String::from_utf8(exchange(address, request.as_bytes())).unwrap()
}

/// Waits until a replica's status satisfies `condition`.
pub(crate) fn wait_for_status(
    address: SocketAddr,
    condition: impl Fn(&serde_json::Value) -> bool,
) -> serde_json::Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = get(address, "/status.json");
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        if let Ok(status) = serde_json::from_str(body)
            && condition(&status)
        {
            return status;
        }
        assert!(Instant::now() < deadline, "never so: {answer}");
        // Asking is all that can be done: the status is a page, not a stream.
        std::thread::sleep(Duration::from_millis(20));
    }
}
