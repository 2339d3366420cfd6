//! Closed-loop and open-loop load.
//!
//! Closed loop: each client keeps a number of requests in flight. Open loop: requests are due at
//! fixed times whether or not earlier ones are answered, and a latency counts from when its request
//! was due, so that a stall is paid for by every request it delays (no coordinated omission).

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use webbft_hot_paths::null;
use webbft_protocol::client::CallId;
use webbft_replica::config::load_view;

use crate::cpu;
use crate::report::{Cpu, Latencies, Report, Slice};
use crate::swarm::{Done, Swarm};

/// Requests of one client that may be in flight in an open loop; more wait their turn, and their
/// waiting counts.
const OPEN_WINDOW: usize = 100;
/// How long the last requests may take.
const FINISH: Duration = Duration::from_secs(30);

/// Arguments of `webbft-bench load`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service's view.json
    #[arg(long, value_name = "FILE")]
    view: PathBuf,
    /// How many clients
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// Requests that each client keeps in flight
    #[arg(long, default_value_t = 1)]
    outstanding: usize,
    /// Requests a second, all clients together: makes the loop an open one
    #[arg(long, value_name = "PER SECOND")]
    rate: Option<f64>,
    /// Bytes in a request, and in its result
    #[arg(long, default_value_t = 0)]
    size: usize,
    /// Read without ordering
    #[arg(long)]
    unordered: bool,
    /// Seconds before the measured time
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Seconds of the measured time
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Report latencies and counts for stretches of this many seconds as well
    #[arg(long, value_name = "SECONDS")]
    slice: Option<f64>,
    /// The servers' processes, for their CPU times
    #[arg(long, value_delimiter = ',', value_name = "PID")]
    pids: Vec<u32>,
}

struct Load {
    payload: Bytes,
    ordered: bool,
    /// When each request in flight was sent, or due.
    since: HashMap<(usize, CallId), Instant>,
    /// Closed loop: a client whose request is answered sends the next.
    again: bool,
    window: Vec<usize>,
    waiting: VecDeque<Instant>,
    /// While measuring.
    measured: Option<Measured>,
    failed: u64,
    failure: Option<String>,
}

struct Measured {
    start: Instant,
    latencies: Latencies,
    completed: u64,
    slice: Option<Duration>,
    slices: Vec<(u64, Latencies)>,
}

impl Load {
    fn send(&mut self, swarm: &mut Swarm, client: usize, since: Instant) -> anyhow::Result<()> {
        let call = swarm.call(client, self.payload.clone(), self.ordered)?;
        self.since.insert((client, call), since);
        self.window[client] += 1;
        Ok(())
    }

    fn done(&mut self, swarm: &mut Swarm, done: Done) -> anyhow::Result<()> {
        let Done { client, call, result } = done;
        let since = self.since.remove(&(client, call)).context("an answer nobody asked for")?;
        self.window[client] -= 1;
        match result {
            Ok(()) => {
                if let Some(measured) = &mut self.measured {
                    measured.record(since);
                }
            }
            Err(error) => {
                self.failed += 1;
                self.failure = Some(error);
            }
        }
        if self.again {
            self.send(swarm, client, Instant::now())
        } else if let Some(due) = self.waiting.pop_front() {
            self.send(swarm, client, due)
        } else {
            Ok(())
        }
    }
}

impl Measured {
    fn record(&mut self, since: Instant) {
        let latency = since.elapsed();
        self.latencies.record(latency);
        self.completed += 1;
        let Some(slice) = self.slice else { return };
        let index = self.start.elapsed().as_micros() / slice.as_micros().max(1);
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        while self.slices.len() <= index {
            self.slices.push((0, Latencies::new()));
        }
        let (completed, latencies) = &mut self.slices[index];
        *completed += 1;
        latencies.record(latency);
    }
}

/// When the next requests of an open loop are due.
struct Schedule {
    start: Instant,
    gap: Duration,
    sent: u32,
}

impl Schedule {
    fn next(&self) -> Instant {
        self.start + self.gap * self.sent
    }
}

