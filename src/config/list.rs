//! Every key of the configuration, in the order of the page. Reading, the page's tables, the example and the schema are
//! made from this list.

use super::keys::{
    Default::{Required, Value, Words},
    Key,
    Kind::{Address, Boolean, File, Hex, Hexes, Integer, OneOf, Rate, SomeOf, Text, Texts},
    Taken,
};

/// One key: its path, its kind, its default, its values if the kind does not tell them, an example if the default does
/// not serve as one, and what it does. A change takes effect at the next start, unless `on_reload` says otherwise.
const fn key(
    path: &'static str,
    kind: super::keys::Kind,
    default: super::keys::Default,
    values: &'static str,
    example: &'static str,
    words: &'static str,
) -> Key {
    Key { path, kind, default, values, example, words, taken: Taken::AtStart }
}

/// Every key.
// A table reads better with a row in one place.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("listen", Address, Value(r#""0.0.0.0:8443""#), "address and port", r#""127.0.0.1:8443""#,
        "where CCC calls. Port 0 is any free one; the log tells which. Another address than loopback wants `[tls]`, \
         or `plaintext`"),
    key("path", Text, Value(r#""/""#), "begins with `/`; printable ASCII without `?` and `#`", "",
        "the one path that is answered").on_reload(),
    key("keyring", File, Value(r#""keys/keyring.json""#), "file", "",
        "the key ring"),
    key("identity", File, Words("none"), "file", r#""/run/credentials/callveil.service/identity""#,
        "the age identity that opens the ring. With one, a plain ring is refused. Without one, `identity` in \
         systemd's `$CREDENTIALS_DIRECTORY` is taken if it is there. Nobody is there to type a passphrase"),
    key("keyring_mode", OneOf(&["any"]), Words("absent"), "", r#""any""#,
        "takes files that others on the system can read, write or replace: a plain ring, an identity, TLS keys, \
         `hmac_key`. Without it they are refused"),
    key("ring_id", Hex, Words("none"), "64 lower-case hex digits",
        r#""0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef""#,
        "the only ring to start with, as `keys init` prints it. Without it a start takes any ring, and says so"),
    key("min_generation", Integer(1, 9_007_199_254_740_991), Words("none"), "", "1",
        "the least generation to start with. Raise it when a key was destroyed"),
    key("approvers", Texts, Words("none"), "verifier keys of `keys approver new`, each name and key once",
        r#"["alice+4124365a+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c"]"#,
        "whose signatures a ring needs besides its own"),
    key("approvals", Integer(1, 1_000), Value("1"), "1 to the number of `approvers`", "",
        "how many of them must have signed. Only beside `approvers`"),
    key("trunk_zero_regions", Texts, Value(r#"["CN"]"#), r#"regions (ISO 3166-1), such as `"CN"`; may be empty"#, "",
        "whose numbers UIDToPhone writes with their trunk prefix, `0086` `0755` `86013388`. It is about writing \
         alone: UIDs stay as they are").on_reload(),
    key("threads", Integer(1, 1024), Words("CPUs that the process may use"), "", "4",
        "threads that serve connections"),
    key("plaintext", Boolean, Value("false"), "", "true",
        "plain HTTP on another address than loopback: behind a proxy that ends TLS. Not beside `[tls]`"),
    key("allow_from", Texts, Words("everybody"), "addresses and networks, at least one",
        r#"["10.0.0.0/8", "192.168.1.7"]"#,
        "peers that may connect. Others are closed at once").on_reload(),
    key("trusted_proxies", Texts, Words("nobody"), "addresses and networks, at least one", r#"["10.0.0.7"]"#,
        "proxies whose `X-Forwarded-For` is believed, for throttles, limits of a peer and the audit log").on_reload(),
    key("tls.certificate", File, Required("required", ""), "file, PEM", r#""tls.crt""#,
        "the chain, leaf first"),
    key("tls.private_key", File, Required("required", ""), "file, PEM", r#""tls.key""#,
        "its key. RSA of 2048 bits or more, or P-256, P-384, P-521, Ed25519"),
    key("admin.listen", Address, Value(r#""127.0.0.1:9640""#), "address and port", "",
        "where it listens"),
    key("admin.token_sha256", Hex, Words("none"), "64 lower-case hex digits",
        r#""0000000000000000000000000000000000000000000000000000000000000000""#,
        "SHA-256 of the bearer token that all but `/healthz` and `/readyz` want. Required where `admin.listen` is not \
         loopback. `clients new-password` makes one"),
    key("admin.tls.certificate", File, Required("required in its table", ""), "file, PEM", r#""tls.crt""#,
        "as with `[tls]`; without `[admin.tls]`, plain HTTP"),
    key("admin.tls.private_key", File, Required("required in its table", ""), "file, PEM", r#""tls.key""#,
        "as with `[tls]`"),
    key("admin.tls.client_ca", File, Words("none"), "file, PEM", r#""ca.crt""#,
        "CAs. With it, clients must have a certificate of one of them"),
    key("limits.body_bytes", Integer(1_024, 268_435_456), Value("1048576"), "", "",
        "the largest body of a request: beyond it 413").on_reload(),
    key("limits.buffered_bytes", Integer(1_024, 1_099_511_627_776), Value("268435456"), "", "",
        "bodies and large answers of all requests together: beyond it 503. At least `body_bytes`"),
    key("limits.numbers", Integer(1, 1_000_000), Value("10000"), "", "",
        "values of one request: items, and with PhoneToAliases items times enabled keys. Beyond it 413").on_reload(),
    key("limits.connections", Integer(1, 1_000_000), Value("10000"), "", "",
        "open connections. When all are taken, somebody who is idle or unknown gives way. Fewer where the limit of \
         open files leaves no room, which the log tells"),
    key("limits.connections_per_peer", Integer(1, 1_000_000), Value("2000"), "", "",
        "open connections from one IPv4 address or /64 network. Behind a trusted proxy: concurrent requests of one \
         peer, beyond which it gets 429"),
    key("limits.header_seconds", Integer(1, 3_600), Value("10"), "", "",
        "for a TLS handshake, for the head of a request, and for the first byte of a connection that had no request \
         granted yet").on_reload(),
    key("limits.request_seconds", Integer(1, 3_600), Value("10"), "", "",
        "from the end of the head to the answer, and again until the peer has taken the answer").on_reload(),
    key("limits.idle_seconds", Integer(1, 3_600), Value("75"), "", "",
        "how long a connection may be idle between requests").on_reload(),
    key("limits.drain_delay_seconds", Integer(0, 3_600), Value("5"), "", "",
        "after SIGTERM: `/readyz` says 503, while connections are still taken").on_reload(),
    key("limits.drain_seconds", Integer(0, 3_600), Value("20"), "", "",
        "after that: how long requests under way have to finish before they are cut").on_reload(),
    key("audit.to", File, Value(r#""stdout""#), r#"`"stdout"`, or a file"#, "",
        "where lines go. SIGHUP opens the file anew, after it was moved away. Commands with `--config` add their \
         lines to the file, too"),
    key("audit.items", OneOf(&["none", "hmac"]), Value(r#""none""#), "", "",
        r#"`"hmac"`: lines have keyed hashes of UIDs and numbers, for `audit find`"#),
    key("audit.hmac_key", File, Words("none"), "file of 32 bytes", r#""audit.key""#,
        "the key of these hashes. Required with `items = \"hmac\"`, and only then. Guard it like the ring, apart from \
         the log. `head -c 32 /dev/urandom` makes one"),
    key("audit.on_full", OneOf(&["block", "drop"]), Value(r#""block""#), "", "",
        "while lines cannot be written: requests wait and then get 503, or go on unrecorded and counted"),
    key("clients.username", Text, Required("required", ""), "1 to 64 bytes, no `:`, no control characters, each once",
        r#""ccc""#,
        "the name in Basic auth, and in the audit log").on_reload(),
    key("clients.password_sha256", Hexes, Required("required", ": `callveil clients new-password` makes one"),
        "64 lower-case hex digits each",
        r#"["0000000000000000000000000000000000000000000000000000000000000000"]"#,
        "SHA-256 of passwords that are good. Several while a password is being changed").on_reload(),
    key("clients.context", Text, Value(r#""default""#), "`[a-z0-9][a-z0-9._-]{0,63}`", "",
        "the space of its UIDs: one number has unlinkable UIDs in two contexts").on_reload(),
    key("clients.modes", SomeOf(&["PhoneToUID", "UIDToPhone", "RewrapUID", "PhoneToAliases"]), Value(r#"["PhoneToUID", "UIDToPhone"]"#),
        r#"these, `"RewrapUID"`, `"PhoneToAliases"`"#,
        "",
        "what it may ask for: otherwise 403").on_reload(),
    key("clients.partial", OneOf(&["lenient", "strict"]), Value(r#""lenient""#), "", "",
        "`Code` where some items failed and others did not: 0, or 207").on_reload(),
    key("clients.plain_numbers", OneOf(&["refuse", "pass"]), Value(r#""refuse""#), "", "",
        "a number where UIDToPhone wants a UID fails with `plain_number`, or comes back as UIDToPhone writes it: \
         agents may dial by hand").on_reload(),
    key("clients.tokenize_per_minute", Rate("minute", 1_000_000_000), Value("600000"), "", "",
        "UIDs made: PhoneToUID, PhoneToAliases, RewrapUID, and numbers that pass").on_reload(),
    key("clients.detokenize_per_minute", Rate("minute", 1_000_000_000), Value("60000"), "", "",
        "UIDs opened: UIDToPhone").on_reload(),
    key("clients.tokenize_per_day", Rate("day", 1_440_000_000_000), Words("20 times the minute's"), "", "12000000",
        "the same in any 24 hours. Unlimited by default where the minute is").on_reload(),
    key("clients.detokenize_per_day", Rate("day", 1_440_000_000_000), Words("20 times the minute's"), "", "1200000",
        "the same in any 24 hours. Unlimited by default where the minute is").on_reload(),
];

/// The key of this path.
///
/// # Panics
/// If there is none: the reader asks for a key that is not in [`KEYS`].
pub(super) fn find(path: &str) -> &'static Key {
    let found = KEYS.iter().find(|key| key.path == path);
    found.unwrap_or_else(|| panic!("{path} is not in src/config/list.rs"))
}
