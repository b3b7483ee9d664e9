//! The ring at rest: an age file (age-encryption.org/v1). Its recipients are holders of X25519 identities, post-quantum
//! identities, or hardware keys.

use std::{
    borrow::Cow,
    env, fmt,
    io::{self, Read as _, Write as _},
    str::FromStr as _,
};

use age::{
    Callbacks, DecryptError, Decryptor, EncryptError, Encryptor, NoCallbacks,
    armor::ArmoredReader,
    plugin::{self, IdentityPluginV1},
    secrecy::SecretString,
    x25519,
};
use age_core::format::{FileKey, Stanza};
use rustix::process::WaitOptions;
use zeroize::Zeroizing;

use super::{hybrid, recipient::Recipient};
use crate::{
    disk::{FILE_BYTES_MAX, exposure::AtRest, reading},
    memory::Locked,
};

/// The beginning of every binary age file.
const MAGIC: &[u8] = b"age-encryption.org/";

/// The beginning of every armoured age file.
const MAGIC_ARMORED: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// Maximum bytes of an age file's header: some 600 recipients. Opening costs a multiplication for each of them.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// The beginning of a header's last line.
const HEADER_END: &[u8] = b"\n--- ";

/// The highest work factor (log2 N) of a passphrase that is accepted. Files by rage and age take about a second.
const WORK_FACTOR_MAX: u8 = 20;

/// Whether a file with these `bytes` is an age file.
pub fn at_rest(bytes: &[u8]) -> AtRest {
    let is_age = bytes.starts_with(MAGIC) || bytes.trim_ascii_start().starts_with(MAGIC_ARMORED);
    if is_age { AtRest::Sealed } else { AtRest::Plain }
}

/// The variable that makes the crate `age` print all that it and a plugin say to each other, including file keys and
/// PINs.
const DEBUG_VARIABLE: &str = "AGEDEBUG";

/// Whether these exchanges would be printed.
fn are_plugins_overheard() -> bool {
    env::var_os(DEBUG_VARIABLE).is_some_and(|debugged| debugged == "plugin")
}

/// The beginning of the line of a plugin's identity. The plugin is `age-plugin-NAME`, found on the PATH.
const PLUGIN_LINE: &str = "AGE-PLUGIN-";

/// Maximum characters of a plugin's message that are shown.
const MESSAGE_CHARS_MAX: usize = 200;

/// Identities, any of which opens a ring.
pub struct Identities {
    list: Vec<Box<dyn age::Identity + Send + Sync>>,
    /// Whether some belong to a plugin, whose token may be absent for a while.
    plugins: bool,
}

impl Identities {
    /// Reads an identity file as `age-keygen` makes it. If the file is encrypted with a passphrase, `passphrase` asks
    /// for it; without `passphrase`, the file is refused.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn read(file: &[u8], passphrase: Option<AskPassphrase<'_>>) -> Result<Self, SealError> {
        Self::read_with(file, passphrase, NoCallbacks)
    }

    /// Does the same. Plugins show messages and questions through `people`.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn read_with(
        file: &[u8],
        passphrase: Option<AskPassphrase<'_>>,
        people: impl Callbacks,
    ) -> Result<Self, SealError> {
        let opened;
        let plain = if at_rest(file) == AtRest::Sealed {
            opened = open_with_passphrase(file, passphrase)?;
            &opened
        } else {
            file
        };
        let text = str::from_utf8(plain).map_err(|_| SealError::NotAnIdentity)?;
        let (mut list, mut plugins) = (Vec::new(), false);
        for line in text.lines() {
            list.extend(read_line(line, people.clone())?);
            plugins |= line.trim_start().starts_with(PLUGIN_LINE);
        }
        if list.is_empty() { Err(SealError::NotAnIdentity) } else { Ok(Self { list, plugins }) }
    }

    /// The decrypted content of the age file `sealed`.
    ///
    /// # Errors
    /// [`SealError`]; also if the file is encrypted with a passphrase, since nobody could type it for a service.
    pub fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let binary = dearmor(sealed)?;
        let decryptor = Decryptor::new_buffered(&*binary).map_err(|_| SealError::NotAge)?;
        if decryptor.is_scrypt() {
            return Err(SealError::Passphrase);
        }
        let identities = self.list.iter().map(|identity| identity.as_ref() as &dyn age::Identity);
        let opened = decryptor.decrypt(identities);
        if self.plugins {
            // The crate `age` does not wait for the plugins that it started. This does, so that they leave no zombies.
            while matches!(rustix::process::wait(WaitOptions::NOHANG), Ok(Some(_))) {}
        }
        read_opened(opened.map_err(|error| match error {
            DecryptError::NoMatchingKeys => SealError::NotForUs,
            DecryptError::Plugin(_) | DecryptError::Io(_) if self.plugins => SealError::Token(told_by(&error)),
            _ => SealError::NotAge,
        })?)
    }
}

