//! The chain of the lines of one start. It reveals lines that were altered, removed, inserted or moved.
//!
//! Each line ends in `"chain":"INSTANCE/N/HASH"}`. INSTANCE is the random name of the start. N counts its lines from 1.
//! HASH is hash(N), in hex:
//!
//! ```text
//! hash(0) = 16 zero bytes
//! hash(n) = the first 16 bytes of SHA-256(line n, from its `{` to the `/` before HASH || hash(n - 1))
//! ```
//!
//! Anyone who can write the log can rebuild the chain from any line on. So the head of the chain, which is N and HASH
//! of the last line, is also written to a place where they cannot write.

use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// Bytes of the longest line that is read or written.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Hex digits in the name of a start.
pub const INSTANCE_DIGITS: usize = 16;

/// Bytes of a hash of a line.
const HASH_BYTES: usize = 16;

/// The text before a link in its line.
const FIELD: &[u8] = b",\"chain\":\"";

/// The text after a link.
const END: &[u8] = b"\"}";

/// Bytes of the longest link, from `,"chain"` to the end of the line: N has at most 20 digits.
pub(super) const LINK_BYTES_MAX: usize = FIELD.len() + INSTANCE_DIGITS + 1 + 20 + 1 + 2 * HASH_BYTES + END.len() + 1;

/// The random name of a start, in hex.
pub type Instance = [u8; INSTANCE_DIGITS];

/// The hash of a line and all lines before it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct LineHash([u8; HASH_BYTES]);

impl LineHash {
    /// Reads a hash in hex.
    pub fn from_hex(hex: &[u8]) -> Option<Self> {
        let mut bytes = [0; HASH_BYTES];
        let fits = hex.len() == 2 * HASH_BYTES && HEXLOWER.decode_mut(hex, &mut bytes).is_ok();
        fits.then_some(Self(bytes))
    }
}

impl fmt::Display for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How far a chain has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// How many lines it has.
    pub lines: u64,
    /// The hash of the last line.
    pub hash: LineHash,
}

/// The chain of a start, which new lines extend.
pub(super) struct Chain {
    instance: Instance,
    head: Head,
}

impl Chain {
    pub(super) fn new(instance: Instance) -> Self {
        Self { instance, head: Head::default() }
    }

    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// Adds `line`, a JSON object, to `out` with its link and a line end.
    pub(super) fn seal(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let begin = out.len();
        self.head.lines += 1;
        out.extend_from_slice(line.strip_suffix(b"}").unwrap_or(line));
        out.extend_from_slice(FIELD);
        out.extend_from_slice(&self.instance);
        out.push(b'/');
        out.extend_from_slice(itoa::Buffer::new().format(self.head.lines).as_bytes());
        out.push(b'/');
        self.head.hash = Content(Sha256::new_with_prefix(&out[begin..])).after(self.head.hash);
        let mut hex = [0; 2 * HASH_BYTES];
        HEXLOWER.encode_mut(&self.head.hash.0, &mut hex);
        out.extend_from_slice(&hex);
        out.extend_from_slice(END);
        out.push(b'\n');
    }
}

/// What a line adds to its hash. With this, the line itself need not be kept until the line before it is found.
#[derive(Clone)]
pub struct Content(Sha256);

impl Content {
    /// The hash of this line after one with the hash `before`.
    pub fn after(&self, before: LineHash) -> LineHash {
        let digest: [u8; 32] = self.0.clone().chain_update(before.0).finalize().into();
        let mut hash = LineHash::default();
        hash.0.copy_from_slice(&digest[..HASH_BYTES]);
        hash
    }
}

/// The place in a chain that a line claims.
#[derive(Clone)]
pub struct ChainedLine {
    /// The name of the start.
    pub instance: Instance,
    /// Which line of the chain it is.
    pub number: u64,
    /// The hash that the line claims.
    pub hash: LineHash,
    /// What the line adds to its hash.
    pub content: Content,
}

impl ChainedLine {
    /// The link at the end of `line`, which has no line end.
    pub fn of(line: &[u8]) -> Option<Self> {
        let (content, hash) = line.strip_suffix(END)?.split_last_chunk::<{ 2 * HASH_BYTES }>()?;
        let hash = LineHash::from_hex(hash)?;
        let place = content.strip_suffix(b"/")?;
        let slash = memchr::memrchr(b'/', place)?;
        let digits = &place[slash + 1..];
        let is_plain = matches!(digits, [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit));
        let number = str::from_utf8(digits).ok().filter(|_| is_plain)?.parse().ok()?;
        let (before, instance) = place[..slash].split_last_chunk::<INSTANCE_DIGITS>()?;
        let is_hex = instance.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (is_hex && before.ends_with(FIELD) && before.starts_with(b"{")).then(|| Self {
            instance: *instance,
            number,
            hash,
            content: Content(Sha256::new_with_prefix(content)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_as_it_was_written() {
        let (mut chain, mut log) = (Chain::new(*b"0123456789abcdef"), Vec::new());
        for event in ["start", "request", "stop"] {
            chain.seal(format!("{{\"event\":\"{event}\"}}").as_bytes(), &mut log);
        }
        let log = String::from_utf8(log).expect("text");
        let mut before = LineHash::default();
        for (line, number) in log.lines().zip(1..) {
            let _: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let link = ChainedLine::of(line.as_bytes()).expect("a link");
            assert_eq!((link.number, &link.instance), (number, b"0123456789abcdef"));
            assert_eq!(link.content.after(before), link.hash);
            before = link.hash;
        }
        assert_eq!(chain.head(), Head { lines: 3, hash: before });
        // As another implementation computes it: printf '{"event":"start","chain":"0123456789abcdef/1/' and 16 zero bytes.
        assert!(
            log.starts_with("{\"event\":\"start\",\"chain\":\"0123456789abcdef/1/5508025afb659c82e83e3205d94676bc"),
            "{log}"
        );
    }

    #[test]
    fn the_longest_link_is_of_the_last_number() {
        let head = Head { lines: u64::MAX - 1, ..Head::default() };
        let (mut chain, mut line) = (Chain { instance: *b"0123456789abcdef", head }, Vec::new());
        chain.seal(b"{}", &mut line);
        assert_eq!(line.len(), "{".len() + LINK_BYTES_MAX);
    }

    #[test]
    fn what_is_no_link_is_refused() {
        let hash = "0123456789abcdef0123456789abcdef";
        let good = format!("{{\"a\":1,\"chain\":\"0123456789abcdef/7/{hash}\"}}");
        assert!(ChainedLine::of(good.as_bytes()).is_some());
        for (from, to) in [("/7/", "/07/"), ("/7/", "/0/"), ("/7/", "/+7/"), ("/7/", "//"), ("chain", "Chain")] {
            assert!(ChainedLine::of(good.replace(from, to).as_bytes()).is_none(), "{to}");
        }
        for line in [&good[1..], &good[..good.len() - 1], "", "}", "\"}"] {
            assert!(ChainedLine::of(line.as_bytes()).is_none(), "{line}");
        }
    }
}
