//! The envelope: JSON in, JSON out. Pure.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use smallvec::SmallVec;

use crate::{
    item::{ItemError, Mode},
    json,
    mapped::Mapped,
};

/// A request. It borrows from its body each text that has no escapes.
pub struct Call<'a> {
    /// What is asked for.
    pub mode: Mode,
    /// The items, in order. A batch over the limit keeps only as many as the limit.
    pub numbers: SmallVec<[Cow<'a, str>; 1]>,
    /// How many items there are.
    pub count: usize,
}

/// The fewest bytes that each number usually takes in a body: eleven digits, quotes and a comma. It decides how much
/// room to make.
const NUMBER_BYTES_MIN: usize = 14;

/// Reads a request body, keeping at most `numbers_max` items.
///
/// # Errors
/// [`NotACall`] if the body is not JSON, if a field is missing, repeated or of a wrong type, or if the mode is unknown.
/// Unknown fields are ignored.
pub fn parse(body: &[u8], numbers_max: usize) -> Result<Call<'_>, NotACall> {
    // Some clients put a byte order mark before their JSON, which RFC 8259 section 8.1 lets a reader pass over.
    let body = body.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(body);
    let body = str::from_utf8(body).map_err(|_| NotACall)?;
    let mut json = serde_json::Deserializer::from_str(body);
    // The errors of serde_json quote the body, so none of them may be passed on.
    let numbers_expected = (body.len() / NUMBER_BYTES_MIN).min(numbers_max);
    let call = CallSeed { numbers_max, numbers_expected }.deserialize(&mut json).map_err(|_| NotACall)?;
    json.end().map_err(|_| NotACall)?;
    Ok(call)
}

/// A body that is not a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACall;

impl fmt::Display for NotACall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body must be a JSON object with exactly one \"Numbers\", an array of strings, ")?;
        f.write_str("and exactly one \"Mode\", one of ")?;
        for (at, mode) in Mode::ALL.into_iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{}", mode.name())?;
        }
        Ok(())
    }
}

impl std::error::Error for NotACall {}

struct CallSeed {
    numbers_max: usize,
    numbers_expected: usize,
}