/// An X25519 identity in a locked page.
struct Native(Locked<x25519::Identity>);

impl age::Identity for Native {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.0.unwrap_stanza(stanza)
    }
}

/// The identity in a line of the file; `None` for a comment.
fn read_line(line: &str, people: impl Callbacks) -> Result<Option<Box<dyn age::Identity + Send + Sync>>, SealError> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.starts_with(hybrid::IDENTITY_LINE) {
        let identity = hybrid::Identity::parse(line).ok_or(SealError::NotAnIdentity)?;
        return Ok(Some(Box::new(identity)));
    }
    if line.starts_with(PLUGIN_LINE) {
        if are_plugins_overheard() {
            return Err(SealError::Overheard);
        }
        let identity = plugin::Identity::from_str(line).map_err(|_| SealError::NotAnIdentity)?;
        let name = identity.plugin().to_owned();
        let plugin = IdentityPluginV1::new(&name, &[identity], people).map_err(|_| SealError::NoPlugin(name))?;
        return Ok(Some(Box::new(plugin)));
    }
    let identity = x25519::Identity::from_str(line).map_err(|_| SealError::NotAnIdentity)?;
    Ok(Some(Box::new(Native(Locked::new(identity)))))
}

/// A plugin's message, on one line and without control characters.
fn told_by(error: &DecryptError) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    error.to_string().chars().map(printable).take(MESSAGE_CHARS_MAX).collect()
}

/// Asks somebody for a passphrase.
pub type AskPassphrase<'a> = &'a dyn Fn() -> io::Result<SecretString>;

/// The decrypted content of the age file `sealed`, which is encrypted with a passphrase.
///
/// # Errors
/// [`SealError`]; also if there is nobody to `ask`.
pub fn open_with_passphrase(sealed: &[u8], ask: Option<AskPassphrase<'_>>) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let binary = dearmor(sealed)?;
    let decryptor = Decryptor::new_buffered(&*binary).map_err(|_| SealError::NotAge)?;
    if !decryptor.is_scrypt() {
        return Err(SealError::IdentityForIdentity);
    }
    let ask = ask.ok_or(SealError::PassphraseWanted)?;
    let mut key = age::scrypt::Identity::new(ask().map_err(|_| SealError::PassphraseWanted)?);
    key.set_max_work_factor(WORK_FACTOR_MAX);
    let opened = decryptor.decrypt(std::iter::once(&key as &dyn age::Identity));
    read_opened(opened.map_err(|error| match error {
        DecryptError::ExcessiveWork { .. } => SealError::ExcessiveWork,
        _ => SealError::WrongPassphrase,
    })?)
}

/// Encrypts `plain` as an age file with this passphrase.
///
/// # Errors
/// [`SealError::NoRecipients`], which cannot happen, since the passphrase is a recipient.
pub fn seal_with_passphrase(plain: &[u8], passphrase: SecretString) -> Result<Vec<u8>, SealError> {
    age::encrypt(&age::scrypt::Recipient::new(passphrase), plain).map_err(|_| SealError::NoRecipients)
}

