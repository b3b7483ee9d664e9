//! What must hold for any input at all: each part of callveil that strangers' bytes reach, against the slow, obvious
//! way, which is written from the specification and shares no code with it.
//!
//! A property is a function that panics where it does not hold. `fuzz_targets/` gives each to libFuzzer, and the test
//! below gives them the inputs that are kept in `corpus/`.

pub mod authorization;
pub mod config;
pub mod envelope;
pub mod number;
pub mod ring;
pub mod uid;

/// What stands where a message must not quote: no text of callveil holds it.
const MARKER: &str = "Zq7-not-to-be-quoted";

/// `text` with nothing around it (specification, section 2, step 1); `None` where it can be no number.
fn stripped(text: &str) -> Option<&str> {
    let around = |c: char| {
        let mark = u32::from(c);
        c.is_whitespace()
            || mark == 0x200E
            || mark == 0x200F
            || (0x202A..=0x202E).contains(&mark)
            || (0x2066..=0x2069).contains(&mark)
            || mark == 0xFEFF
    };
    let mut text = text;
    while let Some(c) = text.chars().next().filter(|c| around(*c)) {
        text = &text[c.len_utf8()..];
    }
    while let Some(c) = text.chars().next_back().filter(|c| around(*c)) {
        text = &text[..text.len() - c.len_utf8()];
    }
    if text.is_empty() || text.len() > 128 || text.chars().any(char::is_control) { None } else { Some(text) }
}

/// A number in `0..below` that depends on all of `data`: which of many places an input is about.
fn pick(data: &[u8], below: usize) -> usize {
    let hash = data
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    usize::try_from((hash >> 32) % below.max(1) as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[track_caller]
    fn replay(target: &str, check: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        let inputs = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut replayed = 0;
        for input in inputs {
            let path = input.expect("an entry of the folder").path();
            println!("{}", path.display());
            check(&fs::read(&path).expect("a file of this repository"));
            replayed += 1;
        }
        assert!(replayed > 0, "{target} has inputs");
    }

    #[test]
    fn authorization() {
        replay("authorization", super::authorization::check);
    }

    #[test]
    fn config() {
        replay("config", super::config::check);
    }

    #[test]
    fn envelope() {
        replay("envelope", super::envelope::check);
    }

    #[test]
    fn number() {
        replay("number", super::number::check);
    }

    #[test]
    fn ring() {
        replay("ring", super::ring::check);
    }

    #[test]
    fn uid() {
        replay("uid", super::uid::check);
    }
}
