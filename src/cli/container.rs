//! Compressed files, told by the endings of their names, or by how they begin.

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

/// The logarithm of the bytes that zstd may look back at, which it keeps in memory: 8 MiB. All but its `--ultra` and
/// `--long` do with as many.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How gzip begins (RFC 1952), and zstd (RFC 8878).
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

impl Container {
    /// That of a file of this name.
    pub(super) fn of(path: &Path) -> Self {
        match path.extension().and_then(OsStr::to_str) {
            Some("gz" | "gzip") => Self::Gzip,
            Some("zst" | "zstd") => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// That of a file that begins so.
    pub(super) fn of_content(begin: &[u8]) -> Self {
        match begin {
            _ if begin.starts_with(GZIP) => Self::Gzip,
            _ if begin.starts_with(ZSTD) => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// What is in `input`. One that ends too early is an error.
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

    /// What packs into `file`.
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

    /// Writes what ends it.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(file) => file.try_finish(),
            Self::Zstd(file) => file.do_finish(),
        }
    }
}
