//! The findings, line by line: as a table for people, as JSON for programs.

use std::{collections::HashMap, time::Duration};

use anstream::stdout;
use http::Uri;
use serde_json::{Value, json};

use super::{Failure, Numbers, trouble::Trouble};
use crate::cli::say::print;

/// One check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Check {
    Address,
    Chain,
    Name,
    Expiry,
    TlsVersions,
    OldTls,
    PlainHttp,
    MissingCredentials,
    WrongCredentials,
    RoundTrip,
    Hidden,
    CountryCode,
    Order,
    Duplicates,
    Key,
    Batch,
    Spellings,
    Hotline,
    UnknownUid,
    PlainNumber,
    Latency,
    KeepAlive,
}

impl Check {
    /// All checks, in the order of the report.
    const ALL: [Self; 22] = [
        Self::Address,
        Self::Chain,
        Self::Name,
        Self::Expiry,
        Self::TlsVersions,
        Self::OldTls,
        Self::PlainHttp,
        Self::MissingCredentials,
        Self::WrongCredentials,
        Self::RoundTrip,
        Self::Hidden,
        Self::CountryCode,
        Self::Order,
        Self::Duplicates,
        Self::Key,
        Self::Batch,
        Self::Spellings,
        Self::Hotline,
        Self::UnknownUid,
        Self::PlainNumber,
        Self::Latency,
        Self::KeepAlive,
    ];

    /// The checks that do not apply to plain HTTP.
    pub(super) const OF_TLS: [Self; 6] =
        [Self::Chain, Self::Name, Self::Expiry, Self::TlsVersions, Self::OldTls, Self::PlainHttp];

    /// Its name in JSON, and its name for people.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Address => ("address", "name and port"),
            Self::Chain => ("chain", "certificate is trusted"),
            Self::Name => ("name", "certificate has the name"),
            Self::Expiry => ("expiry", "certificate is in date"),
            Self::TlsVersions => ("tls", "TLS 1.2 or 1.3"),
            Self::OldTls => ("old-tls", "TLS 1.0 and 1.1 refused"),
            Self::PlainHttp => ("plain-http", "plain HTTP refused"),
            Self::MissingCredentials => ("missing-credentials", "no credentials refused"),
            Self::WrongCredentials => ("wrong-credentials", "wrong credentials refused"),
            Self::RoundTrip => ("round-trip", "both modes round trip"),
            Self::Hidden => ("hidden", "UID hides the number"),
            Self::CountryCode => ("country-code", "00 and country code"),
            Self::Order => ("order", "order"),
            Self::Duplicates => ("duplicates", "duplicates"),
            Self::Key => ("key", "Key echoed"),
            Self::Batch => ("batch", "100 in one request"),
            Self::Spellings => ("spellings", "one UID for all spellings"),
            Self::Hotline => ("hotline", "hotline comes back"),
            Self::UnknownUid => ("unknown-uid", "unknown UID refused"),
            Self::PlainNumber => ("plain-number", "number in UIDToPhone"),
            Self::Latency => ("latency", "latency"),
            Self::KeepAlive => ("keep-alive", "keep-alive"),
        }
    }
}