/// Encrypts `plain` as an age file that any of `recipients` can open.
///
/// # Errors
/// [`SealError`]: there are no recipients, too many, or kinds that age does not mix.
pub fn seal(plain: &[u8], recipients: &[Recipient]) -> Result<Vec<u8>, SealError> {
    if recipients.iter().any(|recipient| recipient.is_plugin) && are_plugins_overheard() {
        return Err(SealError::Overheard);
    }
    let encryptor = Encryptor::with_recipients(recipients.iter().map(|it| &*it.age as &dyn age::Recipient));
    let encryptor = encryptor.map_err(|error| match error {
        EncryptError::IncompatibleRecipients { .. } => SealError::Mixed,
        _ => SealError::NoRecipients,
    })?;
    let mut sealed = Vec::new();
    let write = |sealed: &mut Vec<u8>| {
        let mut writer = encryptor.wrap_output(sealed)?;
        writer.write_all(plain)?;
        writer.finish().map(|_| ())
    };
    write(&mut sealed).map_err(|_: io::Error| SealError::NoRecipients)?;
    // Refuse files that we would not open ourselves.
    dearmor(&sealed)?;
    Ok(sealed)
}

/// The binary form of an age file. A header that is too long is refused.
fn dearmor(sealed: &[u8]) -> Result<Cow<'_, [u8]>, SealError> {
    let binary = if sealed.starts_with(MAGIC) {
        Cow::Borrowed(sealed)
    } else {
        let mut binary = Vec::new();
        ArmoredReader::new(sealed)
            .take(FILE_BYTES_MAX as u64)
            .read_to_end(&mut binary)
            .map_err(|_| SealError::NotAge)?;
        Cow::Owned(binary)
    };
    let header = &binary[..binary.len().min(HEADER_BYTES_MAX)];
    let ends = header.windows(HEADER_END.len()).any(|part| part == HEADER_END);
    if ends || binary.len() < HEADER_BYTES_MAX { Ok(binary) } else { Err(SealError::LongHeader) }
}

/// The whole content, which must be less than [`FILE_BYTES_MAX`] bytes.
fn read_opened(opened: impl io::Read) -> Result<Zeroizing<Vec<u8>>, SealError> {
    reading::all(opened, FILE_BYTES_MAX - 1).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => SealError::TooLarge,
        _ => SealError::NotAge,
    })
}

/// Why an age file was not opened or made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealError {
    /// The identity file holds no identity.
    NotAnIdentity,
    /// An identity belongs to a plugin that is not on the PATH.
    NoPlugin(String),
    /// `AGEDEBUG=plugin` would print everything that is said to a plugin.
    Overheard,
    /// A plugin did not open it. Its token may be absent.
    Token(String),
    /// The identity file is encrypted, but not with a passphrase.
    IdentityForIdentity,
    /// The identity file is encrypted with a passphrase, and there is nobody to ask.
    PassphraseWanted,
    /// The passphrase does not open the file.
    WrongPassphrase,
    /// Trying the passphrase would take too long: the file's work factor is above 20.
    ExcessiveWork,
    /// The file is torn, altered, or of another version of age.
    NotAge,
    /// The ring is encrypted with a passphrase instead of for recipients.
    Passphrase,
    /// None of our identities is among its recipients.
    NotForUs,
    /// Its header is longer than 64 KiB: opening it would cost too much.
    LongHeader,
    /// It holds more than [`FILE_BYTES_MAX`] bytes.
    TooLarge,
    /// Some recipients are post-quantum, and some are not.
    Mixed,
    /// There is nobody to encrypt for.
    NoRecipients,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPlugin(name) => return write!(f, "the program age-plugin-{name} is not on the PATH"),
            Self::Token(told) => return write!(f, "the token does not open it now: {told}"),
            Self::Overheard => {
                "AGEDEBUG=plugin would print what age and the plugin say to each other, file keys and PINs too: unset it"
            }
            Self::NotAnIdentity => {
                "the identity file holds no age identity (AGE-SECRET-KEY-1…, AGE-SECRET-KEY-PQ-1…), or something else beside"
            }
            Self::IdentityForIdentity => "it is encrypted for another identity; only a passphrase is asked for",
            Self::PassphraseWanted => "it is protected by a passphrase, and there is no terminal to ask for it",
            Self::ExcessiveWork => {
                "its passphrase would take far too long to try (a work factor above 20): encrypt it anew with `age -p`"
            }
            Self::WrongPassphrase => "the passphrase does not open it",
            Self::NotAge => "the age file is torn, altered, or of an unknown version",
            Self::Passphrase => "it is encrypted with a passphrase; a ring is encrypted for recipients",
            Self::NotForUs => "the identity is none of its recipients'",
            Self::LongHeader => "its header is longer than 64 KiB: that many recipients are not tried",
            Self::TooLarge => "what is encrypted is too large",
            Self::Mixed => {
                "post-quantum recipients (age1pq1…, age1tagpq1…) cannot be mixed with others: breaking \
                 one of the others would open the file"
            }
            Self::NoRecipients => "there is no recipient to encrypt for",
        })
    }
}

