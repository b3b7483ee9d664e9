//! `callveil keys check`: what the replicas know and did, before a key activates or goes.

mod at_hand;
mod counters;
mod report;

use std::{collections::HashSet, path::PathBuf, time::Duration};

use clap::Args;
use http::{Request, StatusCode, Uri, header::AUTHORIZATION, header::HOST};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use self::counters::Quiet;
use super::{
    change::lead,
    connector::AdminArgs,
    failure::Failure,
    ring::RingArgs,
    say::{countdown, print, tell},
    table::print_table,
};
use crate::{
    ids::KeyId,
    keyring::{
        difference::{Outline, OutlineKey},
        key::Status,
    },
};

/// How long one replica is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of the longest answer that is read.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Clocks further apart than this are told of.
const SKEW_MAX: SignedDuration = SignedDuration::from_secs(5);

#[derive(Args)]
pub(super) struct CheckArgs {
    /// The admin listeners of all replicas, such as http://10.0.0.7:9640 or, with [admin.tls], https://
    #[arg(required = true, value_name = "URL")]
    urls: Vec<Uri>,
    /// How many replicas there are: fewer instances that answer are a failure
    #[arg(long, value_name = "N")]
    expect: Option<usize>,
    /// The generation that they are to have: without it, replicas that all lack the newest file agree with each other
    #[arg(long, value_name = "N")]
    generation: Option<u64>,
    /// Count what was decoded since then (RFC 3339): a replica started later is a failure, since its counters forgot
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// How long no replica may have decoded with a key before it may be disabled
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = lead, conflicts_with = "since")]
    unused_for: SignedDuration,
    /// Fail if this key may not be disabled: a replica decoded with it, or has not run for so long
    #[arg(long, value_name = "ID")]
    disable: Option<KeyId>,
    #[command(flatten)]
    ring: RingArgs,
    #[command(flatten)]
    admin: AdminArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Also write a page to look at, with all replicas side by side; a page of before is replaced
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What a replica says of itself, at `/keyring`.
#[derive(Deserialize)]
struct Replica {
    instance: String,
    started: Timestamp,
    now: Timestamp,
    ring: String,
    ring_hash: String,
    generation: u64,
    recipients: Vec<String>,
    refused: Option<String>,
    awaits: Option<String>,
    keys: Vec<ReplicaKey>,
}

#[derive(Deserialize)]
struct ReplicaKey {
    id: String,
    status: Status,
    created: Timestamp,
    activates: Timestamp,
    /// When it was disabled or destroyed, if it was.
    disabled: Option<Timestamp>,
    check: String,
    primary: bool,
    decoded: u64,
    last_decoded: Option<Timestamp>,
}

/// The place of a URL, and what the replica there says, or why it says nothing.
type Answer = (usize, Result<Replica, String>);

/// Replicas that answered, by URL, each instance once.
pub(super) struct Fleet {
    replicas: Vec<(String, Replica)>,
    asked: Timestamp,
    unasked: usize,
    /// Those that could not be asked, and why.
    silent: Vec<(String, String)>,
    problems: Vec<String>,
    notes: Vec<String>,
}

pub(super) fn run(args: &CheckArgs) -> Result<(), Failure> {
    if args.since.is_some_and(|since| since > Timestamp::now()) {
        return Err(Failure::usage("--since is in the future"));
    }
    args.html.as_deref().map_or(Ok(()), report::check)?;
    // Read first: it may ask for a passphrase.
    let at_hand = at_hand::read(&args.ring)?;
    let mut fleet = Fleet::ask(&args.urls, &args.admin)?;
    fleet.check_instances(args.expect);
    fleet.check_rings(args.generation);
    fleet.check_pending();
    fleet.compare(&at_hand);
    let quiet = match args.since {
        Some(since) => Quiet::Since(since),
        None => Quiet::For(args.unused_for),
    };
    fleet.check_counters(quiet, args.disable);
    if let Some(path) = &args.html {
        report::write(&fleet, &args.urls, path)?;
    }
    fleet.report(args.json)
}

