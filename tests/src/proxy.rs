//! A TCP proxy that does to a link what networks do: delay, stall, narrow, cut, damage and reset.
//!
//! It stands between two replicas, or a client and a replica, of real processes. What it damages is
//! drawn from a seed; when it does so depends on the processes. A lost packet is seen by TCP's user
//! as a pause (the retransmission), many lost ones as a reset; that is how loss is made here,
//! because not every kernel has `netem`.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes moved at a time.
const CHUNK: usize = 16 << 10;
/// Chunks under way in one direction before the sender is not read any more.
const UNDER_WAY: usize = 64;

/// What happens to the bytes that go one way. Probabilities are for each chunk of at most 16 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Way {
    /// How long they take.
    pub delay: Duration,
    /// Bytes a second, where they are limited.
    pub bandwidth: Option<u64>,
    /// Nothing arrives, and the link stands.
    pub stalled: bool,
    /// One chunk in so many is held back, with all that follow, for so long.
    pub pause: Option<(u32, Duration)>,
    /// One chunk in so many has one of its bits turned.
    pub corrupt_one_in: Option<u32>,
    /// One chunk in so many breaks the connection in its place.
    pub reset_one_in: Option<u32>,
}

/// What happens on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// Connections are broken, and new ones at once.
    pub cut: bool,
    /// From who opened the connection to who accepted it.
    pub forth: Way,
    /// The other way.
    pub back: Way,
}

impl Link {
    /// Nothing arrives either way, and the link stands.
    #[must_use]
    pub fn stalled() -> Self {
        Self::both(Way { stalled: true, ..Way::default() })
    }

    /// Both ways alike.
    #[must_use]
    pub const fn both(way: Way) -> Self {
        Self { cut: false, forth: way, back: way }
    }

    /// Connections are refused.
    #[must_use]
    pub fn cut() -> Self {
        Self { cut: true, ..Self::default() }
    }

    const fn way(&self, forth: bool) -> &Way {
        if forth { &self.forth } else { &self.back }
    }
}

/// What a proxy has done so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Bytes passed on.
    pub bytes: AtomicU64,
    /// Chunks with a bit turned.
    pub corrupted: AtomicU64,
    /// Chunks held back for a while.
    pub paused: AtomicU64,
    /// Connections broken in the middle.
    pub resets: AtomicU64,
}

/// A proxy, which works until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    link: watch::Sender<Link>,
    counts: Arc<Counts>,
    /// Dropped with the proxy, which ends its thread.
    _stop: oneshot::Sender<()>,
}

impl Proxy {
    /// A proxy to `target` on a free port of the loopback interface, without faults as yet.
    ///
    /// # Errors
    /// Where the machine has no port or thread to give.
    pub fn start(target: SocketAddr, seed: u64) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (link, state) = watch::channel(Link::default());
        let counts = Arc::new(Counts::default());
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&counts);
        std::thread::Builder::new().name("proxy".to_owned()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = accept(listener, target, seed, &state, &shared) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, link, counts, _stop: stop })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this happens on the link, on connections that stand, too.
    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// From now on nothing happens on the link any more.
    pub fn heal(&self) {
        self.set(Link::default());
    }

    /// What it has done so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

async fn accept(
    listener: std::net::TcpListener,
    target: SocketAddr,
    seed: u64,
    link: &watch::Receiver<Link>,
    counts: &Arc<Counts>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut connections = JoinSet::new();
    let mut serial = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Out of file descriptors, say: the next one may do.
                let Ok((stream, _)) = accepted else { continue };
                if link.borrow().cut {
                    continue;
                }
                counts.connections.fetch_add(1, Ordering::Relaxed);
                serial += 1;
                let rng = ChaCha8Rng::seed_from_u64(seed ^ (serial << 32));
                connections.spawn(connection(stream, target, rng, link.clone(), Arc::clone(counts)));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// One connection; it ends when both ways have ended, or one is broken, or the link is cut.
async fn connection(
    stream: TcpStream,
    target: SocketAddr,
    mut rng: ChaCha8Rng,
    link: watch::Receiver<Link>,
    counts: Arc<Counts>,
) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (stream.set_nodelay(true), server.set_nodelay(true));
    let (client_read, client_write) = stream.into_split();
    let (server_read, server_write) = server.into_split();
    let other = ChaCha8Rng::from_rng(&mut rng);
    let forth = Pump { forth: true, rng, link: link.clone(), counts: Arc::clone(&counts) };
    let back = Pump { forth: false, rng: other, link: link.clone(), counts };
    let mut watched = link;
    tokio::select! {
        _ = watched.wait_for(|link| link.cut) => {}
        // An error here is the fault itself, or the end of a process.
        _ = async {
            tokio::try_join!(forth.run(client_read, server_write), back.run(server_read, client_write))
        } => {}
    }
}

struct Pump {
    forth: bool,
    rng: ChaCha8Rng,
    link: watch::Receiver<Link>,
    counts: Arc<Counts>,
}

