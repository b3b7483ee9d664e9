//! The Authorization header: who it lets in is whom RFC 7617, read step by step, lets in.

use std::sync::{Arc, LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use callveil::{
    allowance::Allowance,
    auth::{Client, Clients, OnPartial, Username},
    ids::Context,
    item::PlainNumbers,
};
use sha2::{Digest, Sha256};

/// Usernames, each with the passwords that are good.
const WHO: [(&str, &[&str]); 5] = [
    ("ccc", &["old", "new:with:colons"]),
    ("crm", &["old"]),
    ("客服", &["пароль"]),
    ("a", &["a", "b", "c"]),
    ("0123456789012345678901234567890123456789012345678901234567890123", &["long"]),
];

static CLIENTS: LazyLock<Clients> = LazyLock::new(|| {
    let client = |(name, passwords): &(&str, &[&str])| Client {
        username: Username::new(name).expect("a username"),
        password_sha256: passwords.iter().map(|password| Sha256::digest(password).into()).collect(),
        context: Context::default(),
        modes: Vec::new(),
        partial: OnPartial::Lenient,
        plain_numbers: PlainNumbers::Refuse,
        tokenize: Arc::new(Allowance::new(None)),
        detokenize: Arc::new(Allowance::new(None)),
        usage: Arc::default(),
    };
    Clients::new(WHO.iter().map(client).collect())
});

/// `data` is a header's value, and the credentials in another.
pub fn check(data: &[u8]) {
    check_header(data);
    let header = format!("Basic {}", STANDARD.encode(data));
    assert_eq!(found(header.as_bytes()), holder(data), "credentials");
    if let Ok(text) = str::from_utf8(data) {
        check_username(text);
    }
}

fn check_header(header: &[u8]) {
    assert_eq!(found(header), obvious(header), "header");
}

fn found(header: &[u8]) -> Option<&'static str> {
    CLIENTS.authenticate(header).map(|client| client.username.as_str())
}

/// RFC 9110 section 11.4 and RFC 7617 section 2: the scheme in any letter case, spaces, base64 and nothing else.
fn obvious(header: &[u8]) -> Option<&'static str> {
    let header = header.trim_ascii();
    let space = header.iter().position(|byte| *byte == b' ')?;
    if !header[..space].eq_ignore_ascii_case(b"basic") {
        return None;
    }
    holder(&STANDARD.decode(header[space..].trim_ascii_start()).ok()?)
}

/// Whose `credentials` these are: what is before the first colon is the name, the rest a password.
fn holder(credentials: &[u8]) -> Option<&'static str> {
    let (name, password) = str::from_utf8(credentials).ok()?.split_once(':')?;
    let (known, passwords) = WHO.into_iter().find(|(known, _)| *known == name)?;
    passwords.contains(&password).then_some(known)
}

fn check_username(text: &str) {
    let good = !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c != ':' && !c.is_control());
    assert_eq!(Username::new(text).is_some_and(|name| name.as_str() == text), good);
}
