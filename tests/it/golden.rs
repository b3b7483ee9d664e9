//! Tables made with other people's libraries (`tests/oracle/`), which must never change: UIDs, and the meaning of
//! numbers.

use std::{collections::HashMap, fs};

use callveil::{
    ids::{Context, KeyId},
    keyring::KeyRing,
    mapped::Mapped,
    number::{E164, Number, Text},
    phone::{NUMBERS_NEWEST, Numbering, TrunkZeroRegions},
    siv::Cipher,
    tokenizer::{self, Tokenizer},
    uid::{self, Plaintext, Sealed, Uid},
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
        let numbering = &*self
            .numberings
            .entry(region.to_owned())
            .or_insert_with(|| Numbering::new(NUMBERS_NEWEST, region).unwrap_or_else(|| panic!("no region {region}")));
        let found = match numbering.normalize(text) {
            Err(_) => ("invalid_number".to_owned(), String::new()),
            Ok(number) => {
                let mut dialled = String::new();
                numbering.dial(&number, &self.china, &mut dialled);
                let canonical = match &number {
                    Number::E164(number) => format!("+{}", number.digits()),
                    Number::Hotline(hotline) => hotline.as_str().to_owned(),
                    Number::Verbatim(text) => text.as_str().to_owned(),
                };
                (canonical, dialled)
            }
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
    assert!(rows(&table).count() >= 400);
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
    let ring = KeyRing::from_note(table("keyring.json").as_bytes(), tokenizer::supports, &[]).unwrap();
    let mut ciphers = HashMap::new();
    let mut rows_of_context: HashMap<Context, Vec<(String, String)>> = HashMap::new();
    for row in rows(&table("uids.tsv")) {
        let [id, context, kind, plaintext, expected] = row[..] else { panic!("{row:?}") };
        let (text, context): (_, Context) = (unquote(plaintext), context.parse().unwrap());
        let number = match kind {
            "e164" => Number::E164(E164::new(text.parse().unwrap()).unwrap()),
            _ => Number::Verbatim(Text::exact(&text).unwrap()),
        };
        let id: KeyId = id.parse().unwrap();
        let cipher = ciphers
            .entry((id, context.clone()))
            .or_insert_with(|| Cipher::new(ring.key(id).unwrap().material().unwrap().expose(), id, &context));
        let plaintext = match Plaintext::of(&number) {
            Plaintext::Short(short) => short.to_vec(),
            Plaintext::Long(long) => long.to_vec(),
        };
        let sealed = cipher.seal(&plaintext);
        let sealed = sealed.as_slice().try_into().map_or(Sealed::Long(sealed), Sealed::Short);
        assert_eq!(Uid { key_id: id, sealed }.to_string(), expected, "{text:?}");
        assert!(uid::from_plaintext(&plaintext) == Ok(number), "{text:?}");
        let canonical = if kind == "e164" { format!("+{text}") } else { text };
        rows_of_context.entry(context).or_default().push((expected.to_owned(), canonical));
    }
    assert_eq!(ciphers.len(), 9);
    // The short way opens them too, those of all keys in one batch.
    let (tokenizer, mut numbers) = (Tokenizer::new(ring, TrunkZeroRegions::default()).unwrap(), 0);
    for (context, rows) in rows_of_context {
        let uids: Vec<_> = rows.iter().map(|(uid, _)| uid).collect();
        let mut opened = Mapped::default();
        tokenizer.batch(&context, jiff::Timestamp::UNIX_EPOCH).canonical(&uids, &mut opened);
        assert!(opened.iter().eq(rows.iter().map(|(_, number)| Ok(number.as_str()))));
        numbers += rows.len();
    }
    assert_eq!(numbers, 11_000);
}

/// The same again through the binary, whose own normalisation must leave these as they are.
#[test]
fn the_binary_makes_the_same_uids() {
    let folder = Folder::new();
    let ring = table("keyring.json");
    fs::write(folder.ring(), &ring).unwrap();
    let (mut texts, mut uids) = (String::new(), String::new());
    let primary =
        KeyRing::from_note(ring.as_bytes(), tokenizer::supports, &[]).unwrap().primary(jiff::Timestamp::now()).id;
    let table = table("uids.tsv");
    for row in rows(&table) {
        let [id, "default", kind, plaintext, uid] = row[..] else { continue };
        let text = unquote(plaintext);
        let numbering = Numbering::new(NUMBERS_NEWEST, "CN").unwrap();
        let written = if kind == "e164" { format!("+{text}") } else { text };
        let as_it_is = match numbering.normalize(&written).unwrap() {
            Number::E164(number) => kind == "e164" && written == format!("+{}", number.digits()),
            Number::Hotline(_) | Number::Verbatim(_) => kind == "verbatim",
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
