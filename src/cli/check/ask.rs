//! Asks replicas which ring they use.

use std::time::Duration;

use http::{
    Request, StatusCode, Uri,
    header::{AUTHORIZATION, HOST},
};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::{
    cli::{connector::AdminArgs, failure::Failure},
    operate::ring_in_use::RingInUse,
};

/// The timeout for one replica.
const PATIENCE: Duration = Duration::from_secs(5);

/// Maximum bytes of an answer.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The index of a URL, and the answer of the replica there or the reason why there is none.
pub(super) type Answer = (usize, Result<RingInUse, String>);

/// The answers of all `urls`, in their order.
pub(super) fn ask_all(urls: &[Uri], admin: &AdminArgs) -> Result<Vec<Answer>, Failure> {
    let (token, connector) = (admin.token()?, admin.connector()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    Ok(runtime.block_on(async {
        let mut answers = Vec::new();
        let mut asking = tokio::task::JoinSet::new();
        for (at, url) in urls.iter().cloned().enumerate() {
            let (token, connector) = (token.clone(), connector.clone());
            asking.spawn(async move { (at, ask(url, token, connector).await) });
        }
        while let Some(Ok(answer)) = asking.join_next().await {
            answers.push(answer);
        }
        answers.sort_by_key(|(at, _)| *at);
        answers
    }))
}

async fn ask(url: Uri, token: Option<Zeroizing<String>>, connector: TlsConnector) -> Result<RingInUse, String> {
    let answer = timeout(PATIENCE, get_keyring(url, token, connector)).await;
    answer.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
}

async fn get_keyring(url: Uri, token: Option<Zeroizing<String>>, connector: TlsConnector) -> Result<RingInUse, String> {
    let over_tls = match url.scheme_str() {
        None | Some("http") => false,
        Some("https") => true,
        Some(_) => return Err("the admin listener speaks http:// or https://".to_owned()),
    };
    let authority = url.authority().ok_or("the URL names no host")?;
    let (host, port) = (authority.host().trim_matches(['[', ']']), if over_tls { 443 } else { 80 });
    let socket = TcpStream::connect((host, authority.port_u16().unwrap_or(port))).await;
    let socket = socket.map_err(|error| error.to_string())?;
    let mut sender = if over_tls {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| "the URL names no host")?;
        speak(connector.connect(name, socket).await.map_err(|error| error.to_string())?).await?
    } else {
        speak(socket).await?
    };
    let path = format!("{}/keyring", url.path().trim_end_matches('/'));
    let mut request = Request::get(path).header(HOST, authority.as_str());
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", *token));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|_| "the URL or the token is not fit for a request")?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    if answer.status() != StatusCode::OK {
        return Err(format!("it answers {}", answer.status()));
    }
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&body.to_bytes()).map_err(|_| "it answers as no callveil does".to_owned())
}

/// Speaks HTTP over `socket`.
async fn speak<S>(socket: S) -> Result<http1::SendRequest<Empty<Bytes>>, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}
