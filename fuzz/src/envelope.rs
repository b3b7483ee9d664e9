//! The envelope: what is a request is told as section 1 of the specification tells it, field by field, and what is written
//! is read back.

use std::{fmt, sync::LazyLock};

use callveil::{
    ids::Context,
    item::{ItemError, Mode},
    keyring::KeyRing,
    mapped::Mapped,
    phone::TrunkZeroRegions,
    tokenizer::{self, Tokenizer},
    wire,
};
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, json, value::RawValue};

/// Items that are kept.
const NUMBERS_MAX: usize = 8;

const RING: &[u8] = include_bytes!("../../tests/golden/keyring.json");

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let ring = KeyRing::from_note(RING, tokenizer::supports, &[]).expect("a valid ring");
    Tokenizer::new(ring, TrunkZeroRegions::new(["CN"]).expect("a region")).expect("known rules")
});

/// `data` is a request's body, and strings of an answer.
pub fn check(data: &[u8]) {
    check_request(data);
    check_item(&String::from_utf8_lossy(data));
}

fn check_request(body: &[u8]) {
    let call = wire::parse(body, NUMBERS_MAX).ok();
    let expected = obvious(body);
    let read = call.as_ref().map(|call| {
        let numbers = call.numbers.iter().map(|number| number.to_string()).collect::<Vec<_>>();
        (call.mode.name(), call.count, numbers)
    });
    let expected = expected.map(|(mode, mut numbers)| {
        let count = numbers.len();
        numbers.truncate(NUMBERS_MAX);
        (mode, count, numbers)
    });
    assert_eq!(read, expected);
    let Some(call) = call else { return };
    let mut mapped = Mapped::default();
    TOKENIZER.batch(&Context::default(), Timestamp::UNIX_EPOCH).map(call.mode, &call.numbers, &mut mapped);
    for code in [0, 207] {
        let answer: Value =
            serde_json::from_slice(&wire::answer(code, call.mode, &call.numbers, &mapped)).expect("JSON");
        assert_eq!(answer["Code"], code);
        assert_eq!(answer.get("Message").is_some(), code != 0);
        let results = answer["Results"].as_array().expect("an array");
        assert_eq!(results.len(), call.numbers.len());
        for ((result, number), outcome) in results.iter().zip(&call.numbers).zip(mapped.iter()) {
            assert_eq!(*result, entry(call.mode, number, outcome));
        }
    }
}

/// Section 1: an object with `Numbers`, strings, and `Mode`, one of four, each once; whatever else is there.
fn obvious(body: &[u8]) -> Option<(&'static str, Vec<String>)> {
    let Fields(fields) = serde_json::from_str(str::from_utf8(body).ok()?).ok()?;
    let the_one = |name: &str| {
        let mut values = fields.iter().filter(|(field, _)| field == name);
        values.next().filter(|_| values.next().is_none()).map(|(_, value)| value.get())
    };
    let numbers = serde_json::from_str::<Vec<String>>(the_one("Numbers")?).ok()?;
    let mode = serde_json::from_str::<String>(the_one("Mode")?).ok()?;
    let modes = ["PhoneToUID", "UIDToPhone", "RewrapUID", "PhoneToAliases"];
    Some((modes.into_iter().find(|known| *known == mode)?, numbers))
}

/// The fields of an object as they come, repeated ones too.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// Any text at all is a key, a value, or a message.
fn check_item(text: &str) {
    let middle = (text.len() / 2..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let (key, value) = text.split_at(middle);
    let outcomes = ItemError::ALL.into_iter().map(Err).chain([Ok(value), Ok(key)]);
    for (mode, outcome) in Mode::ALL.into_iter().flat_map(|mode| outcomes.clone().map(move |outcome| (mode, outcome))) {
        let mut json = Vec::new();
        wire::item(&mut json, mode, key, outcome);
        let read: Value = serde_json::from_slice(&json).expect("JSON");
        assert_eq!(read, entry(mode, key, outcome));
    }
    let refusal: Value = serde_json::from_slice(&wire::refusal(400, text)).expect("JSON");
    assert_eq!(refusal, json!({"Code": 400, "Message": text, "Results": []}));
}

/// Section 1, of one result.
fn entry(mode: Mode, key: &str, outcome: Result<&str, ItemError>) -> Value {
    match outcome {
        Err(error) => json!({"Key": key, "Value": "", "Error": error.code()}),
        Ok(value) if mode == Mode::PhoneToAliases => {
            let values: Vec<&str> = value.split('\n').collect();
            json!({"Key": key, "Value": values[0], "Values": values})
        }
        Ok(value) => json!({"Key": key, "Value": value}),
    }
}
