//! Gathers what the page of this replica shows.

use std::{sync::atomic::Ordering, time::Instant};

use jiff::Timestamp;

use crate::{
    audit::PLACES,
    auth,
    item::Mode,
    keyring::key::Status,
    operate::{
        exposition::Telemetry,
        page::{AuditFigures, ClientFigures, KeyFigures, LimitUse, Replica, RingFigures, Span},
        process::Figures,
    },
    server::tls::refusals,
    usage::{Limit, Outcome},
    version::VERSION,
};

/// The times that the limits of a client count over.
const SPANS: [&str; 2] = ["a minute", "a day"];

impl Telemetry {
    /// Everything that the page shows, as of `now`.
    pub(super) fn overview(&self, now: Timestamp) -> Replica {
        let (reloads, metrics, instant) = (self.state.reloads(), self.audit.metrics(), Instant::now());
        let refused = [
            ("key ring", reloads.ring_refused().map(str::to_owned)),
            ("configuration", reloads.config_refused.clone()),
            ("certificate", refusals(&self.tls)),
        ];
        Replica {
            now,
            version: VERSION,
            instance: self.state.instance.clone(),
            started: self.state.started,
            lack: self.lack(),
            connections: (self.counts.open.load(Ordering::Relaxed), self.connections_max),
            resident_bytes: Figures::now().map(|figures| figures.resident_bytes),
            certificate_expires: self.tls.iter().filter_map(|tls| tls.validity()).map(|found| found.not_after).min(),
            failed_logins: (
                metrics.auth_failures.load(Ordering::Relaxed),
                metrics.admin_auth_failures.load(Ordering::Relaxed),
            ),
            refused: refused.into_iter().filter_map(|(what, reason)| Some((what, reason?))).collect(),
            awaits: reloads.ring_awaits().map(str::to_owned),
            reload_failures: reloads.failures,
            is_reload_stuck: self.state.is_look_stuck(),
            ring: self.ring_facts(now, reloads.ring_since),
            audit: self.audit_facts(),
            clients: self.state.clients().iter().map(|client| client_facts(client, now, instant)).collect(),
        }
    }

    fn ring_facts(&self, now: Timestamp, since: Option<Timestamp>) -> RingFigures {
        let tokenizer = self.state.tokenizer();
        let ring = tokenizer.ring();
        let keys = ring.keys().iter().map(|key| {
            let (decoded, lately) = self.state.decoded(key.id, now);
            let span = Span {
                id: key.id.to_string(),
                state: ring.state(key, now),
                created: key.created,
                activates: key.activates,
                retired: key.disabled.filter(|_| key.status != Status::Enabled),
            };
            KeyFigures { span, lately, opened: decoded.count, last_opened: decoded.last }
        });
        RingFigures {
            ring: ring.id().to_string(),
            hash: ring.hash().to_string(),
            generation: ring.generation(),
            since,
            recipients: ring.recipients().len(),
            keys: keys.collect(),
        }
    }

    fn audit_facts(&self) -> AuditFigures {
        let head = self.audit.head();
        AuditFigures {
            lines: head.lines,
            hash: head.hash.to_string(),
            told: self.audit.told(),
            queued: (self.audit.queued(), PLACES),
            dropped: self.audit.dropped(),
            is_stuck: self.audit.is_stuck(),
        }
    }
}

fn client_facts(client: &auth::Client, now: Timestamp, instant: Instant) -> ClientFigures {
    let (lately, by_key) = client.usage.opened(now);
    let limits = Limit::ALL.into_iter().flat_map(|limit| {
        let standing = client.allowance(limit).standing(instant);
        let uses = SPANS.into_iter().zip(standing);
        uses.filter_map(move |(span, standing)| {
            let (used, of) = standing?;
            Some(LimitUse { what: format!("{} {span}", limit.name()), used, of })
        })
    });
    ClientFigures {
        name: client.username.as_str().to_owned(),
        context: client.context.as_str().to_owned(),
        lately,
        by_key: by_key.into_iter().map(|(id, lately)| (id.to_string(), lately)).collect(),
        limited: Mode::ALL.into_iter().map(|mode| client.usage.items(mode, Outcome::Limited)).sum(),
        limits: limits.collect(),
    }
}
