//! Text to canonical number, and canonical number to what is dialled: SPEC 2, and the only user of libphonenumber.
//!
//! The rules belong to a key and never change under it. What decides them is a file of this repository, the phone
//! metadata of one libphonenumber release, so that neither a newer crate nor a newer release moves a UID; a second
//! file can stand beside the first.

mod digits;
mod usual;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::LazyLock,
};

use prost::Message as _;
use rlibphonenumber::{
    NumberLengthType, PhoneMetadataCollection, PhoneNumberFormat, PhoneNumberType, PhoneNumberUtil, Region,
    get_national_significant_number_owned,
};
use zeroize::Zeroizing;

use self::usual::Usual;
use crate::number::{E164, InvalidNumber, Number, Text};

/// The rules that a new key gets.
pub const NUMBERS_NEWEST: &str = "libphonenumber-9.0.42";

/// All rules that this program knows, each with the metadata that it was released with, and the table of what these say
/// of numbers in their usual spellings.
static RULES: [(&str, LazyLock<PhoneNumberUtil>, &str); 1] = [(
    NUMBERS_NEWEST,
    LazyLock::new(|| load(include_bytes!("phone/libphonenumber-9.0.42.bin"))),
    include_str!("phone/usual-9.0.42.tsv"),
)];

fn load(metadata: &[u8]) -> PhoneNumberUtil {
    let metadata = PhoneMetadataCollection::decode(metadata).expect("the metadata is a file of this repository");
    PhoneNumberUtil::new_for_metadata(metadata).expect("the metadata names regions that the crate knows")
}

/// Digits in the longest number that fits E.164.
const E164_DIGITS_MAX: usize = 15;

/// 1, 10, and so on, up to the first number that is too long.
const POWERS_OF_TEN: [u64; E164_DIGITS_MAX + 1] = {
    let mut powers = [1; E164_DIGITS_MAX + 1];
    let mut digits = 1;
    while digits < powers.len() {
        powers[digits] = powers[digits - 1] * 10;
        digits += 1;
    }
    powers
};

/// How one key reads and writes numbers: a set of rules, and the region whose way of dialling is meant where a
/// number names no country.
pub struct Numbering {
    util: &'static PhoneNumberUtil,
    region: Region,
    /// What is read without libphonenumber, where there is such a thing in this region.
    usual: Option<Usual>,
}

impl Numbering {
    /// The numbering of a key with these `numbers` and this `region`; `None` where this program does not know them.
    pub fn new(numbers: &str, region: &str) -> Option<Self> {
        let (_, util, usual) = RULES.iter().find(|(name, ..)| *name == numbers)?;
        let util = LazyLock::force(util);
        let known = known_region(util, region)?;
        Some(Self { util, region: known, usual: Usual::of_region(usual, region) })
    }

    /// The same, with libphonenumber alone: what the short way must agree with.
    #[must_use]
    pub fn without_short_way(self) -> Self {
        Self { usual: None, ..self }
    }

    /// The number that `text` means.
    ///
    /// # Errors
    /// [`InvalidNumber`] where the text can be no number at all, or where libphonenumber panicked over it: a UID made
    /// in spite of that might not be the one that a mended program makes.
    pub fn normalize<'t>(&self, text: &'t str) -> Result<Number<'t>, InvalidNumber> {
        if let Some(number) = self.usual.as_ref().and_then(|usual| usual.read(text)) {
            return Ok(Number::E164(number));
        }
        let text = Text::strip(text).ok_or(InvalidNumber)?;
        let number = catch_unwind(AssertUnwindSafe(|| self.read(text.as_str()).and_then(|x| self.settle(x))));
        Ok(number.map_err(|_| InvalidNumber)?.map_or(Number::Verbatim(text), Number::E164))
    }

    /// Adds `number` as CCC dials it to `dialled`: `00`, country code, national number; with the trunk prefix that
    /// libphonenumber's national format has, where the country code's main region is one of `trunk_zero`.
    pub fn dial(&self, number: E164, trunk_zero: &TrunkZeroRegions, dialled: &mut String) {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number.digits());
        // No country code begins with another, so that the digits tell at once whether it is one of these.
        let may_have_trunk_prefix = trunk_zero.country_codes.iter().any(|code| digits.starts_with(&**code))
            && !self.usual.as_ref().is_some_and(|usual| usual.is_plain(number));
        if may_have_trunk_prefix
            && let Ok(Some(found)) =
                catch_unwind(AssertUnwindSafe(|| self.with_trunk_prefix(number, trunk_zero).map(Zeroizing::new)))
        {
            dialled.push_str(&found);
        } else {
            dialled.push_str("00");
            dialled.push_str(digits);
        }
    }

    /// Has libphonenumber compile what numbers of this region need, which it otherwise does at the first of them.
    pub fn warm_up(&self) {
        let trunk_zero = TrunkZeroRegions::of(self.util, vec![self.region]);
        for kind in [PhoneNumberType::FixedLine, PhoneNumberType::Mobile, PhoneNumberType::TollFree] {
            let Ok(example) = self.util.get_example_number_for_type_and_region(self.region, kind) else { continue };
            let national = self.util.format(&example, PhoneNumberFormat::National);
            if let Some(number) = self.read(&national).and_then(|number| self.settle(number)) {
                self.with_trunk_prefix(number, &trunk_zero);
            }
        }
    }

    /// The candidate for what `text` means: SPEC 2, step 2, up to its last two sentences.
    fn read(&self, text: &str) -> Option<E164> {
        let text = dialable(text)?;
        let international = after_double_zero(&text).and_then(|rest| self.parse(&format!("+{rest}")));
        international.or_else(|| self.parse(&text))
    }

    /// The number that `candidate` is once read again: itself, or what it reads as where that reads as itself.
    fn settle(&self, candidate: E164) -> Option<E164> {
        let again = |number: E164| self.parse(&format!("+{}", number.digits()));
        let settled = again(candidate)?;
        (settled == candidate || again(settled) == Some(settled)).then_some(settled)
    }

    fn parse(&self, text: &str) -> Option<E164> {
        let number = self.util.parse(text, Some(self.region)).ok()?;
        let possible = self.util.is_possible_number_with_reason(&number) == Ok(NumberLengthType::IsPossible);
        if !possible || number.extension.is_some() {
            return None;
        }
        let digits = format!("{}{}", number.country_code, get_national_significant_number_owned(&number));
        if digits.len() > E164_DIGITS_MAX {
            return None;
        }
        digits.parse().ok().and_then(E164::new)
    }

    /// `number` with its trunk prefix, where there is one to add and the result means `number` again.
    fn with_trunk_prefix(&self, number: E164, trunk_zero: &TrunkZeroRegions) -> Option<String> {
        let parsed = self.util.parse(format!("+{}", number.digits()), Some(self.region)).ok()?;
        let main_region = self.util.get_region_for_country_code(parsed.country_code)?;
        if !trunk_zero.regions.contains(&main_region) {
            return None;
        }
        let national = self.util.format(&parsed, PhoneNumberFormat::National);
        let national: String = national.chars().filter(char::is_ascii_digit).collect();
        let dialled = format!("00{}{national}", parsed.country_code);
        let means_it_again = self.read(&dialled).and_then(|candidate| self.settle(candidate)) == Some(number);
        means_it_again.then_some(dialled)
    }
}

