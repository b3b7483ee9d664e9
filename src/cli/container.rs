//! Compressed files, recognised by the ending of their name or by their first bytes.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write as _},
    path::Path,
};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Plain,
    Gzip,
    Zstd,
}

/// The base-2 logarithm of the largest zstd window, which is kept in memory: 8 MiB. zstd needs a larger one only for
/// files made with `--ultra` or `--long`.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The first bytes of gzip (RFC 1952) and zstd (RFC 8878) files.
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

impl Container {
    /// The container of a file with this name.
    pub(super) fn of(path: &Path) -> Self {
        match path.extension().and_then(OsStr::to_str) {
            Some("gz" | "gzip") => Self::Gzip,
            Some("zst" | "zstd") => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// The container of a file that begins with these bytes.
    pub(super) fn of_content(begin: &[u8]) -> Self {
        match begin {
            _ if begin.starts_with(GZIP) => Self::Gzip,
            _ if begin.starts_with(ZSTD) => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// The unpacked content of `input`. Truncated input is an error.
    pub(super) fn unpack(self, input: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Plain => Box::new(input),
            Self::Gzip => Box::new(MultiGzDecoder::new(io::BufReader::new(input))),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::new(input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }

    /// A packer that writes to `file`.
    pub(super) fn pack(self, file: File) -> io::Result<Packer> {
        Ok(match self {
            Self::Plain => Packer::Plain(file),
            Self::Gzip => Packer::Gzip(GzEncoder::new(file, Compression::default())),
            Self::Zstd => Packer::Zstd(zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?),
        })
    }
}

/// A file that is being written.
pub(super) enum Packer {
    Plain(File),
    Gzip(GzEncoder<File>),
    Zstd(zstd::Encoder<'static, File>),
}

impl Packer {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(bytes),
            Self::Gzip(file) => file.write_all(bytes),
            Self::Zstd(file) => file.write_all(bytes),
        }
    }

    /// Completes the file.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(file) => file.try_finish(),
            Self::Zstd(file) => file.do_finish(),
        }
    }
}
