//! The wire of CCC over IronCore Alloy: `alloy-server PORT`.

use std::{collections::HashMap, convert::Infallible, net::Ipv4Addr, rc::Rc, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use ironcore_alloy::{
    AlloyMetadata, DerivationPath, EncryptedBytes, PlaintextBytes, Secret, SecretPath, Standalone, TenantId,
    deterministic::{DeterministicFieldOps, EncryptedField, PlaintextField},
    standalone::config::{RotatableSecret, StandaloneConfiguration, StandaloneSecret, StandardSecrets},
};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Call {
    numbers: Vec<String>,
    mode: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope {
    code: u16,
    results: Vec<Mapped>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Mapped {
    key: String,
    value: String,
}

struct Server {
    alloy: Arc<Standalone>,
    metadata: Arc<AlloyMetadata>,
    authorization: String,
}

const BASE32: base32::Alphabet = base32::Alphabet::Rfc4648Lower { padding: false };

impl Server {
    fn new() -> Self {
        let secret = StandaloneSecret::new(1, Secret::new(vec![7; 64]).unwrap());
        let secrets = HashMap::from([(path(), RotatableSecret::new(Some(secret), None).unwrap())]);
        let standard = StandardSecrets::new(None, Vec::new()).unwrap();
        let alloy = Standalone::new(&StandaloneConfiguration::new(standard, secrets, HashMap::new()));
        let metadata = AlloyMetadata::new_simple(TenantId("default".to_owned()));
        let authorization = format!("Basic {}", STANDARD.encode("ccc:a-password-for-the-benchmark"));
        Self { alloy, metadata, authorization }
    }

    /// The same little that the other peers do to a number: `00` or nothing before it, and China where it has no country.
    async fn seal(&self, text: &str) -> Option<String> {
        let digits = text.trim_start_matches("0086").trim_start_matches("+86");
        let plaintext_field = PlaintextBytes(format!("86{digits}").into_bytes());
        let field = PlaintextField { plaintext_field, secret_path: path(), derivation_path: derivation() };
        let sealed = self.alloy.deterministic().encrypt(field, &self.metadata).await.ok()?;
        Some(base32::encode(BASE32, &sealed.encrypted_field.0))
    }

    async fn open(&self, uid: &str) -> Option<String> {
        let encrypted_field = EncryptedBytes(base32::decode(BASE32, uid)?);
        let field = EncryptedField { encrypted_field, secret_path: path(), derivation_path: derivation() };
        let opened = self.alloy.deterministic().decrypt(field, &self.metadata).await.ok()?;
        Some(format!("00{}", String::from_utf8(opened.plaintext_field.0).ok()?))
    }

    async fn answer(&self, request: Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        if request.headers().get(AUTHORIZATION).is_none_or(|value| value != self.authorization.as_str()) {
            return Response::builder().status(401).body(Full::default()).ok();
        }
        let body = request.into_body().collect().await.ok()?.to_bytes();
        let call: Call = serde_json::from_slice(&body).ok()?;
        let mut results = Vec::with_capacity(call.numbers.len());
        for key in call.numbers {
            let value = match &*call.mode {
                "PhoneToUID" => self.seal(&key).await?,
                _ => self.open(&key).await?,
            };
            results.push(Mapped { key, value });
        }
        let json = serde_json::to_vec(&Envelope { code: 0, results }).ok()?;
        Response::builder().header(CONTENT_TYPE, "application/json").body(Full::from(json)).ok()
    }
}

fn path() -> SecretPath {
    SecretPath("phones".to_owned())
}

fn derivation() -> DerivationPath {
    DerivationPath("default".to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("usage: alloy-server PORT");
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let server = Rc::new(Server::new());
    let accept = async {
        loop {
            let Ok((socket, _)) = listener.accept().await else { continue };
            let _ = socket.set_nodelay(true);
            let server = server.clone();
            tokio::task::spawn_local(async move {
                let service = service_fn(|request| async {
                    let bad = || Response::builder().status(400).body(Full::default()).unwrap();
                    Ok::<_, Infallible>(server.answer(request).await.unwrap_or_else(bad))
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
            });
        }
    };
    tokio::task::LocalSet::new().run_until(accept).await
}
