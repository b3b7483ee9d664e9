//! The upper limit: a hyper server that only reads the body and returns a fixed answer.

use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::Full;
use hyper::{Response, body::Bytes};

use crate::runtime::Answer;

/// The answer to everything.
#[derive(Clone)]
pub struct Bare {
    headers: HeaderMap,
    body: Bytes,
}

impl Bare {
    /// Returns the headers and the body of `raw`, an answer by callveil. hyper adds the date and the length.
    pub fn new(raw: &[u8]) -> Self {
        let end = raw.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = str::from_utf8(&raw[..end]).unwrap();
        let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let headers = headers.filter(|(name, _)| !matches!(*name, "date" | "content-length"));
        let headers =
            headers.map(|(name, value)| (HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap()));
        Self { headers: headers.collect(), body: Bytes::copy_from_slice(&raw[end + 4..]) }
    }
}

impl Answer for Bare {
    fn answer(&self, _: &http::request::Parts, _: &[u8]) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body.clone()));
        *response.headers_mut() = self.headers.clone();
        response
    }
}
