//! Setting up a new service: keys, the genesis view, and a configuration for each replica.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use webbft_protocol::membership::{
    Cid, Digest, MacAlgorithm, Member, ReplicaId, ServiceId, View, ViewNumber,
};

use crate::keys::Keys;
use crate::storage;

/// Where one replica is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its host name or address.
    pub host: String,
    /// The port for pages and clients.
    pub http_port: u16,
    /// The port for the other replicas.
    pub peer_port: u16,
}

/// A service to be set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How many faulty replicas are tolerated.
    pub f: usize,
    /// The MAC on client links.
    pub mac: MacAlgorithm,
    /// The name of the service that the replicas run.
    pub service: String,
    /// The replicas.
    pub places: Vec<Place>,
}

/// Places of `n` replicas: all on one host with consecutive ports from `base_port` on, or each on
/// a host of its own with the same ports. Peer ports are 100 above.
///
/// # Errors
/// Where there are neither 1 nor `n` hosts, or the ports do not suffice.
pub fn places(hosts: &[String], n: usize, base_port: u16) -> anyhow::Result<Vec<Place>> {
    ensure!(
        hosts.len() == 1 || hosts.len() == n,
        "{} hosts for {n} replicas: give one host for all of them, or one for each",
        hosts.len()
    );
    (0..n)
        .map(|index| {
            let offset = if hosts.len() == 1 { u16::try_from(index)? } else { 0 };
            let port = |base: u16| {
                base.checked_add(offset).with_context(|| {
                    format!("base port {base_port} leaves no room for {n} replicas")
                })
            };
            let http_port = port(base_port)?;
            let peer_port = port(base_port.checked_add(100).context("the base port is too high")?)?;
            let host = hosts[if hosts.len() == 1 { 0 } else { index }].clone();
            Ok(Place { host, http_port, peer_port })
        })
        .collect()
}

/// Writes `view.json` and `replica-K/{replica.toml,keys.toml,genesis}` into `dir`, with fresh keys.
/// Gives the paths of the configurations.
///
/// # Errors
/// Where the numbers make no group, something is there already, or the disk refuses.
pub fn init(dir: &Path, setup: &Setup) -> anyhow::Result<Vec<PathBuf>> {
    let view_path = dir.join("view.json");
    if view_path.exists() {
        bail!(
            "{} exists: a service has been set up here, and its keys are not overwritten; \
             choose another directory or remove this one",
            view_path.display()
        );
    }
    let mut service = [0; 16];
    getrandom::fill(&mut service).context("the operating system gives no random bytes")?;
    let mut members = Vec::new();
    let mut all_keys = Vec::new();
    for (index, place) in setup.places.iter().enumerate() {
        let keys = Keys::generate()?;
        let host = bracketed(&place.host);
        members.push(Member {
            id: ReplicaId(u16::try_from(index)?),
            url: format!("ws://{host}:{}/ws", place.http_port),
            peer_address: format!("{host}:{}", place.peer_port),
            public_key: keys.signing.public(),
            noise_key: Digest(*keys.noise.public()),
        });
        all_keys.push(keys);
    }
    let view = View {
        service: ServiceId(service),
        number: ViewNumber(0),
        f: setup.f,
        mac: setup.mac,
        activation: Cid(1),
        previous: Digest::default(),
        members,
    };
    view.validate()?;

    let mut configs = Vec::new();
    for (index, (keys, place)) in all_keys.iter().zip(&setup.places).enumerate() {
        let replica_dir = dir.join(format!("replica-{index}"));
        let config_path = replica_dir.join("replica.toml");
        fs::create_dir_all(&replica_dir)
            .with_context(|| format!("cannot create {}", replica_dir.display()))?;
        keys.write(&replica_dir.join("keys.toml"))?;
        storage::data_dir::mark_genesis(&replica_dir)?;
        fs::write(&config_path, config_text(index, setup, place))
            .with_context(|| format!("cannot write {}", config_path.display()))?;
        configs.push(config_path);
    }
    // Last: it is what says that the set-up is complete.
    let json = serde_json::to_string_pretty(&view)? + "\n";
    fs::write(&view_path, json).with_context(|| format!("cannot write {}", view_path.display()))?;
    Ok(configs)
}

fn config_text(index: usize, setup: &Setup, place: &Place) -> String {
    let host = listen_host(&place.host);
    let (service, http, peer) = (&setup.service, place.http_port, place.peer_port);
    format!(
        "# Replica {index}. Relative paths are relative to this file.\n\
         view = \"../view.json\"\n\
         id = {index}\n\
         keys = \"keys.toml\"\n\
         service = {service:?}\n\
         durability = \"sync\"\n\
         # static_dir = \"../page\"\n\
         \n\
         [listen]\n\
         http = \"{host}:{http}\"\n\
         peer = \"{host}:{peer}\"\n"
    )
}

/// An IPv6 address as it stands in a URL.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// Loopback stays loopback; a replica on a host of its own listens on all its addresses, because
/// the name by which others reach it need not be an address it has.
fn listen_host(host: &str) -> String {
    let loopback = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    if loopback { bracketed(host) } else { "0.0.0.0".to_owned() }
}
