//! `age-plugin-pkcs11tag`: opens age files for `age1tag1…` recipients with a P-256 key behind PKCS#11.
//!
//! age's `p256tag` recipients are made for hardware, and encrypting for them needs no plugin. Opening a file takes one
//! Diffie-Hellman computation. The token does it with a key that never leaves it; the rest happens here. An identity
//! names the module, the token, the key and the file with the PIN. It holds no secret.

mod hpke;
mod identity;
mod token;

use std::{collections::HashMap, convert::Infallible, io, path::PathBuf, process::ExitCode};

use age_core::{
    format::{FileKey, Stanza},
    secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroize as _},
};
use age_plugin::{
    Callbacks, PluginHandler,
    identity::{Error, IdentityPluginV1},
    run_state_machine,
};
use clap::Parser;
use data_encoding::BASE64_NOPAD;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use zeroizing_alloc::ZeroAlloc;

use self::{identity::Identity, token::Token};

/// Wipes all freed memory, no matter who allocated it, since it may have held file keys and PINs.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

/// The stanza type of an `age1tag1…` recipient.
const STANZA: &str = "p256tag";

/// An age plugin that opens files for age1tag1… recipients with a key behind PKCS#11
///
/// age, rage and callveil run it themselves. By hand it makes a key, or tells the identity of one that is there.
#[derive(Parser)]
#[command(name = "age-plugin-pkcs11tag", version)]
struct Cli {
    /// The state machine, for programs that speak age's plugin protocol
    #[arg(long, value_name = "NAME", hide = true)]
    age_plugin: Option<String>,
    /// Make the key; without it, the key is there already
    #[arg(long)]
    generate: bool,
    /// The PKCS#11 library of the token's maker
    #[arg(long, value_name = "FILE", required_unless_present = "age_plugin")]
    module: Option<PathBuf>,
    /// The label of the token
    #[arg(long, value_name = "LABEL", required_unless_present = "age_plugin")]
    token: Option<String>,
    /// The label of the key
    #[arg(long, value_name = "LABEL", required_unless_present = "age_plugin")]
    key: Option<String>,
    /// The file with the PIN, here and whenever a file is opened
    #[arg(long, value_name = "FILE", required_unless_present = "age_plugin")]
    pin_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(reason) = harden() {
        eprintln!("age-plugin-pkcs11tag: core dumps could not be switched off: {reason}");
    }
    let done = match &cli.age_plugin {
        Some(state_machine) => run_state_machine(state_machine, Handler).map_err(|error| error.to_string()),
        None => make(&cli),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("age-plugin-pkcs11tag: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Keeps this process out of core dumps, and other processes of this user out of its memory.
fn harden() -> rustix::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Prints the identity of a key in the form of a file for `age -i`.
fn make(cli: &Cli) -> Result<(), String> {
    let (Some(module), Some(token), Some(key), Some(pin_file)) = (&cli.module, &cli.token, &cli.key, &cli.pin_file)
    else {
        return Err("--module, --token, --key and --pin-file are wanted".to_owned());
    };
    let absolute = |path: &PathBuf| std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()));
    let (module, pin_file) = (absolute(module)?, absolute(pin_file)?);
    let pin = identity::read_pin(&pin_file)?;
    let opened = Token::open(&module, token, &pin)?;
    if cli.generate {
        opened.generate(key)?;
    }
    let public = opened.public_key(key)?;
    let identity = Identity { module, token: token.clone(), key: key.clone(), pin_file: Some(pin_file), public };
    println!("# public key: {}\n{}", identity.recipient(), identity.to_line()?);
    Ok(())
}

struct Handler;

impl PluginHandler for Handler {
    type RecipientV1 = Infallible;
    type IdentityV1 = Plugin;

    fn identity_v1(self) -> io::Result<Plugin> {
        Ok(Plugin::default())
    }
}

#[derive(Default)]
struct Plugin {
    identities: Vec<(usize, Identity)>,
}

impl IdentityPluginV1 for Plugin {
    fn add_identity(&mut self, index: usize, plugin_name: &str, bytes: &[u8]) -> Result<(), Error> {
        let identity = Identity::from_bytes(bytes).filter(|_| plugin_name == identity::PLUGIN);
        let wrong = || Error::Identity { index, message: "it is no identity of this plugin".to_owned() };
        self.identities.push((index, identity.ok_or_else(wrong)?));
        Ok(())
    }

