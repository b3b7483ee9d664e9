//! age's post-quantum recipients (c2sp.org/age, `mlkem768x25519`). The crate `age` has none yet; these implement its
//! traits.
//!
//! ```text
//! identity   = AGE-SECRET-KEY-PQ-1…: a seed of 32 bytes
//! d, z, x    = SHAKE256(seed), 32 bytes each: the key pair of ML-KEM-768 from d and z, and of X25519 from x
//! recipient  = age1pq1…: 1184 bytes of ML-KEM's public key, 32 of X25519's
//! secret     = SHA3-256(ML-KEM's secret || X25519's secret || X25519's share || X25519's public key || label)   (X-Wing)
//! stanza     = HPKE base mode (RFC 9180) of the file key, with HKDF-SHA256 and ChaCha20-Poly1305
//! ```

use std::{collections::HashSet, fmt, str::FromStr};

use age::{DecryptError, EncryptError};
use age_core::{
    format::{FileKey, Stanza},
    primitives::{bech32_decode, bech32_encode_to_fmt, hpke_open, hpke_seal},
    secrecy::ExposeSecret as _,
};
use bech32::Hrp;
use data_encoding::BASE64_NOPAD;
use hpke::{
    Deserializable, HpkeError, Kem, Serializable,
    generic_array::typenum::{Sum, U32, U96, U192, U1024},
    kem::SharedSecret,
    rand_core::{CryptoRng, RngCore},
};
use ml_kem::{
    EncodedSizeUser as _, KemCore as _, MlKem768,
    kem::{Decapsulate as _, Encapsulate as _},
};
use rand_core::OsRng;
use sha3::{
    Digest as _, Sha3_256, Shake256,
    digest::{ExtendableOutput as _, Update as _, XofReader as _},
};
use x25519_dalek::{PublicKey as Point, StaticSecret};
use zeroize::{Zeroize as _, Zeroizing};

use crate::memory::Locked;

const RECIPIENT: Hrp = Hrp::parse_unchecked("age1pq");
const IDENTITY: Hrp = Hrp::parse_unchecked("age-secret-key-pq-");

/// The beginning of an identity's line in its file.
pub(super) const IDENTITY_LINE: &str = "AGE-SECRET-KEY-PQ-1";

/// The first argument of a stanza, and the `info` of HPKE.
const STANZA: &str = "mlkem768x25519";
const INFO: &[u8] = b"age-encryption.org/mlkem768x25519";

/// The label at the end of X-Wing's hash input.
const LABEL: &[u8] = br"\.//^\";

const SEED_BYTES: usize = 32;
const POINT_BYTES: usize = 32;
const ML_KEM_KEY_BYTES: usize = 1184;
const ML_KEM_SHARE_BYTES: usize = 1088;
const KEY_BYTES: usize = ML_KEM_KEY_BYTES + POINT_BYTES;
const SHARE_BYTES: usize = ML_KEM_SHARE_BYTES + POINT_BYTES;

/// Bytes of an encrypted file key: 16 and a tag.
const BODY_BYTES: usize = 32;

type Encapsulation = <MlKem768 as ml_kem::KemCore>::EncapsulationKey;
type Decapsulation = <MlKem768 as ml_kem::KemCore>::DecapsulationKey;

/// A recipient of encrypted files: `age1pq1…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recipient([u8; KEY_BYTES]);

impl FromStr for Recipient {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_ours = |hrp| if hrp == RECIPIENT { Ok(()) } else { Err(()) };
        // Only one spelling is accepted, so that two spellings are not two recipients.
        if text.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(());
        }
        bech32_decode(text, |_| (), is_ours, |_, bytes| Self::from_bytes(&bytes.collect::<Vec<_>>()).map_err(|_| ()))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bech32_encode_to_fmt(f, RECIPIENT, &self.0)
    }
}

