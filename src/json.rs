//! JSON output that is written by hand, because it is written often.

/// Appends `text` as a JSON string. Nearly all texts need no escapes (RFC 8259 section 7) and are copied unchanged.
pub(crate) fn push_string(json: &mut Vec<u8>, text: &str) {
    let is_plain = |byte: u8| (byte >= b' ') & (byte != b'"') & (byte != b'\\');
    // This has no early exit, so that many bytes are tested at once.
    if text.bytes().map(|byte| u8::from(!is_plain(byte))).fold(0, |some, byte| some | byte) == 0 {
        json.push(b'"');
        json.extend_from_slice(text.as_bytes());
        json.push(b'"');
    } else {
        serde_json::to_writer(json, text).expect("a string goes into a buffer");
    }
}
