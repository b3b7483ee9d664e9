//! Files that are not UTF-8, or compressed: everything except the column comes back byte for byte.

use std::{
    fs,
    io::{Read as _, Write as _},
};

use crate::support::{Folder, run};

const NUMBERS: [&str; 2] = ["13911111111", "13822222222"];

/// Runs callveil, and returns its output file, its exit code and its messages.
#[track_caller]
fn check(folder: &Folder, args: &[&str]) -> (Vec<u8>, Option<i32>, String) {
    let _ = fs::remove_file(folder.path().join("out"));
    let output = run(folder.path(), &[args, &["--output", "out"]].concat());
    let told = String::from_utf8(output.stderr).unwrap();
    (fs::read(folder.path().join("out")).unwrap_or_default(), output.status.code(), told)
}

fn uid(folder: &Folder, text: &str) -> String {
    String::from_utf8(run(folder.path(), &["tokenize", "--value", text]).stdout).unwrap().trim().to_owned()
}

/// `text` as a program that knows nothing of callveil would write it.
fn encode(text: &str, encoding: &str) -> Vec<u8> {
    match encoding {
        "utf-16" => [0xFEFF].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect(),
        "utf-16le" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        "utf-16be" => [0xFEFF].into_iter().chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect(),
        other => {
            let encoding = encoding_rs::Encoding::for_label(other.as_bytes()).unwrap();
            let (bytes, _, has_errors) = encoding.encode(text);
            assert!(!has_errors, "{text} in {other}");
            bytes.into_owned()
        }
    }
}

#[test]
fn files_in_other_encodings_keep_every_byte_outside_the_column() {
    let folder = Folder::new();
    let uids = NUMBERS.map(|number| uid(&folder, number));
    // The second bytes of some are delimiters and backslashes: 許 is B3 5C in Big5.
    let chinese = ["許功蓋", "王伟", "珅", "\u{3000}", ""];
    for (encoding, names) in [
        ("gb18030", &["王伟", "昞|\u{3000}", "𠮷", "\u{e7c7}é", ""][..]),
        ("gbk", &["王伟", "昞瀄", "", "€"]),
        ("big5", &["許功蓋", "王偉", "一", ""]),
        ("shift_jis", &["表示ソ", "ｱｲｳ", ""]),
        ("latin1", &["née", "\u{A0}ÿ", ""]),
        ("utf-16", &chinese),
        ("utf-16le", &chinese),
        ("utf-16be", &["😀", "許", ""]),
    ] {
        for line_end in ["\n", "\r\n", "\r"] {
            let make = |numbers: [&str; 2]| {
                let rows = (0..20_000).map(|at| {
                    let name = names[at % names.len()];
                    let number = numbers[at % 2];
                    if at % 3 == 0 {
                        format!("\"{name}\",\"{number}\",\"{name}\n\"")
                    } else {
                        format!("{name},{number},{name}")
                    }
                });
                let rows: String = rows.flat_map(|row| [row, line_end.to_owned()]).collect();
                encode(&format!("name,phone,note{line_end}{rows}"), encoding)
            };
            fs::write(folder.path().join("in"), make(NUMBERS)).unwrap();
            let args = ["tokenize", "in", "--format", "csv", "--column", "phone", "--encoding", encoding];
            let (out, code, told) = check(&folder, &args);
            assert_eq!(code, Some(0), "{encoding}: {told}");
            assert!(out == make([&uids[0], &uids[1]]), "{encoding} {line_end:?}");
        }
    }
}

#[test]
fn bytes_that_would_be_written_otherwise_stay_and_rows_with_no_characters_fail() {
    let folder = Folder::new();
    let uid = uid(&folder, NUMBERS[0]);
    // GBK's 80 and A3A0 have other bytes of their own; so has Big5's A2CC.
    for (encoding, odd, bad) in [
        ("gb18030", &b"\x80\xa3\xa0"[..], &b"\xff"[..]),
        ("gb18030", b"\xe3\x32\x9a\x35", b"\x81\x30\x81"),
        ("big5", b"\xa2\xcc\xa2\xce", b"\xff"),
    ] {
        let rows = |uid: &[u8], bad: &[u8]| [b"n,p\n", odd, b",", uid, b"\n", bad, b"x,", uid, b"\n"].concat();
        fs::write(folder.path().join("in"), rows(NUMBERS[0].as_bytes(), b"")).unwrap();
        let args =
            ["tokenize", "in", "--format", "csv", "--column", "p", "--encoding", encoding, "--rejects", "rejects"];
        let (out, code, told) = check(&folder, &args);
        assert_eq!((out, code), (rows(uid.as_bytes(), b""), Some(0)), "{told}");
        fs::write(folder.path().join("in"), rows(NUMBERS[0].as_bytes(), bad)).unwrap();
        let (out, code, told) = check(&folder, &args);
        assert_eq!(out, [b"n,p\n", odd, b",", uid.as_bytes(), b"\n"].concat());
        assert!(code == Some(1) && told.contains("row 3: not_utf8"), "{told}");
        let reject = [bad, b"x,", NUMBERS[0].as_bytes(), b"\n"].concat();
        assert_eq!(fs::read(folder.path().join("rejects")).unwrap(), reject);
    }
}

