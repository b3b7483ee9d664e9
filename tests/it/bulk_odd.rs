//! Malformed files: either no number of the column survives, or the run fails and names the row.

use std::fs;

use crate::support::{Folder, run};

/// Numbers in the column. None of them is part of another.
const NUMBERS: [&str; 6] = ["13911111111", "13822222222", "13733333333", "13644444444", "13555555555", "13466666666"];

/// Tokenizes `content`, and fails if a number survives although the run named no row.
#[track_caller]
fn check(folder: &Folder, content: &[u8], args: &[&str]) -> (Vec<u8>, Option<i32>, String) {
    fs::write(folder.path().join("in"), content).unwrap();
    let args = [&["tokenize", "in", "--report", "report", "--threads", "1"], args].concat();
    let _ = fs::remove_file(folder.path().join("report"));
    let output = run(folder.path(), &args);
    let told = String::from_utf8(output.stderr).unwrap();
    let report = fs::read_to_string(folder.path().join("report")).unwrap_or_default() + &told;
    let left = NUMBERS.iter().any(|number| contains(&output.stdout, number.as_bytes()));
    // Where it is asked for, a look finds what stands in another column.
    let names_a_row = output.status.code() == Some(1) && (report.contains("row ") || report.contains("the input is "));
    let shown = String::from_utf8_lossy(content);
    assert!(!left || names_a_row, "{shown:?}\n{told}{}", String::from_utf8_lossy(&output.stdout));
    (output.stdout, output.status.code(), report)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Bodies after the header `id,name,phone`, and their errors.
const CSV: &[(&str, &[&str])] = &[
    // Good, if unusual.
    ("1,Ann,13911111111", &[]),
    ("1,Ann,13911111111\r2,Bob,13822222222\r", &[]),
    ("1,Ann,13911111111\r\n2,Bob,13822222222\n3,Cy,13733333333\r4,Di,13644444444", &[]),
    ("\n\n1,Ann,13911111111\n\n", &[]),
    ("\"1\",\"Ann\",\"13911111111\"\r\n", &[]),
    ("1,\"Ann, née Li\",13911111111\n", &[]),
    ("1,\"a \"\"b\"\" c\",13911111111\n", &[]),
    ("1,\"two\nlines\",13911111111\n", &[]),
    ("1,\"two\r\nlines\",13911111111\r\n2,b,13822222222", &[]),
    ("1,\"two\rlines\",13911111111\r2,b,13822222222", &[]),
    ("1,,\n2,b,13822222222\n", &[]),
    ("1,\"\",\"\"\n2,b,13822222222\n", &[]),
    ("1,\\N,\\N\n2,b,13822222222\n", &[]),
    ("1,b, 13822222222 \n", &[]),
    ("1,a\tb,13822222222\n", &[]),
    ("1,\u{FEFF}b,\u{FEFF}13822222222\n", &[]),
    ("1,'b',13822222222\n", &[]),
    ("1,b,'13822222222\n", &[]),
    ("1,b,\"=\"\"13822222222\"\"\"\n", &[]),
    ("1,b,1.3911111111E+10\n", &[]),
    ("1,王伟,电话：13822222222\n", &[]),
    // Another shape.
    ("1,Li, Ann,13911111111\n2,b,13822222222\n", &["row 2: wrong_shape"]),
    ("1,Ann\n2,b,13822222222\n", &["row 2: wrong_shape"]),
    ("1,Ann,13911111111,\n", &["row 2: wrong_shape"]),
    ("1,Ann,13911111111,x\n", &["row 2: wrong_shape"]),
    (",1,Ann,13911111111\n", &["row 2: wrong_shape"]),
    ("13911111111\n", &["row 2: wrong_shape"]),
    ("1;Ann;13911111111\n", &["row 2: wrong_shape"]),
    ("1\tAnn\t13911111111\n", &["row 2: wrong_shape"]),
    ("1|Ann|13911111111\n", &["row 2: wrong_shape"]),
    ("1,Ann\\, Li,13911111111\n", &["row 2: wrong_shape"]),
    ("1,Ann,13911111111 2,Bob,13822222222\n", &["row 2: wrong_shape"]),
    ("1,Ann\n,13911111111\n", &["row 2: wrong_shape", "row 3: wrong_shape"]),
    ("1,Ann\r,13911111111\r\n", &["row 2: wrong_shape", "row 3: wrong_shape"]),
    ("(2 rows)\n", &["row 2: wrong_shape"]),
    ("# exported 13911111111\n1,b,13822222222\n", &["row 2: wrong_shape"]),
    ("sep=,\n1,b,13822222222\n", &["row 2: wrong_shape"]),
    ("1,Ann,13911111111\u{2028}2,Bob,13822222222\n", &["row 2: wrong_shape"]),
    ("1,Ann,13911111111\u{85}2,Bob,13822222222\n", &["row 2: wrong_shape"]),
    ("1,Ann,13911111111\u{1E}2,Bob,13822222222\n", &["row 2: wrong_shape"]),
    ("1\u{1}Ann\u{1}13911111111\n", &["row 2: wrong_shape"]),
    ("1,\"Ann\",\"Li\",13911111111\n", &["row 2: wrong_shape"]),
    ("1,\"Ann\"\n2,b,13822222222", &["row 2: wrong_shape"]),
    // Quotes where there may be none.
    ("1,Ann \"A\" Li,13911111111\n", &["row 2: wrong_quoting"]),
    ("1,Ann\\\" Li,13911111111\n", &["row 2: wrong_quoting"]),
    ("1,\"Ann\\\" Li\",13911111111\n", &["row 2: wrong_quoting"]),
    ("1,\"Ann \"A\" Li\",13911111111\n", &["row 2: wrong_quoting"]),
    ("1, \"Li, Ann\",13911111111\n", &["row 2: wrong_quoting"]),
    ("1,\"Li, Ann\" ,13911111111\n", &["row 2: wrong_quoting"]),
    ("1,\"Li, Ann\"x,13911111111\n", &["row 2: wrong_quoting"]),
    ("1,5\" pipe,13911111111\n2,6\" pipe,13822222222\n", &["row 2: wrong_quoting", "row 3: wrong_quoting"]),
    ("1,b,13822222222\"\n", &["row 2: wrong_quoting"]),
    ("1,b,=\"13822222222\"\n", &["row 2: wrong_quoting"]),
    ("1,b,\"138\"22222222\n", &["row 2: wrong_quoting"]),
    ("1,b\0,13822222222\n", &["row 2: wrong_quoting"]),
    ("1,b,13822222222\0\n2,c,13911111111", &["row 2: wrong_quoting"]),
    // Cells that never close, or close too late.
    ("1,\"Ann,13911111111\n2,b,13822222222\n", &["row 2: wrong_quoting"]),
    ("1,\"Ann,13911111111\r\n2,b,13822222222\r\n3,c,13733333333", &["row 2: wrong_quoting"]),
    ("1,\"Ann,13911111111\n2,b,13822222222\n3,\"c\",13733333333\n", &["row 2: wrong_quoting"]),
    ("1,\"Ann,13911111111\n2,b,13822222222\n3,c\",13733333333\n", &["row 2: wrong_quoting", "row 4: wrong_quoting"]),
    ("1,\"Ann,13911111111\n3,c\",13733333333\n", &["row 2: wrong_quoting", "row 3: wrong_quoting"]),
    ("1,\"Ann,13911111111\r3,c\",13733333333\r", &["row 2: wrong_quoting", "row 3: wrong_quoting"]),
    ("1,Ann,\"13911111111\n2,b,13822222222\n3,c,13733333333", &["row 2: wrong_quoting"]),
    ("\"1,Ann,13911111111\n2,b,13822222222\n3\",c,13733333333", &["row 2: wrong_quoting"]),
    ("1,\"Ann,13911111111", &["row 2: wrong_quoting"]),
    ("1,\"", &["row 2: wrong_quoting"]),
    ("1,Ann,13911111111\n2,\"\"\",13822222222\n3,c,13733333333", &["row 3: wrong_quoting"]),
    ("1,\"Ann\"\",13911111111\n2,\"b\",13822222222\n", &["row 2: wrong_quoting"]),
];

#[test]
fn csv_of_other_shapes_hands_no_number_on() {
    let folder = Folder::new();
    for (body, errors) in CSV {
        for header in ["id,name,phone\n", "\u{FEFF}id,name,phone\r\n", "id,name,phone\r"] {
            let content = format!("{header}{body}");
            let (out, code, report) = check(&folder, content.as_bytes(), &["--format", "csv", "--column", "phone"]);
            assert_eq!(code, Some(i32::from(!errors.is_empty())), "{content:?}\n{report}");
            for error in *errors {
                assert!(report.contains(error), "{content:?} lacks {error:?}\n{report}");
            }
            for number in NUMBERS {
                assert!(!contains(&out, number.as_bytes()), "{content:?}: {}", String::from_utf8_lossy(&out));
            }
        }
    }
}

#[test]
fn rows_between_two_stray_quotes_are_mapped_or_named() {
    let folder = Folder::new();
    let mut content = "id,name,phone\n0,\"stray,13911111111\n".to_owned();
    (0..1000).for_each(|id| content += &format!("{id},x,13822222222\n"));
    content += "1,x\",13733333333\n";
    let args = ["--format", "csv", "--column", "phone", "--rejects", "rejects"];
    for bound in ["100", "5000"] {
        let (out, code, report) = check(&folder, content.as_bytes(), &[&args[..], &["--quoted-lines", bound]].concat());
        assert_eq!(code, Some(1));
        assert!(report.contains("row 2: wrong_quoting\n") && report.contains("1000 mapped"), "{report}");
        assert!(NUMBERS.iter().all(|number| !contains(&out, number.as_bytes())));
        let rejects = fs::read_to_string(folder.path().join("rejects")).unwrap();
        assert_eq!(rejects, "0,\"stray,13911111111\n1,x\",13733333333\n");
    }
    // A long note is no such thing, but for the bound.
    let note = format!("id,name,phone\n0,\"{}\",13911111111\n", "note\n".repeat(300));
    let (_, code, _) = check(&folder, note.as_bytes(), &["--format", "csv", "--column", "phone"]);
    assert_eq!(code, Some(1));
    let args = ["--format", "csv", "--column", "phone", "--quoted-lines", "300"];
    assert_eq!(check(&folder, note.as_bytes(), &args).1, Some(0));
}

#[test]
fn headers_and_first_rows_that_say_nothing_are_refused() {
    let folder = Folder::new();
    let with_header = ["--format", "csv", "--column", "3"];
    let without = ["--format", "csv", "--column", "3", "--no-header"];
    for (content, args) in [
        ("id,\"name,phone\n1,Joe\",13911111111\n", &with_header[..]),
        ("id,na\"me,phone\n1,Joe,13911111111\n", &with_header),
        ("id,name\n1,Joe,13911111111\n", &with_header),
        ("1,Li, Ann,13911111111\n2,b,13822222222\n", &without),
        ("1,\"Ann,13911111111\n2,b\",13822222222\n", &without),
        ("1,An\0n,13911111111\n2,b,13822222222\n", &without),
    ] {
        let (out, code, _) = check(&folder, content.as_bytes(), args);
        assert_eq!((out.as_slice(), code), (&b""[..], Some(1)), "{content:?}");
    }
}

#[test]
fn a_first_row_that_is_no_header_is_not_taken_for_one() {
    let folder = Folder::new();
    for number in ["13911111111", "+86 139-1111-1111", "\"13911111111\""] {
        let content = format!("1,Ann,{number}\n2,Bob,13822222222\n");
        let (out, code, told) = check(&folder, content.as_bytes(), &["--format", "csv", "--column", "3"]);
        assert_eq!((out.as_slice(), code), (&b""[..], Some(1)), "{told}");
        assert!(told.contains("row 1 has a number") && told.contains("--no-header"), "{told}");
        let (out, code, _) = check(&folder, content.as_bytes(), &["--format", "csv", "--column", "3", "--no-header"]);
        assert!(code == Some(0) && !contains(&out, b"1391111") && !contains(&out, b"13822222222"));
    }
    // A name is a name, whatever its digits.
    let (_, code, told) = check(&folder, b"id,phone2\n1,13911111111\n", &["--format", "csv", "--column", "2"]);
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn a_header_that_took_rows_in_is_refused() {
    let folder = Folder::new();
    for (content, encoding) in [
        // Line ends that are lost make one header of all rows.
        (&b"id,name,phone0,Ann,139111111111,Bob,13822222222"[..], "utf-8"),
        (b"id,name,phone,note\xef\xbc\x9a139 1111 1111\n1,Ann,8001,\n", "utf-8"),
        (b"id,na\xe7\x8e,phone\n1,Ann,13911111111\n", "utf-8"),
    ] {
        let (out, code, told) = check(&folder, content, &["--format", "csv", "--column", "3", "--encoding", encoding]);
        assert_eq!((out.as_slice(), code), (&b""[..], Some(1)), "{told}");
        assert!(told.contains("row 1"), "{told}");
    }
    let dated = b"id,2026-11-26,phone 20261126\n1,Ann,13911111111\n";
    assert_eq!(check(&folder, dated, &["--format", "csv", "--column", "3"]).1, Some(0));
}

#[test]
fn digits_that_a_lost_byte_of_utf16_shifts_are_not_handed_on() {
    let folder = Folder::new();
    let text = "id,name,phone\n1,Ann,13911111111\n2,Bob,13822222222\n";
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let shifted: Vec<u8> = NUMBERS[1].encode_utf16().flat_map(u16::to_be_bytes).collect();
    for lost in 0..bytes.len() {
        let content = [&bytes[..lost], &bytes[lost + 1..]].concat();
        let args = ["--format", "csv", "--column", "3", "--encoding", "utf-16"];
        let (out, ..) = check(&folder, &content, &args);
        assert!(!contains(&out, &shifted[1..]), "byte {lost}: {}", String::from_utf8_lossy(&out));
    }
}

#[test]
fn what_is_no_text_is_refused_by_name() {
    let folder = Folder::new();
    let utf16: Vec<u8> = "13911111111\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cases: [(&[u8], &str); 10] = [
        (b"\x1f\x8b\x08\0\0\0\0\0", "gzip"),
        (b"\x28\xb5\x2f\xfd\x04\0", "zstd"),
        (b"PK\x03\x04\x14\0", "xlsx"),
        (b"PAR1\x15\x04", "Parquet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "xls"),
        (b"Obj\x01\x04", "Avro"),
        (b"\xff\xfe1\x003\x00", "UTF-16"),
        (b"\xfe\xff\x001\x003", "UTF-16"),
        (&utf16, "UTF-16"),
        (b"id,\xb5\xe7\xbb\xb0\n1,13911111111\n", "not UTF-8"),
    ];
    for (content, name) in cases {
        for args in [&[][..], &["--format", "csv", "--column", "1"], &["--format", "jsonl", "--column", "/p"]] {
            let (out, code, told) = check(&folder, content, args);
            assert_eq!((out.as_slice(), code), (&b""[..], Some(1)), "{name}");
            assert!(told.contains("the input is ") && told.contains(name), "{name}: {told}");
        }
    }
    // What only looks so is text.
    assert_eq!(check(&folder, b"ORCHID\nBZh\n", &[]).1, Some(0));
    // One damaged row fails by itself, where that is asked for; so do Big5 cells whose second byte is the delimiter.
    let content = b"id|name|phone\n1|\xb3\x5c|13911111111\n2|\xa5\x7c\x7c|13822222222\n3|b|13733333333\n";
    let args = ["--format", "csv", "--column", "phone", "--delimiter", "|", "--encoding", "utf-8"];
    let (out, code, report) = check(&folder, content, &args);
    assert_eq!(code, Some(1));
    assert!(report.contains("row 2: not_utf8\n") && report.contains("row 3: "), "{report}");
    assert_eq!(String::from_utf8(out).unwrap().lines().count(), 2);
}

#[test]
fn missing_values_stay() {
    let folder = Folder::new();
    let (out, code, told) = check(&folder, b"\\N\n\n8001\n", &[]);
    assert_eq!(code, Some(0));
    // Engines count: each line gives one line.
    for line_end in ["\n", "\r\n"] {
        let lines = ["8001", "\\N", "", "8001", "\\N"].join(line_end);
        let (out, ..) = check(&folder, lines.as_bytes(), &[]);
        let out = String::from_utf8(out).unwrap();
        let lines: Vec<_> = out.split('\n').collect();
        assert!(matches!(lines[..], [one, "\\N", "", two, "\\N", ""] if one == two), "{out:?}");
    }
    assert!(out.starts_with(b"\\N\n\n") && told.contains("1 mapped") && told.contains("2 empty"), "{told}");
    let (out, _, _) = check(&folder, b"NULL\n\\N\n", &["--null", "NULL"]);
    assert!(out.starts_with(b"NULL\n") && !contains(&out, b"\\N"));
    let jsonl = b"{\"p\":\"\\\\N\"}\n{\"p\":null}\n{\"p\":\"\"}\n";
    let (out, code, _) = check(&folder, jsonl, &["--format", "jsonl", "--column", "/p"]);
    assert_eq!((out.as_slice(), code), (&jsonl[..], Some(0)));
    let (out, _, _) = check(&folder, b"\\N\n\n", &["--json"]);
    assert_eq!(String::from_utf8(out).unwrap().lines().count(), 2);
}