impl Recipient {
    fn encapsulation(&self) -> Encapsulation {
        let mut bytes = ml_kem::Encoded::<Encapsulation>::default();
        bytes.copy_from_slice(&self.0[..ML_KEM_KEY_BYTES]);
        Encapsulation::from_bytes(&bytes)
    }

    fn point(&self) -> Point {
        let mut bytes = [0; POINT_BYTES];
        bytes.copy_from_slice(&self.0[ML_KEM_KEY_BYTES..]);
        bytes.into()
    }
}

impl age::Recipient for Recipient {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let (share, body) = hpke_seal::<XWing, _>(self, INFO, file_key.expose_secret(), &mut OsRng);
        let stanza = Stanza { tag: STANZA.to_owned(), args: vec![BASE64_NOPAD.encode(&share.0)], body };
        // A recipient without post-quantum security would weaken the whole file, so age must not mix the two.
        Ok((vec![stanza], HashSet::from(["postquantum".to_owned()])))
    }
}

/// The secret half of a recipient.
pub(super) struct Identity(Locked<[u8; SEED_BYTES]>);

impl Identity {
    /// Parses the line of an identity, `AGE-SECRET-KEY-PQ-1…`; `None` if it is not one.
    pub(super) fn parse(line: &str) -> Option<Self> {
        if line.chars().any(|c| c.is_ascii_lowercase()) {
            return None;
        }
        let is_ours = |hrp: Hrp| if hrp.as_str().eq_ignore_ascii_case(IDENTITY.as_str()) { Ok(()) } else { Err(()) };
        let seed = |_, bytes: bech32::primitives::decode::ByteIter<'_>| {
            if bytes.len() != SEED_BYTES {
                return Err(());
            }
            let mut seed = Locked::new([0; SEED_BYTES]);
            seed.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
            Ok(Self(seed))
        };
        bech32_decode(line, |_| (), is_ours, seed).ok()
    }
}

impl age::Identity for Identity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        if stanza.tag != STANZA {
            return None;
        }
        let share = match &stanza.args[..] {
            [share] if stanza.body.len() == BODY_BYTES => BASE64_NOPAD.decode(share.as_bytes()).ok(),
            _ => None,
        };
        let Some(share) = share.and_then(|share| Share::from_bytes(&share).ok()) else {
            return Some(Err(DecryptError::InvalidHeader));
        };
        match hpke_open::<XWing>(&share, &Seed(Zeroizing::new(*self.0)), INFO, &stanza.body) {
            Ok(mut file_key) => Some(Ok(FileKey::init_with_mut(|place| {
                place.copy_from_slice(&file_key);
                file_key.zeroize();
            }))),
            // The share has low order, so everybody could compute the secret.
            Err(HpkeError::DecapError) => Some(Err(DecryptError::InvalidHeader)),
            // As far as can be told, the stanza is for somebody else.
            Err(_) => None,
        }
    }
}

/// A seed that is passed to HPKE.
#[derive(Clone, PartialEq, Eq)]
struct Seed(Zeroizing<[u8; SEED_BYTES]>);

impl Seed {
    fn expand(&self) -> (Decapsulation, Encapsulation, StaticSecret) {
        let mut parts = Zeroizing::new([[0; 32]; 3]);
        let mut reader = Shake256::default().chain(&self.0[..]).finalize_xof();
        parts.iter_mut().for_each(|part| reader.read(part));
        let (secret, public) = MlKem768::generate_deterministic(&parts[0].into(), &parts[1].into());
        (secret, public, parts[2].into())
    }
}

/// A sender's share: of ML-KEM and of X25519.
#[derive(Clone)]
struct Share([u8; SHARE_BYTES]);

/// The key encapsulation with the id 0x647a in HPKE's registry.
struct XWing;

