//! Recognises files that are not rows of text by their first bytes.

use std::fmt;

/// First bytes, the kind of file that begins with them, and the remedy.
const KINDS: &[(&[u8], &str, &str)] = &[
    (b"\x1f\x8b", "compressed by gzip", "a file's name ends in .gz, or gzip -dc FILE | callveil …"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "a file's name ends in .zst, or zstd -dc FILE | callveil …"),
    (b"BZh", "compressed by bzip2", "bzip2 -dc FILE | callveil …"),
    (b"\xfd7zXZ\0", "compressed by xz", "xz -dc FILE | callveil …"),
    (b"PK\x03\x04", "a ZIP archive, or a workbook of Excel (xlsx)", "unpack it, or save the sheet as CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0", "an old workbook of Excel (xls)", "save the sheet as CSV UTF-8"),
    (b"PAR1", "Parquet", "export the table as CSV or JSON lines: DuckDB's COPY … TO 'FILE.csv' does"),
    (b"ORC", "ORC", "export the table as CSV or JSON lines"),
    (b"Obj\x01", "Avro", "export the table as JSON lines: avro-tools tojson does"),
];

/// Byte order marks of UTF-16.
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// These are also ordinary words. Files of these kinds contain a NUL.
const WORDS: [&[u8]; 2] = [b"ORC", b"BZh"];

/// A file that is not UTF-8 text.
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

/// Whether these first bytes could be the beginning of a known kind's first bytes.
pub(super) fn may_become_one(bytes: &[u8]) -> bool {
    let magics = KINDS.iter().map(|(magic, ..)| *magic).chain(UTF16_MARKS);
    magics.into_iter().any(|magic| magic.len() > bytes.len() && magic.starts_with(bytes))
}

/// Checks that a file that begins with these bytes may be UTF-8 text.
///
/// # Errors
/// [`NotText`] says what it is instead.
pub(super) fn check(bytes: &[u8]) -> Result<(), NotText> {
    check_container(bytes)?;
    if looks_like_utf16(bytes) {
        return Err(NotText { kind: "UTF-16", remedy: "--encoding utf-16, or utf-16be" });
    }
    if is_utf8(bytes) {
        return Ok(());
    }
    Err(NotText {
        kind: "not UTF-8",
        remedy: "say what it is (--encoding gb18030, or big5, or latin-1 …); if only some of its rows are damaged, \
                 --encoding utf-8 has them fail one by one",
    })
}

/// Checks that a file that begins with these bytes may be text in some encoding.
///
/// # Errors
/// [`NotText`] says what it is instead.
pub(super) fn check_container(bytes: &[u8]) -> Result<(), NotText> {
    let is_word = |magic| WORDS.contains(magic) && memchr::memchr(0, bytes).is_none();
    for (magic, kind, remedy) in KINDS {
        if bytes.starts_with(magic) && !is_word(magic) {
            return Err(NotText { kind, remedy });
        }
    }
    Ok(())
}

/// Whether these bytes are UTF-8. The last character may be incomplete.
fn is_utf8(bytes: &[u8]) -> bool {
    match str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    }
}

/// Whether these bytes begin with a UTF-16 mark, or every second one is NUL, as in ASCII text as UTF-16.
fn looks_like_utf16(bytes: &[u8]) -> bool {
    let is_half = |first: usize| bytes.len() >= 4 && bytes[first..].iter().step_by(2).all(|byte| *byte == 0);
    UTF16_MARKS.iter().any(|mark| bytes.starts_with(mark)) || is_half(0) != is_half(1)
}
