//! Detects secret keys by their form, so that a key in the wrong place is refused and never shown.

/// Texts that mark a secret key which people mistake for a public one, each with a description of that key.
const FORMS: [(&str, &str); 4] = [
    ("AGE-SECRET-KEY-", "an age identity, which is secret"),
    ("AGE-PLUGIN-", "an age identity, and no public key"),
    ("PRIVATE+KEY+", "a signer's private key"),
    ("PRIVATE KEY-----", "a private key as PEM"),
];

/// The kind of secret key that `text` contains, if any.
pub(crate) fn found_in(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_uppercase();
    FORMS.iter().find(|(form, _)| text.contains(form)).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_and_public_keys_are_none() {
        for text in [
            "AGE-SECRET-KEY-1QQ",
            "alice=age-secret-key-pq-1qq",
            "--set=AGE-PLUGIN-YUBIKEY-1QQ",
            "PRIVATE+KEY+alice+4124365a+AQ",
            "-----BEGIN EC PRIVATE KEY-----",
        ] {
            assert!(found_in(text).is_some(), "{text}");
        }
        for text in ["age1qqq", "age1yubikey1qqq", "alice+4124365a+AY", "-----BEGIN CERTIFICATE-----", "keys/age", ""] {
            assert_eq!(found_in(text), None, "{text}");
        }
    }
}
