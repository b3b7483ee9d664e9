//! The table of numbers in their usual spellings (`src/phone/usual-9.0.42.tsv`): derived here from the metadata, and held
//! against libphonenumber.
//!
//! `CALLVEIL_RENEW=1 cargo test --test it usual::` writes it anew, for another release of the metadata.

#![allow(deprecated, reason = "rlibphonenumber says so of fields that it keeps elsewhere; those of a file are filled")]

use std::{collections::BTreeSet, fmt::Write as _, fs};

use callveil::{
    number::{E164, Number},
    phone::{NUMBERS_NEWEST, Numbering, TrunkZeroRegions},
};
use prost::Message as _;
use regex_automata::{
    Anchored, MatchKind,
    dfa::{Automaton, StartKind, dense},
    nfa::thompson,
    util::{primitives::StateID, start, syntax},
};
use rlibphonenumber::{NumberFormat, PhoneMetadata, PhoneMetadataCollection};

use crate::random::Random;

const METADATA: &[u8] = include_bytes!("../../src/phone/libphonenumber-9.0.42.bin");
const TABLE: &str = include_str!("../../src/phone/usual-9.0.42.tsv");

/// The least number of digits that is worth a line.
const DIGITS_MIN: usize = 4;

/// The automaton of a pattern that must match from the beginning of a number on.
struct Pattern(dense::DFA<Vec<u32>>);

impl Pattern {
    fn new(pattern: &str) -> Self {
        // ASCII digits are all that a normalised number has, so that `\d` need not know others.
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let config = dense::Config::new().match_kind(MatchKind::All).start_kind(StartKind::Anchored);
        let dfa = dense::Builder::new()
            .syntax(syntax)
            .thompson(thompson::Config::new().utf8(false))
            .configure(config)
            .build(&format!("(?:{pattern})"))
            .unwrap();
        Self(dfa)
    }

    fn start(&self) -> StateID {
        self.0.start_state(&start::Config::new().anchored(Anchored::Yes)).unwrap()
    }

    fn next(&self, state: StateID, digit: u8) -> StateID {
        self.0.next_state(state, b'0' + digit)
    }

    /// Whether the digits that led to `state` are a match, as a whole.
    fn matches(&self, state: StateID) -> bool {
        self.0.is_match_state(self.0.next_eoi_state(state))
    }

    /// Whether it matches any beginning of any number that begins with `digits`.
    fn can_begin(&self, digits: &[u8]) -> bool {
        let mut state = self.start();
        let mut matched = self.matches(state);
        for digit in digits {
            state = self.next(state, *digit);
            matched |= self.matches(state);
        }
        let (mut seen, mut left) = (BTreeSet::from([state]), vec![state]);
        while let Some(state) = left.pop() {
            matched |= self.matches(state);
            left.extend((0..10).map(|digit| self.next(state, digit)).filter(|next| seen.insert(*next)));
        }
        matched
    }

    /// Whether it matches all numbers of so many digits that begin with `digits`; `None` where only some.
    fn matches_all(&self, digits: &[u8], length: usize) -> Option<bool> {
        let begun = digits.iter().fold(self.start(), |state, digit| self.next(state, *digit));
        let mut states = BTreeSet::from([begun]);
        for _ in digits.len()..length {
            states = states.iter().flat_map(|state| (0..10).map(|digit| self.next(*state, digit))).collect();
        }
        let matched: BTreeSet<bool> = states.iter().map(|state| self.matches(*state)).collect();
        (matched.len() == 1).then(|| matched.contains(&true))
    }
}

/// A pattern as libphonenumber has it: the crate's file keeps it wrapped for a match of the whole.
fn unwrapped(pattern: &str) -> &str {
    pattern.strip_prefix("^(?:").and_then(|pattern| pattern.strip_suffix(")$")).expect("the file wraps its patterns")
}

/// A way to write national numbers.
struct Format {
    leading: Option<Pattern>,
    pattern: Pattern,
    /// Whether it writes all digits, in their order, and no others.
    is_plain: bool,
}

impl Format {
    fn new(format: &NumberFormat) -> Self {
        let leading = format.leading_digits_pattern.last();
        let leading = leading.map(|leading| Pattern::new(&format!("(?:{})[0-9]*", unwrapped(leading))));
        let pattern = unwrapped(&format.pattern);
        let rule = format.national_prefix_formatting_rule().replace("$FG", "$1");
        let text = if rule.is_empty() { format.format.clone() } else { format.format.replacen("$1", &rule, 1) };
        // `$1 $2 $3`, of a pattern that is groups and nothing else.
        let groups = pattern.matches('(').count();
        let references: String = (1..=groups).map(|group| format!("${group}")).collect();
        let written: String = text.chars().filter(|c| *c == '$' || c.is_ascii_digit()).collect();
        let outside = pattern.split(')').any(|piece| !piece.is_empty() && !piece.starts_with('('));
        let is_plain = written == references && !outside && !pattern.contains("(?:");
        Self { leading, pattern: Pattern::new(pattern), is_plain }
    }
}

