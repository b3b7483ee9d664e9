//! `callveil config`: print an example configuration, and check one.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    failure::Failure,
    ring::{Asking, read_item_key, ring_file},
    say::{countdown, print, tell},
};
use crate::{
    audit::OnFull,
    auth::{Client, OnPartial},
    config::{self, Config, Fault},
    keyring::{KeyRing, file::RingFileError},
    limits::Load,
    operate::process::memory_limit,
    server::tls::{Tls, TlsFiles},
};

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Print a whole configuration with comments, to begin with
    Example,
    /// Tell all that is wrong with a configuration, and what `serve` would do with it
    Check(CheckArgs),
}

#[derive(Args)]
pub(super) struct CheckArgs {
    /// The configuration
    file: PathBuf,
    /// It is to serve here: fail also where a file that it names is not there
    #[arg(long)]
    here: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Example => print(config::example().trim_end()),
        ConfigCommand::Check(args) => check(args),
    }
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    let mut found = Findings::default();
    match Config::examine(&args.file) {
        Ok((config, faults)) => {
            found.faults = faults;
            found.look_at(&config);
        }
        Err(error) => found.faults = error.faults().to_vec(),
    }
    found.print(args)?;
    if found.faults.is_empty() && (found.missing.is_empty() || !args.here) {
        return Ok(());
    }
    Err(Failure::config(format_args!("{} is refused", args.file.display())))
}

/// The findings about a configuration.
#[derive(Default)]
struct Findings {
    /// Settings that `serve` refuses.
    faults: Vec<Fault>,
    /// Files that `serve` cannot start without. They may be on another machine.
    missing: Vec<String>,
    /// Settings that are allowed but probably not intended.
    warnings: Vec<String>,
    /// What `serve` would do, as headings with lines.
    outlook: Vec<(&'static str, Vec<String>)>,
}

impl Findings {
    fn look_at(&mut self, config: &Config) {
        self.warnings.extend(config.doubts());
        let listener = |scheme: Option<&TlsFiles>| if scheme.is_some() { "https" } else { "http" };
        let mut calls = vec![format!("{}://{}{}", listener(config.tls.as_ref()), config.listen, config.terms.path)];
        calls.extend(self.look_at_certificate("tls", config.tls.as_ref()));
        self.outlook.push(("calls", calls));
        let admin = config.admin.as_ref();
        let mut lines = vec![admin.map_or("none".to_owned(), |admin| {
            let token = if admin.token_sha256.is_some() { ", with a token" } else { "" };
            format!("{}://{}/{token}", listener(admin.tls.as_ref()), admin.listen)
        })];
        lines.extend(self.look_at_certificate("admin.tls", admin.and_then(|admin| admin.tls.as_ref())));
        self.outlook.push(("admin", lines));
        let ring = self.look_at_ring(config);
        self.tell_memory(config, ring.as_ref().map_or(1, |ring| ring.keys().len()));
        self.look_at_audit(config);
        self.outlook.extend(config.clients.iter().map(|client| ("client", tell_client(client))));
    }

    fn fault(&mut self, key: &str, what: impl std::fmt::Display) {
        self.faults.push(Fault::of_key(key, what.to_string()));
    }

    /// Whether the file that `key` names exists. A missing one is noted.
    fn is_there(&mut self, key: &str, path: &Path, remedy: &str) -> bool {
        let is_there = path.exists();
        if !is_there {
            self.missing.push(format!("`{key}`: {} is not there{remedy}", path.display()));
        }
        is_there
    }

    fn look_at_certificate(&mut self, table: &str, files: Option<&TlsFiles>) -> Option<String> {
        let files = files?;
        let named = [("certificate", Some(&files.certificate)), ("private_key", Some(&files.private_key))];
        let named = named.into_iter().chain([("client_ca", files.client_ca.as_ref())]);
        let mut all_there = true;
        for (name, path) in named.filter_map(|(name, path)| Some((name, path?))) {
            all_there &= self.is_there(&format!("{table}.{name}"), path, "");
        }
        if !all_there {
            return None;
        }
        let (now, shown) = (Timestamp::now(), files.certificate.display());
        match Tls::load(files.clone()) {
            Err(error) => {
                self.fault(table, error);
                None
            }
            Ok(tls) => {
                let validity = tls.validity();
                if let Some(lack) = validity.and_then(|validity| validity.lack(now)) {
                    self.warnings.push(format!("{shown}: {lack}"));
                }
                let until = validity.map(|validity| validity.not_after).filter(|until| *until > now);
                let left = until.map_or(String::new(), |until| format!(", valid for {}", countdown(now, until)));
                Some(format!("certificate {shown}{left}"))
            }
        }
    }

