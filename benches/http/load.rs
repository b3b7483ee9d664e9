//! The load: requests that were built before, over keep-alive connections, from threads that do little else. An answer
//! is read by its Content-Length, and must be as long as the one that was checked before.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token};
use serde_json::Value;

use crate::{
    machine,
    samples::{Item, Random, Request, Workload},
    servers::Server,
};

/// Bytes that are read at a time.
const READ_BYTES: usize = 256 * 1024;

/// How long the load waits for a server that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections of a paced load: so many that a request never waits for one.
const PACED_CONNECTIONS: usize = 64;

/// A server, the requests that it gets, and how long each answer is.
pub struct Lane<'l> {
    pub server: &'l Server,
    pub workload: &'l Workload,
    pub connections: usize,
    answer_bytes: Vec<usize>,
    /// Connections that stay open from one measurement to the next, a set for each thread of the load: young ones are
    /// slow with large messages, until the kernel has found out how much room they want.
    clients: Vec<Client>,
}

/// What answers are checked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// They are what the specification says.
    Exact,
    /// The same, but for trunk prefixes.
    ButForTrunkPrefixes,
    /// Each is the item's own, of the length that it should have.
    Lengths,
    /// They are one and the same for all requests, and not about these numbers.
    Fixed,
}

impl<'l> Lane<'l> {
    /// A lane whose server was seen to answer all of the requests right.
    pub fn new(server: &'l Server, workload: &'l Workload, right: Right) -> Self {
        let mut stream = TcpStream::connect(server.address).unwrap();
        let answer_bytes = workload.requests.iter().map(|request| {
            let answer = exchange(&mut stream, &request.bytes);
            check(&body(&answer), &request.items, right);
            answer.len() - head_end(&answer).unwrap()
        });
        let answer_bytes = answer_bytes.collect();
        Self { server, workload, connections: workload.connections(), answer_bytes, clients: Vec::new() }
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

/// What a server did in a window of time.
#[derive(Clone, Copy, Default)]
pub struct Throughput {
    pub requests_per_second: f64,
    pub numbers_per_second: f64,
    /// CPU seconds of the server in a second.
    pub busy: f64,
}

/// How long a load warms up, and how long it is measured.
#[derive(Clone, Copy)]
pub struct Window {
    pub warm: Duration,
    pub measured: Duration,
}

/// Loads a server as fast as it answers, from a thread on each of these CPUs.
///
/// With small requests the load never sleeps, where the server has none of its CPUs: waking another process costs a server
/// that answers over the loopback much, and the more the slower it is. Large answers it would take in smaller pieces, which
/// costs the server, too.
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
    let patience = if is_alone && shared.workload.items == 1 { Duration::ZERO } else { PATIENCE };
    let (requests_per_second, busy) = std::thread::scope(|scope| {
        let work = |(client, cpu): (_, &usize)| {
            let cpu = [*cpu];
            scope.spawn(move || {
                machine::bind(&cpu);
                closed_loop(shared, client, (begin, end), patience)
            })
        };
        let threads: Vec<_> = clients.iter_mut().zip(cpus).map(work).collect();
        let look_at = |instant: Instant| {
            std::thread::sleep(instant.saturating_duration_since(Instant::now()));
            (Instant::now(), machine::cpu_seconds(shared.server.pid()))
        };
        let (before, after) = (look_at(begin), look_at(end));
        let busy = (after.1 - before.1) / (after.0 - before.0).as_secs_f64();
        (threads.into_iter().map(|thread| thread.join().unwrap()).sum::<f64>(), busy)
    });
    lane.clients = clients;
    lane.server.forget_audit();
    Throughput { requests_per_second, numbers_per_second: requests_per_second * lane.workload.items as f64, busy }
}

/// Answers a second, between the first and the last within the window: what is under way at its ends counts for nothing.
/// No request is under way when this ends.
fn closed_loop(lane: &Lane<'_>, client: &mut Client, (begin, end): (Instant, Instant), patience: Duration) -> f64 {
    let connections = client.connections.len();
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

/// Loads a server with `rate` requests a second, at random times that do not depend on its answers, and gives how long
/// after those times the answers came, in ascending order. Requests that had to wait for others are not forgotten.
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

/// Opens `connections` that stay idle after one request each.
pub fn idle(lane: &Lane<'_>, connections: usize) -> Vec<TcpStream> {
    let requests = lane.workload.requests.iter().cycle();
    let open = |request: &Request| {
        let mut stream = TcpStream::connect(lane.server.address).unwrap();
        exchange(&mut stream, &request.bytes);
        stream
    };
    requests.take(connections).map(open).collect()
}

/// Connections, and what waits for them.
struct Client {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
}

impl Client {
    /// As many connections, which begin with different requests.
    fn connect(lane: &Lane<'_>, first: usize, connections: usize) -> Self {
        let poll = Poll::new().unwrap();
        let connect = |index| {
            let stream = TcpStream::connect(lane.server.address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_nonblocking(true).unwrap();
            let mut stream = mio::net::TcpStream::from_std(stream);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(index), interest).unwrap();
            let request = (first + index) % lane.workload.requests.len();
            Connection { stream, index, request, sent: 0, head: Vec::new(), left: None }
        };
        let connections = (0..connections).map(connect).collect();
        Self { poll, events: Events::with_capacity(1024), connections, buffer: vec![0; READ_BYTES] }
    }

    /// Waits so long for anything to happen, and tells what time it is then.
    fn wait(&mut self, patience: Duration) -> Instant {
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => panic!("{error}"),
            _ => {}
        }
        Instant::now()
    }

    /// Reads what has come, and calls `done` for each connection whose answer is all there.
    fn receive(&mut self, lane: &Lane<'_>, mut done: impl FnMut(&mut Connection)) {
        for event in &self.events {
            let connection = &mut self.connections[event.token().0];
            if connection.is_sending(lane) {
                connection.send(lane);
            }
            if event.is_readable() && connection.receive(lane, &mut self.buffer) {
                done(connection);
            }
        }
    }
}

/// A connection with at most one request under way.
struct Connection {
    stream: mio::net::TcpStream,
    index: usize,
    /// The request under way, or the next.
    request: usize,
    sent: usize,
    /// What has come of a head that is not all there.
    head: Vec<u8>,
    /// Bytes of the body that are still to come; unknown before the head is there.
    left: Option<usize>,
}

impl Connection {
    fn next(&mut self, lane: &Lane<'_>, step: usize) {
        self.request = (self.request + step) % lane.workload.requests.len();
        self.sent = 0;
    }

