//! The floor: what client, MACs and sockets cost where nothing is ordered.
//!
//! n of these processes take the place of the replicas. Each does the handshake with the client,
//! checks the MAC of every request and answers at once, so that the client finds its quorum.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use mio::{Events, Poll, Token, Waker};
use serde::Deserialize;
use webbft_hot_paths::null::{Null, result};
use webbft_protocol::auth::{NoiseKeypair, ReplicaLink, ServerHandshake};
use webbft_protocol::execution::Service as _;
use webbft_protocol::membership::{Cid, View};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::limits::SMALL_RESULT;
use webbft_protocol::wire::{
    ClientFrame, ClientHeader, ExecutionResult, Frame, Operation, ReplicaFrame, ReplicaHeader,
    Request, Welcome, encode,
};
use webbft_replica::config::load_view;

use crate::socket::Socket;

const WAKER: Token = Token(0);
/// What is read from one socket at a time.
const READ_BYTES: usize = 64 << 10;

/// Arguments of `webbft-bench floor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The view, as `webbft init` writes it
    #[arg(long, value_name = "FILE")]
    view: PathBuf,
    /// Which member of the view this is
    #[arg(long, value_name = "POSITION")]
    index: usize,
    /// The member's `keys.toml`
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
}

#[derive(Deserialize)]
struct Keys {
    noise: String,
}

fn keypair(path: &Path) -> anyhow::Result<NoiseKeypair> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let keys: Keys = toml::from_str(&text)
        .ok()
        .with_context(|| format!("{} is not a keys file", path.display()))?;
    let bytes = data_encoding::HEXLOWER.decode(keys.noise.as_bytes()).ok();
    let secret = bytes.and_then(|bytes| bytes.try_into().ok());
    Ok(NoiseKeypair::from_secret(secret.context("`noise` must be 64 hexadecimal digits")?))
}

struct Link {
    socket: Socket,
    readable: bool,
    /// `None` before the handshake.
    established: Option<ReplicaLink>,
}

/// Serves until the process is ended.
///
/// # Errors
/// Where the address cannot be had, or a file is wrong.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let view = load_view(&args.view)?;
    let keypair = keypair(&args.keys)?;
    ensure!(args.index < view.n(), "the view has {} members", view.n());
    let url = &view.members[args.index].url;
    let host = url.trim_start_matches("ws://").split('/').next().unwrap_or_default();
    let listener = std::net::TcpListener::bind(host).with_context(|| format!("at {host}"))?;
    eprintln!("serving the floor at {host}");
    let mut poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let (sender, accepted) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who does not speak WebSocket is no client of ours.
            let Ok(socket) = Socket::accept(stream) else { continue };
            if sender.send(socket).is_err() || waker.wake().is_err() {
                break;
            }
        }
    });
    let mut links: HashMap<usize, Link> = HashMap::new();
    let mut events = Events::with_capacity(1024);
    let mut next = WAKER.0;
    let mut ready: Vec<usize> = Vec::new();
    let mut scratch = vec![0; READ_BYTES];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        while let Ok(mut socket) = accepted.try_recv() {
            next += 1;
            socket.register(poll.registry(), Token(next))?;
            links.insert(next, Link { socket, readable: true, established: None });
            ready.push(next);
        }
        for event in events.iter().filter(|event| event.token() != WAKER) {
            let Some(link) = links.get_mut(&event.token().0) else { continue };
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                link.readable = true;
            }
            ready.push(event.token().0);
        }
        // Everything is read before anything is written, as in a replica.
        ready.retain(|id| {
            let served = links
                .get_mut(id)
                .is_some_and(|link| serve(link, &view, &keypair, &mut scratch).is_ok());
            if !served {
                links.remove(id);
            }
            served
        });
        for id in ready.drain(..) {
            if links.get_mut(&id).is_some_and(|link| link.socket.flush().is_err()) {
                links.remove(&id);
            }
        }
    }
}

fn serve(
    link: &mut Link,
    view: &View,
    keypair: &NoiseKeypair,
    scratch: &mut [u8],
) -> anyhow::Result<()> {
    while std::mem::take(&mut link.readable) {
        link.readable = link.socket.read(scratch)?;
        answer_all(link, view, keypair)?;
    }
    Ok(())
}

fn answer_all(link: &mut Link, view: &View, keypair: &NoiseKeypair) -> anyhow::Result<()> {
    while let Some(message) = link.socket.receive()? {
        let Some(established) = &mut link.established else {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(std::io::Error::from)?;
            let elapsed = SystemTime::now().duration_since(UNIX_EPOCH)?;
            let time = UnixMicros(u64::try_from(elapsed.as_micros())?);
            let welcome = Welcome { last_cid: Cid::ZERO, time };
            let accepted = ServerHandshake { view, keypair }
                .accept(&message, &welcome, seed)
                .map_err(|(error, _)| error)?;
            link.established = Some(accepted.link);
            link.socket.send(accepted.reply.into())?;
            continue;
        };
        let frame = established.open(&message)?.into_inner();
        if let Some(answer) = answer(view, frame)? {
            link.socket.send(established.seal(&answer).into())?;
        }
    }
    Ok(())
}

fn answer(view: &View, frame: ClientFrame) -> anyhow::Result<Option<ReplicaFrame>> {
    Ok(match frame.header {
        ClientHeader::Request { full } => {
            let request = Request::decode(&frame.body)?;
            let value = match &request.operation {
                Operation::Execute(payload) => result(payload),
                _ => Vec::new(),
            };
            let body = Bytes::from(encode(&ExecutionResult::Value(value.into())));
            let full = full || body.len() <= SMALL_RESULT;
            let digest = webbft_protocol::membership::Digest::of(&body);
            let header = ReplicaHeader::Reply {
                session: request.id.session,
                number: request.id.number,
                view: view.number,
                cid: Cid(request.id.number),
                digest,
                full,
            };
            Some(if full { Frame::with_digest(header, body, digest) } else { Frame::bare(header) })
        }
        ClientHeader::Query { nonce, full, .. } => {
            let body = Bytes::from(Null.query(&frame.body).result);
            let digest = webbft_protocol::membership::Digest::of(&body);
            let full = full || body.len() <= SMALL_RESULT;
            let header = ReplicaHeader::QueryReply {
                nonce,
                view: view.number,
                as_of: Cid::ZERO,
                executed: Cid::ZERO,
                digest,
                full,
            };
            Some(if full { Frame::with_digest(header, body, digest) } else { Frame::bare(header) })
        }
        ClientHeader::Ping { nonce } => {
            let elapsed = SystemTime::now().duration_since(UNIX_EPOCH)?;
            let time = UnixMicros(u64::try_from(elapsed.as_micros())?);
            let leader = view.members[0].id;
            let header = ReplicaHeader::Pong { nonce, last_cid: Cid::ZERO, time, leader };
            Some(Frame::bare(header))
        }
        ClientHeader::Resume { .. } | ClientHeader::FetchEvent { .. } => None,
    })
}
