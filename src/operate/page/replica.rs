//! The page of one replica.

use std::fmt::{self, Write as _};

use jiff::{SignedDuration, Timestamp};

use super::{
    look::{At, Column, Count, Name, Text, Tone, Words, begin, end, facts, heading, many, rest, says, table},
    timeline::{self, KEYS_MAX, Span, last_opened, next_activation},
};
use crate::lately::Lately;

/// The most clients that are shown: those that opened the most.
const CLIENTS_MAX: usize = 100;

/// The most keys that are shown for each client.
const KEYS_A_CLIENT: usize = 12;

/// The most limits that are shown.
const LIMITS_MAX: usize = 40;

/// A limit is near once this share of it is used, in percent.
const NEAR_PERCENT: u64 = 80;

/// A certificate that expires this soon is warned of.
const EXPIRY_NEAR: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Everything that the page shows.
#[derive(Clone, Debug)]
pub struct Replica {
    /// The time of all the figures.
    pub now: Timestamp,
    /// The version of the program.
    pub version: &'static str,
    /// The random name of this start.
    pub instance: String,
    /// When this process started.
    pub started: Timestamp,
    /// Why the replica wants no requests now, if it wants none.
    pub lack: Option<&'static str>,
    /// Open connections, and how many there may be.
    pub connections: (usize, usize),
    /// Memory of this process that is in use.
    pub resident_bytes: Option<u64>,
    /// When the first certificate expires.
    pub certificate_expires: Option<Timestamp>,
    /// Since the start: requests without good credentials, and requests to the admin listener without its token.
    pub failed_logins: (u64, u64),
    /// What is on disk but refused, and why.
    pub refused: Vec<(&'static str, String)>,
    /// Whose signatures the ring on disk waits for.
    pub awaits: Option<String>,
    /// Reloads that were refused since the start.
    pub reload_failures: u64,
    /// Whether a look at the files on disk hangs.
    pub is_reload_stuck: bool,
    /// The ring in use.
    pub ring: RingFigures,
    /// The audit log.
    pub audit: AuditFigures,
    /// Who may call.
    pub clients: Vec<ClientFigures>,
}

/// The ring in use.
#[derive(Clone, Debug)]
pub struct RingFigures {
    /// Its name.
    pub ring: String,
    /// The fingerprint of its content.
    pub hash: String,
    /// How often it was written.
    pub generation: u64,
    /// Since when it is in use.
    pub since: Option<Timestamp>,
    /// For how many recipients it is encrypted; 0 if it is plain.
    pub recipients: usize,
    /// Its keys.
    pub keys: Vec<KeyFigures>,
}

/// A key of the ring in use.
#[derive(Clone, Debug)]
pub struct KeyFigures {
    /// The key over time.
    pub span: Span,
    /// UIDs of the key that were opened lately.
    pub lately: Lately,
    /// UIDs of the key that were opened since the start.
    pub opened: u64,
    /// When the last of them was opened.
    pub last_opened: Option<Timestamp>,
}

/// The audit log.
#[derive(Clone, Debug)]
pub struct AuditFigures {
    /// Lines that were written since the start.
    pub lines: u64,
    /// The hash of the last of them.
    pub hash: String,
    /// The number of the last line that the log on stderr reports.
    pub told: u64,
    /// Places held by records that are not written yet, and how many places there are.
    pub queued: (usize, usize),
    /// Requests that went unrecorded.
    pub dropped: u64,
    /// Whether the last write failed, or does not return.
    pub is_stuck: bool,
}

/// Somebody who may call.
#[derive(Clone, Debug)]
pub struct ClientFigures {
    /// Its name in the configuration.
    pub name: String,
    /// The space of its UIDs.
    pub context: String,
    /// UIDs that it opened lately.
    pub lately: Lately,
    /// UIDs that it opened lately, by key.
    pub by_key: Vec<(String, Lately)>,
    /// Items that its limits have refused since the start.
    pub limited: u64,
    /// How much of each limit is used.
    pub limits: Vec<LimitUse>,
}

/// How much of a limit is used.
#[derive(Clone, Debug)]
pub struct LimitUse {
    /// What is limited, and over how long.
    pub what: String,
    /// How much counts towards it now.
    pub used: u64,
    /// The limit.
    pub of: u64,
}

impl LimitUse {
    fn percent(&self) -> u64 {
        let percent = u128::from(self.used) * 100 / u128::from(self.of.max(1));
        u64::try_from(percent).unwrap_or(u64::MAX)
    }

