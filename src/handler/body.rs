//! The body of a request, in memory and within its bounds.

use http::{HeaderMap, HeaderValue, header::CONTENT_ENCODING};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes, Incoming};

use super::{Handler, refusal::Refusal};
use crate::{
    budget::Share,
    respond::Patience,
    wire::{self, Call},
};

/// How gzip begins (RFC 1952 section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

impl Handler {
    /// Reads the whole body, while it and all others together stay within their limits. Afterwards, `unread` is empty.
    pub(super) async fn read(
        &self,
        unread: &mut Option<Incoming>,
        bytes_max: usize,
        patience: &Patience,
        share: &mut Share,
    ) -> Result<Buffered, Refusal> {
        let body = unread.as_mut().ok_or(Refusal::Interrupted)?;
        let expected = body.size_hint().lower();
        if expected > bytes_max as u64 {
            return Err(Refusal::BodyTooLarge(bytes_max));
        }
        let mut buffered = Buffered::default();
        while !body.is_end_stream()
            && let Some(frame) = patience.unless_over(body.frame()).await.ok_or(Refusal::TooSlow)?
        {
            let Ok(data) = frame.map_err(|_| Refusal::Interrupted)?.into_data() else { continue };
            if share.bytes() + data.len() > bytes_max {
                return Err(Refusal::BodyTooLarge(bytes_max));
            }
            share.add(data.len()).map_err(|_| Refusal::Busy)?;
            buffered.push(data, expected);
        }
        *unread = None;
        Ok(buffered)
    }
}

/// Refuses a body with a content encoding other than `identity`.
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_plain = |value: &HeaderValue| value.is_empty() || value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().all(is_plain) { Ok(()) } else { Err(Refusal::Encoded) }
}

/// A body in memory.
#[derive(Default)]
pub(super) struct Buffered {
    /// The whole body, as long as `rest` is empty. Most bodies come in one piece, which is never copied.
    first: Bytes,
    rest: Vec<u8>,
}

impl Buffered {
    pub(super) fn bytes(&self) -> &[u8] {
        if self.rest.is_empty() { &self.first } else { &self.rest }
    }

    /// Adds `data` to a body of at least `expected` bytes.
    pub(super) fn push(&mut self, data: Bytes, expected: u64) {
        if self.first.is_empty() && self.rest.is_empty() {
            self.first = data;
            return;
        }
        if self.rest.is_empty() {
            self.rest.reserve_exact(usize::try_from(expected).unwrap_or(0));
            self.rest.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.rest.extend_from_slice(&data);
    }

    /// The call in this body.
    pub(super) fn call(&self, numbers_max: usize) -> Result<Call<'_>, Refusal> {
        if self.bytes().starts_with(&GZIP) {
            return Err(Refusal::Encoded);
        }
        wire::parse(self.bytes(), numbers_max).map_err(Refusal::NotACall)
    }
}