    fn is_sending(&self, lane: &Lane<'_>) -> bool {
        (1..lane.workload.requests[self.request].bytes.len()).contains(&self.sent)
    }

    fn send(&mut self, lane: &Lane<'_>) {
        let bytes = &lane.workload.requests[self.request].bytes;
        while self.sent < bytes.len() {
            match self.stream.write(&bytes[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("a request was not taken: {error}"),
            }
        }
    }

    /// Reads what there is; says whether that was the end of an answer.
    fn receive(&mut self, lane: &Lane<'_>, buffer: &mut [u8]) -> bool {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => panic!("the server closed a connection"),
                Ok(read) if self.take(&buffer[..read], lane.answer_bytes[self.request]) => return true,
                // The rest will be told of when it comes.
                Ok(read) if read < buffer.len() => return false,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => panic!("an answer did not come: {error}"),
            }
        }
    }

    fn take(&mut self, bytes: &[u8], expected: usize) -> bool {
        let of_body = match self.left {
            Some(_) => bytes.len(),
            None => {
                self.head.extend_from_slice(bytes);
                let Some(end) = head_end(&self.head) else { return false };
                assert_eq!(content_length(&self.head[..end]), expected, "an answer of another length");
                self.left = Some(expected);
                let of_body = self.head.len() - end;
                self.head.clear();
                of_body
            }
        };
        let left = self.left.and_then(|left| left.checked_sub(of_body)).expect("no more than one answer");
        self.left = Some(left).filter(|left| *left > 0);
        left == 0
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// The length that a head announces; it must be that of a good answer.
fn content_length(head: &[u8]) -> usize {
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(head));
    const NAME: &[u8] = b"content-length: ";
    let mut lines = head.split(|byte| *byte == b'\n');
    let line = lines.find(|line| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME));
    let digits = &line.expect("an answer has a length")[NAME.len()..];
    digits.iter().filter(|byte| byte.is_ascii_digit()).fold(0, |length, byte| length * 10 + usize::from(byte - b'0'))
}

/// Sends one request, and gives all of its answer.
pub fn exchange(stream: &mut TcpStream, request: &[u8]) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let (mut answer, mut buffer) = (Vec::new(), vec![0; READ_BYTES]);
    loop {
        if let Some(end) = head_end(&answer)
            && answer.len() >= end + content_length(&answer[..end])
        {
            return answer;
        }
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the server closed a connection");
        answer.extend_from_slice(&buffer[..read]);
    }
}

/// The body of an answer.
pub fn body(answer: &[u8]) -> Value {
    serde_json::from_slice(&answer[head_end(answer).unwrap()..]).unwrap()
}

/// All that a server says to a GET, whatever that is; nothing where nobody listens.
pub fn get(address: SocketAddr, path: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    }
    answer
}