    fn unwrap_file_keys(
        &mut self,
        files: Vec<Vec<Stanza>>,
        mut callbacks: impl Callbacks<Error>,
    ) -> io::Result<HashMap<usize, Result<FileKey, Vec<Error>>>> {
        let mut opened = HashMap::new();
        for (file, stanzas) in files.iter().enumerate() {
            match self.unwrap(file, stanzas, &mut callbacks)? {
                Err(errors) if errors.is_empty() => {}
                done => drop(opened.insert(file, done)),
            }
        }
        Ok(opened)
    }
}

impl Plugin {
    /// Unwraps the file key with the first stanza that an identity opens, so that tokens are asked no more often than
    /// needed.
    fn unwrap(
        &self,
        file_index: usize,
        stanzas: &[Stanza],
        callbacks: &mut impl Callbacks<Error>,
    ) -> io::Result<Result<FileKey, Vec<Error>>> {
        let mut errors = Vec::new();
        for (stanza_index, stanza) in stanzas.iter().enumerate().filter(|(_, stanza)| stanza.tag == STANZA) {
            let Some(parts) = Parts::of(stanza) else {
                let message = "the stanza is malformed".to_owned();
                errors.push(Error::Stanza { file_index, stanza_index, message });
                continue;
            };
            let is_for = |(_, identity): &&(usize, Identity)| hpke::tag(&parts.share, &identity.public) == parts.tag;
            for (index, identity) in self.identities.iter().filter(is_for) {
                match open(identity, &parts, callbacks)? {
                    Ok(file_key) => return Ok(Ok(file_key)),
                    Err(message) => errors.push(Error::Identity { index: *index, message }),
                }
            }
        }
        Ok(Err(errors))
    }
}

/// The parts of a stanza.
struct Parts<'s> {
    tag: [u8; hpke::TAG_BYTES],
    share: [u8; hpke::SHARE_BYTES],
    body: &'s [u8],
}

impl<'s> Parts<'s> {
    fn of(stanza: &'s Stanza) -> Option<Self> {
        let [tag, share] = &stanza.args[..] else { return None };
        let decode = |text: &str| BASE64_NOPAD.decode(text.as_bytes()).ok();
        let (tag, share) = (decode(tag)?.try_into().ok()?, decode(share)?.try_into().ok()?);
        (stanza.body.len() == hpke::BODY_BYTES).then_some(Self { tag, share, body: &stanza.body })
    }
}

/// Opens the stanza with the token. The inner error is meant for the user who wants the file.
fn open(
    identity: &Identity,
    parts: &Parts<'_>,
    callbacks: &mut impl Callbacks<Error>,
) -> io::Result<Result<FileKey, String>> {
    let pin = match &identity.pin_file {
        Some(path) => match identity::read_pin(path) {
            Ok(pin) => pin,
            Err(reason) => return Ok(Err(reason)),
        },
        None => match callbacks.request_secret(&format!("PIN of the token {}: ", identity.token))? {
            Ok(pin) => pin,
            Err(_) => return Ok(Err("the PIN is wanted, and there is nobody to ask".to_owned())),
        },
    };
    Ok(open_with(identity, parts, &pin))
}

fn open_with(identity: &Identity, parts: &Parts<'_>, pin: &SecretString) -> Result<FileKey, String> {
    let token = Token::open(&identity.module, &identity.token, pin)?;
    let secret = token.diffie_hellman(&identity.key, &parts.share)?;
    let mut plain = hpke::open(secret.expose_secret(), &parts.share, &identity.public, parts.body)
        .ok_or("the token's key is another one than the identity names, or the file was altered")?;
    FileKey::try_init_with_mut(|file_key| {
        let fits = plain.len() == file_key.len();
        if fits {
            file_key.copy_from_slice(&plain);
        }
        plain.zeroize();
        if fits { Ok(()) } else { Err("the file key has another length".to_owned()) }
    })
}