/// The ring that the replica at `url` uses.
pub(super) fn outline(url: &Uri, admin: &AdminArgs) -> Result<Outline, Failure> {
    let mut fleet = Fleet::ask(std::slice::from_ref(url), admin)?;
    let Some((_, replica)) = fleet.replicas.pop() else { return Err(Failure::failed(fleet.problems.join("; "))) };
    let keys = replica.keys.into_iter().map(|key| {
        let id = key.id.parse().map_err(|_| Failure::failed(format_args!("{url} answers as no callveil does")))?;
        Ok(OutlineKey { id, status: key.status, activates: key.activates, check: key.check })
    });
    let keys = keys.collect::<Result<_, Failure>>()?;
    Ok(Outline { ring: replica.ring, generation: replica.generation, recipients: replica.recipients, keys })
}

/// What each of `urls` answers, in their order.
fn ask_all(urls: &[Uri], admin: &AdminArgs) -> Result<Vec<Answer>, Failure> {
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

async fn ask(url: Uri, token: Option<Zeroizing<String>>, connector: TlsConnector) -> Result<Replica, String> {
    let answer = timeout(PATIENCE, get_keyring(url, token, connector)).await;
    answer.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
}

async fn get_keyring(url: Uri, token: Option<Zeroizing<String>>, connector: TlsConnector) -> Result<Replica, String> {
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

impl Fleet {
    /// Asks the replicas.
    pub(super) fn ask(urls: &[Uri], admin: &AdminArgs) -> Result<Self, Failure> {
        let (replicas, silent, problems, notes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut fleet = Self { replicas, asked: Timestamp::now(), unasked: 0, silent, problems, notes };
        for (at, answer) in ask_all(urls, admin)? {
            fleet.add(urls[at].to_string(), answer);
        }
        Ok(fleet)
    }

    /// When the replicas last opened a UID of this key, for people; nothing where none was asked.
    pub(super) fn last_used(&self, id: KeyId) -> Vec<String> {
        let id = id.to_string();
        let told = self.replicas.iter().map(|(url, replica)| {
            let used = replica.keys.iter().find(|key| key.id == id).and_then(|key| key.last_decoded);
            match used {
                Some(last) => format!("{url} last opened a UID of key {id} at {last}"),
                None => format!("{url} opened no UID of key {id} since it started, at {}", replica.started),
            }
        });
        told.chain(self.problems.iter().cloned()).collect()
    }

    fn add(&mut self, url: String, answer: Result<Replica, String>) {
        match answer {
            Err(reason) => {
                self.unasked += 1;
                self.problems.push(format!("{url} could not be asked: {reason}"));
                self.silent.push((url, reason));
            }
            Ok(replica) => {
                if let Some((other, _)) = self.replicas.iter().find(|(_, known)| known.instance == replica.instance) {
                    self.notes.push(format!("{url} is the same instance as {other}"));
                    return;
                }
                if let Some(reason) = &replica.refused {
                    self.problems.push(format!("{url} refused the file that it has now: {reason}"));
                }
                if let Some(awaited) = &replica.awaits {
                    self.problems.push(format!("the file that {url} has now is not in use: {awaited}"));
                }
                let skew = replica.now.duration_since(self.asked);
                if skew.abs() > SKEW_MAX {
                    let way = if skew.is_negative() { "behind" } else { "ahead of" };
                    self.problems.push(format!("the clock of {url} is {} s {way} ours", skew.abs().as_secs()));
                }
                self.replicas.push((url, replica));
            }
        }
    }

    fn check_instances(&mut self, expected: Option<usize>) {
        if let Some(expected) = expected.filter(|expected| *expected != self.replicas.len()) {
            self.problems.push(format!("{} instances answered, and {expected} were expected", self.replicas.len()));
        }
    }

    fn check_rings(&mut self, generation: Option<u64>) {
        for (url, replica) in
            self.replicas.iter().filter(|(_, replica)| generation.is_some_and(|wanted| wanted != replica.generation))
        {
            self.problems.push(format!("{url} has generation {}, not {}", replica.generation, generation.unwrap_or(0)));
        }
        let distinct = |what: fn(&Replica) -> String| {
            self.replicas.iter().map(|(_, replica)| what(replica)).collect::<HashSet<_>>().len()
        };
        if distinct(|replica| replica.ring.clone()) > 1 {
            self.problems.push("the replicas use different rings".to_owned());
        } else if let Some((url, other, generation)) = self.apart() {
            self.problems.push(format!(
                "{url} and {other} have two rings of generation {generation}: two copies were changed (`keys merge` joins their files)"
            ));
        } else if distinct(|replica| replica.ring_hash.clone()) > 1 {
            self.problems.push("the replicas have not all the same generation of the ring".to_owned());
        } else if distinct(|replica| replica.primary().to_owned()) > 1 {
            self.problems.push("the replicas have not all the same primary".to_owned());
        }
    }

    /// Two replicas whose rings of one generation differ, and that generation.
    fn apart(&self) -> Option<(&str, &str, u64)> {
        self.replicas.iter().enumerate().find_map(|(at, (url, replica))| {
            let differs = |(_, other): &&(String, Replica)| {
                other.generation == replica.generation && other.ring_hash != replica.ring_hash
            };
            let (other, _) = self.replicas[..at].iter().find(differs)?;
            Some((other.as_str(), url.as_str(), replica.generation))
        })
    }

    /// A pending key may activate once every replica has it.
    fn check_pending(&mut self) {
        let mut seen = HashSet::new();
        for (_, replica) in &self.replicas {
            for key in replica.keys.iter().filter(|key| key.is_pending(replica.now)) {
                if !seen.insert(&key.id) {
                    continue;
                }
                let without = |(_, other): &&(String, Replica)| !other.keys.iter().any(|theirs| theirs.id == key.id);
                let without: Vec<_> = self.replicas.iter().filter(without).map(|(url, _)| url.as_str()).collect();
                let left = countdown(self.asked, key.activates);
                if without.is_empty() && self.unasked > 0 {
                    self.notes.push(format!("key {} activates in {left}: those that answered have it", key.id));
                } else if without.is_empty() {
                    self.notes.push(format!("key {} may activate, in {left}: every replica has it", key.id));
                } else {
                    self.problems.push(format!(
                        "key {} activates in {left}, and is missing on {}",
                        key.id,
                        without.join(", ")
                    ));
                }
            }
        }
    }

    fn report(self, json: bool) -> Result<(), Failure> {
        if json {
            let replicas = self.replicas.iter().map(|(url, replica)| {
                json!({
                    "url": url, "instance": replica.instance, "started": replica.started.to_string(),
                    "generation": replica.generation, "ring_hash": replica.ring_hash, "primary": replica.primary(),
                })
            });
            let replicas: Vec<_> = replicas.collect();
            print(
                json!({"ok": self.problems.is_empty(), "replicas": replicas, "problems": self.problems, "notes": self.notes}),
            )?;
        } else {
            let rows = self.replicas.iter().map(|(url, replica)| {
                let started = replica.started.strftime("%F %H:%MZ").to_string();
                let (generation, primary) = (replica.generation.to_string(), replica.primary().to_owned());
                [url.clone(), started, generation, replica.ring_hash.clone(), primary]
            });
            print_table(["REPLICA", "STARTED", "GENERATION", "HASH", "PRIMARY"], &rows.collect::<Vec<_>>())?;
            self.notes.iter().try_for_each(|note| print(format_args!("  {note}")))?;
            self.problems.iter().for_each(|problem| tell(format_args!("! {problem}")));
        }
        if self.problems.is_empty() { Ok(()) } else { Err(Failure { code: Failure::FAILED, message: String::new() }) }
    }
}

impl Replica {
    fn primary(&self) -> &str {
        self.keys.iter().find(|key| key.primary).map_or("", |key| &key.id)
    }

    fn retirable(&self) -> impl Iterator<Item = &str> {
        let retirable = |key: &&ReplicaKey| key.status == Status::Enabled && !key.primary && !key.is_pending(self.now);
        self.keys.iter().filter(retirable).map(|key| key.id.as_str())
    }
}

impl ReplicaKey {
    fn is_pending(&self, now: Timestamp) -> bool {
        self.status == Status::Enabled && self.activates > now
    }
}
