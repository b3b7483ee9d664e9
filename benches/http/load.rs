//! The load: prebuilt requests over keep-alive connections, from threads that do little else. Answers are read by their
//! Content-Length, which must be that of the answer checked before.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    net::TcpStream,
    time::{Duration, Instant},
};

use mio::{Events, Poll};
use serde_json::Value;

use crate::{
    connection::{Connection, PATIENCE, READ_BYTES, Way, body, exchange, head_end, open},
    machine,
    samples::{Item, Random, Request, Workload},
    servers::Server,
};

/// Connections of a paced load: enough that a request never waits for one.
const PACED_CONNECTIONS: usize = 64;

/// A server, the requests that it gets, how they reach it, and the length of each answer.
pub struct Lane<'l> {
    pub server: &'l Server,
    pub workload: &'l Workload,
    pub connections: usize,
    pub way: Way,
    /// Whether a thread of the load always sleeps while there is nothing to read.
    pub sleeps: bool,
    pub answer_bytes: Vec<usize>,
    /// Connections that stay open between measurements, one set for each thread of the load. New connections are slow
    /// with large messages until the kernel has tuned their buffers.
    clients: Vec<Client>,
}

/// How answers are checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// They are exactly what the specification says.
    Exact,
    /// They may only differ in trunk prefixes.
    ButForTrunkPrefixes,
    /// Each belongs to its item and has the right length.
    Lengths,
    /// They are the same for all requests, and do not depend on the numbers.
    Fixed,
}

impl<'l> Lane<'l> {
    /// A lane whose server has answered all of the requests correctly.
    pub fn new(server: &'l Server, workload: &'l Workload, right: Right) -> Self {
        Self::by(Way::default(), server, workload, right)
    }

    /// Does the same for requests that reach the server this way.
    pub fn by(way: Way, server: &'l Server, workload: &'l Workload, right: Right) -> Self {
        let mut stream = open(server.address, way).unwrap();
        let answer_bytes = workload.requests.iter().map(|request| {
            let answer = exchange(&mut stream, &request.bytes);
            check(&body(&answer), &request.items, right);
            answer.len() - head_end(&answer).unwrap()
        });
        let answer_bytes = answer_bytes.collect();
        let connections = workload.connections();
        Self { server, workload, connections, way, sleeps: false, answer_bytes, clients: Vec::new() }
    }

    /// The same lane with this many connections.
    pub fn on(self, connections: usize) -> Self {
        Self { connections, ..self }
    }
}

fn check(answer: &Value, items: &[Item], right: Right) {
    let results = answer["Results"].as_array().unwrap();
    assert!(answer["Code"] == 0 && results.len() == items.len(), "a wrong answer");
    for (result, item) in results.iter().zip(items) {
        let (key, value) = (result["Key"].as_str().unwrap(), result["Value"].as_str().unwrap());
        let is_right = match right {
            Right::Exact => key == item.input && value == item.output,
            Right::ButForTrunkPrefixes => key == item.input && (value == item.output || value == item.plain),
            Right::Lengths => key == item.input && value.len() == item.output.len(),
            Right::Fixed => true,
        };
        assert!(is_right, "a wrong answer: {result}");
    }
}

/// What a server did during a window of time.
#[derive(Clone, Copy, Default)]
pub struct Throughput {
    pub requests_per_second: f64,
    pub numbers_per_second: f64,
    /// CPU seconds of the server per second.
    pub busy: f64,
    /// The share of answers on resumed TLS sessions.
    pub resumed: f64,
}

/// How long a load warms up, and how long it is then measured.
#[derive(Clone, Copy)]
pub struct Window {
    pub warm: Duration,
    pub measured: Duration,
}

/// Loads a server as fast as it answers, from a thread on each of these CPUs.
///
/// With small requests, the load never sleeps unless it shares the server's CPUs. Waking another process is expensive
/// for a server that answers over the loopback, and the slower the server, the more it costs. With large answers, a
/// load that never sleeps would read them in smaller pieces, which costs the server time too.
pub fn saturate(lane: &mut Lane<'_>, window: Window, cpus: &[usize]) -> Throughput {
    if lane.clients.is_empty() {
        let each = lane.connections.div_ceil(cpus.len());
        lane.clients = (0..cpus.len()).map(|at| Client::connect(lane, at * each, each)).collect();
    }
    let mut clients = std::mem::take(&mut lane.clients);
    let begin = Instant::now() + window.warm;
    let end = begin + window.measured;
    let shared = &*lane;
    let is_alone = !cpus.iter().any(|cpu| lane.server.cpus.contains(cpu));
    let spins = is_alone && shared.workload.items == 1 && !shared.sleeps;
    let patience = if spins { Duration::ZERO } else { PATIENCE };
    let (requests_per_second, busy) = std::thread::scope(|scope| {
        let work = |(client, cpu): (_, &usize)| {
            let cpu = [*cpu];
            scope.spawn(move || {
                machine::bind(&cpu);
                closed_loop(shared, client, (begin, end), patience)
            })
        };
        let threads: Vec<_> = clients.iter_mut().zip(cpus).map(work).collect();
        let busy = busy(shared.server, begin, end);
        (threads.into_iter().map(|thread| thread.join().unwrap()).sum::<f64>(), busy)
    });
    let of_all = |count: fn(&Client) -> u64| clients.iter().map(count).sum::<u64>() as f64;
    let resumed = of_all(|client| client.resumed) / of_all(|client| client.answers);
    lane.clients = clients;
    lane.server.forget_audit();
    let numbers_per_second = requests_per_second * lane.workload.items as f64;
    Throughput { requests_per_second, numbers_per_second, busy, resumed }
}