impl Pump {
    /// Moves bytes until the sender ends (the end is passed on) or the connection breaks.
    async fn run(mut self, mut from: OwnedReadHalf, to: OwnedWriteHalf) -> io::Result<()> {
        let (queue, queued) = mpsc::channel(UNDER_WAY);
        let (link, forth) = (self.link.clone(), self.forth);
        let read = async move {
            loop {
                let mut chunk = vec![0; CHUNK];
                let len = from.read(&mut chunk).await?;
                chunk.truncate(len);
                let due = Instant::now() + link.borrow().way(forth).delay;
                if len == 0 || queue.send((due, chunk)).await.is_err() {
                    return io::Result::Ok(());
                }
            }
        };
        tokio::try_join!(read, self.write(queued, to)).map(|_| ())
    }

    async fn write(
        &mut self,
        mut queue: mpsc::Receiver<(Instant, Vec<u8>)>,
        mut to: OwnedWriteHalf,
    ) -> io::Result<()> {
        while let Some((due, mut chunk)) = queue.recv().await {
            sleep_until(due).await;
            let forth = self.forth;
            let way = *self.link.borrow().way(forth);
            if let Some((one_in, long)) = way.pause
                && self.rng.random_ratio(1, one_in)
            {
                self.counts.paused.fetch_add(1, Ordering::Relaxed);
                sleep(long).await;
            }
            if self.link.wait_for(|link| !link.way(forth).stalled).await.is_err() {
                // The proxy is going.
                return pending().await;
            }
            if way.reset_one_in.is_some_and(|one_in| self.rng.random_ratio(1, one_in)) {
                self.counts.resets.fetch_add(1, Ordering::Relaxed);
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if way.corrupt_one_in.is_some_and(|one_in| self.rng.random_ratio(1, one_in)) {
                self.counts.corrupted.fetch_add(1, Ordering::Relaxed);
                let at = self.rng.random_range(0..chunk.len());
                chunk[at] ^= 1 << self.rng.random_range(0..8);
            }
            if let Some(rate) = way.bandwidth {
                sleep(Duration::from_secs_f64(chunk.len() as f64 / rate.max(1) as f64)).await;
            }
            to.write_all(&chunk).await?;
            self.counts.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        to.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// A connection through a proxy: both its ends.
    fn through(proxy: &Proxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(proxy.address()).unwrap();
        let (server, _) = listener.accept().unwrap();
        for end in [&client, &server] {
            end.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        }
        (client, server)
    }

    fn proxy() -> (Proxy, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (Proxy::start(listener.local_addr().unwrap(), 1).unwrap(), listener)
    }

    #[test]
    fn bytes_and_ends_pass() {
        let (proxy, listener) = proxy();
        let (mut client, mut server) = through(&proxy, &listener);
        let sent: Vec<u8> = (0..200_000_u32).map(|byte| byte.to_le_bytes()[0]).collect();
        let copy = sent.clone();
        let writer = std::thread::spawn(move || {
            client.write_all(&copy).unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            answer
        });
        let mut received = Vec::new();
        server.read_to_end(&mut received).unwrap();
        assert!(received == sent);
        server.write_all(b"answer").unwrap();
        drop(server);
        assert_eq!(writer.join().unwrap(), b"answer");
        assert_eq!(proxy.counts().bytes.load(Ordering::Relaxed), 200_006);
    }

    #[test]
    fn one_way_stalls_and_goes_on() {
        let (proxy, listener) = proxy();
        let (mut client, mut server) = through(&proxy, &listener);
        let way = Way { stalled: true, ..Way::default() };
        proxy.set(Link { forth: way, ..Link::default() });
        client.write_all(b"held").unwrap();
        server.write_all(b"passed").unwrap();
        let mut bytes = [0; 6];
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"passed");
        server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(server.read(&mut bytes).is_err(), "what was stalled arrived");
        server.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        proxy.heal();
        server.read_exact(&mut bytes[..4]).unwrap();
        assert_eq!(&bytes[..4], b"held");
    }

    #[test]
    fn cut_corrupt_and_slow() {
        let (proxy, listener) = proxy();
        let (mut client, mut server) = through(&proxy, &listener);
        proxy.set(Link::both(Way { corrupt_one_in: Some(1), ..Way::default() }));
        client.write_all(&[0; 4]).unwrap();
        let mut bytes = [0; 4];
        server.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);

        let began = std::time::Instant::now();
        let delay = Duration::from_millis(200);
        proxy.set(Link::both(Way { delay, ..Way::default() }));
        client.write_all(&[7; 4]).unwrap();
        server.read_exact(&mut bytes).unwrap();
        assert!(bytes == [7; 4] && began.elapsed() >= delay);

        proxy.set(Link::cut());
        assert!(matches!(client.read(&mut bytes), Ok(0) | Err(_)), "the connection stands");
        let mut refused = TcpStream::connect(proxy.address()).unwrap();
        refused.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        assert!(matches!(refused.read(&mut bytes), Ok(0) | Err(_)), "a connection is taken");
        proxy.heal();
        through(&proxy, &listener);
    }
}
