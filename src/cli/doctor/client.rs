//! Asks an endpoint as CCC does: HTTP/1.1, one request after another, on a connection that is kept open if possible.

use data_encoding::BASE64;
use http::{
    HeaderValue, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, WWW_AUTHENTICATE},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Duration, Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::{
    old_tls,
    reply::{Envelope, Kind, Reply},
    target::Target,
    trouble::Trouble,
};
use crate::item::Mode;

/// Maximum bytes of an answer.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Part of what an admin listener answers at `/healthz`.
const ALIVE: &[u8] = b"\"status\":\"alive\"";

/// The time limit for all requests together.
const TOTAL_MAX: Duration = Duration::from_secs(120);

/// The remedy for something that does not speak HTTP.
const NO_HTTP: &str =
    "something else listens there, or a proxy cuts the connection: compare the port, and look at its log";

/// The status, `WWW-Authenticate`, and the body.
type Received = (StatusCode, Option<HeaderValue>, Bytes);

type Sender = http1::SendRequest<Full<Bytes>>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A client of one endpoint.
pub(super) struct EndpointClient {
    target: Target,
    connector: Option<TlsConnector>,
    kept: Option<Sender>,
    /// How many connections were opened so far.
    pub(super) connections: usize,
    deadline: Instant,
}

/// The `Authorization` header with these credentials.
///
/// # Errors
/// The reason why they cannot be sent.
pub(super) fn basic(user: &str, password: &str) -> Result<HeaderValue, &'static str> {
    let mut pair = Zeroizing::new(String::with_capacity(user.len() + 1 + password.len()));
    pair.extend([user, ":", password]);
    let mut text = Zeroizing::new(String::with_capacity(6 + BASE64.encode_len(pair.len())));
    text.push_str("Basic ");
    BASE64.encode_append(pair.as_bytes(), &mut text);
    let mut value = HeaderValue::from_str(&text).map_err(|_| "that user name or password cannot be sent")?;
    value.set_sensitive(true);
    Ok(value)
}

impl EndpointClient {
    /// A client of `target`, over TLS if there is a `connector`.
    pub(super) fn new(target: Target, connector: Option<TlsConnector>) -> Self {
        Self { target, connector, kept: None, connections: 0, deadline: Instant::now() + TOTAL_MAX }
    }

    /// Asks the endpoint to map `numbers`.
    ///
    /// # Errors
    /// The reason why there was no answer.
    pub(super) async fn ask(
        &mut self,
        login: Option<&HeaderValue>,
        mode: Mode,
        numbers: &[&str],
    ) -> Result<Reply, Trouble> {
        let body = Bytes::from(json!({"Numbers": numbers, "Mode": mode.name()}).to_string());
        let begun = Instant::now();
        if begun >= self.deadline {
            return Err(Trouble::only(format!("not asked: all together took {TOTAL_MAX:?}")));
        }
        let patience = self.target.patience;
        let until = self.deadline.min(begun + patience);
        let sent = timeout_at(until, self.send_with_a_second_try(login, &body)).await;
        let (status, challenge, body) = match sent {
            Ok(reply) => reply?,
            // The answer may still come, and would be taken for the answer to the next request.
            Err(_) => {
                self.kept = None;
                return Err(Trouble::of_waiting(patience));
            }
        };
        let envelope: Option<Envelope> = serde_json::from_slice(&body).ok();
        let kind = if envelope.is_some() { Kind::Envelope } else { Kind::of(&body) };
        Ok(Reply { status, challenge, kind, envelope, took: begun.elapsed() })
    }

    /// Checks what answers instead of an endpoint: a TLS port, or an admin listener. If it is neither, returns
    /// `trouble`.
    pub(super) async fn explain(&self, trouble: Trouble) -> Trouble {
        if self.connector.is_none() && old_tls::speaks_tls(&self.target).await {
            return Trouble::of("the port speaks TLS, and the URL says http://", "say https:// here and to CCC");
        }
        let mut probe = Self::new(self.target.at("/healthz"), self.connector.clone());
        let get = async { probe.get().await };
        match timeout(self.target.patience, get).await {
            Ok(Ok((StatusCode::OK, _, body))) if body.windows(ALIVE.len()).any(|part| part == ALIVE) => Trouble::of(
                "this is an admin listener of callveil",
                "take the port of `listen`, not that of [admin]; CCC and strangers must not reach the latter",
            ),
            _ => trouble,
        }
    }

    async fn get(&mut self) -> Result<Received, Trouble> {
        let mut sender = self.connect().await?;
        let request = Request::get(&self.target.path).header(HOST, &self.target.authority).body(Full::default());
        let request = request.map_err(|_| Trouble::only("the URL is not fit for a request"))?;
        let answer = sender.send_request(request).await.map_err(|error| Trouble::only(error.to_string()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok((status, None, body.map_err(|_| Trouble::only("an answer torn"))?.to_bytes()))
    }

    /// The endpoint may have closed the kept connection in the meantime, as HTTP allows. Then this opens another one.
    async fn send_with_a_second_try(&mut self, login: Option<&HeaderValue>, body: &Bytes) -> Result<Received, Trouble> {
        if let Some(mut sender) = self.kept.take()
            && sender.ready().await.is_ok()
            && let Ok(reply) = self.send(sender, login, body).await
        {
            return Ok(reply);
        }
        let sender = self.connect().await?;
        self.send(sender, login, body).await
    }

    async fn send(
        &mut self,
        mut sender: Sender,
        login: Option<&HeaderValue>,
        body: &Bytes,
    ) -> Result<Received, Trouble> {
        let mut request = Request::post(&self.target.path)
            .header(HOST, &self.target.authority)
            .header(CONTENT_TYPE, "application/json");
        if let Some(login) = login {
            request = request.header(AUTHORIZATION, login);
        }
        let request =
            request.body(Full::new(body.clone())).map_err(|_| Trouble::only("the URL is not fit for a request"))?;
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| Trouble::of(format!("no HTTP answer: {error}"), NO_HTTP))?;
        let (status, challenge) = (answer.status(), answer.headers().get(WWW_AUTHENTICATE).cloned());
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_| Trouble::only(format!("an answer torn, or over {ANSWER_BYTES_MAX} bytes")))?;
        self.kept = Some(sender);
        Ok((status, challenge, body.to_bytes()))
    }

    async fn connect(&mut self) -> Result<Sender, Trouble> {
        self.connections += 1;
        let socket = self.target.connect().await?;
        let stream: Box<dyn Stream> = match &self.connector {
            None => Box::new(socket),
            Some(connector) => {
                let name =
                    ServerName::try_from(self.target.host.clone()).map_err(|_| Trouble::only("no name for TLS"))?;
                let shaken = timeout(self.target.patience, connector.connect(name, socket)).await;
                let stream = shaken.map_err(|_| Trouble::of_waiting(self.target.patience))?;
                Box::new(stream.map_err(|error| Trouble::only(format!("TLS: {error}")))?)
            }
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Trouble::of(format!("no HTTP: {error}"), NO_HTTP))?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