/// CPU seconds per second that a server uses between two instants.
pub fn busy(server: &Server, begin: Instant, end: Instant) -> f64 {
    let look_at = |instant: Instant| {
        std::thread::sleep(instant.saturating_duration_since(Instant::now()));
        (Instant::now(), machine::cpu_seconds(server.pid()))
    };
    let (before, after) = (look_at(begin), look_at(end));
    (after.1 - before.1) / (after.0 - before.0).as_secs_f64()
}

/// Answers per second, between the first and the last within the window. Requests in flight at its ends do not count.
/// No request is in flight when this returns.
fn closed_loop(lane: &Lane<'_>, client: &mut Client, (begin, end): (Instant, Instant), patience: Duration) -> f64 {
    let connections = client.connections.len();
    (client.answers, client.resumed) = (0, 0);
    for connection in &mut client.connections {
        connection.send(lane);
    }
    let (mut under_way, mut answers, mut from, mut to) = (connections, 0_u64, begin, begin);
    while under_way > 0 {
        let now = client.wait(patience);
        assert!(now < end + PATIENCE, "an answer does not come");
        let mut done = 0;
        client.receive(lane, |connection| {
            done += 1;
            connection.next(lane, connections);
            if now < end {
                connection.send(lane);
            } else {
                under_way -= 1;
            }
        });
        if done == 0 || !(begin..end).contains(&now) {
            continue;
        }
        if answers == 0 {
            (answers, from) = (1, now);
        } else {
            (answers, to) = (answers + done, now);
        }
    }
    assert!(answers > 1, "too few answers to measure");
    (answers - 1) as f64 / (to - from).as_secs_f64()
}

/// Loads a server with `rate` requests per second, at random times that do not depend on its answers. Returns how long
/// after those times the answers came, in ascending order. So the time that a request waits to be sent counts too.
pub fn pace(lane: &Lane<'_>, rate: f64, window: Window, seed: u64) -> Vec<Duration> {
    let mut random = Random::new(seed);
    let mut client = Client::connect(lane, 0, PACED_CONNECTIONS);
    let mut free: VecDeque<usize> = (0..PACED_CONNECTIONS).collect();
    let mut due = VecDeque::new();
    let mut scheduled = [Instant::now(); PACED_CONNECTIONS];
    let mut latencies = Vec::with_capacity((rate * window.measured.as_secs_f64() * 1.2) as usize);
    let mut at = Instant::now();
    let begin = at + window.warm;
    let end = begin + window.measured;
    let mut now = at;
    while now < end || !due.is_empty() || free.len() < PACED_CONNECTIONS {
        assert!(now < end + PATIENCE, "the server does not keep up with half the load");
        while at <= now && at < end {
            due.push_back(at);
            at += Duration::from_secs_f64(-(1.0 - random.fraction()).ln() / rate);
        }
        while let (false, Some(index)) = (due.is_empty(), free.front().copied()) {
            free.pop_front();
            scheduled[index] = due.pop_front().unwrap();
            client.connections[index].send(lane);
        }
        client.wait(Duration::ZERO);
        client.receive(lane, |connection| {
            let since = scheduled[connection.index];
            if since >= begin {
                latencies.push(since.elapsed());
            }
            connection.next(lane, PACED_CONNECTIONS);
            free.push_back(connection.index);
        });
        now = Instant::now();
    }
    lane.server.forget_audit();
    latencies.sort_unstable();
    latencies
}

/// Opens `connections` that each send one request and then stay idle.
pub fn idle(lane: &Lane<'_>, connections: usize) -> Vec<TcpStream> {
    let requests = lane.workload.requests.iter().cycle();
    let open = |request: &Request| {
        let mut stream = TcpStream::connect(lane.server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        exchange(&mut stream, &request.bytes);
        stream
    };
    requests.take(connections).map(open).collect()
}

/// Connections, and the poll that waits for them.
struct Client {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    answers: u64,
    resumed: u64,
}

impl Client {
    /// Opens this many connections, which begin with different requests.
    fn connect(lane: &Lane<'_>, first: usize, connections: usize) -> Self {
        let poll = Poll::new().unwrap();
        let connect = |index| {
            let request = (first + index) % lane.workload.requests.len();
            Connection::new(lane, poll.registry(), index, request)
        };
        let connections = (0..connections).map(connect).collect();
        let events = Events::with_capacity(1024);
        Self { poll, events, connections, buffer: vec![0; READ_BYTES], answers: 0, resumed: 0 }
    }

    /// Waits up to `patience` for an event, and returns the current time.
    fn wait(&mut self, patience: Duration) -> Instant {
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => panic!("{error}"),
            _ => {}
        }
        Instant::now()
    }

    /// Reads what has arrived, and calls `done` for each connection with a complete answer.
    fn receive(&mut self, lane: &Lane<'_>, mut done: impl FnMut(&mut Connection)) {
        for event in &self.events {
            let connection = &mut self.connections[event.token().0];
            if connection.is_sending(lane) {
                connection.send(lane);
            }
            if event.is_readable() && connection.receive(lane, &mut self.buffer) {
                self.answers += 1;
                if lane.way.is_new {
                    self.resumed += u64::from(connection.is_resumed());
                    connection.renew(lane, self.poll.registry());
                }
                done(connection);
            }
        }
    }
}
