//! A PKCS#11 token: the key pair that is asked for, and the operations with its private half.

use std::path::Path;

use age_core::secrecy::{ExposeSecret as _, SecretBox, SecretString};
use cryptoki::{
    context::{CInitializeArgs, Pkcs11},
    mechanism::{
        Mechanism,
        elliptic_curve::{EcKdf, Ecdh1DeriveParams},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    types::AuthPin,
};

use crate::hpke::SHARE_BYTES;

/// The curve P-256 as PKCS#11 names it: an object identifier in DER.
const P_256: [u8; 10] = [0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];

/// The beginning of a DER-encoded point: an octet string of 65 bytes.
const DER_POINT: [u8; 2] = [0x04, 0x41];

/// A token with a logged-in session.
pub(crate) struct Token {
    session: Session,
    // Ends the library once the session has ended.
    _library: Pkcs11,
}

impl Token {
    /// Opens and logs in to the token with this label.
    pub(crate) fn open(module: &Path, label: &str, pin: &SecretString) -> Result<Self, String> {
        let failed = |error: cryptoki::error::Error| format!("token {label}: {error}");
        let library = Pkcs11::new(module).map_err(|error| format!("{}: {error}", module.display()))?;
        library.initialize(CInitializeArgs::OsThreads).map_err(failed)?;
        let slots = library.get_slots_with_token().map_err(failed)?;
        let is_it = |slot: &_| library.get_token_info(*slot).is_ok_and(|info| info.label() == label);
        let slot = slots.into_iter().find(is_it).ok_or_else(|| format!("token {label}: it is not there"))?;
        // While its token does not open the ring, a replica tries again every second. A wrong PIN must not use up the
        // last try.
        let info = library.get_token_info(slot).map_err(failed)?;
        if info.user_pin_locked() || info.user_pin_final_try() {
            return Err(format!("token {label}: its PIN is locked, or has one try left: use its maker's tool"));
        }
        let session = library.open_rw_session(slot).or_else(|_| library.open_ro_session(slot)).map_err(failed)?;
        session.login(UserType::User, Some(&AuthPin::new(pin.expose_secret().into()))).map_err(failed)?;
        Ok(Self { session, _library: library })
    }

    /// Makes a key pair whose private half never leaves the token.
    pub(crate) fn generate(&self, key: &str) -> Result<(), String> {
        if self.find(ObjectClass::PRIVATE_KEY, key).is_ok() {
            return Err(format!("key {key}: there is one already"));
        }
        let label = || Attribute::Label(key.as_bytes().to_vec());
        let public = [
            label(),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::KeyType(KeyType::EC),
            Attribute::EcParams(P_256.to_vec()),
        ];
        let private = [
            label(),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Derive(true),
        ];
        let made = self.session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private);
        made.map(|_| ()).map_err(|error| format!("key {key}: {error}"))
    }

    /// The public key, as an uncompressed point.
    pub(crate) fn public_key(&self, key: &str) -> Result<[u8; SHARE_BYTES], String> {
        let public = self.find(ObjectClass::PUBLIC_KEY, key)?;
        match self.attribute(public, AttributeType::EcPoint)? {
            Attribute::EcPoint(point) => {
                let point = point.strip_prefix(&DER_POINT).unwrap_or(&point);
                let point = point.try_into().ok().filter(|point: &[u8; SHARE_BYTES]| point[0] == 4);
                point.ok_or_else(|| format!("key {key}: it is none of P-256"))
            }
            _ => Err(format!("key {key}: it has no point")),
        }
    }

    /// The Diffie-Hellman result of the private key and `share`.
    pub(crate) fn diffie_hellman(&self, key: &str, share: &[u8; SHARE_BYTES]) -> Result<SecretBox<Vec<u8>>, String> {
        let private = self.find(ObjectClass::PRIVATE_KEY, key)?;
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::Token(false),
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
            Attribute::ValueLen(32.into()),
        ];
        let derive = |point: &[u8]| {
            let how = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), point));
            self.session.derive_key(&how, private, &template)
        };
        // The standard wants the plain point, but some tokens only accept it in DER.
        let der = [&DER_POINT[..], share].concat();
        let derived = derive(share).or_else(|_| derive(&der)).map_err(|error| format!("key {key}: {error}"))?;
        match self.attribute(derived, AttributeType::Value)? {
            Attribute::Value(secret) => Ok(SecretBox::new(Box::new(secret))),
            _ => Err(format!("key {key}: the token tells no secret")),
        }
    }

    fn find(&self, class: ObjectClass, key: &str) -> Result<ObjectHandle, String> {
        let template = [Attribute::Class(class), Attribute::Label(key.as_bytes().to_vec())];
        let found = self.session.find_objects(&template).map_err(|error| format!("key {key}: {error}"))?;
        match found[..] {
            [one] => Ok(one),
            [] => Err(format!("key {key}: it is not in the token")),
            _ => Err(format!("key {key}: there are several of this label")),
        }
    }

    fn attribute(&self, object: ObjectHandle, kind: AttributeType) -> Result<Attribute, String> {
        let mut found = self.session.get_attributes(object, &[kind]).map_err(|error| error.to_string())?;
        found.pop().ok_or_else(|| "the token tells nothing".to_owned())
    }
}
