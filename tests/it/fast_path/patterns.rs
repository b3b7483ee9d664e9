//! The patterns of libphonenumber's metadata as automata, which take one digit at a time.

#![allow(deprecated, reason = "rlibphonenumber says so of fields that it keeps elsewhere; those of a file are filled")]

use std::collections::BTreeMap;

use regex_automata::{
    Anchored, MatchKind,
    dfa::{Automaton, StartKind, dense},
    nfa::thompson,
    util::{primitives::StateID, start, syntax},
};
use rlibphonenumber::{NumberFormat, PhoneMetadata, PhoneNumberDesc};

/// The automaton of a pattern, which must match from the beginning of a number.
pub struct Pattern(dense::DFA<Vec<u32>>);

impl Pattern {
    pub fn new(pattern: &str) -> Self {
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

    pub fn start(&self) -> StateID {
        self.0.start_state(&start::Config::new().anchored(Anchored::Yes)).unwrap()
    }

    pub fn next(&self, state: StateID, digit: u8) -> StateID {
        self.0.next_state(state, b'0' + digit)
    }

    /// Whether the digits that led to `state` match the whole pattern.
    pub fn matches(&self, state: StateID) -> bool {
        self.0.is_match_state(self.0.next_eoi_state(state))
    }
}

/// A pattern as libphonenumber has it. The crate's file keeps it wrapped to match a whole text.
pub fn unwrapped(pattern: &str) -> Option<&str> {
    let unwrapped = pattern.strip_prefix("^(?:").and_then(|pattern| pattern.strip_suffix(")$"));
    unwrapped.filter(|pattern| !pattern.is_empty())
}

/// One bit for each of these lengths.
pub fn lengths(of: &[i32]) -> u32 {
    of.iter().filter_map(|length| u32::try_from(*length).ok()).map(|length| 1 << length).sum()
}

/// The numbers of some lengths that match a pattern.
pub struct Numbers {
    pub lengths: u32,
    pub pattern: Pattern,
}

/// The numbers of one region.
pub struct OfRegion {
    pub leading: Option<Pattern>,
    pub general: Numbers,
    /// The numbers of any type.
    pub types: Vec<Numbers>,
}

impl OfRegion {
    pub fn new(metadata: &PhoneMetadata) -> Self {
        let general = metadata.general_desc.as_ref().unwrap();
        let of_general = lengths(&general.possible_length);
        let types = [
            &metadata.fixed_line,
            &metadata.mobile,
            &metadata.toll_free,
            &metadata.premium_rate,
            &metadata.shared_cost,
            &metadata.personal_number,
            &metadata.voip,
            &metadata.pager,
            &metadata.uan,
            &metadata.voicemail,
        ];
        let mut by_lengths: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
        for of_type in types.into_iter().flatten() {
            let Some(pattern) = of_type.national_number_pattern.as_deref().and_then(unwrapped) else { continue };
            let own = if of_type.possible_length.is_empty() { of_general } else { lengths(&of_type.possible_length) };
            by_lengths.entry(own).or_default().push(pattern);
        }
        let types = by_lengths.into_iter().filter(|(lengths, _)| *lengths > 0).map(|(lengths, patterns)| {
            let pattern =
                Pattern::new(&patterns.iter().map(|pattern| format!("(?:{pattern})")).collect::<Vec<_>>().join("|"));
            Numbers { lengths, pattern }
        });
        let pattern = |general: &PhoneNumberDesc| {
            Pattern::new(general.national_number_pattern.as_deref().and_then(unwrapped).unwrap())
        };
        Self {
            leading: metadata
                .leading_digits
                .as_deref()
                .and_then(unwrapped)
                .map(|leading| Pattern::new(&format!("(?:{leading})[0-9]*"))),
            general: Numbers { lengths: of_general, pattern: pattern(general) },
            types: types.collect(),
        }
    }

    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.leading.iter().chain([&self.general.pattern]).chain(self.types.iter().map(|numbers| &numbers.pattern))
    }

    /// Whether a number with `length` digits is one of this region; `None` if it only begins like one.
    pub fn has(&self, length: usize, states: &mut impl Iterator<Item = StateID>) -> Option<bool> {
        let mut next = |pattern: &Pattern| pattern.matches(states.next().unwrap());
        let begins = self.leading.as_ref().is_some_and(&mut next);
        let is_of = |numbers: &Numbers, matches: bool| numbers.lengths >> length & 1 == 1 && matches;
        let general = is_of(&self.general, next(&self.general.pattern));
        let typed = self.types.iter().filter(|numbers| is_of(numbers, next(&numbers.pattern))).count() > 0;
        (!begins || (general && typed)).then_some(general && typed)
    }
}

/// A format for national numbers.
pub struct Format {
    pub leading: Option<Pattern>,
    pub pattern: Pattern,
    pub written: Written,
}

/// The digits in the national format of a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Exactly the digits of the national number, in order.
    Plain,
    /// The same digits after a 0.
    BehindZero,
    Otherwise,
}

impl Format {
    pub fn new(format: &NumberFormat) -> Self {
        let leading = format.leading_digits_pattern.last().and_then(|leading| unwrapped(leading));
        let pattern = unwrapped(&format.pattern).unwrap();
        let rule = format.national_prefix_formatting_rule().replace("$FG", "$1");
        let text = if rule.is_empty() { format.format.clone() } else { format.format.replacen("$1", &rule, 1) };
        // `$1 $2 $3`, of a pattern that is groups and nothing else.
        let groups = pattern.matches('(').count();
        let references: String = (1..=groups).map(|group| format!("${group}")).collect();
        let text: String = text.chars().filter(|c| *c == '$' || c.is_ascii_digit()).collect();
        let outside = pattern.split(')').any(|piece| !piece.is_empty() && !piece.starts_with('('));
        let written = match text.strip_suffix(&references) {
            _ if outside || pattern.contains("(?:") => Written::Otherwise,
            Some("") => Written::Plain,
            Some("0") => Written::BehindZero,
            _ => Written::Otherwise,
        };
        Self {
            leading: leading.map(|leading| Pattern::new(&format!("(?:{leading})[0-9]*"))),
            pattern: Pattern::new(pattern),
            written,
        }
    }
}
