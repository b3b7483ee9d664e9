//! `callveil doctor`: checks from outside whether an endpoint, ours or another, is ready for CCC.
//!
//! [`target`] is the endpoint and [`client`] calls it. [`tls`], [`old_tls`], [`login`], [`mapping`], [`more`] and
//! [`latency`] each judge a few lines of the [`report`]. [`trouble`] knows remedies by cause. The [`numbers`] are
//! mapped, and never dialled.

mod client;
mod latency;
mod login;
mod mapping;
mod more;
mod numbers;
mod old_tls;
mod reply;
mod report;
mod target;
mod tls;
mod trouble;

use std::{io, path::PathBuf, time::Duration};

use clap::Args;
use http::{HeaderValue, Uri};
use jiff::SignedDuration;
use zeroize::Zeroizing;

use self::{
    client::EndpointClient,
    numbers::{Numbers, Region},
    report::{Check, Report},
    target::Target,
    tls::Trust,
};
use super::{failure::Failure, say::tell};
use crate::disk::reading;

/// Maximum bytes of a password.
const PASSWORD_BYTES_MAX: usize = 1024;

/// The variable with the password, if it is neither in a file nor typed. It is never an argument: every user of the
/// system can see arguments.
const PASSWORD_VARIABLE: &str = "CALLVEIL_PASSWORD";

/// Bounds of `--timeout`.
const TIMEOUT_MIN: Duration = Duration::from_millis(100);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(super) struct DoctorArgs {
    /// The endpoint, as it will be told to CCC, such as https://uid.example.com/
    url: Uri,
    /// The user name that CCC will have; its password is asked for, or taken from $CALLVEIL_PASSWORD
    #[arg(long, value_name = "NAME")]
    user: String,
    /// A file with the password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Trust these CAs (PEM) as well as those of this machine
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The region whose numbers the endpoint takes without a country code
    #[arg(long, value_name = "CC", value_enum, default_value_t = Region::Cn)]
    region: Region,
    /// How long one answer is waited for
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = timeout)]
    timeout: Duration,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn timeout(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    let duration = duration.filter(|duration| (TIMEOUT_MIN..=TIMEOUT_MAX).contains(duration));
    duration.ok_or_else(|| "a duration from 100ms to 60s".to_owned())
}

/// Checks the endpoint and reports. Any failed check is a failure.
pub(super) fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let target = Target::parse(&args.url, args.timeout).map_err(Failure::usage)?;
    if args.user.contains(':') || args.user.contains(char::is_control) {
        return Err(Failure::usage("a user name holds no colon and no control character"));
    }
    let trust = Trust::load(args.ca.as_deref()).map_err(Failure::usage)?;
    let login = client::basic(&args.user, &password(args)?).map_err(Failure::usage)?;
    let numbers = Numbers::of(args.region);
    if !args.json {
        tell(numbers.why_they_cannot_ring());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    let report = runtime.block_on(examine(target, &trust, &args.user, &login, &numbers));
    // This does not wait for a name that is still being resolved.
    runtime.shutdown_background();
    report.print(&args.url, &numbers, args.json)
}

/// Reads the password from its file, the variable or the terminal.
fn password(args: &DoctorArgs) -> Result<Zeroizing<String>, Failure> {
    if let Some(path) = &args.password_file {
        let no_password = || Failure::usage(format_args!("{} holds no password", path.display()));
        let bytes = reading::file(path, PASSWORD_BYTES_MAX).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => no_password(),
            _ => Failure::usage(format_args!("{}: {error}", path.display())),
        })?;
        let text = str::from_utf8(&bytes).map_err(|_| no_password())?;
        return Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    if let Some(password) = std::env::var_os(PASSWORD_VARIABLE) {
        let password = password.into_string().map_err(|_| Failure::usage("$CALLVEIL_PASSWORD is not UTF-8"))?;
        return Ok(Zeroizing::new(password));
    }
    let asked = rpassword::prompt_password(format!("Password of {}: ", args.user));
    let nobody =
        |_| Failure::usage("there is no terminal to ask for the password: --password-file FILE, or $CALLVEIL_PASSWORD");
    asked.map(Zeroizing::new).map_err(nobody)
}

/// Runs the checks, from resolving the name to timing the answers. A check that cannot be made, because something
/// before it failed, is reported as such.
async fn examine(mut target: Target, trust: &Trust, user: &str, login: &HeaderValue, numbers: &Numbers) -> Report {
    let mut report = Report::default();
    if let Err(why) = target.find(&mut report).await {
        report.leave_the_rest(why);
        return report;
    }
    let mut connector = None;
    if target.is_tls() {
        connector = tls::check(&target, trust, &mut report).await;
        old_tls::check(&target, &mut report).await;
        if connector.is_none() {
            report.leave_the_rest("a password is sent over a trusted connection only");
            return report;
        }
    } else {
        for check in Check::OF_TLS {
            report.not_applicable(check, "plain HTTP");
        }
    }
    let mut client = EndpointClient::new(target, connector);
    if login::check(&mut client, &mut report, user, numbers).await.is_err() {
        report.leave_the_rest("no endpoint answered");
        return report;
    }
    if let Some(pair) = mapping::check(&mut client, &mut report, login, numbers).await {
        more::check(&mut client, &mut report, login, numbers).await;
        latency::check(&mut client, &mut report, login, &pair).await;
    }
    report.leave_the_rest("there is no UID to go on with");
    report
}
