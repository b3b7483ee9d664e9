//! The test vectors of `docs/specification.md`: callveil does what they say.

use std::{collections::HashMap, fs, process::Command};

use callveil::{
    audit::{
        ItemKey,
        chain::{ChainedLine, Head, LineHash},
        verify::{
            Chains, Facts,
            fault::{Location, Wrong},
        },
    },
    ids::Context,
    item::ItemError,
    keyring::{KeyRing, note::Verifier},
    mapped::Mapped,
    number::{E164, Number, Text},
    phone::{NUMBERS_NEWEST, Numbering, TrunkZeroRegions},
    siv::Cipher,
    tokenizer::{self, Tokenizer},
    uid::{self, Plaintext, Sealed, Uid},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    needs::python_has,
    support::{Folder, pipe, run, write_secret},
};

fn file(name: &str) -> String {
    fs::read_to_string(format!("{}/docs/vectors/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn vectors(name: &str) -> Value {
    serde_json::from_str(&file(name)).unwrap()
}

/// Rows of a table, which must not be empty.
#[track_caller]
fn rows(value: &Value) -> &[Value] {
    let rows = value.as_array().unwrap();
    assert!(!rows.is_empty());
    rows
}

fn text<'v>(row: &'v Value, field: &str) -> &'v str {
    row[field].as_str().unwrap_or_else(|| panic!("no {field}: {row}"))
}

fn time(row: &Value) -> Timestamp {
    text(row, "at").parse().unwrap()
}

fn ring(note: &str) -> KeyRing {
    KeyRing::from_note(note.as_bytes(), tokenizer::supports, &[]).unwrap()
}

/// The number of a row, in the form of [`tokenizer::Batch::canonical`].
fn canonical(row: &Value) -> String {
    let plus = if row["kind"] == "e164" { "+" } else { "" };
    format!("{plus}{}", text(row, "number"))
}

#[test]
fn uids() {
    let (vectors, ring) = (vectors("uids.json"), ring(&file("keyring.json")));
    for row in rows(&vectors["valid"]) {
        let number = match text(row, "kind") {
            "e164" => Number::E164(E164::new(text(row, "number").parse().unwrap()).unwrap()),
            _ => Number::Verbatim(Text::exact(text(row, "number")).unwrap()),
        };
        let plaintext = match Plaintext::of(&number) {
            Plaintext::Short(short) => short.to_vec(),
            Plaintext::Long(long) => long.to_vec(),
        };
        assert_eq!(data_encoding::HEXLOWER.encode(&plaintext), text(row, "plaintext"), "{row}");
        assert!(uid::from_plaintext(&plaintext) == Ok(number), "{row}");
        let (key_id, context) = (text(row, "key").parse().unwrap(), text(row, "context").parse().unwrap());
        let material = ring.key(key_id).unwrap().material().unwrap();
        let sealed = Sealed::Long(Cipher::new(material.expose(), key_id, &context).seal(&plaintext));
        assert_eq!(Uid { key_id, sealed }.to_string(), text(row, "uid"), "{row}");
    }
    let tokenizer = Tokenizer::new(ring, TrunkZeroRegions::default()).unwrap();
    let opened = |row: &Value| {
        let (context, mut mapped): (Context, _) = (text(row, "context").parse().unwrap(), Mapped::default());
        tokenizer.batch(&context, Timestamp::UNIX_EPOCH).canonical(&[text(row, "uid")], &mut mapped);
        mapped.iter().next().unwrap().map(str::to_owned).map_err(ItemError::code)
    };
    for row in rows(&vectors["valid"]).iter().chain(rows(&vectors["spellings"])) {
        assert_eq!(opened(row), Ok(canonical(row)), "{row}");
    }
    for row in rows(&vectors["refused"]) {
        assert_eq!(opened(row), Err(text(row, "error")), "{row}");
    }
}

fn numbering(region: &str) -> Numbering {
    Numbering::new(NUMBERS_NEWEST, region).unwrap_or_else(|| panic!("no region {region}"))
}

fn written(number: &Number<'_>) -> String {
    match number {
        Number::E164(number) => format!("+{}", number.digits()),
        Number::Hotline(hotline) => hotline.as_str().to_owned(),
        Number::Verbatim(text) => text.as_str().to_owned(),
    }
}

#[test]
fn numbers() {
    let (vectors, china) = (vectors("numbers.json"), TrunkZeroRegions::new(["CN"]).unwrap());
    for row in rows(&vectors) {
        let numbering = numbering(text(row, "region"));
        let Ok(number) = numbering.normalize(text(row, "text")) else {
            assert_eq!(row["error"], "invalid_number", "{row}");
            continue;
        };
        let kind = match number {
            Number::E164(_) => "e164",
            Number::Hotline(_) => "hotline",
            Number::Verbatim(_) => "verbatim",
        };
        let mut dialled = String::new();
        numbering.dial(&number, &china, &mut dialled);
        assert_eq!((kind, written(&number)), (text(row, "kind"), canonical(row)), "{row}");
        assert_eq!(dialled, text(row, "dialled"), "{row}");
    }
}