impl XWing {
    fn combine(ml_kem: &[u8], x25519: &[u8], share: &[u8], public: &[u8]) -> SharedSecret<Self> {
        let hash = Sha3_256::new_with_prefix(ml_kem).chain_update(x25519).chain_update(share);
        SharedSecret(hash.chain_update(public).chain_update(LABEL).finalize())
    }
}

impl Kem for XWing {
    type PublicKey = Recipient;
    type PrivateKey = Seed;
    type EncappedKey = Share;
    type NSecret = U32;
    const KEM_ID: u16 = 0x647a;

    fn sk_to_pk(seed: &Seed) -> Recipient {
        let (_, public, secret) = seed.expand();
        let mut bytes = [0; KEY_BYTES];
        bytes[..ML_KEM_KEY_BYTES].copy_from_slice(&public.as_bytes());
        bytes[ML_KEM_KEY_BYTES..].copy_from_slice(Point::from(&secret).as_bytes());
        Recipient(bytes)
    }

    fn derive_keypair(material: &[u8]) -> (Seed, Recipient) {
        let mut seed = Seed(Zeroizing::default());
        Shake256::default().chain(material).finalize_xof().read(&mut seed.0[..]);
        let public = Self::sk_to_pk(&seed);
        (seed, public)
    }

    fn encap<R: CryptoRng + RngCore>(
        recipient: &Recipient,
        sender: Option<(&Seed, &Recipient)>,
        random: &mut R,
    ) -> Result<(SharedSecret<Self>, Share), HpkeError> {
        let (None, Ok((ciphertext, ml_kem))) = (sender, recipient.encapsulation().encapsulate(random)) else {
            return Err(HpkeError::EncapError);
        };
        let secret = StaticSecret::random_from_rng(random);
        let (point, x25519) = (Point::from(&secret), secret.diffie_hellman(&recipient.point()));
        let mut share = [0; SHARE_BYTES];
        share[..ML_KEM_SHARE_BYTES].copy_from_slice(&ciphertext);
        share[ML_KEM_SHARE_BYTES..].copy_from_slice(point.as_bytes());
        let public = &recipient.0[ML_KEM_KEY_BYTES..];
        Ok((Self::combine(&ml_kem, x25519.as_bytes(), point.as_bytes(), public), Share(share)))
    }

    fn decap(seed: &Seed, sender: Option<&Recipient>, share: &Share) -> Result<SharedSecret<Self>, HpkeError> {
        let (secret, _, scalar) = seed.expand();
        let (ciphertext, point) = share.0.split_at(ML_KEM_SHARE_BYTES);
        let ciphertext = ciphertext.try_into().map_err(|_| HpkeError::DecapError)?;
        let mut bytes = [0; POINT_BYTES];
        bytes.copy_from_slice(point);
        let x25519 = scalar.diffie_hellman(&bytes.into());
        let (None, true, Ok(ml_kem)) = (sender, x25519.was_contributory(), secret.decapsulate(&ciphertext)) else {
            return Err(HpkeError::DecapError);
        };
        Ok(Self::combine(&ml_kem, x25519.as_bytes(), point, Point::from(&scalar).as_bytes()))
    }
}

fn exact<const N: usize>(bytes: &[u8]) -> Result<[u8; N], HpkeError> {
    bytes.try_into().map_err(|_| HpkeError::IncorrectInputLength(N, bytes.len()))
}

impl Serializable for Recipient {
    type OutputSize = Sum<U1024, U192>;

    fn write_exact(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0);
    }
}

impl Deserializable for Recipient {
    fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        let recipient = Self(exact(bytes)?);
        // Numbers beyond the modulus (FIPS 203, section 7.2) would be written differently.
        let is_canonical = recipient.encapsulation().as_bytes()[..] == bytes[..ML_KEM_KEY_BYTES];
        if is_canonical { Ok(recipient) } else { Err(HpkeError::ValidationError) }
    }
}

impl Serializable for Seed {
    type OutputSize = U32;

    fn write_exact(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0[..]);
    }
}