impl std::error::Error for SealError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// An identity as a file holds it, and its recipient.
    fn person() -> (Identities, Recipient) {
        use age::secrecy::ExposeSecret as _;
        let identity = x25519::Identity::generate();
        let identities = Identities::read(identity.to_string().expose_secret().as_bytes(), None).expect("an identity");
        (identities, Recipient::of(identity.to_public()))
    }

    #[test]
    fn a_long_header_costs_nothing() {
        let (identities, recipient) = person();
        let some = vec![recipient.clone(); 600];
        assert!(seal(b"ring", &some).is_ok_and(|sealed| identities.open(&sealed).is_ok()));
        assert_eq!(seal(b"ring", &vec![recipient.clone(); 4000]).map(|_| ()), Err(SealError::LongHeader));
        // Somebody else added stanzas for nobody, up to the size of a file. Both forms are tried.
        let sealed = seal(b"ring", &[recipient]).expect("it is sealed");
        let stanza =
            b"-> X25519 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
        let begin = sealed.iter().position(|byte| *byte == b'\n').expect("a line ends") + 1;
        let long = [&sealed[..begin], &stanza.repeat(40_000), &sealed[begin..]].concat();
        let mut armored = Vec::new();
        let mut writer = age::armor::ArmoredWriter::wrap_output(&mut armored, age::armor::Format::AsciiArmor)
            .expect("a buffer takes it");
        writer.write_all(&long[..700_000]).expect("a buffer takes it");
        writer.finish().expect("a buffer takes it");
        let since = std::time::Instant::now();
        for long in [long, armored] {
            assert_eq!(identities.open(&long).map(|_| ()), Err(SealError::LongHeader));
        }
        assert!(since.elapsed().as_secs() < 5, "{:?}", since.elapsed());
    }

    #[test]
    fn what_is_cut_off_or_too_large_is_not_opened() {
        let (identities, recipient) = person();
        let largest = vec![b'x'; FILE_BYTES_MAX - 1];
        let sealed = seal(&largest, std::slice::from_ref(&recipient)).expect("it is sealed");
        assert!(identities.open(&sealed).is_ok_and(|opened| *opened == largest));
        let larger = seal(&vec![b'x'; FILE_BYTES_MAX], &[recipient]).expect("it is sealed");
        let why = |file: &[u8]| identities.open(file).map(|_| ()).expect_err("it is wrong");
        assert_eq!(why(&larger), SealError::TooLarge);
        let end = sealed.windows(HEADER_END.len()).position(|part| part == HEADER_END).expect("a header ends");
        for cut in [MAGIC.len(), end, end + HEADER_END.len() + 50, sealed.len() - 1] {
            assert_eq!(why(&sealed[..cut]), SealError::NotAge, "{cut}");
        }
        let endless = [MAGIC, &[b'x'; HEADER_BYTES_MAX]].concat();
        assert_eq!(why(&endless[..HEADER_BYTES_MAX - 1]), SealError::NotAge);
        assert_eq!(why(&endless[..HEADER_BYTES_MAX]), SealError::LongHeader);
    }

    #[test]
    fn a_passphrase_that_costs_too_much_is_not_called_wrong() {
        let mut recipient = age::scrypt::Recipient::new(SecretString::from("hunter2".to_owned()));
        recipient.set_work_factor(10);
        let mut sealed = age::encrypt(&recipient, b"identity").expect("it is sealed");
        let ask: AskPassphrase<'_> = &|| Ok(SecretString::from("hunter2".to_owned()));
        assert!(open_with_passphrase(&sealed, Some(ask)).is_ok());
        let at = sealed.windows(4).position(|part| part == b" 10\n").expect("the header has the work factor");
        sealed[at + 1] = b'2';
        sealed[at + 2] = b'2';
        assert_eq!(open_with_passphrase(&sealed, Some(ask)).map(|_| ()), Err(SealError::ExcessiveWork));
    }
}
