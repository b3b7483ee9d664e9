//! The envelope: JSON in, JSON out. Pure.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
    ser::{SerializeMap as _, SerializeSeq as _},
};

use crate::tokenizer::{Mode, Outcome};

/// A request, borrowing from its body what JSON let stand as it is.
pub struct Call<'a> {
    /// What is asked for.
    pub mode: Mode,
    /// The items, in order; of a batch over the limit only as many as the limit.
    pub numbers: Vec<Cow<'a, str>>,
    /// How many items there are.
    pub count: usize,
}

/// Reads a request body, keeping at most `numbers_max` items.
///
/// # Errors
/// [`NotACall`] where the body is not JSON, a field is missing, repeated or of a wrong type, or the mode unknown.
/// Unknown fields are ignored.
pub fn parse(body: &[u8], numbers_max: usize) -> Result<Call<'_>, NotACall> {
    let body = str::from_utf8(body).map_err(|_| NotACall)?;
    let mut json = serde_json::Deserializer::from_str(body);
    // What serde_json says quotes the body, so that nothing of it may go on from here.
    let call = CallSeed { numbers_max }.deserialize(&mut json).map_err(|_| NotACall)?;
    json.end().map_err(|_| NotACall)?;
    Ok(call)
}

/// A body that is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACall;

impl fmt::Display for NotACall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body must be a JSON object with \"Numbers\", an array of strings, and \"Mode\", one of ")?;
        for (at, mode) in Mode::ALL.into_iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{}", mode.name())?;
        }
        f.write_str(", each once")
    }
}

impl std::error::Error for NotACall {}

struct CallSeed {
    numbers_max: usize,
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
                    numbers = Some(map.next_value_seed(NumbersSeed { numbers_max: self.numbers_max })?);
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
}

impl<'de> DeserializeSeed<'de> for NumbersSeed {
    type Value = (Vec<Cow<'de, str>>, usize);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for NumbersSeed {
    type Value = (Vec<Cow<'de, str>>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut numbers = Vec::new();
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

/// An answer that maps: `code` is 0, or 207 where items failed that the client wants to hear of.
pub struct Answer<'a> {
    /// The envelope's `Code`.
    pub code: u16,
    /// Each item and what became of it, in order.
    pub results: &'a [(Cow<'a, str>, Outcome)],
}

impl Answer<'_> {
    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        // A result is `{"Key":"13988888888","Value":"<40 characters>"},` or not much longer.
        let mut json = Vec::with_capacity(64 + 96 * self.results.len());
        serde_json::to_writer(&mut json, self).expect("strings and numbers go into a buffer");
        json
    }
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut envelope = serializer.serialize_map(None)?;
        envelope.serialize_entry("Code", &self.code)?;
        if self.code != 0 {
            envelope.serialize_entry("Message", "some items failed: see their \"Error\"")?;
        }
        envelope.serialize_entry("Results", &Results(self.results))?;
        envelope.end()
    }
}

struct Results<'a>(&'a [(Cow<'a, str>, Outcome)]);

impl Serialize for Results<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut results = serializer.serialize_seq(Some(self.0.len()))?;
        for (key, outcome) in self.0 {
            results.serialize_element(&Item { key, outcome })?;
        }
        results.end()
    }
}

/// One entry of an answer's `Results`.
pub struct Item<'a> {
    /// The item, as it was given.
    pub key: &'a str,
    /// What became of it.
    pub outcome: &'a Outcome,
}

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut item = serializer.serialize_map(None)?;
        item.serialize_entry("Key", self.key)?;
        match self.outcome {
            Outcome::Value(value) => item.serialize_entry("Value", value)?,
            Outcome::Values(values) => {
                item.serialize_entry("Value", values.first().map_or("", String::as_str))?;
                item.serialize_entry("Values", values)?;
            }
            Outcome::Failed(error) => {
                item.serialize_entry("Value", "")?;
                item.serialize_entry("Error", error.code())?;
            }
        }
        item.end()
    }
}

/// The body of a refusal: nothing was mapped.
pub fn refusal(code: u16, message: &str) -> Vec<u8> {
    serde_json::json!({"Code": code, "Message": message, "Results": []}).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::ItemError;

    #[track_caller]
    fn check(body: &str, expected: Option<(Mode, &[&str])>) {
        let call = parse(body.as_bytes(), 3).ok();
        let read = call.as_ref().map(|call| (call.mode, call.numbers.iter().map(|n| &**n).collect::<Vec<_>>()));
        assert_eq!(read, expected.map(|(mode, numbers)| (mode, numbers.to_vec())), "{body}");
    }

    #[test]
    fn calls() {
        check(r#"{"Numbers":["1","2"],"Mode":"PhoneToUID"}"#, Some((Mode::PhoneToUid, &["1", "2"])));
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
            "\u{FEFF}{\"Numbers\":[],\"Mode\":\"PhoneToUID\"}",
        ] {
            check(body, None);
        }
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
        let results = [
            (Cow::Borrowed("1\"2"), Outcome::Value("u".to_owned())),
            (Cow::Borrowed("3"), Outcome::Failed(ItemError::UnknownKey)),
            (Cow::Borrowed("4"), Outcome::Values(vec!["a".to_owned(), "b".to_owned()])),
        ];
        let json = |code, results: &[_]| String::from_utf8(Answer { code, results }.to_json()).expect("JSON is UTF-8");
        assert_eq!(
            json(0, &results),
            r#"{"Code":0,"Results":[{"Key":"1\"2","Value":"u"},{"Key":"3","Value":"","Error":"unknown_key"},{"Key":"4","Value":"a","Values":["a","b"]}]}"#
        );
        assert_eq!(json(207, &[]), r#"{"Code":207,"Message":"some items failed: see their \"Error\"","Results":[]}"#);
        assert_eq!(refusal(401, "no"), br#"{"Code":401,"Message":"no","Results":[]}"#);
    }
}
