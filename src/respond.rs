//! The interface between a listener and the code that answers its requests, and the time limit of a request.

use std::{
    future::Future,
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
};
use tokio::sync::Notify;

use crate::budget::Share;

/// Headers of an answer, without those that hyper adds.
const HEADERS: usize = 4;

/// Something that answers the requests of a listener.
pub trait Respond: Send + Sync + 'static {
    /// The answer to `request`, which came from `peer`. A body that was read to its end is taken out of `request`. The
    /// caller discards the rest of any other body.
    fn respond(
        &self,
        request: &mut Request<Option<Incoming>>,
        peer: IpAddr,
        patience: &Patience,
    ) -> impl Future<Output = Answer> + Send;

    /// The answer to a peer that sent the head of its request too slowly.
    fn too_slow(&self) -> Response<Bytes>;
}

/// An answer, and what the listener needs to know about it.
pub struct Answer {
    /// What the peer gets.
    pub response: Response<Bytes>,
    /// Whether a request was granted, so that the peer is no longer a stranger.
    pub granted: bool,
    /// The answer's share of the memory for bodies and answers, held until the answer is sent.
    pub share: Option<Share>,
}

impl Answer {
    /// An answer to a request that was not granted. It holds no share of the memory.
    pub fn to_stranger(response: Response<Bytes>) -> Self {
        Self { response, granted: false, share: None }
    }
}

/// The time limit of a request. The listener keeps the time, and the request checks it wherever it waits.
#[derive(Default)]
pub struct Patience {
    over: AtomicBool,
    changed: Notify,
}

impl Patience {
    /// The output of `future`; `None` once the request's time is over.
    pub async fn unless_over<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let over = async {
            while !self.over.load(Ordering::Relaxed) {
                self.changed.notified().await;
            }
        };
        tokio::select! {
            biased;
            done = future => Some(done),
            () = over => None,
        }
    }

    /// Starts the time of another request.
    pub(crate) fn begin(&self) {
        self.over.store(false, Ordering::Relaxed);
    }

    /// Ends the time of the request.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }
}

/// An answer with this body.
pub fn json_response(status: StatusCode, json: Vec<u8>) -> Response<Bytes> {
    response(status, "application/json", json)
}

/// An answer with a body of this type, which nobody may cache.
pub fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.headers_mut() = headers;
    response
}
