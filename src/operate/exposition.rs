//! The text that Prometheus reads, made anew for each request. A label can have only as many values as there are modes,
//! statuses and errors, clients in the configuration, or keys in the ring.

use std::{
    fmt::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric as _, MetricEncoder, NoLabelSet, text,
    },
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::{
    audit::Audit,
    item::{ItemError, Mode},
    keyring::key::Status,
    metrics::{BOUNDS, Metrics, STATUSES},
    operate::{process::Figures, readiness::Readiness},
    server::{
        ConnectionCounts,
        tls::{Tls, refusals},
    },
    state::ReplicaState,
    usage::{Limit, Outcome},
    version,
};

/// The format of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, which Prometheus asks for.
    OpenMetrics,
    /// The older text format of Prometheus, which other tools read.
    Prometheus,
}

impl Format {
    /// The better of the formats that a client `accept`s.
    pub fn of(accept: &[u8]) -> Self {
        let wanted = accept.windows(OPEN_METRICS.len()).any(|part| part.eq_ignore_ascii_case(OPEN_METRICS));
        if wanted { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

const OPEN_METRICS: &[u8] = b"application/openmetrics-text";

/// The sources of all metrics.
#[derive(Clone)]
pub struct Telemetry {
    /// Counts of the connections.
    pub counts: Arc<ConnectionCounts>,
    /// The ring and the reloads.
    pub state: Arc<ReplicaState>,
    /// The audit log, and the counts of the requests.
    pub audit: Arc<Audit>,
    /// The readiness that probes are told.
    pub readiness: Arc<Readiness>,
    /// The certificates in use.
    pub tls: Vec<Arc<Tls>>,
    /// The most connections that there may be at once.
    pub connections_max: usize,
}

impl Telemetry {
    /// Why this replica wants no requests now, if it wants none.
    pub(super) fn lack(&self) -> Option<&'static str> {
        self.readiness.lack().or_else(|| self.audit.lacks_room().then_some("no room in the audit log"))
    }

    /// All metrics, as of now.
    pub fn write(&self, format: Format) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register_collector(Box::new(self.clone()));
        text::encode(&mut text, &registry).expect("a string takes everything");
        match format {
            Format::OpenMetrics => text,
            Format::Prometheus => before_open_metrics(&text),
        }
    }
}

/// Turns OpenMetrics into the older text format. There, counters are declared by their whole name, and there are no
/// units and no end mark.
fn before_open_metrics(text: &str) -> String {
    let counters: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut older = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let declared = ["# TYPE ", "# HELP "].iter().find_map(|word| Some((*word, line.strip_prefix(word)?)));
        let _ = match declared.and_then(|(word, rest)| Some((word, rest.split_once(' ')?))) {
            Some((word, (name, rest))) if counters.contains(&name) => writeln!(older, "{word}{name}_total {rest}"),
            _ => writeln!(older, "{line}"),
        };
    }
    older
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telemetry")
    }
}

impl Collector for Telemetry {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        self.audit.metrics().encode(&mut families)?;
        self.encode_clients(&mut families)?;
        self.encode_connections(&mut families)?;
        self.encode_audit(&mut families)?;
        self.encode_ring(&mut families)?;
        self.encode_reloads(&mut families)?;
        self.encode_process(&mut families)
    }
}

