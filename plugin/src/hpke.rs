//! HPKE's base mode (RFC 9180) with DHKEM(P-256, HKDF-SHA256) and ChaCha20-Poly1305, from a Diffie-Hellman secret that
//! is computed elsewhere. Also the tag that shows which recipient a stanza is for (c2sp.org/age).

use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, aead::Aead as _};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};

/// Bytes of an uncompressed P-256 point.
pub(crate) const SHARE_BYTES: usize = 65;

/// Bytes of an encrypted file key: 16 and a tag.
pub(crate) const BODY_BYTES: usize = 32;

/// Bytes of a stanza's tag.
pub(crate) const TAG_BYTES: usize = 4;

const INFO: &[u8] = b"age-encryption.org/p256tag";

/// The suite ids of DHKEM(P-256, HKDF-SHA256) alone, and together with HKDF-SHA256 and ChaCha20-Poly1305.
const KEM_SUITE: &[u8] = b"KEM\x00\x10";
const SUITE: &[u8] = b"HPKE\x00\x10\x00\x01\x00\x03";

/// The tag of a stanza with this share for the holder of `public`.
pub(crate) fn tag(share: &[u8; SHARE_BYTES], public: &[u8; SHARE_BYTES]) -> [u8; TAG_BYTES] {
    let holder = &Sha256::digest(compressed(public))[..TAG_BYTES];
    let (hash, _) = Hkdf::<Sha256>::extract(Some(INFO), &[&share[..], holder].concat());
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&hash[..TAG_BYTES]);
    tag
}

/// A point in the compressed form that recipients have.
pub(crate) fn compressed(point: &[u8; SHARE_BYTES]) -> [u8; 33] {
    let mut compressed = [0; 33];
    compressed[0] = 2 | (point[SHARE_BYTES - 1] & 1);
    compressed[1..].copy_from_slice(&point[1..33]);
    compressed
}

/// Opens the file key of a stanza. `secret` is the Diffie-Hellman result of its share. `None` if the stanza does not
/// fit.
pub(crate) fn open(
    secret: &[u8],
    share: &[u8; SHARE_BYTES],
    public: &[u8; SHARE_BYTES],
    body: &[u8],
) -> Option<Vec<u8>> {
    let context = [&share[..], &public[..]].concat();
    let shared: [u8; 32] = expand(KEM_SUITE, &extract(KEM_SUITE, &[], b"eae_prk", secret), b"shared_secret", &context)?;
    let mut schedule = vec![0];
    schedule.extend_from_slice(&extract(SUITE, &[], b"psk_id_hash", &[]));
    schedule.extend_from_slice(&extract(SUITE, &[], b"info_hash", INFO));
    let secret = extract(SUITE, &shared, b"secret", &[]);
    let key: [u8; 32] = expand(SUITE, &secret, b"key", &schedule)?;
    let nonce: [u8; 12] = expand(SUITE, &secret, b"base_nonce", &schedule)?;
    ChaCha20Poly1305::new(&key.into()).decrypt(&nonce.into(), body).ok()
}

fn extract(suite: &[u8], salt: &[u8], label: &[u8], material: &[u8]) -> [u8; 32] {
    Hkdf::<Sha256>::extract(Some(salt), &[b"HPKE-v1", suite, label, material].concat()).0.into()
}

fn expand<const N: usize>(suite: &[u8], secret: &[u8; 32], label: &[u8], info: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    let length = u16::try_from(N).ok()?.to_be_bytes();
    let info = [&length, &b"HPKE-v1"[..], suite, label, info].concat();
    Hkdf::<Sha256>::from_prk(secret).ok()?.expand(&info, &mut out).ok()?;
    Some(out)
}
