//! The obvious code, as one would write it on a first afternoon: a crate for each task, and no second thoughts.

use aes_siv::{KeyInit, siv::Aes256Siv};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::Full;
use hyper::{Response, StatusCode, body::Bytes};
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, Region};
use serde::{Deserialize, Serialize};

use crate::{
    runtime::Answer,
    samples::{RingKey, authorization, ring},
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Call {
    numbers: Vec<String>,
    mode: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope {
    code: u16,
    results: Vec<Mapped>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Mapped {
    key: String,
    value: String,
}

/// How a decoded number is written.
#[derive(Clone, Copy)]
pub enum Dialling {
    /// `00` and the digits, which is wrong for landlines of China.
    Digits,
    /// As the wire requires: with the trunk prefix of libphonenumber's national format.
    National,
}

/// A server with one key.
pub struct Obvious {
    key: RingKey,
    authorization: String,
    dialling: Dialling,
}

impl Obvious {
    pub fn new(dialling: Dialling) -> Self {
        Self { key: ring(1).remove(0), authorization: authorization(), dialling }
    }

    fn map(&self, call: Call) -> Option<Envelope> {
        let map = |key: String| {
            let value = match &*call.mode {
                "PhoneToUID" => seal(&self.key, parse(&key)?),
                _ => dialled(open(&self.key, &key)?, self.dialling)?,
            };
            Some(Mapped { key, value })
        };
        Some(Envelope { code: 0, results: call.numbers.into_iter().map(map).collect::<Option<_>>()? })
    }
}

impl Answer for Obvious {
    fn answer(&self, head: &http::request::Parts, body: &[u8]) -> Response<Full<Bytes>> {
        let known = head.headers.get(AUTHORIZATION).is_some_and(|value| value == self.authorization.as_str());
        let status = if known { StatusCode::BAD_REQUEST } else { StatusCode::UNAUTHORIZED };
        let envelope = known.then(|| serde_json::from_slice(body).ok()).flatten().and_then(|call| self.map(call));
        let Some(envelope) = envelope else {
            return Response::builder().status(status).body(Full::default()).unwrap();
        };
        let json = serde_json::to_vec(&envelope).unwrap();
        Response::builder().header(CONTENT_TYPE, "application/json").body(Full::from(json)).unwrap()
    }
}

fn parse(text: &str) -> Option<u64> {
    let number = PHONE_NUMBER_UTIL.parse(text, Some(Region::CN)).ok()?;
    PHONE_NUMBER_UTIL.format(&number, PhoneNumberFormat::E164)[1..].parse().ok()
}

fn dialled(digits: u64, dialling: Dialling) -> Option<String> {
    let number = match dialling {
        Dialling::Digits => return Some(format!("00{digits}")),
        Dialling::National => PHONE_NUMBER_UTIL.parse(format!("+{digits}"), None).ok()?,
    };
    if number.country_code != 86 {
        return Some(format!("00{digits}"));
    }
    let national = PHONE_NUMBER_UTIL.format(&number, PhoneNumberFormat::National);
    Some(format!("0086{}", national.chars().filter(char::is_ascii_digit).collect::<String>()))
}

const BASE32: base32::Alphabet = base32::Alphabet::Rfc4648Lower { padding: false };

/// The UID of an E.164 number, by the formula of the specification and without any code of callveil.
pub fn seal(key: &RingKey, digits: u64) -> String {
    let sealed = cipher(key).encrypt([associated_data(key)], &digits.to_be_bytes()[1..]).unwrap();
    base32::encode(BASE32, &[&key.id[..], &sealed].concat())
}

fn open(key: &RingKey, uid: &str) -> Option<u64> {
    let bytes = base32::decode(BASE32, uid)?;
    let plaintext = cipher(key).decrypt([associated_data(key)], bytes.strip_prefix(&key.id)?).ok()?;
    let mut digits = [0; 8];
    digits[1..].copy_from_slice(plaintext.get(..7)?);
    Some(u64::from_be_bytes(digits))
}

fn cipher(key: &RingKey) -> Aes256Siv {
    Aes256Siv::new(&key.material.into())
}

fn associated_data(key: &RingKey) -> String {
    format!("callveil/1/{}/default", key.id_hex())
}
