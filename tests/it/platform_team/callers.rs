//! Callers that call CCC's way, over TLS and without pause, and accept only success.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use crate::support::{PATIENCE, basic, post};

const CALL: &str = r#"{"Numbers":["13988888888"],"Mode":"PhoneToUID"}"#;

/// The pause between two calls of a caller.
const PAUSE: Duration = Duration::from_millis(5);

/// Whether a caller keeps its connection for as long as it can.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    KeepAlive,
    Reconnect,
}

/// One caller for each manner, until they are told to end.
pub struct Callers {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<usize, String>>>,
}

impl Callers {
    /// Starts callers to `url`, which is at `address`. They use the files that the page made in `folder`.
    pub fn start(folder: &Path, url: &str, address: SocketAddr) -> Self {
        let password = fs::read_to_string(folder.join("password")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(folder.join("public.crt")).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into());
        let config = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let host = url.trim_start_matches("https://").trim_end_matches('/');
        let name = host.split(':').next().unwrap().to_owned();
        let caller = Caller {
            address,
            name: name.try_into().unwrap(),
            config: Arc::new(config.with_no_client_auth()),
            request: post(&basic("ccc", &password), CALL),
        };
        let over = Arc::new(AtomicBool::new(false));
        let threads = [Manner::KeepAlive, Manner::Reconnect].map(|manner| {
            let (caller, over) = (caller.clone(), over.clone());
            thread::spawn(move || caller.call_until(&over, manner))
        });
        Self { over, threads: threads.into() }
    }

    /// Ends the callers, and returns how many calls each made. All calls must have succeeded.
    pub fn end(self) -> Vec<usize> {
        self.over.store(true, Ordering::Relaxed);
        self.threads
            .into_iter()
            .map(|caller| caller.join().unwrap().unwrap_or_else(|failure| panic!("{failure}")))
            .collect()
    }
}

#[derive(Clone)]
struct Caller {
    address: SocketAddr,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    request: String,
}

type Connection = BufReader<StreamOwned<ClientConnection, TcpStream>>;

impl Caller {
    fn call_until(&self, over: &AtomicBool, manner: Manner) -> Result<usize, String> {
        let (mut kept, mut calls) = (None, 0);
        while !over.load(Ordering::Relaxed) {
            let failed = |error: io::Error| format!("call {calls} failed: {error}");
            let mut connection = kept.take().map_or_else(|| self.connect(), Ok).map_err(failed)?;
            let (head, body) = self.call(&mut connection).map_err(failed)?;
            if !head.starts_with("http/1.1 200 ") || !body.starts_with(r#"{"Code":0,"#) {
                return Err(format!("call {calls} was answered with {head}{body}"));
            }
            if manner == Manner::KeepAlive && !head.contains("\r\nconnection: close\r\n") {
                kept = Some(connection);
            }
            calls += 1;
            thread::sleep(PAUSE);
        }
        Ok(calls)
    }

    fn connect(&self) -> io::Result<Connection> {
        let socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let tls = ClientConnection::new(self.config.clone(), self.name.clone()).map_err(io::Error::other)?;
        Ok(BufReader::new(StreamOwned::new(tls, socket)))
    }

    /// Makes one call. Returns the head of the answer, in lower case, and its body.
    fn call(&self, connection: &mut Connection) -> io::Result<(String, String)> {
        connection.get_mut().write_all(self.request.as_bytes())?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if connection.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        head.make_ascii_lowercase();
        let length = head.split_once("\r\ncontent-length: ").and_then(|(_, rest)| rest.split_once('\r'));
        let length = length.and_then(|(length, _)| length.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let mut body = vec![0; length];
        connection.read_exact(&mut body)?;
        Ok((head, String::from_utf8_lossy(&body).into_owned()))
    }
}
