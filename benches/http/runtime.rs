//! What the bare server and the obvious one share with callveil: the runtime, and how they read and write.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket},
};
use tokio_rustls::TlsAcceptor;

/// A server's answer to a request whose body is complete.
pub trait Answer: Send + Sync + 'static {
    fn answer(&self, head: &http::request::Parts, body: &[u8]) -> Response<Full<Bytes>>;
}

/// Answers as `make` says on `threads` threads, until the process is killed. Prints the address on stdout.
///
/// callveil is compared with this design: each thread has a current-thread runtime and a listener, and the kernel
/// distributes the connections among the listeners.
pub fn serve<A: Answer>(threads: usize, tls: Option<Arc<ServerConfig>>, make: impl Fn() -> A) {
    let first = listener(0);
    let address = first.local_addr().unwrap();
    let listeners = std::iter::once(first).chain((1..threads).map(|_| listener(address.port())));
    let workers: Vec<_> = listeners
        .map(|listener| {
            let (answer, tls) = (make(), tls.clone().map(TlsAcceptor::from));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, accept(listener, tls, Rc::new(answer)));
            })
        })
        .collect();
    println!("{address}");
    for worker in workers {
        worker.join().unwrap();
    }
}

fn listener(port: u16) -> std::net::TcpListener {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _inside = runtime.enter();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    socket.listen(4096).unwrap().into_std().unwrap()
}

async fn accept<A: Answer>(listener: std::net::TcpListener, tls: Option<TlsAcceptor>, answer: Rc<A>) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        let answer = answer.clone();
        match tls.clone() {
            None => drop(tokio::task::spawn_local(speak(socket, answer))),
            Some(tls) => drop(tokio::task::spawn_local(async move {
                if let Ok(stream) = tls.accept(socket).await {
                    speak(stream, answer).await;
                }
            })),
        }
    }
}

async fn speak<A: Answer>(stream: impl AsyncRead + AsyncWrite + Unpin, answer: Rc<A>) {
    let service = service_fn(|request: Request<Incoming>| async {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Ok::<_, Infallible>(answer.answer(&head, &body))
    });
    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}
