//! JSON text, where it is written by hand because it is written often.

/// Adds a JSON string. Nearly all need no escapes (RFC 8259 section 7), and are copied as they are.
pub(crate) fn push_string(json: &mut Vec<u8>, text: &str) {
    let is_plain = |byte: &u8| *byte >= b' ' && *byte != b'"' && *byte != b'\\';
    if text.as_bytes().iter().all(is_plain) {
        json.push(b'"');
        json.extend_from_slice(text.as_bytes());
        json.push(b'"');
    } else {
        serde_json::to_writer(json, text).expect("a string goes into a buffer");
    }
}
