//! Tables made by other people's libraries (`tests/oracle/`), which must never change: UIDs, and what numbers mean.

use std::{collections::HashMap, fs};

use callveil::{
    ids::{Context, KeyId},
    keyring::KeyRing,
    number::{E164, Number, Text},
    phone::{NUMBERS_NEWEST, Numbering, TrunkZeroRegions},
    siv::Cipher,
    tokenizer,
    uid::{self, Uid},
};

use crate::support::{Folder, pipe};

fn table(name: &str) -> String {
    fs::read_to_string(format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn rows(table: &str) -> impl Iterator<Item = Vec<&str>> {
    table.split('\n').filter(|line| !line.starts_with('#') && !line.is_empty()).map(|line| line.split('\t').collect())
}

fn unquote(json: &str) -> String {
    serde_json::from_str(json).unwrap()
}

struct Dialling {
    numberings: HashMap<String, Numbering>,
    china: TrunkZeroRegions,
}

impl Dialling {
    fn new() -> Self {
        Self { numberings: HashMap::new(), china: TrunkZeroRegions::new(["CN"]).unwrap() }
    }

    #[track_caller]
    fn check(&mut self, region: &str, text: &str, canonical: &str, dialled: &str) {
        let numbering = *self
            .numberings
            .entry(region.to_owned())
            .or_insert_with(|| Numbering::new(NUMBERS_NEWEST, region).unwrap_or_else(|| panic!("no region {region}")));
        let found = match numbering.normalize(text) {
            Err(_) => ("invalid_number".to_owned(), String::new()),
            Ok(Number::E164(number)) => (format!("+{}", number.digits()), numbering.dialled(number, &self.china)),
            Ok(Number::Verbatim(text)) => (text.as_str().to_owned(), text.as_str().to_owned()),
        };
        assert_eq!(found, (canonical.to_owned(), dialled.to_owned()), "{text:?} in {region}");
    }
}

#[test]
fn spellings_of_one_number_are_one_number() {
    let (table, mut dialling) = (table("spellings.tsv"), Dialling::new());
    let mut spellings: HashMap<(String, String), usize> = HashMap::new();
    for row in rows(&table) {
        let [region, canonical, dialled, text] = row[..] else { panic!("{row:?}") };
        let (region, canonical) = (unquote(region), unquote(canonical));
        dialling.check(&region, &unquote(text), &canonical, &unquote(dialled));
        *spellings.entry((region, canonical)).or_default() += 1;
    }
    assert!(spellings.len() > 1000 && spellings.values().all(|count| *count >= 12));
}

#[test]
fn chinese_inputs_mean_what_was_chosen_by_hand() {
    let (table, mut dialling) = (table("china.tsv"), Dialling::new());
    for row in rows(&table) {
        let [text, canonical, dialled] = row[..] else { panic!("{row:?}") };
        dialling.check("CN", &unquote(text), &unquote(canonical), &unquote(dialled));
    }
    assert!(rows(&table).count() >= 40);
}

#[test]
fn mutilated_numbers_mean_what_libphonenumber_says() {
    let (table, mut dialling) = (table("fuzz_numbers.tsv"), Dialling::new());
    for row in rows(&table) {
        let [region, text, canonical, dialled] = row[..] else { panic!("{row:?}") };
        dialling.check(&unquote(region), &unquote(text), &unquote(canonical), &unquote(dialled));
    }
    assert_eq!(rows(&table).count(), 20_000);
}

#[test]
fn uids_are_those_of_other_implementations() {
    let ring = KeyRing::from_json(table("keyring.json").as_bytes(), tokenizer::knows).unwrap();
    let (mut ciphers, mut numbers) = (HashMap::new(), 0);
    for row in rows(&table("uids.tsv")) {
        let [id, context, kind, plaintext, expected] = row[..] else { panic!("{row:?}") };
        let text = unquote(plaintext);
        let number = match kind {
            "e164" => Number::E164(E164::new(text.parse().unwrap()).unwrap()),
            _ => Number::Verbatim(Text::exact(&text).unwrap()),
        };
        let id: KeyId = id.parse().unwrap();
        let cipher = ciphers.entry((id, context.to_owned())).or_insert_with(|| {
            let context: Context = context.parse().unwrap();
            Cipher::new(ring.key(id).unwrap().material().unwrap().expose(), id, &context)
        });
        let uid = Uid::new(id, &cipher.seal(&uid::to_plaintext(&number)));
        assert_eq!(uid.to_string(), expected, "{text:?}");
        let read = Uid::parse(expected).unwrap();
        let opened = cipher.open(read.sealed()).unwrap();
        assert!(read.key_id() == id && uid::from_plaintext(&opened) == Ok(number), "{text:?}");
        numbers += 1;
    }
    assert_eq!((numbers, ciphers.len()), (11_000, 9));
}

/// The same again through the binary, whose own normalisation must leave these as they are.
#[test]
fn the_binary_makes_the_same_uids() {
    let folder = Folder::new();
    let ring = table("keyring.json");
    fs::write(folder.ring(), &ring).unwrap();
    let (mut texts, mut uids) = (String::new(), String::new());
    let primary = KeyRing::from_json(ring.as_bytes(), tokenizer::knows).unwrap().primary(jiff::Timestamp::now()).id;
    let table = table("uids.tsv");
    for row in rows(&table) {
        let [id, "default", kind, plaintext, uid] = row[..] else { continue };
        let text = unquote(plaintext);
        let numbering = Numbering::new(NUMBERS_NEWEST, "CN").unwrap();
        let written = if kind == "e164" { format!("+{text}") } else { text };
        let as_it_is = match numbering.normalize(&written).unwrap() {
            Number::E164(number) => kind == "e164" && written == format!("+{}", number.digits()),
            Number::Verbatim(_) => kind == "verbatim",
        };
        if id == primary.to_string() && as_it_is {
            texts += &format!("{written}\n");
            uids += &format!("{uid}\n");
        }
    }
    assert!(uids.lines().count() > 500);
    assert_eq!(pipe(folder.path(), &["tokenize"], &texts), uids);
    assert_eq!(pipe(folder.path(), &["tokenize"], &pipe(folder.path(), &["detokenize"], &uids)), uids);
}
