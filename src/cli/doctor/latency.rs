//! How long answers take, and whether connections are kept open.

use http::{HeaderValue, StatusCode};
use tokio::time::{Duration, Instant};

use super::{
    client::EndpointClient,
    mapping::Pair,
    report::{Check, Latency, Report},
};
use crate::item::Mode;

/// The time that products like CCC wait for an answer during a call. CCC's pages do not say how long it waits for this
/// one. For its sibling, the callback of inbound calls, they say 5 s and two retries.
const BUDGET: Duration = Duration::from_secs(3);

/// How many requests are timed.
const REQUESTS: usize = 100;

/// The time limit for all of them. If it is reached, fewer are made.
const TOTAL_MAX: Duration = Duration::from_secs(30);

/// If a connection serves fewer requests on average, connections count as not kept open.
const REQUESTS_PER_CONNECTION_MIN: usize = 10;

/// Sends the number and the UID of `pair` again and again.
pub(super) async fn check(client: &mut EndpointClient, report: &mut Report, login: &HeaderValue, pair: &Pair) {
    let (begun, connections) = (Instant::now(), client.connections);
    let mut samples = Vec::with_capacity(REQUESTS);
    let mut trouble = None;
    for at in 0..REQUESTS {
        if begun.elapsed() > TOTAL_MAX {
            break;
        }
        let (mode, item) = if at % 2 == 0 { (Mode::PhoneToUid, &pair.written) } else { (Mode::UidToPhone, &pair.uid) };
        match client.ask(Some(login), mode, &[item]).await {
            Ok(reply) if reply.status == StatusCode::OK => samples.push(reply.took),
            Ok(reply) => trouble = Some(format!("HTTP {}", reply.status.as_u16())),
            Err(reason) => trouble = Some(reason.to_string()),
        }
        if trouble.is_some() {
            break;
        }
    }
    judge_connections(report, samples.len(), client.connections - connections, trouble.is_some());
    if let Some(trouble) = trouble {
        report.bad(
            Check::Latency,
            format!("request {} of {REQUESTS}: {trouble}", samples.len() + 1),
            "look at the endpoint's log: CCC asks at least as often on a busy day",
        );
        return;
    }
    let latency = measure(&mut samples);
    let found = format!(
        "median {:.1?}, p99 {:.1?} of {} requests; the budget is {BUDGET:?}, stricter than the 5s and two retries of CCC's inbound callback",
        latency.median, latency.p99, latency.requests
    );
    if latency.p99 <= BUDGET {
        report.good(Check::Latency, found);
    } else {
        report.bad(Check::Latency, found, "a call waits for it: look for what is slow, or too far from CCC");
    }
    report.latency = Some(latency);
}

fn judge_connections(report: &mut Report, requests: usize, opened: usize, ended_early: bool) {
    // The failed request may have broken its connection.
    let opened = if ended_early { opened.saturating_sub(1) } else { opened };
    if requests < REQUESTS_PER_CONNECTION_MIN {
        report.not_applicable(Check::KeepAlive, "too few requests to tell");
    } else if opened * REQUESTS_PER_CONNECTION_MIN <= requests {
        let count = opened.max(1);
        report.good(
            Check::KeepAlive,
            format!("{requests} requests over {count} connection{}", if count == 1 { "" } else { "s" }),
        );
    } else {
        report.bad(
            Check::KeepAlive,
            format!("{requests} requests took {opened} connections"),
            "keep connections open for a minute or so: a new one costs each call several round trips",
        );
    }
}

/// The median and the 99th percentile, by the nearest-rank method.
fn measure(samples: &mut [Duration]) -> Latency {
    samples.sort_unstable();
    let rank = |percent: usize| (samples.len() * percent).div_ceil(100).saturating_sub(1);
    let at = |percent| samples.get(rank(percent)).copied().unwrap_or_default();
    Latency { requests: samples.len(), median: at(50), p99: at(99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut samples: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        let latency = measure(&mut samples);
        assert_eq!((latency.requests, latency.median.as_millis(), latency.p99.as_millis()), (100, 50, 99));
        let latency = measure(&mut [Duration::from_secs(4)]);
        assert_eq!((latency.median.as_secs(), latency.p99.as_secs()), (4, 4));
        assert_eq!(measure(&mut []).requests, 0);
    }
}