    fn is_near(&self) -> bool {
        self.percent() >= NEAR_PERCENT
    }
}

/// The page.
pub fn replica(replica: &Replica) -> String {
    let mut out = String::with_capacity(32 * 1024);
    replica.write(&mut out).expect("a string takes everything");
    out
}

impl Replica {
    fn write(&self, out: &mut String) -> fmt::Result {
        let attention = self.attention();
        let is_wrong = attention.iter().any(|(tone, _)| *tone == Tone::Bad);
        match self.lack {
            Some(lack) => begin(out, "callveil replica", format_args!("not ready: {lack}"), Tone::Bad)?,
            None if is_wrong => begin(out, "callveil replica", "ready, but something is wrong", Tone::Warn)?,
            None => begin(out, "callveil replica", "ready", Tone::Good)?,
        }
        let (now, up) = (At(self.now), Words(self.started, self.now));
        writeln!(out, "<p class=\"dim\">As of {now}. Up for {up}. Load the page again for newer figures.</p>")?;
        says(out, &attention)?;
        self.write_health(out)?;
        self.write_ring(out)?;
        self.write_clients(out)?;
        self.write_limits(out)?;
        self.write_audit(out)?;
        self.write_reloads(out)?;
        end(out, FOOT)
    }

    /// What needs somebody's attention.
    fn attention(&self) -> Vec<(Tone, String)> {
        let mut found = Vec::new();
        let mut say = |tone, sentence| found.push((tone, sentence));
        if let Some(lack) = self.lack {
            say(Tone::Bad, format!("This replica wants no requests: {lack}."));
        }
        for (what, reason) in &self.refused {
            say(
                Tone::Bad,
                format!("The {what} on disk is refused. The previous one stays in use. Reason: {}", Text(reason)),
            );
        }
        if let Some(awaits) = &self.awaits {
            say(Tone::Warn, format!("The key ring on disk is not in use yet: {}", Text(awaits)));
        }
        if self.is_reload_stuck {
            say(Tone::Bad, "Reading the files on disk hangs: changes are not loaded until it ends.".to_owned());
        }
        if self.audit.is_stuck {
            say(Tone::Bad, "The audit log cannot be written.".to_owned());
        }
        if self.audit.dropped > 0 {
            let dropped = Count(self.audit.dropped);
            say(Tone::Bad, format!("Requests went unrecorded since the start: {dropped}."));
        }
        if let Some(expires) = self.certificate_expires {
            if expires <= self.now {
                say(Tone::Bad, format!("A certificate expired on {}.", At(expires)));
            } else if expires.duration_since(self.now) < EXPIRY_NEAR {
                let left = Words(self.now, expires);
                say(Tone::Warn, format!("A certificate expires in {left}, on {}.", At(expires)));
            }
        }
        let near = self.near().count();
        if near > 0 {
            let verb = if near == 1 { "is" } else { "are" };
            say(Tone::Warn, format!("{} {verb} near: see below.", many(near, "limit")));
        }
        if found.is_empty() {
            found.push((Tone::Good, "Nothing here wants attention.".to_owned()));
        }
        found
    }

