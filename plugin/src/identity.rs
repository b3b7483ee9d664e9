//! An identity: it names a key on a token and the file with the PIN. It contains no secret.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use age_core::{primitives::bech32_encode, secrecy::SecretString};
use bech32::Hrp;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::hpke::{SHARE_BYTES, compressed};

/// The name of this plugin.
pub(crate) const PLUGIN: &str = "pkcs11tag";

const IDENTITY: Hrp = Hrp::parse_unchecked("age-plugin-pkcs11tag-");
const RECIPIENT: Hrp = Hrp::parse_unchecked("age1tag");

/// The permission bits by which others on the system can access a PIN file.
const OTHERS: u32 = 0o007;

/// The content of an identity.
pub(crate) struct Identity {
    pub(crate) module: PathBuf,
    pub(crate) token: String,
    pub(crate) key: String,
    pub(crate) pin_file: Option<PathBuf>,
    /// The uncompressed public key.
    pub(crate) public: [u8; SHARE_BYTES],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIdentity {
    module: PathBuf,
    token: String,
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pin_file: Option<PathBuf>,
    public: String,
}

impl Identity {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let RawIdentity { module, token, key, pin_file, public } = serde_json::from_slice(bytes).ok()?;
        let public = HEXLOWER.decode(public.as_bytes()).ok()?.try_into().ok()?;
        Some(Self { module, token, key, pin_file, public })
    }

    /// The identity as a line for an identity file.
    pub(crate) fn to_line(&self) -> Result<String, String> {
        let raw = RawIdentity {
            module: self.module.clone(),
            token: self.token.clone(),
            key: self.key.clone(),
            pin_file: self.pin_file.clone(),
            public: HEXLOWER.encode(&self.public),
        };
        let bytes = serde_json::to_vec(&raw).map_err(|error| error.to_string())?;
        Ok(bech32_encode(IDENTITY, &bytes).to_uppercase())
    }

    /// The public key, `age1tag1…`.
    pub(crate) fn recipient(&self) -> String {
        bech32_encode(RECIPIENT, &compressed(&self.public))
    }
}

/// Reads the PIN from its file, which others must not be able to access.
pub(crate) fn read_pin(path: &Path) -> Result<SecretString, String> {
    let failed = |reason: &dyn std::fmt::Display| format!("PIN file {}: {reason}", path.display());
    let mode = fs::metadata(path).map_err(|error| failed(&error))?.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(failed(&"it is open to others on this system: chmod 0600 it"));
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(|error| failed(&error))?);
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
}
