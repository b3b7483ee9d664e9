//! Callers that sleep: each has a thread and a connection, makes one call at a time, and pauses between calls.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    connection::{exchange_into, open},
    load::{Lane, Window, busy},
    machine,
    samples::Random,
};

/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;

/// How many callers there are, and how many calls per second all of them make together.
#[derive(Clone, Copy)]
pub struct Pace {
    pub callers: usize,
    pub calls_per_second: f64,
}

/// The measured calls.
#[derive(Default)]
pub struct Calls {
    /// The times from writing a call to having read its answer, in ascending order.
    pub latencies: Vec<Duration>,
    /// CPU seconds of the server per call.
    pub cost: f64,
    /// Whether the callers had priority on their CPUs, so that only the server kept them waiting.
    pub came_first: bool,
}

/// Makes calls from these CPUs. The pauses between two calls vary at random by up to half.
pub fn call(lane: &Lane<'_>, pace: Pace, window: Window, cpus: &[usize]) -> Calls {
    let start = Instant::now();
    let begin = start + window.warm;
    let end = begin + window.measured;
    let pause = Duration::from_secs_f64(pace.callers as f64 / pace.calls_per_second);
    let all = || {
        machine::bind(cpus);
        let came_first = machine::come_first();
        let latencies = thread::scope(|scope| {
            let caller = |at: usize| {
                let first = start + pause.mul_f64(at as f64 / pace.callers as f64);
                scope.spawn(move || caller(lane, at, (first, begin, end), pause))
            };
            let callers: Vec<_> = (0..pace.callers).map(caller).collect();
            callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
        });
        (latencies, came_first)
    };
    let (busy, (mut latencies, came_first)) = thread::scope(|scope| {
        let all = scope.spawn(all);
        (busy(lane.server, begin, end), all.join().unwrap())
    });
    latencies.sort_unstable();
    let cost = busy * window.measured.as_secs_f64() / latencies.len() as f64;
    Calls { latencies, cost, came_first }
}

fn caller(
    lane: &Lane<'_>,
    at: usize,
    (first, begin, end): (Instant, Instant, Instant),
    pause: Duration,
) -> Vec<Duration> {
    let mut stream = open(lane.server.address, lane.way).unwrap();
    let (mut random, mut latencies) = (Random::new(at as u64), Vec::new());
    let (mut answer, mut buffer) = (Vec::new(), vec![0; READ_BYTES]);
    let requests = &lane.workload.requests;
    let mut due = first;
    for request in requests.iter().cycle().skip(at * requests.len() / 100) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let since = Instant::now();
        if since >= end {
            break;
        }
        exchange_into(&mut stream, &request.bytes, &mut answer, &mut buffer);
        if since >= begin {
            latencies.push(since.elapsed());
        }
        due = (due + pause.mul_f64(0.5 + random.fraction())).max(since);
    }
    latencies
}

/// The latency, in microseconds, that this share of the calls does not exceed.
pub fn at(latencies: &[Duration], share: f64) -> f64 {
    let at = (latencies.len() as f64 * share) as usize;
    latencies[at.min(latencies.len() - 1)].as_secs_f64() * 1e6
}
