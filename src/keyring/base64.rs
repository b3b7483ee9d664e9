//! Canonical base64: each sequence of bytes has exactly one text.

use data_encoding::BASE64;
use zeroize::Zeroizing;

/// Decodes `text` if it is the canonical base64 of `N` bytes.
pub(super) fn decode<const N: usize>(text: &str) -> Option<Zeroizing<[u8; N]>> {
    // The decoder would accept several padded texts in a row as one. Padding must only be at the end.
    let padding = (3 - N % 3) % 3;
    let is_padded = text.find('=') == (padding > 0).then(|| text.len().wrapping_sub(padding));
    if text.len() != BASE64.encode_len(N) || !is_padded {
        return None;
    }
    let mut buffer = Zeroizing::new(vec![0; BASE64.decode_len(text.len()).ok()?]);
    let decoded = BASE64.decode_mut(text.as_bytes(), &mut buffer).ok()?;
    let mut bytes = Zeroizing::new([0; N]);
    bytes.copy_from_slice(buffer.get(..decoded).filter(|_| decoded == N)?);
    Some(bytes)
}