    fn write_health(&self, out: &mut String) -> fmt::Result {
        heading(out, "Health")?;
        let mebibytes = |bytes: u64| format!("{} MiB", Count(bytes >> 20));
        let (open, max) = self.connections;
        let (logins, tokens) = self.failed_logins;
        let mut health = vec![
            ("Version", self.version.to_owned()),
            ("Instance", format!("<code>{}</code>", Text(&self.instance))),
            ("Started", At(self.started).to_string()),
            ("Connections", format!("{} of {}", Count(open as u64), Count(max as u64))),
            ("Logins that failed", Count(logins).to_string()),
            ("Wrong admin tokens", Count(tokens).to_string()),
        ];
        health.extend(self.resident_bytes.map(|bytes| ("Memory", mebibytes(bytes))));
        health.extend(self.certificate_expires.map(|expires| ("Certificate expires", At(expires).to_string())));
        facts(out, &health)
    }

    fn write_ring(&self, out: &mut String) -> fmt::Result {
        heading(out, "Key ring")?;
        let RingFigures { ring, hash, generation, since, recipients, keys } = &self.ring;
        let sealed = match recipients {
            0 => "no: it is plain".to_owned(),
            some => format!("for {}", many(*some, "recipient")),
        };
        let mut about = vec![
            ("Generation", Count(*generation).to_string()),
            ("Hash", format!("<code>{}</code>", Text(hash))),
            ("Encrypted", sealed),
        ];
        about.extend(since.map(|since| ("In use since", At(since).to_string())));
        about.push(("Ring", format!("<code>{}</code>", Text(ring))));
        facts(out, &about)?;
        let mut keys: Vec<&KeyFigures> = keys.iter().collect();
        keys.sort_by_key(|key| key.span.rank());
        let left_out = keys.len().saturating_sub(KEYS_MAX);
        keys.truncate(KEYS_MAX);
        let spans: Vec<Span> = keys.iter().map(|key| key.span.clone()).collect();
        next_activation(out, &spans, self.now)?;
        timeline::draw(out, &spans, self.now)?;
        let rows: Vec<_> = keys.iter().map(|key| self.key_row(key)).collect();
        let columns = [
            ("Key", Column::Name),
            ("State", Column::Text),
            ("Last hour", Column::Figure),
            ("Last day", Column::Figure),
            ("Since start", Column::Figure),
        ];
        table(out, "UIDs that were opened, by their key", columns, &rows)?;
        rest(out, left_out, "key")
    }

    fn key_row(&self, key: &KeyFigures) -> [String; 5] {
        [
            Text(&key.span.id).to_string(),
            format!("{}{}", key.span.says(self.now), last_opened(key.last_opened)),
            Count(key.lately.hour).to_string(),
            Count(key.lately.day).to_string(),
            Count(key.opened).to_string(),
        ]
    }

    fn write_clients(&self, out: &mut String) -> fmt::Result {
        heading(out, "Clients")?;
        if self.clients.is_empty() {
            return out.write_str("<p>Nobody may call: the configuration has no clients.</p>\n");
        }
        let mut clients: Vec<&ClientFigures> = self.clients.iter().collect();
        clients.sort_by_key(|client| (std::cmp::Reverse((client.lately.day, client.lately.hour)), &client.name));
        let left_out = clients.len().saturating_sub(CLIENTS_MAX);
        clients.truncate(CLIENTS_MAX);
        let rows: Vec<_> = clients.into_iter().map(client_row).collect();
        let columns = [
            ("Client", Column::Name),
            ("Last hour", Column::Figure),
            ("Last day", Column::Figure),
            ("By key, last day", Column::Text),
        ];
        table(out, "UIDs that were opened, by client", columns, &rows)?;
        rest(out, left_out, "client")
    }

    /// The limits that are near, each with its client.
    fn near(&self) -> impl Iterator<Item = (&ClientFigures, &LimitUse)> {
        let all = self.clients.iter().flat_map(|client| client.limits.iter().map(move |limit| (client, limit)));
        all.filter(|(_, limit)| limit.is_near())
    }