impl Metrics {
    fn encode(&self, families: &mut Families<'_>) -> fmt::Result {
        let mut requests = families.begin("callveil_requests", "Requests that ended", MetricType::Counter)?;
        let modes = Mode::ALL.map(Mode::name).into_iter().chain(["none"]);
        for (mode, statuses) in modes.clone().zip(&self.requests) {
            for (status, count) in STATUSES.iter().zip(statuses) {
                let status = if *status == 0 { "none".to_owned() } else { status.to_string() };
                count_of(&mut requests, &[("mode", mode), ("status", &status)], get(count))?;
            }
        }
        let mut items =
            families.begin("callveil_items", "Items of requests, by what became of them", MetricType::Counter)?;
        let results = ["mapped", "passed"].into_iter().chain(ItemError::ALL.map(ItemError::code));
        for (mode, counts) in modes.clone().zip(&self.items) {
            for (result, count) in results.clone().zip(counts) {
                count_of(&mut items, &[("mode", mode), ("result", result)], get(count))?;
            }
        }
        let help = "Items of requests that were refused by their client's limit";
        let mut limited = families.begin("callveil_rate_limited_items", help, MetricType::Counter)?;
        for (mode, count) in modes.zip(&self.limited) {
            count_of(&mut limited, &[("mode", mode)], get(count))?;
        }
        let help = "Requests without good credentials";
        families.counter("callveil_auth_failures", help, get(&self.auth_failures))?;
        let help = "Requests to the admin listener without its token";
        families.counter("callveil_admin_auth_failures", help, get(&self.admin_auth_failures))?;
        let help = "From the head of a request to its answer";
        let mut durations = families.begin("callveil_request_duration_seconds", help, MetricType::Histogram)?;
        let bounds = BOUNDS.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.buckets.iter().map(get)).collect();
        let (sum, count) = (get(&self.microseconds) as f64 / 1e6, buckets.iter().map(|(_, count)| count).sum());
        durations.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

impl Telemetry {
    fn encode_clients(&self, families: &mut Families<'_>) -> fmt::Result {
        let (clients, now) = (self.state.clients(), Instant::now());
        let help = "Items of each client, by what became of them";
        let mut items = families.begin("callveil_client_items", help, MetricType::Counter)?;
        for client in clients.iter() {
            for (mode, outcome) in Mode::ALL.into_iter().flat_map(|mode| Outcome::ALL.map(|outcome| (mode, outcome))) {
                let labels = [("client", client.username.as_str()), ("mode", mode.name()), ("result", outcome.name())];
                count_of(&mut items, &labels, client.usage.items(mode, outcome))?;
            }
        }
        let help =
            "Values that counted towards a client's limit, including failed ones. With aliases, one for each key";
        let mut charged = families.begin("callveil_client_charged", help, MetricType::Counter)?;
        for client in clients.iter() {
            for limit in Limit::ALL {
                let labels = [("client", client.username.as_str()), ("limit", limit.name())];
                count_of(&mut charged, &labels, client.usage.charged(limit))?;
            }
        }
        let help = "Values in 24 hours that a client may have here; absent where it may have any number";
        let mut per_day = families.begin("callveil_client_limit_per_day", help, MetricType::Gauge)?;
        for client in clients.iter() {
            for limit in Limit::ALL {
                if let Some(values) = client.allowance(limit).per_day() {
                    gauge_of(&mut per_day, &[("client", client.username.as_str()), ("limit", limit.name())], values)?;
                }
            }
        }
        let help = "Values of the last 24 hours that count towards the limit a day, where there is one; forgotten at a restart";
        let mut today = families.begin("callveil_client_day_items", help, MetricType::Gauge)?;
        for client in clients.iter() {
            for limit in Limit::ALL {
                let labels = [("client", client.username.as_str()), ("limit", limit.name())];
                gauge_of(&mut today, &labels, client.allowance(limit).spent_today(now))?;
            }
        }
        Ok(())
    }

    fn encode_connections(&self, families: &mut Families<'_>) -> fmt::Result {
        let counts = &self.counts;
        families.gauge("callveil_connections", "Open connections", counts.open.load(Ordering::Relaxed))?;
        let help = "Connections that were refused: the limit was reached, one peer had too many, or the \
            peer was not in allow_from";
        families.counter("callveil_connections_refused", help, get(&counts.refused))?;
        families.counter(
            "callveil_tls_failures",
            "Connections on which TLS could not be established",
            get(&counts.tls_failed),
        )
    }

    fn encode_audit(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauge("callveil_audit_queued", "Audit records that are not written yet", self.audit.queued())?;
        let help = "Requests without a client, which the audit log has as sums";
        families.counter("callveil_audit_summed", help, self.audit.summed())?;
        let help = "Requests that went unrecorded since the audit log could not be written";
        families.counter("callveil_audit_dropped", help, self.audit.dropped())?;
        let help = "Whether the last write of the audit log failed, or does not return";
        families.gauge("callveil_audit_stuck", help, u32::from(self.audit.is_stuck()))
    }

    fn encode_ring(&self, families: &mut Families<'_>) -> fmt::Result {
        let (now, tokenizer) = (Timestamp::now(), self.state.tokenizer());
        let ring = tokenizer.ring();
        let seconds_since = |then: Timestamp| now.duration_since(then).as_secs_f64();
        families.gauge("callveil_keyring_generation", "Generation of the key ring in use", ring.generation())?;
        let mut keys = families.begin("callveil_keyring_keys", "Keys of the ring, by status", MetricType::Gauge)?;
        for status in [Status::Enabled, Status::Disabled, Status::Destroyed] {
            let count = ring.keys().iter().filter(|key| key.status == status).count();
            gauge_of(&mut keys, &[("status", &status.to_string())], count)?;
        }
        let primary = ring.primary(now);
        let mut info =
            families.begin("callveil_keyring_primary_info", "The key that makes UIDs now", MetricType::Gauge)?;
        gauge_of(&mut info, &[("key", &primary.id.to_string())], 1)?;
        if let Some(next) = ring.pending(now).filter(|key| key.id != primary.id).map(|key| key.activates).min() {
            let help = "Until the next key becomes the primary; absent where none is to";
            families.gauge("callveil_keyring_next_activation_seconds", help, -seconds_since(next))?;
        }
        let help = "Seconds since an enabled key stopped being the primary";
        let mut superseded = families.begin("callveil_key_superseded_seconds", help, MetricType::Gauge)?;
        for key in ring.enabled_newest_first().filter(|key| key.id != primary.id && !key.is_pending(now)) {
            // A later key that was disabled since then had replaced this one, too.
            let later = ring.keys().iter().filter(|other| other.activates <= now);
            let later = later.map(|other| (other.activates, other.id)).filter(|other| *other > (key.activates, key.id));
            if let Some((since, _)) = later.min() {
                gauge_of(&mut superseded, &[("key", &key.id.to_string())], seconds_since(since))?;
            }
        }
        let mut decoded =
            families.begin("callveil_decoded", "UIDs that were opened, by their key", MetricType::Counter)?;
        for key in ring.keys() {
            count_of(&mut decoded, &[("key", &key.id.to_string())], self.state.decoded(key.id, now).0.count)?;
        }
        Ok(())
    }