    /// The ring, as `serve` would read it.
    fn look_at_ring(&mut self, config: &Config) -> Option<KeyRing> {
        let keyring = &config.keyring;
        // An empty path means that the setting was wrong, which is reported already.
        let mut is_there = !keyring.path.as_os_str().is_empty()
            && self.is_there("keyring", &keyring.path, ": `callveil keys init` makes it");
        if let Some(identity) = &keyring.identity {
            is_there &= self.is_there("identity", identity, "");
        }
        if !is_there {
            return None;
        }
        let file = match ring_file(keyring, Asking::Nobody) {
            Ok(file) => file,
            Err(failure) => {
                self.fault("identity", failure);
                return None;
            }
        };
        match file.read() {
            Ok(ring) => {
                let refused = [keyring.check_pins(&ring), keyring.check_approval(&ring)];
                self.faults
                    .extend(refused.into_iter().filter_map(Result::err).flat_map(|error| error.faults().to_vec()));
                self.tell_ring(config, &ring);
                Some(ring)
            }
            Err(RingFileError::Refused { faults, .. }) => {
                faults.0.iter().for_each(|fault| self.fault("keyring", fault));
                None
            }
            Err(error) => {
                self.fault("keyring", error);
                None
            }
        }
    }

    fn tell_ring(&mut self, config: &Config, ring: &KeyRing) {
        let now = Timestamp::now();
        let mut keys = format!("{} keys, primary {}", ring.keys().len(), ring.primary(now).id);
        for key in ring.pending(now) {
            keys += &format!(", pending {} in {}", key.id, countdown(now, key.activates));
        }
        let place = format!("{}, generation {}", config.keyring.path.display(), ring.generation());
        self.outlook.push(("ring", vec![ring.id().to_string(), place, keys]));
        if config.keyring.ring_id.is_none() {
            let pin =
                format!("`ring_id` is not set, so a start takes any ring; this one has ring_id = \"{}\"", ring.id());
            self.warnings.push(pin);
        }
    }

    fn tell_memory(&mut self, config: &Config, keys: usize) {
        let threads = config.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
        let most =
            config.terms.limits.memory_max(&Load { threads: threads.get(), over_tls: config.tls.is_some(), keys });
        let mut lines = vec![format!("at most {} (memory_max_bytes {most}), with {threads} threads", mebibytes(most))];
        if let Some(limit) = memory_limit() {
            lines.push(format!("{} allowed here", mebibytes(limit)));
            if limit < most {
                let what = "less memory than it may take: lower limits.connections or limits.buffered_bytes";
                self.warnings.push(what.to_owned());
            }
        }
        self.outlook.push(("memory", lines));
    }

    fn look_at_audit(&mut self, config: &Config) {
        let audit = &config.audit;
        let to = audit.to.as_ref().map_or("stdout".to_owned(), |path| path.display().to_string());
        let full = match audit.on_full {
            OnFull::Block => "requests wait while it cannot be written, then get 503",
            OnFull::Drop => "requests go on unrecorded while it cannot be written",
        };
        let items = if audit.hmac_key.is_some() { "with hashes of items" } else { "without items" };
        self.outlook.push(("audit", vec![format!("{to}, {items}"), full.to_owned()]));
        if let Some(folder) = audit.to.as_deref().and_then(Path::parent).filter(|folder| *folder != Path::new("")) {
            self.is_there("audit.to", folder, "");
        }
        if let Some(path) = &audit.hmac_key
            && self.is_there("audit.hmac_key", path, ": `head -c 32 /dev/urandom` makes one")
            && let Err(failure) = read_item_key(path, config.keyring.mode)
        {
            self.fault("audit.hmac_key", failure);
        }
    }

    fn print(&self, args: &CheckArgs) -> Result<(), Failure> {
        let is_right = self.faults.is_empty();
        if args.json {
            let outlook =
                self.outlook.iter().filter(|_| is_right).map(|(what, lines)| json!({"what": what, "lines": lines}));
            return print(json!({
                "ok": is_right, "starts": is_right && self.missing.is_empty(),
                "faults": self.faults.iter().map(fault_json).collect::<Vec<_>>(), "missing": self.missing,
                "warnings": self.warnings, "outlook": outlook.collect::<Vec<_>>(),
            }));
        }
        let file = args.file.display();
        for fault in &self.faults {
            match fault.line {
                Some(line) => print(format_args!("{file}:{line}: {fault}"))?,
                None => print(format_args!("{file}: {fault}"))?,
            }
        }
        if is_right {
            for (what, lines) in &self.outlook {
                for (at, line) in lines.iter().enumerate() {
                    print(format_args!("{:<8}{line}", if at == 0 { what } else { "" }))?;
                }
            }
            print(if self.missing.is_empty() { "right: `serve` would start" } else { "right" })?;
        }
        self.warnings.iter().for_each(|warning| tell(format_args!("warning: {warning}")));
        self.missing.iter().for_each(|missing| tell(format_args!("`serve` would not start here: {missing}")));
        Ok(())
    }
}

fn fault_json(fault: &Fault) -> Value {
    json!({"place": fault.place, "line": fault.line, "what": fault.what})
}

fn tell_client(client: &Client) -> Vec<String> {
    let modes: Vec<_> = client.modes.iter().map(|mode| mode.name()).collect();
    let count = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    let (tokenize, detokenize) = (&client.tokenize, &client.detokenize);
    let partial = match client.partial {
        OnPartial::Lenient => "",
        OnPartial::Strict => ", strict",
    };
    vec![
        format!("{}, context {}{partial}", client.username.as_str(), client.context.as_str()),
        modes.join(", "),
        format!("makes {} UIDs a minute, {} a day", count(tokenize.per_minute()), count(tokenize.per_day())),
        format!("opens {} UIDs a minute, {} a day", count(detokenize.per_minute()), count(detokenize.per_day())),
    ]
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