enum Verdict {
    Good(String),
    Warning { found: String, remedy: &'static str },
    Bad { found: String, remedy: &'static str },
    NotApplicable(&'static str),
}

/// How long answers took.
pub(super) struct Latency {
    pub(super) requests: usize,
    pub(super) median: Duration,
    pub(super) p99: Duration,
}

/// All findings so far.
#[derive(Default)]
pub(super) struct Report {
    verdicts: HashMap<Check, Verdict>,
    pub(super) latency: Option<Latency>,
}

impl Report {
    pub(super) fn good(&mut self, check: Check, found: impl Into<String>) {
        self.verdicts.insert(check, Verdict::Good(found.into()));
    }

    pub(super) fn warn(&mut self, check: Check, found: impl Into<String>, remedy: &'static str) {
        self.verdicts.insert(check, Verdict::Warning { found: found.into(), remedy });
    }

    pub(super) fn bad(&mut self, check: Check, found: impl Into<String>, remedy: &'static str) {
        self.verdicts.insert(check, Verdict::Bad { found: found.into(), remedy });
    }

    /// Marks a check as failed because of a trouble, with the remedy of its cause, or else with the remedy of the
    /// check.
    pub(super) fn trouble(&mut self, check: Check, trouble: &Trouble, of_the_check: &'static str) {
        self.bad(check, trouble.to_string(), trouble.remedy_or(of_the_check));
    }

    pub(super) fn not_applicable(&mut self, check: Check, why: &'static str) {
        self.verdicts.insert(check, Verdict::NotApplicable(why));
    }

    /// Gives every check that was not made the reason why.
    pub(super) fn leave_the_rest(&mut self, why: &'static str) {
        for check in Check::ALL {
            self.verdicts.entry(check).or_insert(Verdict::NotApplicable(why));
        }
    }

    /// Prints everything, and fails if any check failed.
    pub(super) fn print(&self, url: &Uri, numbers: &Numbers, json: bool) -> Result<(), Failure> {
        let count = |is: fn(&Verdict) -> bool| self.verdicts.values().filter(|verdict| is(verdict)).count();
        let bad = count(|verdict| matches!(verdict, Verdict::Bad { .. }));
        let warnings = count(|verdict| matches!(verdict, Verdict::Warning { .. }));
        if json {
            print(self.to_json(url, numbers, bad == 0))?;
        } else {
            self.rows().try_for_each(|(check, verdict)| print_row(check.names().1, verdict))?;
            let warned = if warnings == 0 { String::new() } else { format!(", {warnings} to look at") };
            match bad {
                0 => print(format_args!("ready for CCC{warned}"))?,
                _ => print(format_args!("not ready for CCC: {bad} wrong{warned}"))?,
            }
        }
        std::io::Write::flush(&mut stdout())?;
        if bad == 0 { Ok(()) } else { Err(Failure { code: Failure::FAILED, message: String::new() }) }
    }

    fn rows(&self) -> impl Iterator<Item = (Check, &Verdict)> {
        Check::ALL.into_iter().filter_map(|check| Some((check, self.verdicts.get(&check)?)))
    }

    fn to_json(&self, url: &Uri, numbers: &Numbers, ok: bool) -> Value {
        let row = |(check, verdict): (Check, &Verdict)| {
            let (state, found, remedy) = verdict.parts();
            let mut row = json!({"check": check.names().0, "state": state, "found": found});
            if let Some(remedy) = remedy {
                row["remedy"] = remedy.into();
            }
            row
        };
        let milliseconds = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
        let latency = self.latency.as_ref().map(|latency| {
            let (median, p99) = (milliseconds(latency.median), milliseconds(latency.p99));
            json!({"requests": latency.requests, "median_ms": median, "p99_ms": p99})
        });
        json!({
            "ok": ok, "url": url.to_string(), "numbers": numbers.why_they_cannot_ring(), "latency": latency,
            "checks": self.rows().map(row).collect::<Vec<_>>(),
        })
    }
}

impl Verdict {
    fn parts(&self) -> (&'static str, &str, Option<&'static str>) {
        match self {
            Self::Good(found) => ("good", found, None),
            Self::Warning { found, remedy } => ("warning", found, Some(remedy)),
            Self::Bad { found, remedy } => ("bad", found, Some(remedy)),
            Self::NotApplicable(why) => ("not_applicable", why, None),
        }
    }
}

fn print_row(name: &str, verdict: &Verdict) -> Result<(), Failure> {
    let mark = match verdict {
        Verdict::Good(_) => '✓',
        Verdict::Warning { .. } => '!',
        Verdict::Bad { .. } => '✗',
        Verdict::NotApplicable(_) => '–',
    };
    let (_, found, remedy) = verdict.parts();
    print(format_args!("{mark} {name:<25}  {found}"))?;
    remedy.map_or(Ok(()), |remedy| print(format_args!("{:27}  → {remedy}", "")))
}
