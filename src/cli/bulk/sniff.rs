//! Files that are no text of rows, known by their first bytes.

use std::fmt;

/// First bytes, the kind of file that begins so, and what to do with it.
const KINDS: &[(&[u8], &str, &str)] = &[
    (b"\x1f\x8b", "compressed by gzip", "gzip -dc FILE | callveil …"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "zstd -dc FILE | callveil …"),
    (b"BZh", "compressed by bzip2", "bzip2 -dc FILE | callveil …"),
    (b"\xfd7zXZ\0", "compressed by xz", "xz -dc FILE | callveil …"),
    (b"PK\x03\x04", "a ZIP archive, or a workbook of Excel (xlsx)", "unpack it, or save the sheet as CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0", "an old workbook of Excel (xls)", "save the sheet as CSV UTF-8"),
    (b"PAR1", "Parquet", "export the table as CSV or JSON lines: DuckDB's COPY … TO 'FILE.csv' does"),
    (b"ORC", "ORC", "export the table as CSV or JSON lines"),
    (b"Obj\x01", "Avro", "export the table as JSON lines: avro-tools tojson does"),
    (b"\xff\xfe", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
];

/// ORC is a word, too: it is a file of that kind only where this is not text.
const WORDS: [&[u8]; 2] = [b"ORC", b"BZh"];

/// A file that is no UTF-8 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotText {
    kind: &'static str,
    remedy: &'static str,
}

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, remedy } = self;
        write!(f, "the input is {kind}: {remedy}")
    }
}

impl std::error::Error for NotText {}

/// Whether these first bytes could become those of a known kind if there were more.
pub(super) fn may_become_one(bytes: &[u8]) -> bool {
    KINDS.iter().any(|(magic, ..)| magic.len() > bytes.len() && magic.starts_with(bytes))
}

/// Checks that a file which begins with these bytes may be text.
///
/// # Errors
/// [`NotText`] says what it is instead.
pub(super) fn check(bytes: &[u8]) -> Result<(), NotText> {
    // The last character may not be whole.
    let is_text = match str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    let has_nul = memchr::memchr(0, bytes).is_some();
    for (magic, kind, remedy) in KINDS {
        if bytes.starts_with(magic) && !(WORDS.contains(magic) && is_text && !has_nul) {
            return Err(NotText { kind, remedy });
        }
    }
    if is_text && !looks_like_utf16(bytes) {
        return Ok(());
    }
    Err(if looks_like_utf16(bytes) {
        NotText { kind: "UTF-16", remedy: "iconv -f UTF-16LE -t UTF-8" }
    } else {
        NotText {
            kind: "not UTF-8",
            remedy: "convert it (iconv -f GB18030 -t UTF-8, or BIG5, or LATIN1); if only some of its rows are damaged, \
                     --encoding utf-8 has them fail one by one",
        }
    })
}

/// Whether every other byte is NUL, as in UTF-16 of ASCII.
fn looks_like_utf16(bytes: &[u8]) -> bool {
    let is_half = |first: usize| bytes.len() >= 4 && bytes[first..].iter().step_by(2).all(|byte| *byte == 0);
    is_half(0) != is_half(1)
}
