//! Why a command failed, and the exit code for it.

use std::{
    fmt::{self, Display},
    io,
};

use crate::{
    audit::journal::NotRecorded,
    config::ConfigError,
    keyring::{file::RingFileError, rotation::ChangeError},
    tokenizer::Unusable,
};

/// Why a command failed.
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) message: String,
}

impl Failure {
    pub(super) const FAILED: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    /// `EX_CONFIG` of sysexits.h.
    pub(super) const CONFIG: u8 = 78;

    pub(super) fn failed(message: impl Display) -> Self {
        Self { code: Self::FAILED, message: message.to_string() }
    }

    pub(super) fn usage(message: impl Display) -> Self {
        Self { code: Self::USAGE, message: message.to_string() }
    }

    pub(super) fn config(message: impl Display) -> Self {
        Self { code: Self::CONFIG, message: message.to_string() }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<NotRecorded> for Failure {
    fn from(error: NotRecorded) -> Self {
        Self::failed(error)
    }
}

impl From<Unusable> for Failure {
    fn from(error: Unusable) -> Self {
        match error {
            Unusable::UnknownNumbers(_) => Self::config(error),
            Unusable::Miscomputed => Self::failed(error),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::config(error)
    }
}

impl From<RingFileError> for Failure {
    fn from(error: RingFileError) -> Self {
        if let RingFileError::Change(ChangeError::Unconfirmed(_)) = error {
            return Self::usage(error);
        }
        if error.is_bad_ring() { Self::config(error) } else { Self::failed(error) }
    }
}

impl From<io::Error> for Failure {
    /// Writing to standard output failed. A closed pipe, such as of `head`, needs no message.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { code: Self::FAILED, message: String::new() };
        }
        Self::failed(format_args!("cannot write the results: {error}"))
    }
}
