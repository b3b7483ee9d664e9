//! Signed notes (C2SP signed-note): a text, an empty line, and signature lines by named keys.
//!
//! ```text
//! key id       = first 4 bytes of SHA-256(name || 0x0A || 0x01 || 32-byte public key)
//! verifier key = name+<key id, 8 hex digits>+<base64 of 0x01 || public key>
//! line         = "— " name " " <base64 of key id || 64-byte Ed25519 signature over the text> 0x0A
//! ```

use std::{collections::HashSet, fmt};

use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::base64;
use crate::memory::Locked;

/// Bytes of an Ed25519 public key. The seed of a private key has as many.
pub const KEY_BYTES: usize = 32;

/// The signature type of Ed25519.
const ED25519: u8 = 0x01;

/// Bytes of a key id.
const ID_BYTES: usize = 4;

/// The prefix of a signature line, before the name: an em dash and a space.
const DASH: &str = "\u{2014} ";

/// The prefix of a private key's text, before the name, as in Go's `sumdb/note`.
const PRIVATE: &str = "PRIVATE+KEY+";

/// Maximum bytes of a name.
const NAME_BYTES_MAX: usize = 64;

/// Maximum signature lines of a note: more than any group of approvers has, and still quick to check.
const LINES_MAX: usize = 64;

/// The first bytes of a hash. They distinguish keys with the same name.
type KeyHash = [u8; ID_BYTES];

/// The name of a key: 1 to 64 printable ASCII characters, none of them a space or a plus.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// `text` as a name; `None` if it cannot be one.
    pub fn new(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'+';
        let is_name = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits);
        is_name.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key whose signatures are trusted: a name and a public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: Name,
    id: KeyHash,
    key: [u8; KEY_BYTES],
}

impl Verifier {
    /// The verifier with this name and public key.
    pub fn new(name: Name, key: [u8; KEY_BYTES]) -> Self {
        let id = key_id(&name, &key);
        Self { name, id, key }
    }

    /// Parses a verifier key, `name+id+key`; `None` if anything in it is wrong.
    pub fn parse(text: &str) -> Option<Self> {
        let KeyText { name, id, key } = KeyText::parse(text)?;
        VerifyingKey::from_bytes(&key).ok().filter(|key| !key.is_weak())?;
        let verifier = Self::new(name, *key);
        (verifier.id == id).then_some(verifier)
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The public key.
    pub fn key(&self) -> &[u8; KEY_BYTES] {
        &self.key
    }

    /// Whether `line` claims to be by this key.
    fn made(&self, line: &Line) -> bool {
        line.name == self.name && line.id == self.id
    }

    fn verify(&self, text: &[u8], line: &Line) -> bool {
        let signature = line.signature.as_slice().try_into().map(|bytes: &[u8; 64]| Signature::from_bytes(bytes));
        let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(&self.key), signature) else { return false };
        // Strict verification: a signature cannot be altered into a second valid one, and keys of small order, which
        // would accept any text, are refused.
        key.verify_strict(text, &signature).is_ok()
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64.encode(&[&[ED25519], &self.key[..]].concat());
        write!(f, "{}+{}+{key}", self.name, HEXLOWER.encode(&self.id))
    }
}

/// A signing key: a name and a private key. The private key stays in a locked page and is never printed.
pub struct Signer {
    seed: Locked<[u8; KEY_BYTES]>,
    verifier: Verifier,
}

impl Signer {
    /// The signing key with this seed, which must come from a cryptographic random source.
    pub fn new(name: Name, seed: &[u8; KEY_BYTES]) -> Self {
        let key = SigningKey::from_bytes(seed).verifying_key().to_bytes();
        Self { seed: Locked::new(*seed), verifier: Verifier::new(name, key) }
    }

    /// Parses a private key as [`Signer::expose`] writes it; `None` if anything in it is wrong.
    pub fn parse(text: &str) -> Option<Self> {
        let KeyText { name, id, key } = KeyText::parse(text.trim().strip_prefix(PRIVATE)?)?;
        let signer = Self::new(name, &key);
        (signer.verifier.id == id).then_some(signer)
    }

    /// The private key as text, for the file that stores it.
    pub fn expose(&self) -> Zeroizing<String> {
        let mut typed = Zeroizing::new([ED25519; 1 + KEY_BYTES]);
        typed[1..].copy_from_slice(&self.seed[..]);
        let Verifier { name, id, .. } = &self.verifier;
        let head = format!("{PRIVATE}{name}+{}+", HEXLOWER.encode(id));
        // This is the full size: a buffer that grew would leave the secret behind.
        let mut text = Zeroizing::new(String::with_capacity(head.len() + BASE64.encode_len(typed.len()) + 1));
        text.push_str(&head);
        BASE64.encode_append(&*typed, &mut text);
        text.push('\n');
        text
    }