/// The same through the binary and the ring of the vectors, for those of its region.
#[test]
fn the_binary_maps_them_so() {
    let folder = Folder::new();
    write_secret(folder.ring(), file("keyring.json"));
    let lines = |values: Vec<&Value>| values.iter().map(|value| format!("{value}\n")).collect::<String>();
    let vectors = vectors("numbers.json");
    let china: Vec<&Value> = rows(&vectors).iter().filter(|row| row.get("uid").is_some()).collect();
    let column = |name: &str| lines(china.iter().map(|row| &row[name]).collect());
    let jsonl = ["--format", "jsonl", "--column", ""];
    assert_eq!(pipe(folder.path(), &[&["tokenize"], &jsonl[..]].concat(), &column("text")), column("uid"));
    assert_eq!(pipe(folder.path(), &[&["detokenize"], &jsonl[..]].concat(), &column("uid")), column("dialled"));
}

#[test]
fn rings() {
    let vectors = vectors("ring.json");
    let approvers: Vec<Verifier> =
        rows(&vectors["approvers"]).iter().map(|key| Verifier::parse(key.as_str().unwrap()).unwrap()).collect();
    for row in rows(&vectors["read"]) {
        let read = KeyRing::from_note(text(row, "note").as_bytes(), tokenizer::supports, &approvers);
        let approvals = read.map(|ring| ring.approvals().iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(approvals.is_ok(), row["taken"], "{}", row["why"]);
        assert_eq!(json!(approvals.unwrap_or_default()), row.get("approvals").cloned().unwrap_or(json!([])), "{row}");
    }
    for row in rows(&vectors["primary"]) {
        assert_eq!(ring(text(row, "note")).primary(time(row)).id.to_string(), text(row, "key"), "{}", row["at"]);
    }
    for row in rows(&vectors["successors"]) {
        let follows = ring(text(row, "in_use")).check_successor(&ring(text(row, "next")), time(row));
        assert_eq!(follows.is_ok(), row["taken"], "{}: {follows:?}", row["why"]);
    }
}

fn hash(hex: &str) -> LineHash {
    LineHash::from_hex(hex.as_bytes()).unwrap()
}

#[test]
fn audit_logs() {
    let vectors = vectors("audit.json");
    for row in rows(&vectors["chains"]) {
        let heads = row["heads"].as_array().unwrap();
        let known = heads.iter().map(|head| {
            let lines = head["lines"].as_u64().unwrap();
            (text(head, "instance").as_bytes().try_into().unwrap(), Head { lines, hash: hash(text(head, "hash")) })
        });
        let mut chains = Chains::new(HashMap::from_iter(known));
        let lines: Vec<&str> = rows(&row["lines"]).iter().map(|line| line.as_str().unwrap()).collect();
        for (line, number) in lines.iter().zip(1..) {
            let link = ChainedLine::of(line.as_bytes()).unwrap();
            let is_end = line.contains("\"event\":\"stop\"");
            chains.add(link, Facts { location: Location { file: 0, line: number }, time: "", is_end });
        }
        let faults = chains.finish().faults.into_iter().map(|fault| {
            let wrong = match fault.wrong {
                Wrong::Altered => "altered",
                Wrong::Repeated => "repeated",
                Wrong::Missing => "missing",
                Wrong::Cut => "cut",
                Wrong::Remade => "remade",
                Wrong::Reordered | Wrong::Moved | Wrong::TooMuch => "other",
            };
            json!({"wrong": wrong, "first": fault.first, "last": fault.last})
        });
        assert_eq!(Value::from_iter(faults), row["faults"], "{}", row["why"]);
        check_command(&lines, heads, row["faults"].as_array().unwrap().len());
    }
    let of_items = &vectors["hmac"];
    let bytes = data_encoding::HEXLOWER.decode(text(of_items, "key").as_bytes()).unwrap();
    let key = ItemKey::new(&bytes.try_into().unwrap());
    assert_eq!(str::from_utf8(&key.id()), Ok(text(of_items, "id")));
    for row in rows(&of_items["hashes"]) {
        let made = match row.get("number") {
            Some(_) => key.number(text(row, "number")),
            None => key.uid(&text(row, "context").parse().unwrap(), text(row, "uid")),
        };
        assert_eq!(made.to_string(), text(row, "hash"), "{row}");
    }
}

/// Checks what `audit verify` reports about these lines.
fn check_command(lines: &[&str], heads: &[Value], faults: usize) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("audit.log"), lines.join("\n") + "\n").unwrap();
    let mut args = vec!["audit", "verify", "audit.log", "--json"];
    if let [head] = heads {
        let mut log = json!({"timestamp": "", "level": "INFO", "target": "callveil::audit", "message": "audit head"});
        log.as_object_mut().unwrap().extend(head.as_object().unwrap().clone());
        fs::write(folder.path().join("stderr.log"), format!("{log}\n")).unwrap();
        args.extend(["--heads", "stderr.log"]);
    }
    let output = run(folder.path(), &args);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((told["faults"].as_u64(), output.status.success()), (Some(faults as u64), faults == 0), "{told}");
}

/// They are what a second implementation of the specification computes.
#[test]
fn another_implementation_agrees() {
    if !python_has("cryptography") {
        return;
    }
    let script = format!("{}/tests/oracle/vectors.py", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("python3").args([&script, "--check"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
