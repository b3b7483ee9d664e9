//! Finds the client of an Authorization header, in constant time over all password hashes of all clients (RFC 7617).

use std::{fmt, sync::Arc, time::Instant};

use data_encoding::BASE64;
use sha2::{Digest, Sha256};
use smallvec::{SmallVec, smallvec};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::{
    allowance::Allowance,
    ids::Context,
    item::{Mode, PlainNumbers},
    memory,
    usage::{Limit, Usage},
};

/// Bytes of the longest username.
pub const USERNAME_BYTES_MAX: usize = 64;

/// Bytes of the longest name and password that are looked at.
const CREDENTIALS_BYTES_MAX: usize = 768;

/// Bytes of most names and passwords. These need no room on the heap.
const CREDENTIALS_BYTES: usize = 128;

/// Bytes of a SHA-256.
pub const HASH_BYTES: usize = 32;

/// Someone who may call.
pub struct Client {
    /// Name, as in the Authorization header; not secret.
    pub username: Username,
    /// SHA-256 of each valid password. There are several while a password is being changed.
    pub password_sha256: Vec<[u8; HASH_BYTES]>,
    /// The space of this client's UIDs.
    pub context: Context,
    /// What this client may ask for.
    pub modes: Vec<Mode>,
    /// The `Code` of an answer in which some items failed.
    pub partial: OnPartial,
    /// What UIDToPhone does with numbers.
    pub plain_numbers: PlainNumbers,
    /// How many numbers may become UIDs.
    pub tokenize: Arc<Allowance>,
    /// How many UIDs may become numbers.
    pub detokenize: Arc<Allowance>,
    /// Counts of what was mapped for this client.
    pub usage: Arc<Usage>,
}

impl Client {
    /// The client's allowance for `limit`.
    pub fn allowance(&self, limit: Limit) -> &Allowance {
        match limit {
            Limit::Tokenize => &self.tokenize,
            Limit::Detokenize => &self.detokenize,
        }
    }
}

/// The `Code` of an answer in which some items failed and others did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPartial {
    /// 0, as long as at least one was mapped.
    Lenient,
    /// 207.
    Strict,
}

/// A username: 1 to 64 bytes, no colon, no control character (RFC 7617 section 2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Username(Arc<str>);