    /// The seed, for the ring that stores it.
    pub fn seed(&self) -> &[u8; KEY_BYTES] {
        &self.seed
    }

    /// The verifier for this key's signatures.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// A signature line for `text`.
    pub fn line(&self, text: &[u8]) -> String {
        let signature = SigningKey::from_bytes(&self.seed).sign(text).to_bytes();
        let Verifier { name, id, .. } = &self.verifier;
        format!("{DASH}{name} {}\n", BASE64.encode(&[&id[..], &signature].concat()))
    }
}

impl Clone for Signer {
    fn clone(&self) -> Self {
        Self { seed: Locked::new(*self.seed), verifier: self.verifier.clone() }
    }
}

fn key_id(name: &Name, key: &[u8; KEY_BYTES]) -> KeyHash {
    let hash = Sha256::new().chain_update(name.as_str()).chain_update([b'\n', ED25519]).chain_update(key).finalize();
    let mut id = [0; ID_BYTES];
    id.copy_from_slice(&hash[..ID_BYTES]);
    id
}

/// The parts of a key's text, `name+id+key`.
struct KeyText {
    name: Name,
    id: KeyHash,
    key: Zeroizing<[u8; KEY_BYTES]>,
}

impl KeyText {
    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('+')?;
        let (id, key) = rest.split_once('+')?;
        let typed = base64::decode::<{ 1 + KEY_BYTES }>(key).filter(|typed| typed[0] == ED25519)?;
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        key.copy_from_slice(&typed[1..]);
        Some(Self { name: Name::new(name)?, id: HEXLOWER.decode(id.as_bytes()).ok()?.try_into().ok()?, key })
    }
}

/// A signature line of a note: an unverified claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    name: Name,
    id: KeyHash,
    signature: Vec<u8>,
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let (name, signature) = line.strip_prefix(DASH)?.split_once(' ')?;
        let bytes = BASE64.decode(signature.as_bytes()).ok().filter(|bytes| BASE64.encode(bytes) == signature)?;
        let (id, signature) = bytes.split_first_chunk().filter(|(_, signature)| !signature.is_empty())?;
        Some(Self { name: Name::new(name)?, id: *id, signature: signature.to_vec() })
    }

    /// The name in the line.
    pub fn name(&self) -> &Name {
        &self.name
    }
}

/// A note before verification: trust nothing in it until its signatures are checked.
pub struct Note<'a> {
    /// The text, including its last line end.
    pub text: &'a [u8],
    lines: Vec<Line>,
}

impl<'a> Note<'a> {
    /// Splits a note into text and lines. `None` if it is not a note: it is torn, has no signature, has one key's
    /// signature twice, or has a line that is not a signature.
    pub fn parse(note: &'a [u8]) -> Option<Self> {
        let note = str::from_utf8(note).ok().filter(|note| !note.contains(|c: char| c < ' ' && c != '\n'))?;
        let (text, lines) = note.split_at(note.rfind("\n\n")? + 1);
        let lines = lines[1..].strip_suffix('\n')?.split('\n');
        if lines.clone().count() > LINES_MAX {
            return None;
        }
        let lines = lines.map(Line::parse).collect::<Option<Vec<_>>>()?;
        let mut seen = HashSet::new();
        let once = lines.iter().all(|line| seen.insert((&line.name, line.id)));
        once.then_some(Self { text: text.as_bytes(), lines })
    }