/// Makes the load.
///
/// # Errors
/// Where the clients cannot connect or lose their service.
pub fn run(args: &Args) -> anyhow::Result<Report> {
    ensure!(args.clients > 0 && args.outstanding > 0, "no load without clients and requests");
    ensure!(args.seconds > 0.0, "nothing can be measured in no time");
    raise_file_limit()?;
    let view = load_view(&args.view)?;
    let mut swarm = Swarm::connect(&view, args.clients)?;
    let mut load = Load {
        payload: null::request(args.size).into(),
        ordered: !args.unordered,
        since: HashMap::new(),
        again: args.rate.is_none(),
        window: vec![0; swarm.len()],
        waiting: VecDeque::new(),
        measured: None,
        failed: 0,
        failure: None,
    };
    let mut schedule = match args.rate {
        Some(rate) if rate > 0.0 => Some(Schedule {
            start: Instant::now(),
            gap: Duration::from_secs_f64(1.0 / rate),
            sent: 0,
        }),
        Some(rate) => bail!("--rate {rate}: a rate is positive"),
        None => {
            for client in 0..swarm.len() {
                for _ in 0..args.outstanding {
                    load.send(&mut swarm, client, Instant::now())?;
                }
            }
            None
        }
    };
    drive(&mut swarm, &mut load, &mut schedule, Duration::from_secs_f64(args.warm_up))?;
    load.measured = Some(Measured {
        start: Instant::now(),
        latencies: Latencies::new(),
        completed: 0,
        slice: args.slice.map(Duration::from_secs_f64),
        slices: Vec::new(),
    });
    load.failed = 0;
    let pids: Vec<u32> = std::iter::once(std::process::id()).chain(args.pids.clone()).collect();
    let cpu_of =
        |pids: &[u32]| pids.iter().map(|&pid| cpu::used(pid)).collect::<Result<Vec<_>, _>>();
    let before = cpu_of(&pids)?;
    drive(&mut swarm, &mut load, &mut schedule, Duration::from_secs_f64(args.seconds))?;
    let after = cpu_of(&pids)?;
    let measured = load.measured.take().context("it was set above")?;
    let seconds = measured.start.elapsed().as_secs_f64();
    // What is in flight is let finish, so that the next run starts on idle replicas.
    load.again = false;
    load.waiting.clear();
    let until = Instant::now() + FINISH;
    while !load.since.is_empty() && Instant::now() < until {
        swarm.turn(Some(Duration::from_millis(10)), |swarm, done| load.done(swarm, done))?;
    }
    let used: Vec<f64> =
        before.iter().zip(&after).map(|(before, after)| (*after - *before).as_secs_f64()).collect();
    Ok(Report {
        clients: args.clients,
        outstanding: args.outstanding,
        size: args.size,
        ordered: !args.unordered,
        seconds,
        completed: measured.completed,
        failed: load.failed,
        failure: load.failure,
        rate: measured.completed as f64 / seconds,
        latency: measured.latencies.summary(),
        cpu: Cpu {
            clients: used[0],
            servers: used[1..].to_vec(),
            per_thousand: used.iter().sum::<f64>() * 1000.0 / measured.completed.max(1) as f64,
        },
        slices: measured
            .slices
            .iter()
            .enumerate()
            .map(|(index, (completed, latencies))| Slice {
                at: index as f64 * args.slice.unwrap_or_default(),
                completed: *completed,
                latency: latencies.summary(),
            })
            .collect(),
    })
}

/// Keeps the load up for a time.
fn drive(
    swarm: &mut Swarm,
    load: &mut Load,
    schedule: &mut Option<Schedule>,
    time: Duration,
) -> anyhow::Result<()> {
    let end = Instant::now() + time;
    loop {
        let now = Instant::now();
        if now >= end {
            return Ok(());
        }
        let mut wake = end;
        if let Some(schedule) = schedule {
            while schedule.next() <= now {
                let due = schedule.next();
                let client = schedule.sent as usize % swarm.len();
                schedule.sent += 1;
                if load.window[client] < OPEN_WINDOW {
                    load.send(swarm, client, due)?;
                } else {
                    load.waiting.push_back(due);
                }
            }
            wake = wake.min(schedule.next());
        }
        swarm.turn(Some(wake.saturating_duration_since(now)), |swarm, done| {
            load.done(swarm, done)
        })?;
    }
}

/// As many sockets as the system allows.
fn raise_file_limit() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")
}
