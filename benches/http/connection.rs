//! A connection of the load, over TCP or TLS, kept open or new for each request; and the HTTP that the load needs to
//! read.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use mio::{Interest, Registry, Token};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use serde_json::Value;

use crate::{load::Lane, tls};

/// Bytes of one read.
pub const READ_BYTES: usize = 256 * 1024;

/// How long the load waits for a server that does not answer.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How requests reach a server.
#[derive(Clone, Copy, Default)]
pub struct Way {
    pub tls: Option<tls::Client>,
    /// Whether each request uses a new connection.
    pub is_new: bool,
}

/// TCP, or TLS over it.
pub enum Stream<S: Read + Write> {
    Plain(S),
    Tls(Box<StreamOwned<ClientConnection, S>>),
}

impl<S: Read + Write> Stream<S> {
    fn new(socket: S, config: Option<&Arc<ClientConfig>>) -> Self {
        match config {
            None => Self::Plain(socket),
            Some(config) => {
                let client = ClientConnection::new(config.clone(), tls::name()).unwrap();
                Self::Tls(Box::new(StreamOwned::new(client, socket)))
            }
        }
    }

    fn socket(&mut self) -> &mut S {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &mut stream.sock,
        }
    }
}

impl<S: Read + Write> Read for Stream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl<S: Read + Write> Write for Stream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Opens a connection with blocking reads and writes.
pub fn open(address: SocketAddr, way: Way) -> io::Result<Stream<TcpStream>> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut stream = Stream::new(socket, way.tls.map(tls::Client::config).as_ref());
    if let Stream::Tls(stream) = &mut stream {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// A connection with at most one request in flight.
pub struct Connection {
    stream: Stream<mio::net::TcpStream>,
    /// The TLS configuration, including the tickets received so far.
    config: Option<Arc<ClientConfig>>,
    pub index: usize,
    /// The request in flight, or the next one.
    request: usize,
    is_under_way: bool,
    sent: usize,
    /// The part of an incomplete head that has arrived.
    head: Vec<u8>,
    /// Bytes of the body still to come; unknown until the head is complete.
    left: Option<usize>,
}

impl Connection {
    pub fn new(lane: &Lane<'_>, registry: &Registry, index: usize, request: usize) -> Self {
        let config = lane.way.tls.map(tls::Client::config);
        let stream = dial(lane, registry, index, config.as_ref());
        Self { stream, config, index, request, is_under_way: false, sent: 0, head: Vec::new(), left: None }
    }

    /// Closes this connection as clients do, and opens another.
    pub fn renew(&mut self, lane: &Lane<'_>, registry: &Registry) {
        if let Stream::Tls(stream) = &mut self.stream {
            stream.conn.send_close_notify();
            let _ = stream.conn.write_tls(&mut stream.sock);
        }
        registry.deregister(self.stream.socket()).unwrap();
        self.stream = dial(lane, registry, self.index, self.config.as_ref());
    }

    /// Whether the TLS session was resumed.
    pub fn is_resumed(&self) -> bool {
        matches!(&self.stream, Stream::Tls(stream) if stream.conn.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    pub fn next(&mut self, lane: &Lane<'_>, step: usize) {
        self.request = (self.request + step) % lane.workload.requests.len();
        (self.is_under_way, self.sent) = (false, 0);
    }

    pub fn is_sending(&self, lane: &Lane<'_>) -> bool {
        self.is_under_way && self.sent < lane.workload.requests[self.request].bytes.len()
    }

    pub fn send(&mut self, lane: &Lane<'_>) {
        self.is_under_way = true;
        let bytes = &lane.workload.requests[self.request].bytes;
        while self.sent < bytes.len() {
            match self.stream.write(&bytes[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if is_early(&error) => break,
                Err(error) => panic!("a request was not taken: {error}"),
            }
        }
    }

    /// Reads what has arrived, and returns whether that completed an answer.
    pub fn receive(&mut self, lane: &Lane<'_>, buffer: &mut [u8]) -> bool {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => panic!("the server closed a connection"),
                Ok(read) if self.take(&buffer[..read], lane.answer_bytes[self.request]) => return true,
                // Another event will announce the rest, but TLS may have it buffered already.
                Ok(read) if read < buffer.len() && self.config.is_none() => return false,
                Ok(_) => {}
                Err(error) if is_early(&error) => return false,
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

fn dial(
    lane: &Lane<'_>,
    registry: &Registry,
    index: usize,
    config: Option<&Arc<ClientConfig>>,
) -> Stream<mio::net::TcpStream> {
    let mut socket = mio::net::TcpStream::connect(lane.server.address).unwrap();
    registry.register(&mut socket, Token(index), Interest::READABLE | Interest::WRITABLE).unwrap();
    let _ = socket.set_nodelay(true);
    Stream::new(socket, config)
}

/// Whether the operation must be tried again later.
fn is_early(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

pub fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// The length that a head announces. The head must be of a successful answer.
fn content_length(head: &[u8]) -> usize {
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(head));
    const NAME: &[u8] = b"content-length: ";
    let mut lines = head.split(|byte| *byte == b'\n');
    let line = lines.find(|line| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME));
    let digits = &line.expect("an answer has a length")[NAME.len()..];
    digits.iter().filter(|byte| byte.is_ascii_digit()).fold(0, |length, byte| length * 10 + usize::from(byte - b'0'))
}

/// Sends one request and returns the whole answer.
pub fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    exchange_into(stream, request, &mut answer, &mut vec![0; READ_BYTES]);
    answer
}

/// Does the same with buffers that are reused.
pub fn exchange_into(stream: &mut (impl Read + Write), request: &[u8], answer: &mut Vec<u8>, buffer: &mut [u8]) {
    stream.write_all(request).unwrap();
    answer.clear();
    while head_end(answer).is_none_or(|end| answer.len() < end + content_length(&answer[..end])) {
        let read = stream.read(buffer).unwrap();
        assert!(read > 0, "the server closed a connection");
        answer.extend_from_slice(&buffer[..read]);
    }
}

/// The body of an answer.
pub fn body(answer: &[u8]) -> Value {
    serde_json::from_slice(&answer[head_end(answer).unwrap()..]).unwrap()
}

/// Everything that a server answers to a GET; empty if nobody listens.
pub fn get(address: SocketAddr, path: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    }
    answer
}