    /// Its lines.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Whether this key signed the text: `None` if no line claims so, and `false` if a line claims so wrongly.
    pub fn is_signed_by(&self, verifier: &Verifier) -> Option<bool> {
        let line = self.lines.iter().find(|line| verifier.made(line))?;
        Some(verifier.verify(self.text, line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(name: &str, byte: u8) -> Signer {
        Signer::new(Name::new(name).expect("a name"), &[byte; KEY_BYTES])
    }

    fn note(text: &str, signers: &[&Signer]) -> String {
        let lines: String = signers.iter().map(|signer| signer.line(text.as_bytes())).collect();
        format!("{text}\n{lines}")
    }

    /// The specification's example, which another implementation signed, and its key, from the tests of Go's notes.
    #[test]
    fn notes_of_others_verify() {
        let verifier = Verifier::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
        let text =
            "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let line = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        let note = format!("{text}\n{line}\n");
        let note = Note::parse(note.as_bytes()).expect("a note");
        assert_eq!(note.text, text.as_bytes());
        assert_eq!(note.is_signed_by(&verifier.expect("a key")), Some(true));
    }

    #[test]
    fn keys_go_through_text() {
        let signer = signer("alice.example/ring", 7);
        let text = signer.expose();
        assert_eq!(Signer::parse(&text).map(|it| it.verifier), Some(signer.verifier.clone()));
        assert_eq!(Verifier::parse(&signer.verifier.to_string()), Some(signer.verifier.clone()));
        assert!(text.starts_with("PRIVATE+KEY+alice.example/ring+") && text.capacity() == text.len());
        let public = signer.verifier.to_string();
        for (at, _) in public.char_indices() {
            for to in ["", "A", "+", " "] {
                let mut changed = public.clone();
                changed.replace_range(at..=at, to);
                assert!(changed == public || Verifier::parse(&changed).is_none(), "{changed}");
            }
        }
        for wrong in ["", "alice", "alice+00000000", "alice+00000000+", "+00000000+AQ=="] {
            assert!(Verifier::parse(wrong).is_none() && Signer::parse(&format!("{PRIVATE}{wrong}")).is_none());
        }
    }

    #[test]
    fn keys_that_sign_everything_are_no_keys() {
        let weak = Verifier::new(Name::new("weak").expect("a name"), [0; KEY_BYTES]);
        assert!(Verifier::parse(&weak.to_string()).is_none());
    }

    #[test]
    fn names_are_short_and_printable() {
        for wrong in ["", "a b", "a+b", "a\u{a0}b", "zoë", "a\u{7f}", &"n".repeat(65)] {
            assert!(Name::new(wrong).is_none(), "{wrong:?}");
        }
        assert!(Name::new(&"n".repeat(64)).is_some());
    }

    #[test]
    fn a_note_is_its_text_and_each_signature_once() {
        let (alice, bob) = (signer("alice", 1), signer("bob", 2));
        let signed = note("one\n\ntwo\n", &[&alice, &bob]);
        let read = Note::parse(signed.as_bytes()).expect("a note");
        assert_eq!(read.text, b"one\n\ntwo\n");
        assert_eq!(read.lines().iter().map(|line| line.name().as_str()).collect::<Vec<_>>(), ["alice", "bob"]);
        assert_eq!((read.is_signed_by(alice.verifier()), read.is_signed_by(bob.verifier())), (Some(true), Some(true)));
        // A key with the same name, or the same key under another name, is a different key.
        for other in [signer("alice", 3), signer("carol", 1)] {
            assert_eq!(read.is_signed_by(other.verifier()), None);
        }
        let swapped = signed.replace("one", "ons");
        assert_eq!(Note::parse(swapped.as_bytes()).and_then(|it| it.is_signed_by(alice.verifier())), Some(false));
        let line = alice.line(b"one\n");
        for broken in [
            "",
            "one\n",
            "one\n\n",
            &format!("one\n{line}"),
            &format!("one\n\n{}", line.trim_end()),
            &format!("one\n\n{line}{line}"),
            &format!("one\n\n{line}\n"),
            &format!("one\r\n\n{line}"),
            &format!("one\n\n{}", line.replace('\u{2014}', "-")),
            &format!("one\n\n{}", line.replace("alice", "")),
            &format!("one\n\n{}", line.replace('\n', "=\n")),
            &format!("one\n\n{}", "— alice AAAAAA==\n"),
            &format!("one\n\n{}", "— alice AAAA AAAA\n"),
        ] {
            assert!(Note::parse(broken.as_bytes()).is_none(), "{broken:?}");
        }
        let crowd: Vec<_> = (0..=64).map(|at| signer(&format!("a{at}"), 9)).collect();
        assert!(Note::parse(note("one\n", &crowd.iter().collect::<Vec<_>>()).as_bytes()).is_none());
        assert!(Note::parse(note("one\n", &crowd[1..].iter().collect::<Vec<_>>()).as_bytes()).is_some());
    }

    #[test]
    fn a_flipped_bit_is_no_signature() {
        let alice = signer("alice", 1);
        let mut signed = note("one\n", &[&alice]).into_bytes();
        for at in 0..signed.len() * 8 {
            signed[at / 8] ^= 1 << (at % 8);
            let signs = Note::parse(&signed).and_then(|note| note.is_signed_by(alice.verifier()));
            assert_ne!(signs, Some(true), "bit {at}");
            signed[at / 8] ^= 1 << (at % 8);
        }
    }
}
