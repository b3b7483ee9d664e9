//! What `--help` and the man pages say beyond a line for each argument: above all, examples. A test fails if a command
//! has no text here.

use clap::{Command, CommandFactory as _};

use super::Cli;

/// The text at the end of each command's help. Lines have at most 94 characters, so that they never wrap.
const PAGES: &[(&str, &str)] = &[
    ("callveil", CALLVEIL),
    ("callveil serve", SERVE),
    ("callveil keys", KEYS),
    (
        "callveil keys init",
        "Examples:
  callveil keys init
  callveil keys init --region US --recipient age1… --recipient age1…

It prints `ring_id`, a line for the configuration: replicas then take this ring and no other.",
    ),
    (
        "callveil keys rotate",
        "Examples:
  callveil keys rotate
  callveil keys rotate --activate-in 2d
  callveil keys rotate --activate-at 2027-01-01T02:00:00Z",
    ),
    (
        "callveil keys list",
        "Examples:
  callveil keys list
  callveil keys list --json | jq -r '.keys[] | select(.primary).id'",
    ),
    (
        "callveil keys enable",
        "Examples:
  callveil keys enable 3fa1",
    ),
    (
        "callveil keys disable",
        "Examples:
  callveil keys disable 3fa1",
    ),
    (
        "callveil keys destroy",
        "Examples:
  callveil keys destroy 3fa1 --yes --replica http://10.0.0.7:9640

After 7 days of `disabled`: by then, whoever still needs its UIDs has missed it. --early does
not wait.

Records outlive keys: call records at CCC keep the UID of their day. Export them and join by
today's UIDs first: callveil rewrap records.csv --format csv --column uid --on-error keep",
    ),
    (
        "callveil keys verify",
        "Examples:
  callveil keys verify
  callveil keys verify --keyring backup/keyring.json --identity identities/backup",
    ),
    (
        "callveil keys recipients",
        "Examples:
  callveil keys recipients
  callveil keys recipients --set age1… age1… --identity identities/alice",
    ),
    (
        "callveil keys merge",
        "Examples:
  callveil keys merge bob/keyring.json",
    ),
    (
        "callveil keys approver",
        "Examples:
  callveil keys approver new alice --output identities/alice.approver",
    ),
    (
        "callveil keys approver new",
        "Examples:
  callveil keys approver new alice --output identities/alice.approver

The line that it prints is a verifier key (C2SP signed-note), for `approvers` in replicas'
configurations.",
    ),
    (
        "callveil keys approve",
        "Examples:
  callveil keys approve --approver identities/alice.approver --replica http://10.0.0.7:9640
  callveil keys approve --approver identities/alice.approver --against used/keyring.json --yes

Without --yes it only shows what the ring in the file changes. Replicas whose configuration
has `approvers` take a ring once `approvals` of them have signed it.",
    ),
    (
        "callveil keys check",
        "Examples:
  callveil keys check http://10.0.0.7:9640 http://10.0.0.8:9640 --expect 2
  callveil keys check http://10.0.0.7:9640 --disable 3fa1 --since 2026-11-01T00:00:00Z",
    ),
    (
        "callveil keys export-tink",
        "Examples:
  callveil keys export-tink 3fa1 --recipient age1… --output analyst.age

It gives away every number that has a UID of this key, and lets whoever has it make more; only
`rewrap` to another key and `destroy` end that. The export is recorded before it is given.",
    ),
    (
        "callveil clients",
        "Examples:
  callveil clients new-password",
    ),
    (
        "callveil clients new-password",
        "Examples:
  callveil clients new-password",
    ),
    (
        "callveil config",
        "Examples:
  callveil config example >callveil.toml
  callveil config check callveil.toml",
    ),
    (
        "callveil config example",
        "Examples:
  callveil config example >callveil.toml

Each key has a comment. With a key ring and a password of your own it serves, on loopback.",
    ),
    (
        "callveil config check",
        "Examples:
  callveil config check callveil.toml
  callveil config check /etc/callveil/callveil.toml --here

It tells all that is wrong at once, and looks at the files that the configuration names: the
key ring, certificates, the key of the audit log. It binds no address and writes nothing.
Exit codes: 0 right, 78 not. Files that are not there make it 78 with --here only.",
    ),
    (
        "callveil audit",
        "Examples:
  callveil audit sum /var/log/callveil
  callveil audit verify /var/log/callveil --heads stderr.log
  callveil audit find /var/log/callveil --hmac-key audit.key --number 13988888888

Logs are files, folders and stdin; plain, gzip or zstd; as callveil wrote them, or as CRI,
Docker (json-file), journald (-o export, -o json --all) or syslog (RFC 3164, RFC 5424) did.
What is no line of an audit log is told of, and makes the exit code 1.",
    ),
    (
        "callveil audit find",
        "Examples:
  callveil audit find audit.log --hmac-key audit.key --number 13988888888
  callveil audit find logs/ --hmac-key audit.key --heads stderr.log --uid - <uids

It says never, with exit code 0, only where every line was understood, nothing is missing, and
all was hashed under this key. Of a start that has no end, it knows what was written so far;
with --heads, that as much was not cut off.",
    ),
    (
        "callveil audit sum",
        "Examples:
  callveil audit sum audit.log
  callveil audit sum logs/ --since 2026-11-01 --until 2026-12-01 --csv >november.csv

Days are those of UTC. A row without a client counts requests without good credentials.",
    ),
    (
        "callveil audit verify",
        "Examples:
  callveil audit verify audit.log audit.log.1.gz
  callveil audit verify /var/log/callveil --heads stderr.log

The lines of a start are a chain, told apart by `instance`. It finds lines that were altered,
removed, inserted, moved or repeated. A truncated log, and a chain rebuilt by who can write
the log, show beside the heads that the replica logged on stderr (\"audit head\"), kept where
they cannot write. Lines of commands are in no chain.",
    ),
    (
        "callveil tokenize",
        concat!(
            "Examples:
  callveil tokenize --value 13988888888
  callveil tokenize <numbers.txt >uids.txt
  callveil tokenize crm.csv --format csv --column phone --dry-run
  callveil tokenize crm.csv --format csv --column phone --output uids.csv --report failed.txt
  callveil tokenize calls.jsonl --format jsonl --column /customer/phone --output uids.jsonl

",
            include_str!("rows.txt")
        ),
    ),
    (
        "callveil detokenize",
        concat!(
            "Examples:
  callveil detokenize <uids.txt >numbers.txt
  callveil detokenize uids.csv --format csv --column 3 --delimiter ';' --output crm.csv
  callveil detokenize calls.jsonl --format jsonl --column /customer/phone | head

",
            include_str!("rows.txt")
        ),
    ),
    (
        "callveil rewrap",
        concat!(
            "UIDs of the primary key stay as they are, byte for byte: a run can be repeated.

Examples:
  callveil rewrap crm.csv --format csv --column phone --dry-run
  callveil rewrap crm.csv --format csv --column phone --on-error keep --output crm.csv

",
            include_str!("rows.txt")
        ),
    ),
    (
        "callveil inspect",
        "Examples:
  callveil inspect 4mqfuvznxvjx6ly42ic6f2h4mltbrk566fvh2tjg",
    ),
    (
        "callveil doctor",
        "Examples:
  callveil doctor https://uid.example.com/ --user ccc
  CALLVEIL_PASSWORD=… callveil doctor https://10.0.0.7:8443/ --user ccc --ca ca.pem --json

It dials no number that it asks with. Exit codes: 0 all is well, 1 something is not.",
    ),
    (
        "callveil completions",
        "Examples:
  callveil completions bash >~/.local/share/bash-completion/completions/callveil
  callveil completions zsh >~/.zfunc/_callveil
  callveil completions fish >~/.config/fish/completions/callveil.fish",
    ),
    (
        "callveil man",
        "Examples:
  callveil man | man -l -
  callveil man ~/.local/share/man/man1",
    ),
];

const CALLVEIL: &str = "Examples:
  Try it: a server for development, whose keys are made on the spot
      callveil serve --dev
  A key ring, then a password for CCC, then the endpoint
      callveil keys init
      callveil clients new-password
      callveil serve --config callveil.toml
  A number to its UID, and every number of a CRM's export
      callveil tokenize --value 13988888888
      callveil tokenize crm.csv --format csv --column phone --output u.csv
  A new key, as every half year; later the UIDs of the old one to UIDs of the new one
      callveil keys rotate
      callveil rewrap u.csv --format csv --column phone --on-error keep --output u.csv

`callveil help COMMAND` tells about a command, with examples.

Exit codes:
  0   done
  1   failed, or some rows did
  2   wrong usage
  78  bad configuration or key ring

Files:
  keys/keyring.json           the key ring, where neither --keyring nor --config names another
  keys/keyring.json.previous  the ring before its last change: guard it alike
  keys/keyring.json.audit     who changed or exported keys, unless --config names an audit log
  keys/keyring.json.lock      empty; it keeps two commands apart and is never deleted
  .NAME.callveil-partial      an --output that is not complete yet

Environment:
  CALLVEIL_LOG           how much `serve` logs: off, error, warn, info, debug or trace
  CALLVEIL_PASSWORD      the password that `doctor` calls with
  CREDENTIALS_DIRECTORY  set by systemd: its file `identity` opens an encrypted ring

Results go to stdout, all else to stderr. No log holds a number, UID or key, and no message
does without --show-values.";

const SERVE: &str = "Examples:
  callveil serve --dev
  callveil serve --config callveil.toml
  CALLVEIL_LOG=debug callveil serve --config callveil.toml --listen 127.0.0.1:8080

Signals:
  SIGHUP           take up the configuration's clients, limits and networks, the ring and the
                   certificate at once; name what waits for a restart; and open the audit
                   log's file anew, after logrotate moved it away
  SIGTERM, SIGINT  let /readyz say 503, and take connections for drain_delay_seconds more or
                   until a second signal; then answer what is under way, and end
";

const KEYS: &str = "Examples:
  callveil keys init
  callveil keys list
  callveil keys rotate --activate-in 24h
  callveil keys check http://10.0.0.7:9640 http://10.0.0.8:9640 --expect 2

Losing the ring loses every UID, and whoever has it can open them all: keep copies, and guard
them. keys/README.md tells how to rotate, retire and restore, and what to do about leaks.";

/// The command line. It parses the arguments; completions, man pages and tests are generated from it.
pub fn command() -> Command {
    with_page(Cli::command(), "callveil")
}

fn with_page(command: Command, path: &str) -> Command {
    let command = command.mut_subcommands(|sub| {
        let path = format!("{path} {}", sub.get_name());
        with_page(sub, &path)
    });
    match PAGES.iter().find(|(of, _)| *of == path) {
        Some((_, page)) => command.after_long_help(page.trim_end()),
        None => command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &Command, path: &str) {
        let page = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        assert!(page.contains("Examples:\n") && page.contains(path), "`{path}` has no example in src/cli/help.rs");
        let longest = page.lines().map(|line| line.chars().count()).max().unwrap_or_default();
        assert!(longest <= 94, "a line of `{path}` has {longest} characters");
        for sub in command.get_subcommands() {
            check(sub, &format!("{path} {}", sub.get_name()));
        }
    }

    #[test]
    fn every_command_has_an_example() {
        check(&command(), "callveil");
    }

    #[test]
    fn every_page_is_of_a_command() {
        for (path, _) in PAGES {
            let mut names = path.split(' ').skip(1);
            let command = names.try_fold(command(), |command, name| command.find_subcommand(name).cloned());
            assert!(command.is_some(), "{path}");
        }
    }
}