    fn encode_reloads(&self, families: &mut Families<'_>) -> fmt::Result {
        let (now, reloads) = (Timestamp::now(), self.state.reloads());
        if let Some(since) = reloads.ring_since {
            let help = "Since the key ring in use was taken up";
            families.gauge("callveil_keyring_reload_age_seconds", help, now.duration_since(since).as_secs_f64())?;
        }
        families.counter("callveil_reload_failures", "Reloads that were refused", reloads.failures)?;
        let help = "Whether the current content on disk is refused, so that an older one is in use";
        let mut refused = families.begin("callveil_reload_refused", help, MetricType::Gauge)?;
        for (what, is_refused) in [
            ("keyring", reloads.ring_refused().is_some()),
            ("configuration", reloads.config_refused.is_some()),
            ("certificate", refusals(&self.tls).is_some()),
        ] {
            gauge_of(&mut refused, &[("what", what)], u32::from(is_refused))?;
        }
        let help = "Whether the current key ring on disk waits for approvals, so that an older one is in use";
        let awaits = u32::from(reloads.ring_awaits().is_some());
        families.gauge("callveil_keyring_awaits_approval", help, awaits)?;
        let help = "Whether reading the files on disk has taken over 5 seconds already";
        families.gauge("callveil_reload_stuck", help, u32::from(self.state.is_look_stuck()))?;
        let expiries = self.tls.iter().filter_map(|tls| tls.validity()).map(|validity| validity.not_after);
        if let Some(first) = expiries.min() {
            let help = "When the first of the certificates expires, in Unix time";
            families.gauge("callveil_certificate_not_after_timestamp_seconds", help, first.as_second())?;
        }
        Ok(())
    }

    fn encode_process(&self, families: &mut Families<'_>) -> fmt::Result {
        let mut build = families.begin("callveil_build_info", "What runs here", MetricType::Gauge)?;
        gauge_of(&mut build, &[("version", version::VERSION), ("commit", version::COMMIT.unwrap_or_default())], 1)?;
        let ready = self.lack().is_none();
        families.gauge("callveil_ready", "Whether this replica wants requests", u32::from(ready))?;
        let started = self.state.started.as_second();
        families.gauge("process_start_time_seconds", "When this process started, in Unix time", started)?;
        let Some(figures) = Figures::now() else { return Ok(()) };
        families.counter("process_cpu_seconds", "CPU time of this process, user and system", figures.cpu_seconds)?;
        families.gauge("process_threads", "Threads of this process", figures.threads)?;
        families.gauge("process_resident_memory_bytes", "Resident memory of this process", figures.resident_bytes)?;
        families.gauge("process_open_fds", "Open files of this process", figures.open_files)?;
        match figures.open_files_max {
            Some(max) => families.gauge("process_max_fds", "Files that this process may open", max),
            None => Ok(()),
        }
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Families of metrics, one after the other.
struct Families<'e>(DescriptorEncoder<'e>);

impl Families<'_> {
    fn begin<'s>(&'s mut self, name: &'s str, help: &str, kind: MetricType) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }

    fn counter(&mut self, name: &str, help: &str, count: impl EncodeCounterValue) -> fmt::Result {
        ConstCounter::new(count).encode(self.begin(name, help, MetricType::Counter)?)
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        ConstGauge::new(value).encode(self.begin(name, help, MetricType::Gauge)?)
    }
}

fn count_of<const N: usize>(family: &mut MetricEncoder<'_>, labels: &[(&str, &str); N], count: u64) -> fmt::Result {
    ConstCounter::new(count).encode(family.encode_family(labels)?)
}

fn gauge_of<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    value: impl EncodeGaugeValue,
) -> fmt::Result {
    ConstGauge::new(value).encode(family.encode_family(labels)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format() {
        let text = "# HELP a Some.\n# TYPE a counter\na_total 1\n# HELP b_seconds B.\n# TYPE b_seconds gauge\n\
            # UNIT b_seconds seconds\nb_seconds 2\n# EOF\n";
        let older = "# HELP a_total Some.\n# TYPE a_total counter\na_total 1\n# HELP b_seconds B.\n\
            # TYPE b_seconds gauge\nb_seconds 2\n";
        assert_eq!(before_open_metrics(text), older);
        assert_eq!(Format::of(b"application/openmetrics-text;version=1.0.0,text/plain"), Format::OpenMetrics);
        assert_eq!((Format::of(b""), Format::of(b"*/*")), (Format::Prometheus, Format::Prometheus));
    }
}