impl Username {
    /// `text` as a username, if it is a valid one.
    pub fn new(text: &str) -> Option<Self> {
        let fits =
            (1..=USERNAME_BYTES_MAX).contains(&text.len()) && !text.contains(|c: char| c == ':' || c.is_control());
        fits.then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in a field of fixed width, so that comparing it reveals only whether it is equal. A name with a zero
    /// byte has no such field, because it could equal a shorter name.
    fn padded(name: &[u8]) -> Option<[u8; USERNAME_BYTES_MAX]> {
        if name.contains(&0) {
            return None;
        }
        let mut padded = [0; USERNAME_BYTES_MAX];
        padded.get_mut(..name.len())?.copy_from_slice(name);
        Some(padded)
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All clients.
pub struct Clients {
    clients: Vec<Client>,
    /// One entry for each password hash: its client's place in `clients`, the padded name, and the hash.
    hashes: Vec<(u32, [u8; USERNAME_BYTES_MAX], [u8; HASH_BYTES])>,
    /// Clients that were removed but have spent something of late. They may come back.
    gone: Vec<Gone>,
}

/// What is remembered of a removed client.
#[derive(Clone)]
struct Gone {
    username: Username,
    password_sha256: Vec<[u8; HASH_BYTES]>,
    tokenize: Arc<Allowance>,
    detokenize: Arc<Allowance>,
    usage: Arc<Usage>,
}

impl Clients {
    /// A set of these clients, whose usernames all differ.
    pub fn new(clients: Vec<Client>) -> Self {
        let mut hashes = Vec::new();
        for (place, client) in (0..).zip(&clients) {
            let name = Username::padded(client.username.as_str().as_bytes()).expect("a username fits its field");
            hashes.extend(client.password_sha256.iter().map(|hash| (place, name, *hash)));
        }
        Self { clients, hashes, gone: Vec::new() }
    }

    /// The names of all clients.
    pub fn usernames(&self) -> impl Iterator<Item = &str> {
        self.clients.iter().map(|client| client.username.as_str())
    }

    /// All clients.
    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter()
    }

    /// These clients at `now`, with what the clients of `before` have spent of their allowances. So a reload gives
    /// nobody a second minute or day: not under another limit, not after a time away, and not under a new name with an
    /// old password.
    #[must_use]
    pub fn continuing(mut self, before: &Self, now: Instant) -> Self {
        let mut past: Vec<Gone> = before.clients.iter().map(Gone::new).chain(before.gone.iter().cloned()).collect();
        // Names come first: two earlier clients must not become one because they shared a password.
        let has_name: fn(&Gone, &Client) -> bool = |gone, client| gone.username == client.username;
        let has_password: fn(&Gone, &Client) -> bool =
            |gone, client| client.password_sha256.iter().any(|hash| gone.password_sha256.contains(hash));
        let mut new: Vec<&mut Client> = self.clients.iter_mut().collect();
        for is_same in [has_name, has_password] {
            new.retain_mut(|client| {
                let Some(at) = past.iter().position(|gone| is_same(gone, client)) else { return true };
                let old = past.swap_remove(at);
                client.tokenize = Arc::new(client.tokenize.continuing(&old.tokenize));
                client.detokenize = Arc::new(client.detokenize.continuing(&old.detokenize));
                client.usage = old.usage;
                false
            });
        }
        past.retain(|gone| gone.tokenize.is_spent(now) || gone.detokenize.is_spent(now));
        self.gone = past;
        self
    }

    /// The client whose name and password the header's `value` holds.
    ///
    /// Every hash of every client is compared whatever the outcome, so that the time taken reveals neither which
    /// usernames exist nor how much of a hash was right.
    pub fn authenticate(&self, value: &[u8]) -> Option<&Client> {
        with_basic(value, |credentials| self.find(credentials))?
    }

    /// The client with these credentials, `name:password`.
    fn find(&self, credentials: &[u8]) -> Option<&Client> {
        let colon = credentials.iter().position(|byte| *byte == b':')?;
        let (name, password) = (&credentials[..colon], &credentials[colon + 1..]);
        let name = Username::padded(name)?;
        let hash: [u8; HASH_BYTES] = Sha256::digest(password).into();
        let mut found = Choice::from(0);
        let mut place = 0;
        for (whose, good_name, good_hash) in &self.hashes {
            let equal = are_equal(good_name, &name) & are_equal(good_hash, &hash);
            place.conditional_assign(whose, equal);
            found |= equal;
        }
        self.clients.get(usize::try_from(place).ok()?).filter(|_| bool::from(found))
    }
}

impl Gone {
    fn new(client: &Client) -> Self {
        Self {
            username: client.username.clone(),
            password_sha256: client.password_sha256.clone(),
            tokenize: client.tokenize.clone(),
            detokenize: client.detokenize.clone(),
            usage: client.usage.clone(),
        }
    }
}

/// Whether both are equal, compared eight bytes at a time. Byte by byte, this would cost more than the hash.
fn are_equal<const N: usize>(one: &[u8; N], other: &[u8; N]) -> Choice {
    let words = one.as_chunks().0.iter().zip(other.as_chunks().0);
    words.fold(0, |differs, (one, other)| differs | (u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other))).ct_eq(&0)
}

/// Calls `look` with the name and password in `Basic <base64>`, as `name:password`, and returns its result; `None` if
/// there are none. The credentials never leave this frame, and are wiped in it.
pub(crate) fn with_basic<T>(value: &[u8], look: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let encoded = basic_credentials(value)?;
    let length = BASE64.decode_len(encoded.len()).ok().filter(|length| *length <= CREDENTIALS_BYTES_MAX)?;
    let mut credentials: SmallVec<[u8; CREDENTIALS_BYTES]> = smallvec![0; length];
    let decoded = BASE64.decode_mut(encoded, &mut credentials);
    let looked = decoded.ok().map(|decoded| look(&credentials[..decoded]));
    memory::wipe(&mut credentials);
    looked
}

/// The credentials in `Basic <base64>`; the scheme's letter case does not matter (RFC 9110 section 11.1).
fn basic_credentials(value: &[u8]) -> Option<&[u8]> {
    let (scheme, encoded) = value.trim_ascii().split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let encoded = encoded.trim_ascii_start();
    // RFC 9110 section 11.2 allows padding only at the end. The decoder would take several padded texts as one.
    let is_one = encoded.iter().rev().skip(2).all(|byte| *byte != b'=');
    is_one.then_some(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str, passwords: &[&str]) -> Client {
        Client {
            username: Username::new(name).expect("a username"),
            password_sha256: passwords.iter().map(|password| Sha256::digest(password).into()).collect(),
            context: Context::default(),
            modes: Vec::new(),
            partial: OnPartial::Lenient,
            plain_numbers: PlainNumbers::Refuse,
            tokenize: Arc::new(Allowance::new(None)),
            detokenize: Arc::new(Allowance::new(None)),
            usage: Arc::default(),
        }
    }

    #[track_caller]
    fn check(header: &str, expected: Option<&str>) {
        let clients = Clients::new(vec![
            client("ccc", &["old", "new:with:colons"]),
            client("crm", &["old"]),
            client("客服", &["пароль"]),
        ]);
        let found = clients.authenticate(header.as_bytes()).map(|client| client.username.as_str());
        assert_eq!(found, expected, "{header}");
    }

    fn basic(credentials: &str) -> String {
        format!("Basic {}", BASE64.encode(credentials.as_bytes()))
    }

    #[test]
    fn good_credentials() {
        check(&basic("ccc:old"), Some("ccc"));
        check(&basic("ccc:new:with:colons"), Some("ccc"));
        check(&basic("crm:old"), Some("crm"));
        check(&basic("客服:пароль"), Some("客服"));
        check(&basic("crm:old").replace("Basic ", "bASIC   "), Some("crm"));
    }

    #[test]
    fn bad_credentials() {
        for credentials in [
            "",
            ":",
            "ccc",
            "ccc:",
            "ccc:Old",
            "ccc:old ",
            "CCC:old",
            "ccc\0:old",
            "crm:new:with:colons",
            "nobody:old",
            ":old",
        ] {
            check(&basic(credentials), None);
        }
        check(&basic(&format!("{}:old", "c".repeat(65))), None);
        check(&basic(&format!("ccc:{}", "o".repeat(CREDENTIALS_BYTES_MAX))), None);
        for header in [
            "",
            "Basic",
            "Basic ",
            "Basic !",
            "Bearer Y2NjOm9sZA==",
            "BasicY2NjOm9sZA==",
            "Basic Y2NjOm9sZA",
            "Basic Y2NjOm9sZB==",
            "Basic Y2NjOg==b2xk",
        ] {
            check(header, None);
        }
    }

    #[test]
    fn a_reload_gives_nobody_a_second_minute() {
        let limited = |name: &str, passwords: &[&str], limit: u64| Client {
            tokenize: Arc::new(Allowance::new(Some(limit))),
            ..client(name, passwords)
        };
        let now = Instant::now();
        let left = |clients: &Clients, name: &str| {
            let client = clients.clients.iter().find(|client| client.username.as_str() == name).expect("a client");
            (1..=100).take_while(|_| client.tokenize.admit(1, now).is_ok()).count()
        };
        let first = Clients::new(vec![limited("a", &["one"], 10), limited("b", &["two"], 8)]);
        assert_eq!((left(&first, "a"), left(&first, "b")), (10, 8));
        // One client has another limit, one has another name but keeps a password, and one is new.
        let renamed = vec![limited("a", &["new"], 13), limited("c", &["two", "three"], 10), limited("d", &["one"], 10)];
        let second = Clients::new(renamed).continuing(&first, now);
        assert_eq!(["a", "c", "d"].map(|name| left(&second, name)), [3, 2, 10]);
        // The others are away for a moment.
        let third = Clients::new(vec![limited("d", &["one"], 10)]).continuing(&second, now);
        let fourth = Clients::new(vec![limited("a", &["new"], 13)]).continuing(&third, now);
        assert_eq!((left(&fourth, "a"), fourth.gone.len()), (0, 2));
        let later = now + std::time::Duration::from_secs(60);
        assert!(Clients::new(vec![limited("a", &["new"], 13)]).continuing(&fourth, later).gone.is_empty());
    }

    #[test]
    fn differences_do_not_cancel_out() {
        assert!(bool::from(are_equal(&[7; HASH_BYTES], &[7; HASH_BYTES])));
        for at in 0..HASH_BYTES {
            let mut other = [7; HASH_BYTES];
            // The same bit in two words of eight bytes.
            other[at] ^= 1;
            assert!(!bool::from(are_equal(&[7; HASH_BYTES], &other)), "{at}");
            other[(at + 8) % HASH_BYTES] ^= 1;
            assert!(!bool::from(are_equal(&[7; HASH_BYTES], &other)), "{at}");
        }
    }

    #[test]
    fn usernames() {
        for name in ["", "a:b", "a\nb", &"a".repeat(65)] {
            assert!(Username::new(name).is_none(), "{name:?}");
        }
        for name in ["a", "客服", &"a".repeat(64)] {
            assert_eq!(Username::new(name).map(|name| name.to_string()).as_deref(), Some(name));
        }
    }
}