/// Whether the national format of every number of so many digits that begins with `digits` has just its digits.
fn is_written_plain(formats: &[Format], digits: &[u8], length: usize) -> bool {
    for format in formats {
        let leads = format.leading.as_ref().map_or(Some(true), |leading| leading.matches_all(digits, length));
        match (leads, format.pattern.matches_all(digits, length)) {
            (Some(false), _) | (_, Some(false)) => {}
            (Some(true), Some(true)) => return format.is_plain,
            // It depends on the other digits.
            _ if format.is_plain => {}
            _ => return false,
        }
    }
    true
}

fn ranges(prefixes: &[u16]) -> String {
    let mut text = String::new();
    for run in prefixes.chunk_by(|one, next| one + 1 == *next) {
        let separator = if text.is_empty() { "" } else { "," };
        write!(text, "{separator}{}", run[0]).unwrap();
        if run.len() > 1 {
            write!(text, "-{}", run[run.len() - 1]).unwrap();
        }
    }
    text
}

/// The lines of one region.
fn lines(metadata: &PhoneMetadata, table: &mut String) {
    let code = metadata.country_code.unwrap().to_string();
    let prefix = metadata.national_prefix_for_parsing.iter().chain(&metadata.international_prefix);
    let stripped: Vec<_> =
        prefix.filter(|pattern| !pattern.is_empty()).map(|pattern| Pattern::new(unwrapped(pattern))).collect();
    let formats: Vec<_> = metadata.number_format.iter().map(Format::new).collect();
    let prefixes: Vec<(u16, [u8; 3])> = (100..1000)
        .map(|prefix| (prefix, [prefix / 100, prefix / 10 % 10, prefix % 10].map(|digit| u8::try_from(digit).unwrap())))
        .collect();
    let read: Vec<_> = prefixes
        .iter()
        .filter(|(prefix, digits)| {
            !prefix.to_string().starts_with(&code) && !stripped.iter().any(|pattern| pattern.can_begin(digits))
        })
        .collect();
    let description = metadata.general_desc.as_ref().unwrap();
    let possible =
        description.possible_length.iter().filter(|length| !description.possible_length_local_only.contains(length));
    for length in possible.map(|length| usize::try_from(*length).unwrap()) {
        if (DIGITS_MIN..=15 - code.len()).contains(&length) && !read.is_empty() {
            let plain = prefixes.iter().filter(|(_, digits)| is_written_plain(&formats, digits, length));
            let plain: Vec<_> = plain.map(|(prefix, _)| *prefix).collect();
            let read: Vec<_> = read.iter().map(|(prefix, _)| *prefix).collect();
            writeln!(table, "{}\t{code}\t{length}\t{}\t{}", metadata.id, ranges(&read), ranges(&plain)).unwrap();
        }
    }
}

#[test]
fn the_table_is_what_the_metadata_say() {
    let all = PhoneMetadataCollection::decode(METADATA).unwrap().metadata;
    let mut table = String::new();
    for metadata in &all {
        let others = all.iter().filter(|other| other.country_code == metadata.country_code).count();
        if metadata.id != "001" && (others == 1 || metadata.main_country_for_code()) {
            lines(metadata, &mut table);
        }
    }
    if std::env::var_os("CALLVEIL_RENEW").is_some() {
        fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/phone/usual-9.0.42.tsv"), &table).unwrap();
    }
    assert!(table == TABLE, "the table is not what the metadata say");
}

/// A number for each prefix, length and spelling of each region of the table, as the short way and libphonenumber alone
/// read and write it.
#[test]
fn the_short_way_is_libphonenumbers() {
    let mut random = Random::new(20_261_124);
    let regions: BTreeSet<&str> = TABLE.lines().map(|line| line.split('\t').next().unwrap()).collect();
    let (mut compared, mut short) = (0_u64, 0_u64);
    for region in regions {
        let numbering = Numbering::new(NUMBERS_NEWEST, region).unwrap();
        let alone = Numbering::new(NUMBERS_NEWEST, region).unwrap().without_short_way();
        let trunk_zero = TrunkZeroRegions::new([region]).unwrap();
        for line in TABLE.lines().filter(|line| line.starts_with(&format!("{region}\t"))) {
            let [_, code, length, ..] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let length: usize = length.parse().unwrap();
            for prefix in 100..1000_u64 {
                let rest: String = (3..length).map(|_| char::from(b"0123456789"[random.below(10)])).collect();
                let national = format!("{prefix}{rest}");
                let spellings = [
                    national.clone(),
                    format!("+{code}{national}"),
                    format!("00{code}{national}"),
                    format!("+{code} {}-{}", &national[..3], &national[3..]),
                    format!("00{code}-{national}"),
                    format!("{}  {}", &national[..2], &national[2..]),
                    format!("{code}{national}"),
                ];
                let spelling = &spellings[random.below(spellings.len())];
                let (found, expected) = (numbering.normalize(spelling), alone.normalize(spelling));
                assert!(found == expected, "{region} {spelling}");
                compared += 1;
                let digits = format!("{code}{national}").parse().unwrap();
                let (mut dialled, mut expected) = (String::new(), String::new());
                numbering.dial(E164::new(digits).unwrap(), &trunk_zero, &mut dialled);
                alone.dial(E164::new(digits).unwrap(), &trunk_zero, &mut expected);
                assert_eq!(dialled, expected, "{region}");
                short += u64::from(matches!(found, Ok(Number::E164(number)) if number.digits() == digits));
            }
        }
    }
    assert!(compared > 400_000 && short > 400_000, "{short} of {compared}");
}
