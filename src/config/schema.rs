//! The configuration as a JSON schema, with which editors complete and check it.

use serde_json::{Map, Value, json};

use super::{
    keys::{Default, Key, Kind},
    list::KEYS,
};

/// The form of a SHA-256 and of a ring's id.
const HEX: &str = "^[0-9a-f]{64}$";

/// The schema, of JSON Schema's draft 2020-12.
pub fn schema() -> Value {
    let mut top = table();
    for key in KEYS {
        let (of, name) = key.split();
        let tables = of.split('.').filter(|name| !name.is_empty());
        let place = tables.fold(&mut top, |place, name| {
            let inner = &mut place["properties"][name];
            if inner.is_null() {
                *inner =
                    if name == "clients" { json!({"type": "array", "minItems": 1, "items": table()}) } else { table() };
            }
            if name == "clients" { &mut inner["items"] } else { inner }
        });
        place["properties"][name] = property(key);
        if let (Default::Required(..), Some(required)) = (key.default, place["required"].as_array_mut()) {
            required.push(name.into());
        }
    }
    top["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    top["title"] = "The configuration of callveil".into();
    top["required"] = json!(["clients"]);
    top
}

fn table() -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": {}, "required": []})
}

fn property(key: &Key) -> Value {
    let strings = |item: Value| json!({"type": "array", "items": item});
    let mut property = match key.kind {
        Kind::Text | Kind::File | Kind::Address => json!({"type": "string"}),
        Kind::Hex => json!({"type": "string", "pattern": HEX}),
        Kind::Texts => strings(json!({"type": "string"})),
        Kind::Hexes => strings(json!({"type": "string", "pattern": HEX})),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::OneOf(names) => json!({"enum": names}),
        Kind::SomeOf(names) => strings(json!({"enum": names})),
        Kind::Integer(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Rate(_, max) => {
            json!({"anyOf": [{"type": "integer", "minimum": 1, "maximum": max}, {"const": "unlimited"}]})
        }
    };
    property["description"] = key.words.into();
    if let Default::Value(text) = key.default {
        property["default"] = to_json(&text.parse().expect("defaults are TOML"));
    }
    property
}

fn to_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.clone().into(),
        toml::Value::Integer(integer) => (*integer).into(),
        toml::Value::Boolean(boolean) => (*boolean).into(),
        toml::Value::Array(values) => values.iter().map(to_json).collect::<Vec<_>>().into(),
        toml::Value::Table(table) => {
            table.iter().map(|(key, value)| (key.clone(), to_json(value))).collect::<Map<_, _>>().into()
        }
        toml::Value::Float(float) => (*float).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
    }
}
