//! A token's key that the test knows, so that it can look for the key in the memory of programs that use the token.

use std::{cell::RefCell, fs, io::Read as _, process::Stdio, time::Instant};

use age::secrecy::ExposeSecret as _;
use age_core::format::{FileKey, Stanza};
use cryptoki::{
    context::{CInitializeArgs, Pkcs11},
    object::{Attribute, KeyType, ObjectClass},
    session::UserType,
};
use data_encoding::{BASE64, HEXLOWER};

use super::{Fleet, PIN};
use crate::{
    residue::{Secrets, key_of, search, secrets_of_key},
    rings,
    support::{PATIENCE, Server, callveil},
};

/// A P-256 key that the test knows, and nobody else should.
pub struct KnownKey {
    pub scalar: Vec<u8>,
    pub point: Vec<u8>,
}

const SCALAR_BYTES: usize = 32;

impl KnownKey {
    fn new() -> Self {
        let pair = rcgen::KeyPair::generate().unwrap();
        // An ECPrivateKey (RFC 5915), inside PKCS#8: version 1, then the scalar.
        let (der, begin) = (pair.serialize_der(), [2, 1, 1, 4, 32]);
        let at = der.windows(begin.len()).position(|part| part == begin).unwrap() + begin.len();
        Self { scalar: der[at..at + SCALAR_BYTES].to_vec(), point: pair.public_key_raw().to_vec() }
    }
}

pub const MODULE_VARIABLE: &str = "CALLVEIL_TEST_MODULE";
pub const SCALAR_VARIABLE: &str = "CALLVEIL_TEST_SCALAR";
pub const POINT_VARIABLE: &str = "CALLVEIL_TEST_POINT";

/// A key that is not extractable from then on.
#[test]
#[ignore = "a step of another test, which says where and what"]
fn a_known_key_is_put_into_a_token() {
    let Some(module) = std::env::var_os(MODULE_VARIABLE) else { return };
    let bytes = |name| HEXLOWER.decode(std::env::var(name).unwrap().as_bytes()).unwrap();
    let library = Pkcs11::new(module).unwrap();
    library.initialize(CInitializeArgs::OsThreads).unwrap();
    let slot = library.get_slots_with_initialized_token().unwrap()[0];
    let session = library.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&PIN.to_owned().into())).unwrap();
    // P-256, and a point, in DER.
    let curve = || Attribute::EcParams(vec![0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07]);
    let point = [&[0x04, 0x41][..], &bytes(POINT_VARIABLE)].concat();
    let both = || {
        let label = Attribute::Label(b"replicas".to_vec());
        vec![label, curve(), Attribute::KeyType(KeyType::EC), Attribute::Token(true)]
    };
    let public = [both(), vec![Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::EcPoint(point)]].concat();
    let private = [
        both(),
        vec![
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Value(bytes(SCALAR_VARIABLE)),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Derive(true),
        ],
    ]
    .concat();
    session.create_object(&public).unwrap();
    session.create_object(&private).unwrap();
}

/// An identity that opens files and keeps the file key.
struct Opener {
    identity: age::x25519::Identity,
    file_key: RefCell<Vec<u8>>,
}

impl age::Identity for Opener {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, age::DecryptError>> {
        let opened = self.identity.unwrap_stanza(stanza);
        if let Some(Ok(file_key)) = &opened {
            *self.file_key.borrow_mut() = file_key.expose_secret().to_vec();
        }
        opened
    }
}

/// The file key and the content of the ring, opened with Alice's identity.
fn opened_by_alice(fleet: &Fleet) -> (Vec<u8>, Vec<u8>) {
    let identity = fs::read_to_string(fleet.path("alice")).unwrap().trim().parse().unwrap();
    let opener = Opener { identity, file_key: RefCell::default() };
    let sealed = fs::read(fleet.folder.ring()).unwrap();
    let decryptor = age::Decryptor::new(&sealed[..]).unwrap();
    let mut plain = Vec::new();
    let mut reader = decryptor.decrypt(std::iter::once(&opener as &dyn age::Identity)).unwrap();
    reader.read_to_end(&mut plain).unwrap();
    drop(reader);
    (opener.file_key.into_inner(), plain)
}

/// The plugin is not looked at: there SoftHSM itself does what hardware would.
#[test]
fn the_tokens_key_is_in_no_memory_of_ours() {
    if !rustix::process::getuid().is_root() {
        return eprintln!("not root: cannot read the memory of another process");
    }
    let known = KnownKey::new();
    let Some(fleet) = Fleet::with(Some(&known)) else { return };
    let identity = fs::read(fleet.path("identity")).unwrap();
    let server = Server::spawn(&mut fleet.serve());
    fleet.keys(&["rotate", "--identity", "identity"], 0, "generation 2");
    assert_eq!(server.wait_for("key ring reloaded")["generation"], 2);
    // A command that goes on, because its input does.
    let mut command = fleet.command(callveil().get_program());
    command.args(["tokenize", "--identity", "identity"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut reader = command.spawn().unwrap();
    let (file_key, plain) = opened_by_alice(&fleet);
    let (_, material) = key_of(&rings::value(&plain), 0);
    let reversed: Vec<u8> = known.scalar.iter().rev().copied().collect();
    let mut secrets: Secrets = vec![("file key", file_key)];
    for scalar in [&known.scalar, &reversed] {
        secrets.extend(scalar.windows(SCALAR_BYTES / 2).map(|part| ("token's key", part.to_vec())));
        let texts = [HEXLOWER.encode(scalar), HEXLOWER.encode(scalar).to_uppercase(), BASE64.encode(scalar)];
        secrets.extend(texts.map(|text| ("token's key as text", text.into_bytes())));
    }
    assert!(secrets.iter().all(|(_, secret)| identity.windows(secret.len()).all(|part| part != secret)));
    let ours = search(std::process::id(), &secrets);
    assert_eq!(ours.len(), 3, "the search finds what is there: {ours:?}");
    for pid in [server.pid(), reader.id()] {
        let since = Instant::now();
        while search(pid, &secrets_of_key(&material)).is_empty() {
            assert!(since.elapsed() < PATIENCE, "the ring is never opened");
        }
        assert!(search(pid, &secrets).is_empty(), "{:?}", search(pid, &secrets));
    }
    drop(reader.stdin.take());
    assert!(reader.wait().unwrap().success());
}