impl<'de> DeserializeSeed<'de> for CallSeed {
    type Value = Call<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Call<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for CallSeed {
    type Value = Call<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Call<'de>, A::Error> {
        let mut numbers = None;
        let mut mode = None;
        while let Some(Text(field)) = map.next_key()? {
            match &*field {
                "Numbers" if numbers.is_none() => {
                    numbers = Some(map.next_value_seed(NumbersSeed {
                        numbers_max: self.numbers_max,
                        numbers_expected: self.numbers_expected,
                    })?);
                }
                "Mode" if mode.is_none() => {
                    let Text(name) = map.next_value()?;
                    mode = Some(Mode::from_name(&name).ok_or_else(|| A::Error::custom("unknown mode"))?);
                }
                "Numbers" | "Mode" => return Err(A::Error::custom("repeated field")),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let (numbers, count) = numbers.ok_or_else(|| A::Error::missing_field("Numbers"))?;
        let mode = mode.ok_or_else(|| A::Error::missing_field("Mode"))?;
        Ok(Call { mode, numbers, count })
    }
}

struct NumbersSeed {
    numbers_max: usize,
    /// For how many numbers room is made at the beginning.
    numbers_expected: usize,
}

impl<'de> DeserializeSeed<'de> for NumbersSeed {
    type Value = (SmallVec<[Cow<'de, str>; 1]>, usize);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for NumbersSeed {
    type Value = (SmallVec<[Cow<'de, str>; 1]>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut numbers = SmallVec::with_capacity(self.numbers_expected);
        let mut count = 0;
        while let Some(Text(number)) = seq.next_element()? {
            count += 1;
            if count <= self.numbers_max {
                numbers.push(number);
            }
        }
        Ok((numbers, count))
    }
}

/// A JSON string, borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// The body of an answer to a call that was mapped. `code` is 0, or 207 if items failed and the client wants to know.
/// `mapped` holds the results of `numbers` in `mode`.
pub fn answer(code: u16, mode: Mode, numbers: &[Cow<'_, str>], mapped: &Mapped) -> Vec<u8> {
    // A result is `{"Key":"13988888888","Value":"<40 characters>"},` or not much longer.
    let mut json = Vec::with_capacity(64 + 96 * numbers.len());
    json.extend_from_slice(b"{\"Code\":");
    json.extend_from_slice(itoa::Buffer::new().format(code).as_bytes());
    if code != 0 {
        json.extend_from_slice(br#","Message":"some items failed: see their \"Error\"""#);
    }
    json.extend_from_slice(b",\"Results\":[");
    for (at, (key, outcome)) in numbers.iter().zip(mapped.iter()).enumerate() {
        if at > 0 {
            json.push(b',');
        }
        item(&mut json, mode, key, outcome);
    }
    json.extend_from_slice(b"]}");
    json
}

/// Appends one entry of an answer's `Results`: the item as it was given, and its result in `mode`.
pub fn item(json: &mut Vec<u8>, mode: Mode, key: &str, outcome: Result<&str, ItemError>) {
    json.extend_from_slice(b"{\"Key\":");
    json::push_string(json, key);
    match outcome {
        Ok(values) if mode == Mode::PhoneToAliases => {
            json.extend_from_slice(b",\"Value\":");
            json::push_string(json, values.split(Mapped::SEPARATOR).next().unwrap_or_default());
            let mut separator: &[u8] = b",\"Values\":[";
            for value in values.split(Mapped::SEPARATOR) {
                json.extend_from_slice(separator);
                json::push_string(json, value);
                separator = b",";
            }
            json.push(b']');
        }
        Ok(value) => {
            json.extend_from_slice(b",\"Value\":");
            json::push_string(json, value);
        }
        Err(error) => {
            json.extend_from_slice(b",\"Value\":\"\",\"Error\":");
            json::push_string(json, error.code());
        }
    }
    json.push(b'}');
}

/// The body of a refusal: nothing was mapped.
pub fn refusal(code: u16, message: &str) -> Vec<u8> {
    serde_json::json!({"Code": code, "Message": message, "Results": []}).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: Option<(Mode, &[&str])>) {
        let call = parse(body.as_bytes(), 3).ok();
        let read = call.as_ref().map(|call| (call.mode, call.numbers.iter().map(|n| &**n).collect::<Vec<_>>()));
        assert_eq!(read, expected.map(|(mode, numbers)| (mode, numbers.to_vec())), "{body}");
    }

    #[test]
    fn calls() {
        check(r#"{"Numbers":["1","2"],"Mode":"PhoneToUID"}"#, Some((Mode::PhoneToUid, &["1", "2"])));
        check("\u{FEFF}{\"Numbers\":[],\"Mode\":\"PhoneToUID\"}", Some((Mode::PhoneToUid, &[])));
        check(r#" { "Mode" : "UIDToPhone" , "Numbers" : [ ] } "#, Some((Mode::UidToPhone, &[])));
        check(
            r#"{"Mode":"RewrapUID","x":[{"Mode":1}],"Numbers":["\u0031\n","é"],"x":2}"#,
            Some((Mode::RewrapUid, &["1\n", "é"])),
        );
        check(
            r#"{"\u004dode":"PhoneToAliases","Numbers":["1","2","3","4","5"]}"#,
            Some((Mode::PhoneToAliases, &["1", "2", "3"])),
        );
        assert_eq!(parse(br#"{"Mode":"PhoneToUID","Numbers":["1","2","3","4","5"]}"#, 3).map(|call| call.count), Ok(5));
    }

    impl fmt::Debug for Call<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a call of {}", self.count)
        }
    }

    #[test]
    fn no_calls() {
        for body in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"Numbers":["1"]}"#,
            r#"{"Mode":"PhoneToUID"}"#,
            r#"{"Numbers":null,"Mode":"PhoneToUID"}"#,
            r#"{"Numbers":"1","Mode":"PhoneToUID"}"#,
            r#"{"Numbers":[1],"Mode":"PhoneToUID"}"#,
            r#"{"Numbers":[["1"]],"Mode":"PhoneToUID"}"#,
            r#"{"Numbers":["1",null],"Mode":"PhoneToUID"}"#,
            r#"{"Numbers":["1"],"Mode":"phonetouid"}"#,
            r#"{"Numbers":["1"],"Mode":null}"#,
            r#"{"Numbers":["1"],"Mode":{"PhoneToUID":null}}"#,
            r#"{"Numbers":["1"],"Numbers":["1"],"Mode":"PhoneToUID"}"#,
            r#"{"Numbers":["1"],"Mode":"PhoneToUID","Mode":"PhoneToUID"}"#,
            r#"{"Numbers":["1"],"Mode":"PhoneToUID"}x"#,
            r#"{"Numbers":["1"],"Mode":"PhoneToUID""#,
            r#"{"Numbers":["1",],"Mode":"PhoneToUID"}"#,
            r#"{"Numbers":["\ud800"],"Mode":"PhoneToUID"}"#,
            r#"{"Numbers":['1'],"Mode":"PhoneToUID"}"#,
            "\u{FEFF}\u{FEFF}{\"Numbers\":[],\"Mode\":\"PhoneToUID\"}",
        ] {
            check(body, None);
        }
        assert!(NotACall.to_string().ends_with("one of PhoneToUID, UIDToPhone, RewrapUID, PhoneToAliases"));
        assert!(parse(b"{\"Numbers\":[\"\xff\"],\"Mode\":\"PhoneToUID\"}", 3).is_err());
        let deep =
            format!(r#"{{"Numbers":[],"Mode":"PhoneToUID","x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(
            parse(deep.as_bytes(), 3).map(|call| call.count),
            Ok(0),
            "what is ignored is skipped without recursion"
        );
    }

    #[test]
    fn answers() {
        let json = |mode, results: &[(&str, Result<&str, ItemError>)]| {
            let mut json = Vec::new();
            results.iter().for_each(|(key, outcome)| item(&mut json, mode, key, *outcome));
            String::from_utf8(json).expect("JSON is UTF-8")
        };
        assert_eq!(json(Mode::PhoneToUid, &[("1\"2\u{1}é\\", Ok("u"))]), r#"{"Key":"1\"2\u0001é\\","Value":"u"}"#);
        assert_eq!(
            json(Mode::UidToPhone, &[("3", Err(ItemError::UnknownKey)), ("4", Ok("a\"b"))]),
            r#"{"Key":"3","Value":"","Error":"unknown_key"}{"Key":"4","Value":"a\"b"}"#
        );
        assert_eq!(
            json(Mode::PhoneToAliases, &[("4", Ok("a\nb")), ("5", Ok("a"))]),
            r#"{"Key":"4","Value":"a","Values":["a","b"]}{"Key":"5","Value":"a","Values":["a"]}"#
        );
        let mut two = Mapped::default();
        two.push(|text| {
            text.push('u');
            Ok(())
        });
        two.push(|_| Err(ItemError::InvalidNumber));
        assert_eq!(
            answer(0, Mode::PhoneToUid, &["1".into(), "2".into()], &two),
            br#"{"Code":0,"Results":[{"Key":"1","Value":"u"},{"Key":"2","Value":"","Error":"invalid_number"}]}"#
        );
        let none = |code| answer(code, Mode::PhoneToUid, &[], &Mapped::default());
        assert_eq!(none(0), br#"{"Code":0,"Results":[]}"#);
        assert_eq!(none(207), br#"{"Code":207,"Message":"some items failed: see their \"Error\"","Results":[]}"#);
        assert_eq!(refusal(401, "no"), br#"{"Code":401,"Message":"no","Results":[]}"#);
    }
}