    fn write_limits(&self, out: &mut String) -> fmt::Result {
        heading(out, "Limits")?;
        let mut near: Vec<_> = self.near().collect();
        near.sort_by_key(|(client, limit)| (std::cmp::Reverse(limit.percent()), &client.name));
        let left_out = near.len().saturating_sub(LIMITS_MAX);
        let row = |(client, limit): &(&ClientFigures, &LimitUse)| {
            let of = format!("{} of {}", Count(limit.used), Count(limit.of));
            [Name(&client.name).to_string(), limit.what.clone(), of, format!("{} %", limit.percent())]
        };
        let rows: Vec<_> = near.iter().take(LIMITS_MAX).map(row).collect();
        if rows.is_empty() {
            writeln!(out, "<p>No client has used {NEAR_PERCENT} % of a limit.</p>")?;
        } else {
            let columns = [
                ("Client", Column::Name),
                ("Limit", Column::Text),
                ("Used", Column::Figure),
                ("Share", Column::Figure),
            ];
            table(out, "Limits that are at least 80 % used", columns, &rows)?;
            rest(out, left_out, "limit")?;
        }
        let limited: u64 = self.clients.iter().map(|client| client.limited).sum();
        writeln!(out, "<p>Items that limits refused since the start: {}.</p>", Count(limited))
    }

    fn write_audit(&self, out: &mut String) -> fmt::Result {
        heading(out, "Audit log")?;
        let AuditFigures { lines, hash, told, queued: (queued, places), dropped, is_stuck } = &self.audit;
        let state = if *is_stuck { "cannot be written" } else { "is written" };
        facts(
            out,
            &[
                ("State", state.to_owned()),
                ("Lines of this start", Count(*lines).to_string()),
                ("Head of the chain", format!("<code>{}</code>", Text(hash))),
                ("Last line reported on stderr", Count(*told).to_string()),
                ("Places taken", format!("{} of {}", Count(*queued as u64), Count(*places as u64))),
                ("Unrecorded requests", Count(*dropped).to_string()),
            ],
        )
    }

    fn write_reloads(&self, out: &mut String) -> fmt::Result {
        heading(out, "Reloads")?;
        let state = |what: &str| {
            let refused = self.refused.iter().any(|(refused, _)| *refused == what);
            let is_refused = if refused { "what is on disk is refused" } else { "as on disk" };
            is_refused.to_owned()
        };
        let ring = if self.awaits.is_some() { "waits for approval".to_owned() } else { state("key ring") };
        facts(
            out,
            &[
                ("Key ring", ring),
                ("Configuration", state("configuration")),
                ("Certificates", state("certificate")),
                ("Refused since the start", Count(self.reload_failures).to_string()),
            ],
        )
    }
}

fn client_row(client: &ClientFigures) -> [String; 4] {
    let mut by_key: Vec<_> = client.by_key.iter().filter(|(_, lately)| lately.day > 0).collect();
    by_key.sort_by_key(|(id, lately)| (std::cmp::Reverse(lately.day), id));
    let mut keys = String::new();
    for (at, (id, lately)) in by_key.iter().take(KEYS_A_CLIENT).enumerate() {
        let comma = if at > 0 { ", " } else { "" };
        let _ = write!(keys, "{comma}{}: {}", Text(id), Count(lately.day));
    }
    let left_out = by_key.len().saturating_sub(KEYS_A_CLIENT);
    if left_out > 0 {
        let _ = write!(keys, ", and {left_out} more");
    }
    let name = format!("{}<small>context {}</small>", Name(&client.name), Text(&client.context));
    [name, Count(client.lately.hour).to_string(), Count(client.lately.day).to_string(), keys]
}

/// Where machines find the same figures.
const FOOT: &str = "<p>For machines: <a href=\"readyz\">readiness</a>, <a href=\"keyring\">key ring</a>, \
    <a href=\"metrics\">metrics</a>, <a href=\"openapi.yaml\">all that is answered here</a>.</p>\n\
    <p>These figures are for this replica only, since it started. For all replicas, run \
    <code>callveil keys check URL… --html FILE</code></p>";