#[test]
fn texts_that_an_encoding_lacks_leave_nothing() {
    let folder = Folder::new();
    fs::write(folder.path().join("in"), uid(&folder, "王伟")).unwrap();
    let (out, code, told) = check(&folder, &["detokenize", "in", "--encoding", "latin-1"]);
    assert!(out.is_empty() && code == Some(1) && told.contains("windows-1252 lacks"), "{told}");
    let (out, code, _) = check(&folder, &["detokenize", "in", "--encoding", "gb18030"]);
    assert_eq!((out.as_slice(), code), (&b"\xcd\xf5\xce\xb0\n"[..], Some(0)));
    let (_, code, told) = check(&folder, &["detokenize", "in", "--encoding", "klingon"]);
    assert!(code == Some(2) && told.contains("gb18030"), "{told}");
    // What is packed is packed, whatever somebody says of it.
    fs::write(folder.path().join("in"), b"PK\x03\x04\x14\0").unwrap();
    let (out, code, told) = check(&folder, &["tokenize", "in", "--encoding", "gb18030"]);
    assert!(out.is_empty() && code == Some(1) && told.contains("xlsx"), "{told}");
}

#[test]
fn lines_of_utf16_keep_their_mark() {
    let folder = Folder::new();
    let uids = NUMBERS.map(|number| uid(&folder, number));
    fs::write(folder.path().join("in"), encode(&NUMBERS.join("\r\n"), "utf-16be")).unwrap();
    let (out, code, told) = check(&folder, &["tokenize", "in", "--encoding", "utf-16"]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(out, encode(&(uids.join("\n") + "\n"), "utf-16be"));
}

#[test]
fn lines_of_old_macs_are_lines() {
    let folder = Folder::new();
    let uids = NUMBERS.map(|number| uid(&folder, number));
    for end in ["", "\r"] {
        fs::write(folder.path().join("in"), NUMBERS.join("\r") + end).unwrap();
        let (out, code, told) = check(&folder, &["tokenize", "in"]);
        assert_eq!((String::from_utf8(out).unwrap(), code), (uids.join("\n") + "\n", Some(0)), "{told}");
    }
    // A stray one is no line end: what it stands in fails, and is told.
    fs::write(folder.path().join("in"), "13911\r111111\n13822222222\n").unwrap();
    let (out, code, told) = check(&folder, &["tokenize", "in"]);
    assert_eq!((String::from_utf8(out).unwrap(), code), (format!("\n{}\n", uids[1]), Some(1)), "{told}");
    assert!(told.contains("row 1: invalid_number"), "{told}");
}

#[test]
fn compressed_files_are_read_and_written_by_their_names() {
    let folder = Folder::new();
    let path = |name: &str| folder.path().join(name);
    let plain: String = (0..50_000).map(|at| format!("139{at:08}\n")).collect();
    fs::write(path("in"), &plain).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(plain.as_bytes()).unwrap();
    // Two members, as `cat a.gz b.gz` gives.
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(plain.as_bytes(), 1).unwrap();
    let (uids, _, _) = check(&folder, &["tokenize", "in"]);
    for (name, packed) in [("in.gz", &gzip), ("in.zst", &zstd)] {
        fs::write(path(name), [&packed[..], packed].concat()).unwrap();
        let (out, code, told) = check(&folder, &["tokenize", name]);
        assert_eq!(code, Some(0), "{told}");
        assert!(out == [&uids[..], &uids].concat(), "{name}");
        for end in [packed.len() / 2, packed.len() - 1] {
            fs::write(path(name), &packed[..end]).unwrap();
            let (out, code, told) = check(&folder, &["tokenize", name]);
            assert!(out.is_empty() && code == Some(1) && told.contains("cannot read"), "{name}: {told}");
        }
    }
    assert_eq!(run(folder.path(), &["tokenize", "in", "--output", "out.gz"]).status.code(), Some(0));
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(path("out.gz")).unwrap()).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == uids);
    assert_eq!(run(folder.path(), &["tokenize", "in", "--output", "out.zst"]).status.code(), Some(0));
    assert!(zstd::decode_all(fs::File::open(path("out.zst")).unwrap()).unwrap() == uids);
    // In place, and not under a name that says something else.
    assert_eq!(run(folder.path(), &["detokenize", "out.gz", "--output", "out.gz"]).status.code(), Some(0));
    let (out, code, _) = check(&folder, &["tokenize", "out.gz"]);
    assert_eq!((out == uids, code), (true, Some(0)));
    fs::write(path("not.gz"), &plain).unwrap();
    let (out, code, told) = check(&folder, &["tokenize", "not.gz"]);
    assert!(out.is_empty() && code == Some(1) && told.contains("cannot read"), "{told}");
}
