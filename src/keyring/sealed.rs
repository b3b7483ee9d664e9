//! A ring at rest: an age file (age-encryption.org/v1), for the holders of X25519 identities.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    str::FromStr as _,
};

use age::{Decryptor, Encryptor, IdentityFile, armor::ArmoredReader, secrecy::SecretString, x25519};
use zeroize::Zeroizing;

use super::disk::FILE_BYTES_MAX;

/// How every binary age file begins.
const MAGIC: &[u8] = b"age-encryption.org/";

/// How every armoured one does.
const MAGIC_ARMORED: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// The greatest work factor (log2 N) of a passphrase that is tried: what rage and age write takes about a second.
const WORK_FACTOR_MAX: u8 = 20;

/// Whether `bytes` are an age file.
pub fn is_age(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC) || bytes.trim_ascii_start().starts_with(MAGIC_ARMORED)
}

/// Someone for whom a ring is encrypted: an age public key, `age1…`.
#[derive(Clone)]
pub struct Recipient(x25519::Recipient);

impl Recipient {
    /// The recipient of this public key; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        x25519::Recipient::from_str(text.trim()).ok().map(Self)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The secret halves of recipients, any of which opens a ring.
pub struct Identities(Vec<Box<dyn age::Identity + Send + Sync>>);

impl Identities {
    /// Reads an identity file, as `age-keygen` makes them. `passphrase` is asked for where the file is encrypted with
    /// one; without it, such a file is refused.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn read(file: &[u8], passphrase: Option<AskPassphrase<'_>>) -> Result<Self, SealError> {
        if !is_age(file) {
            let identities =
                IdentityFile::from_buffer(file).and_then(|file| file.into_identities().map_err(io::Error::other));
            let identities = identities.map_err(|_| SealError::NotAnIdentity)?;
            return if identities.is_empty() { Err(SealError::NotAnIdentity) } else { Ok(Self(identities)) };
        }
        Self::read(&open_with_passphrase(file, passphrase)?, None)
    }

    /// The plain file in the age file `sealed`.
    ///
    /// # Errors
    /// [`SealError`], among them that it is encrypted with a passphrase: a passphrase opens no service.
    pub fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let decryptor = Decryptor::new_buffered(ArmoredReader::new(sealed)).map_err(|_| SealError::NotAge)?;
        if decryptor.is_scrypt() {
            return Err(SealError::Passphrase);
        }
        let identities = self.0.iter().map(|identity| identity.as_ref() as &dyn age::Identity);
        let reader = decryptor.decrypt(identities).map_err(|error| match error {
            age::DecryptError::NoMatchingKeys => SealError::NotForUs,
            _ => SealError::NotAge,
        })?;
        read_bounded(reader)
    }
}

/// Asks somebody for a passphrase.
pub type AskPassphrase<'a> = &'a dyn Fn() -> io::Result<SecretString>;

/// The plain file in the age file `sealed`, which is encrypted with a passphrase.
///
/// # Errors
/// [`SealError`], among them that there is nobody to `ask`.
pub fn open_with_passphrase(sealed: &[u8], ask: Option<AskPassphrase<'_>>) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(sealed)).map_err(|_| SealError::NotAge)?;
    if !decryptor.is_scrypt() {
        return Err(SealError::IdentityForIdentity);
    }
    let ask = ask.ok_or(SealError::PassphraseWanted)?;
    let mut key = age::scrypt::Identity::new(ask().map_err(|_| SealError::PassphraseWanted)?);
    key.set_max_work_factor(WORK_FACTOR_MAX);
    let opened = decryptor.decrypt(std::iter::once(&key as &dyn age::Identity));
    read_bounded(opened.map_err(|error| match error {
        age::DecryptError::ExcessiveWork { .. } => SealError::ExcessiveWork,
        _ => SealError::WrongPassphrase,
    })?)
}

/// An age file that this passphrase opens.
///
/// # Errors
/// [`SealError::NoRecipients`], which does not happen: a passphrase is one.
pub fn seal_with_passphrase(plain: &[u8], passphrase: SecretString) -> Result<Vec<u8>, SealError> {
    age::encrypt(&age::scrypt::Recipient::new(passphrase), plain).map_err(|_| SealError::NoRecipients)
}

/// An age file that any of `recipients` can open.
///
/// # Errors
/// [`SealError::NoRecipients`].
pub fn seal(plain: &[u8], recipients: &[Recipient]) -> Result<Vec<u8>, SealError> {
    let encryptor = Encryptor::with_recipients(recipients.iter().map(|recipient| &recipient.0 as &dyn age::Recipient))
        .map_err(|_| SealError::NoRecipients)?;
    let mut sealed = Vec::new();
    let write = |sealed: &mut Vec<u8>| {
        let mut writer = encryptor.wrap_output(sealed)?;
        writer.write_all(plain)?;
        writer.finish().map(|_| ())
    };
    write(&mut sealed).map_err(|_: io::Error| SealError::NoRecipients)?;
    Ok(sealed)
}

/// Reads at most [`FILE_BYTES_MAX`] bytes, into a buffer that never grows.
fn read_bounded(reader: impl io::Read) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let capacity = usize::try_from(FILE_BYTES_MAX).map_err(|_| SealError::TooLarge)?;
    let mut plain = Zeroizing::new(Vec::with_capacity(capacity));
    reader.take(FILE_BYTES_MAX).read_to_end(&mut plain).map_err(|_| SealError::NotAge)?;
    if plain.len() == capacity { Err(SealError::TooLarge) } else { Ok(plain) }
}

/// Why an age file was not opened or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealError {
    /// The identity file holds no identity.
    NotAnIdentity,
    /// The identity file is encrypted, but not with a passphrase.
    IdentityForIdentity,
    /// The identity file is encrypted with a passphrase, and there is nobody to ask.
    PassphraseWanted,
    /// The passphrase does not open the file.
    WrongPassphrase,
    /// Trying the passphrase would take too long: the file's work factor is above [`WORK_FACTOR_MAX`].
    ExcessiveWork,
    /// The file is torn, altered, or of another version of age.
    NotAge,
    /// The ring is encrypted with a passphrase instead of for recipients.
    Passphrase,
    /// None of our identities is among its recipients.
    NotForUs,
    /// It holds more than [`FILE_BYTES_MAX`] bytes.
    TooLarge,
    /// There is nobody to encrypt for.
    NoRecipients,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnIdentity => {
                "the identity file holds no age identity (AGE-SECRET-KEY-1…), or something else beside"
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
            Self::TooLarge => "what is encrypted is too large",
            Self::NoRecipients => "there is no recipient to encrypt for",
        })
    }
}

impl std::error::Error for SealError {}