impl Deserializable for Seed {
    fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        exact(bytes).map(Zeroizing::new).map(Self)
    }
}

impl Serializable for Share {
    type OutputSize = Sum<U1024, U96>;

    fn write_exact(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0);
    }
}

impl Deserializable for Share {
    fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        exact(bytes).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _};

    use age::{Decryptor, armor::ArmoredReader};
    use data_encoding::HEXLOWER;
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn folder() -> String {
        format!("{}/tests/golden/age-hybrid", env!("CARGO_MANIFEST_DIR"))
    }

    /// The fields of a vector, with repetitions, and its file.
    fn vector(name: &str) -> (Vec<(String, String)>, Vec<u8>) {
        let bytes = fs::read(format!("{}/{name}", folder())).expect("a vector");
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").expect("a header ends");
        let head = str::from_utf8(&bytes[..end]).expect("text");
        let fields = head.lines().filter_map(|line| line.split_once(": "));
        (fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), bytes[end + 2..].to_vec())
    }

    /// The result of opening it, in the words of the vectors.
    fn open(fields: &[(String, String)], file: &[u8]) -> Result<String, &'static str> {
        let lines = fields.iter().filter(|(name, _)| name == "identity");
        let identities: Vec<Box<dyn age::Identity>> = lines
            .map(|(_, line)| match Identity::parse(line) {
                Some(identity) => Box::new(identity) as Box<dyn age::Identity>,
                None => Box::new(line.parse::<age::x25519::Identity>().expect("an identity")),
            })
            .collect();
        let decryptor = Decryptor::new_buffered(ArmoredReader::new(file)).map_err(|_| "header failure")?;
        let opened = decryptor.decrypt(identities.iter().map(|identity| &**identity));
        let mut reader = opened.map_err(|error| match error {
            DecryptError::NoMatchingKeys => "no match",
            _ => "header failure",
        })?;
        let mut plain = Vec::new();
        reader.read_to_end(&mut plain).map_err(|_| "payload failure")?;
        Ok(HEXLOWER.encode(&Sha256::digest(plain)))
    }

    /// C2SP's CCTV vectors for this kind of recipient.
    #[test]
    fn vectors_of_others() {
        let mut seen = 0;
        for entry in fs::read_dir(folder()).expect("the folder") {
            let name = entry.expect("an entry").file_name().into_string().expect("a name");
            if name == "README.md" {
                continue;
            }
            let (fields, file) = vector(&name);
            let field = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
            let expected = match field("expect") {
                Some("success") => Ok(field("payload").expect("a payload").to_owned()),
                Some(failure) => Err(failure),
                None => panic!("{name} expects nothing"),
            };
            assert_eq!(
                open(&fields, &file).as_deref().map_err(|it| *it),
                expected.as_deref().map_err(|it| *it),
                "{name}"
            );
            seen += 1;
        }
        assert_eq!(seen, 19);
    }

    #[test]
    fn keys_go_through_text() {
        let (seed, recipient) = XWing::derive_keypair(b"nobody's");
        let text = recipient.to_string();
        assert!(text.starts_with("age1pq1") && text.len() == 1959);
        assert_eq!(text.parse(), Ok(recipient.clone()));
        assert_eq!(text.to_uppercase().parse::<Recipient>(), Err(()), "there is one spelling");
        for wrong in ["", "age1pq1", &text[..text.len() - 1], &text.replace("age1pq1", "age1")] {
            assert_eq!(wrong.parse::<Recipient>(), Err(()), "{wrong}");
        }
        // The first two numbers are beyond the modulus: all of their twelve bits are set.
        let mut beyond = recipient.0;
        beyond[..3].fill(0xff);
        assert!(Recipient::from_bytes(&beyond).is_err());
        assert!(Seed::from_bytes(&seed.0[1..]).is_err() && Identity::parse("AGE-SECRET-KEY-PQ-1").is_none());
    }
}
