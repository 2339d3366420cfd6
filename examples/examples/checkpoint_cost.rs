//! How long a checkpoint holds ordering up, and how long its job takes beside it.
//!
//! `cargo run --release -p webbft-examples --example checkpoint_cost -- 100 1000` fills key-value
//! stores of 100 and 1000 MB, with a full session table, and prints the times. Beyond the store's
//! own limit, which only its operations know, the state is put in place by `restore`.

// A measurement that prints, and that may end at the first thing that is wrong.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use webbft_examples::kv::Kv;
use webbft_protocol::execution::{ExecutionLimits, Executor, Json, OrderedRequest, Service};
use webbft_protocol::membership::{Cid, ClientId, Digest, ServiceId, SessionId, ViewNumber};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{Operation, Request, SessionKey, encode};

const VALUE: usize = 1000;
const SESSIONS: u64 = 16_384;

fn main() {
    let sizes: Vec<u64> =
        std::env::args().skip(1).map(|size| size.parse().expect("sizes in MB")).collect();
    for size in if sizes.is_empty() { vec![1, 10, 100] } else { sizes } {
        measure(size);
    }
}

fn measure(megabytes: u64) {
    let keys: Vec<(String, Option<String>, Cid)> = (0..megabytes * 1000)
        .map(|key| (format!("key {key:012}"), Some("v".repeat(VALUE)), Cid(1)))
        .collect();
    let service = Json::<Kv>::restore(&encode(&(keys, Cid(0), Cid(1)))).unwrap();
    let mut executor = Executor::new(service, ExecutionLimits::default());
    let mut cid = 0;
    for first in (0..SESSIONS).step_by(64) {
        let batch: Vec<_> = (first..first + 64).map(|session| get(session, 1)).collect();
        execute(&mut executor, &mut cid, &batch);
    }
    let alone = deletes(&mut executor, &mut cid, 2);
    let begin = Instant::now();
    let clone = executor.clone();
    let held_up = begin.elapsed();
    // The first batches after the clone copy what they touch.
    let shared = deletes(&mut executor, &mut cid, 3);
    let begin = Instant::now();
    let snapshot = clone.snapshot();
    let job = begin.elapsed();
    drop(clone);
    let begin = Instant::now();
    let restored = Executor::<Json<Kv>>::restore(&snapshot, ExecutionLimits::default()).unwrap();
    let restore = begin.elapsed();
    black_box(restored.last_cid());
    println!(
        "{megabytes} MB, {SESSIONS} sessions: ordering stands still for {held_up:?} (the clone); \
         1000 operations take {alone:?} before and {shared:?} after it; the job takes {job:?} for {} \
         bytes in {} chunks, restoring {restore:?}",
        snapshot.bytes(),
        snapshot.chunks().len(),
    );
}

fn request(session: u64, number: u64, operation: &str) -> OrderedRequest {
    let mut client = [0; 16];
    client[..8].copy_from_slice(&session.to_be_bytes());
    let key = SessionKey { client: ClientId(client), session: SessionId([1; 16]) };
    let request = Request {
        service: ServiceId([2; 16]),
        id: key.request(number),
        born: UnixMicros(1),
        operation: Operation::Execute(operation.as_bytes().to_vec().into()),
    };
    OrderedRequest { digest: Digest::of(&request.encode()), request }
}

fn get(session: u64, number: u64) -> OrderedRequest {
    request(session, number, r#"{"op":"get","key":"key 000000000007"}"#)
}

fn execute(executor: &mut Executor<Json<Kv>>, cid: &mut u64, batch: &[OrderedRequest]) {
    *cid += 1;
    let time = UnixMicros(1_000_000 + *cid);
    black_box(executor.execute(ViewNumber(0), Cid(*cid), Digest::default(), time, batch));
}

/// Executes 1000 deletions, one for each of as many sessions.
fn deletes(executor: &mut Executor<Json<Kv>>, cid: &mut u64, number: u64) -> Duration {
    let batch: Vec<OrderedRequest> = (0..1000)
        .map(|session| {
            let delete = format!(r#"{{"op":"delete","key":"key {:012}"}}"#, session * 97 + number);
            request(session, number, &delete)
        })
        .collect();
    let begin = Instant::now();
    execute(executor, cid, &batch);
    begin.elapsed()
}