/// The regions whose numbers UIDToPhone gives with their trunk prefix.
#[derive(Clone, Default)]
pub struct TrunkZeroRegions {
    regions: Vec<Region>,
    /// Their country codes, as digits.
    country_codes: Vec<Box<str>>,
}

impl TrunkZeroRegions {
    /// The regions of these codes (ISO 3166-1 alpha-2, upper case).
    ///
    /// # Errors
    /// [`UnknownRegion`] where libphonenumber knows no region of such a code.
    pub fn new<'a>(codes: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownRegion> {
        let (_, newest, _) = RULES.last().expect("there are rules");
        let regions = codes.into_iter().map(|code| known_region(newest, code));
        regions.collect::<Option<_>>().map(|regions| Self::of(newest, regions)).ok_or(UnknownRegion)
    }

    fn of(util: &PhoneNumberUtil, regions: Vec<Region>) -> Self {
        let codes = regions.iter().filter_map(|region| util.get_country_code_for_region(*region));
        let country_codes = codes.map(|code| code.to_string().into()).collect();
        Self { regions, country_codes }
    }
}

/// A region code that libphonenumber has no metadata for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownRegion;

impl fmt::Display for UnknownRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a region is two upper-case letters (ISO 3166-1), such as CN, that libphonenumber knows")
    }
}

impl std::error::Error for UnknownRegion {}

fn known_region(util: &PhoneNumberUtil, code: &str) -> Option<Region> {
    if code.len() != 2 || !code.bytes().all(|c| c.is_ascii_uppercase()) {
        return None;
    }
    let region = Region::from_code(code).ok()?;
    util.get_country_code_for_region(region).map(|_| region)
}

/// `text`, or what follows its `tel:`, with ASCII digits and plus signs; `None` where it holds anything but digits,
/// plus signs and the punctuation of numbers.
fn dialable(text: &str) -> Option<String> {
    let text = match text.split_at_checked(4) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("tel:") => rest,
        _ => text,
    };
    let ascii = |c| match c {
        '+' | '\u{FF0B}' => Some('+'),
        _ if is_punctuation(c) => Some(c),
        _ => digits::digit_value(c).map(|value| char::from(b'0' + value)),
    };
    text.chars().map(ascii).collect()
}

/// libphonenumber's punctuation, without the tildes and the letter x: those may begin an extension.
fn is_punctuation(c: char) -> bool {
    matches!(c, ' ' | '-' | '.' | '/' | '(' | ')' | '[' | ']')
        || matches!(c, '\u{A0}' | '\u{AD}' | '\u{200B}' | '\u{2010}'..='\u{2015}' | '\u{2060}' | '\u{2212}')
        || matches!(
            c,
            '\u{3000}' | '\u{30FC}' | '\u{FF08}' | '\u{FF09}' | '\u{FF0D}'..='\u{FF0F}' | '\u{FF3B}' | '\u{FF3D}'
        )
}

/// What follows a leading `00`, which CCC writes for `+`; opening brackets and spaces may precede it.
fn after_double_zero(text: &str) -> Option<&str> {
    let opening = |c| matches!(c, ' ' | '\u{A0}' | '\u{200B}' | '\u{3000}' | '(' | '[' | '\u{FF08}' | '\u{FF3B}');
    text.trim_start_matches(opening).strip_prefix("00")
}
