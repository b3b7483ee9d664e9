//! Text to canonical number, and canonical number to the dialled form: section 2 of the specification. This is the only
//! user of libphonenumber.
//!
//! The rules belong to a key and never change during its life. They are decided by a file in this repository, the phone
//! metadata of one libphonenumber release. So neither a newer crate nor a newer release changes a UID. Another file can
//! be added beside it.

mod ascii;
pub(crate) mod digits;
mod fast_path;
mod short;
mod spelling;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::LazyLock,
};

use prost::Message as _;
use rlibphonenumber::{
    NumberLengthType, PhoneMetadataCollection, PhoneNumber, PhoneNumberFormat, PhoneNumberType, PhoneNumberUtil,
    Region, get_national_significant_number_owned,
};
use zeroize::Zeroizing;

use self::{
    fast_path::{FastPath, FastPaths, Written},
    short::ShortNumbers,
    spelling::{Prefix, Spelling},
};
use crate::number::{E164, Hotline, InvalidNumber, Number, Text};

/// The rules for new keys.
pub const NUMBERS_NEWEST: &str = "callveil-2/libphonenumber-9.0.42";

/// Rules for reading and writing numbers. A key keeps its rules for its whole life.
struct Rules {
    name: &'static str,
    /// The metadata of its release.
    util: LazyLock<PhoneNumberUtil>,
    short: LazyLock<ShortNumbers>,
    /// What these say of numbers in their usual spellings.
    fast_path: LazyLock<FastPaths>,
}

/// All rules that this program knows.
static RULES: [Rules; 1] = [Rules {
    name: NUMBERS_NEWEST,
    util: LazyLock::new(|| load(include_bytes!("libphonenumber-9.0.42.bin"))),
    short: LazyLock::new(|| ShortNumbers::new(include_str!("short-numbers-9.0.42.tsv"))),
    fast_path: LazyLock::new(|| FastPaths::new(include_bytes!("fast-path-9.0.42.bin"))),
}];

fn load(metadata: &[u8]) -> PhoneNumberUtil {
    let metadata = PhoneMetadataCollection::decode(metadata).expect("the metadata is a file of this repository");
    PhoneNumberUtil::new_for_metadata(metadata).expect("the metadata names regions that the crate knows")
}

/// Digits in the longest number that fits E.164.
const E164_DIGITS_MAX: usize = 15;

/// Zeros before the 16 digits, the first of which is a zero too. A number of 15 digits needs two for `00`, and perhaps
/// one for a trunk zero.
const ZEROS: usize = 2;

/// Minimum digits in a region without mobile numbers.
const DIGITS_MIN: usize = 7;

/// How one key reads and writes numbers: a set of rules, and the region whose dialling applies if a number names no
/// country.
pub struct Numbering {
    util: &'static PhoneNumberUtil,
    region: Region,
    country_code: i32,
    /// The region's short numbers, if it has any.
    short: Option<&'static short::OfRegion>,
    /// The numbers that can be read and written without libphonenumber.
    fast_path: Option<&'static FastPath>,
}

impl Numbering {
    /// The numbering of a key with these `numbers` and this `region`; `None` if this program does not know them.
    pub fn new(numbers: &str, region: &str) -> Option<Self> {
        let rules = RULES.iter().find(|rules| rules.name == numbers)?;
        let (util, short) = (LazyLock::force(&rules.util), rules.short.of_region(region));
        let fast_path = rules.fast_path.of_region(region);
        let (region, country_code) = known_region(util, region)?;
        Some(Self { util, region, country_code, short, fast_path })
    }

    /// The same without the fast path, so that tests can compare the two.
    #[must_use]
    pub fn without_fast_path(self) -> Self {
        Self { fast_path: None, ..self }
    }

    /// Parses `text` as a number.
    ///
    /// # Errors
    /// [`InvalidNumber`] if the text cannot be a number at all, or if libphonenumber panicked over it: a UID made
    /// regardless might differ from the one that a corrected program makes.
    #[inline]
    pub fn normalize<'t>(&self, text: &'t str) -> Result<Number<'t>, InvalidNumber> {
        match self.fast_path.and_then(|fast_path| fast_path.read(text)) {
            Some(number) => Ok(Number::E164(number)),
            None => self.normalize_slowly(text),
        }
    }

    /// Does the same with libphonenumber.
    #[cold]
    fn normalize_slowly<'t>(&self, text: &'t str) -> Result<Number<'t>, InvalidNumber> {
        let text = Text::strip(text).ok_or(InvalidNumber)?;
        let number = catch_unwind(AssertUnwindSafe(|| self.read(text.as_str())));
        Ok(number.map_err(|_| InvalidNumber)?.unwrap_or(Number::Verbatim(text)))
    }

    /// Whether `text` is a valid number in one of its usual spellings. `false` for other spellings, which take longer
    /// to check.
    pub fn is_common(&self, text: &str) -> bool {
        self.fast_path.is_some_and(|fast_path| fast_path.is_valid(text))
    }

    /// The country code of the region.
    pub fn country_code(&self) -> i32 {
        self.country_code
    }

    /// About the fewest digits that the region's own numbers have when dialled from another town.
    pub fn digits_min(&self) -> usize {
        let example = self.util.get_example_number_for_type_and_region(self.region, PhoneNumberType::Mobile);
        example.map_or(DIGITS_MIN, |example| get_national_significant_number_owned(&example).len() - 1)
    }

    /// Adds `number` to `dialled` in the form that CCC dials: `00`, country code, national number. The trunk prefix of
    /// libphonenumber's national format is included if the country code's main region is one of `trunk_zero`. A
    /// verbatim text is added as it is, unless it is a hotline.
    #[inline]
    pub fn dial(&self, number: &Number<'_>, trunk_zero: &TrunkZeroRegions, dialled: &mut String) {
        match number {
            Number::E164(number) => self.dial_e164(*number, trunk_zero, dialled),
            Number::Hotline(hotline) => self.dial_hotline(hotline, dialled),
            Number::Verbatim(text) => {
                match catch_unwind(AssertUnwindSafe(|| self.hotline(text.as_str()))).ok().flatten() {
                    Some(hotline) => self.dial_hotline(&hotline, dialled),
                    None => dialled.push_str(text.as_str()),
                }
            }
        }
    }

    fn dial_hotline(&self, hotline: &Hotline, dialled: &mut String) {
        dialled.extend(["00", itoa::Buffer::new().format(self.country_code), hotline.as_str()]);
    }

    fn dial_e164(&self, number: E164, trunk_zero: &TrunkZeroRegions, dialled: &mut String) {
        // These lookups do not wait for the digits' text, which saves a sixth of the time of dialling.
        let (count, code_digits) = trunk_zero.code_digits(number);
        let written = match code_digits {
            0 => Some(Written::Plain),
            _ => self.fast_path.and_then(|fast_path| fast_path.written(number, count)),
        };
        // The text is built in one place and added at once, since every append is costly here.
        let mut text = [b'0'; ZEROS + ascii::INTEGER_DIGITS_MAX];
        text[ZEROS..].copy_from_slice(&ascii::digits(number.digits()));
        let begin = text.len() - count;
        // There are at least two zeros before the digits, since there are at most 15 digits.
        let text = match written {
            Some(Written::Plain) => &text[begin - 2..],
            Some(Written::BehindZero) => {
                text.copy_within(begin - 2..begin + code_digits, begin - 3);
                text[begin + code_digits - 1] = b'0';
                &text[begin - 3..]
            }
            None => return self.dial_slowly(number, dialled),
        };
        dialled.push_str(str::from_utf8(text).expect("digits are ASCII"));
    }

    /// Does the same with libphonenumber, for a number that may have a trunk prefix.
    #[cold]
    fn dial_slowly(&self, number: E164, dialled: &mut String) {
        let found = catch_unwind(AssertUnwindSafe(|| self.with_trunk_prefix(number)));
        match found.ok().flatten().map(Zeroizing::new) {
            Some(found) => dialled.push_str(&found),
            None => dialled.extend(["00", itoa::Buffer::new().format(number.digits())]),
        }
    }

    /// Makes libphonenumber compile what numbers of this region need. Otherwise the first of them would wait for that.
    pub fn warm_up(&self) {
        for kind in [PhoneNumberType::FixedLine, PhoneNumberType::Mobile, PhoneNumberType::TollFree] {
            let Ok(example) = self.util.get_example_number_for_type_and_region(self.region, kind) else { continue };
            let national = self.util.format(&example, PhoneNumberFormat::National);
            if let Some(Number::E164(number)) = self.read(&national) {
                self.with_trunk_prefix(number);
            }
        }
        self.hotline("112");
    }

    /// Parses `text` as a number; `None` if it is verbatim: section 2, steps 2 to 4.
    fn read(&self, text: &str) -> Option<Number<'static>> {
        let spelling = Spelling::of(text)?;
        let with_plus = spelling.with_plus().and_then(|spelling| self.decide(&spelling));
        with_plus.or_else(|| self.decide(&spelling))
    }

    /// What `spelling` means as it stands, by the first of the rules a to d of step 4 that applies.
    fn decide(&self, spelling: &Spelling) -> Option<Number<'static>> {
        let (parsed, digits) = (self.parse(&spelling.text), Zeroizing::new(spelling.digits()));
        if let Some(valid) = parsed.as_ref().and_then(|parsed| self.valid(parsed, &spelling.text)) {
            return Some(Number::E164(valid));
        }
        if spelling.has_plus_inside {
            return None;
        }
        let has_plus = spelling.prefix == Prefix::Plus;
        let country_code = self.country_code.to_string();
        let at_home = if has_plus { digits.strip_prefix(&country_code) } else { Some(digits.as_str()) };
        if let Some(hotline) = at_home.and_then(|digits| self.hotline(digits)) {
            return Some(Number::Hotline(hotline));
        }
        let parsed = parsed?;
        let is_of_a_new_range = match spelling.prefix {
            Prefix::Plus => parsed.is_possible(self.util) && *digits == parsed.digits,
            Prefix::DoubleZero => false,
            Prefix::None => self.is_like_a_mobile(&parsed, &digits) && self.comes_back(&parsed),
        };
        is_of_a_new_range.then_some(Number::E164(parsed.e164))
    }

    /// The valid number that `parsed`, which was read from `text`, is, or else the valid number that its digits are
    /// read as. A number is only accepted if its own digits are read as that number.
    fn valid(&self, parsed: &Parsed, text: &str) -> Option<E164> {
        if text.strip_prefix('+') == Some(&parsed.digits) {
            return parsed.is_valid(self.util).then_some(parsed.e164);
        }
        let again = self.parse(&format!("+{}", parsed.digits))?;
        let comes_back = again.e164 == parsed.e164 || (!parsed.is_valid(self.util) && self.comes_back(&again));
        (comes_back && again.is_valid(self.util)).then_some(again.e164)
    }

    /// Whether the digits of `parsed` are read as `parsed` again.
    fn comes_back(&self, parsed: &Parsed) -> bool {
        self.parse(&format!("+{}", parsed.digits)).is_some_and(|again| again.e164 == parsed.e164)
    }

    /// The hotline of this region with these digits. Digits that are a valid number after the country code are not a
    /// hotline, since UIDToPhone writes hotlines that way.
    fn hotline(&self, digits: &str) -> Option<Hotline> {
        let hotline = Hotline::new(digits).filter(|hotline| self.short.is_some_and(|short| short.contains(hotline)))?;
        let text = format!("+{}{digits}", self.country_code);
        let explicit = self.parse(&text)?;
        self.valid(&explicit, &text).is_none().then_some(hotline)
    }

    /// Whether `digits`, with or without the region's country code, have the length and the first digit of its mobile
    /// numbers. New ranges of these come into use before the metadata know them.
    fn is_like_a_mobile(&self, parsed: &Parsed, digits: &str) -> bool {
        let national = parsed.national();
        if parsed.number.country_code != self.country_code || (digits != national && digits != parsed.digits) {
            return false;
        }
        let example = self.util.get_example_number_for_type_and_region(self.region, PhoneNumberType::Mobile);
        example.is_ok_and(|example| {
            let example = get_national_significant_number_owned(&example);
            example.len() == national.len() && example.as_bytes().first() == national.as_bytes().first()
        })
    }

    fn parse(&self, text: &str) -> Option<Parsed> {
        let number = self.util.parse(text, Some(self.region)).ok().filter(|number| number.extension.is_none())?;
        let digits = format!("{}{}", number.country_code, get_national_significant_number_owned(&number));
        if digits.len() > E164_DIGITS_MAX {
            return None;
        }
        let e164 = digits.parse().ok().and_then(E164::new)?;
        Some(Parsed { number, digits, e164 })
    }

    /// `number` with its trunk prefix, if it is valid, has one, and the result is read as `number` again.
    fn with_trunk_prefix(&self, number: E164) -> Option<String> {
        let parsed = self.parse(&format!("+{}", number.digits())).filter(|parsed| parsed.is_valid(self.util))?;
        let national = self.util.format(&parsed.number, PhoneNumberFormat::National);
        let national: String = national.chars().filter(char::is_ascii_digit).collect();
        let dialled = format!("00{}{national}", parsed.number.country_code);
        (self.read(&dialled) == Some(Number::E164(number))).then_some(dialled)
    }
}

/// A number as libphonenumber reads it, without an extension, and with at most [`E164_DIGITS_MAX`] digits.
struct Parsed {
    number: PhoneNumber,
    /// The country code and the national number.
    digits: String,
    e164: E164,
}

impl Parsed {
    fn is_valid(&self, util: &PhoneNumberUtil) -> bool {
        util.is_valid_number(&self.number)
    }

    fn is_possible(&self, util: &PhoneNumberUtil) -> bool {
        util.is_possible_number_with_reason(&self.number) == Ok(NumberLengthType::IsPossible)
    }

    fn national(&self) -> String {
        get_national_significant_number_owned(&self.number)
    }
}

/// The regions whose numbers UIDToPhone gives with their trunk prefix.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TrunkZeroRegions {
    /// Indexed by the first three digits of a number: how many of them are the country code of one of these regions, if
    /// it is that code's main region. No country code is the beginning of another.
    code_digits: Vec<u8>,
}

impl TrunkZeroRegions {
    /// The regions with these codes (ISO 3166-1 alpha-2, upper case).
    ///
    /// # Errors
    /// [`UnknownRegion`] if libphonenumber knows no region with one of these codes.
    pub fn new<'a>(codes: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownRegion> {
        let newest = &RULES.last().expect("there are rules").util;
        let mut code_digits = vec![0; 1000];
        for code in codes {
            let (region, country_code) = known_region(newest, code).ok_or(UnknownRegion)?;
            if newest.get_region_for_country_code(country_code) == Some(region) {
                let code = country_code.to_string();
                for (three, digits) in code_digits.iter_mut().enumerate() {
                    if format!("{three:03}").starts_with(&code) {
                        *digits = u8::try_from(code.len()).map_err(|_| UnknownRegion)?;
                    }
                }
            }
        }
        Ok(Self { code_digits })
    }

    /// How many digits `number` has, and how many of them are its country code, or 0 if that is not a code of these
    /// regions.
    #[inline]
    fn code_digits(&self, number: E164) -> (usize, usize) {
        match ascii::count_and_first_three(number.digits()) {
            Some((count, three)) => (count, self.code_digits.get(three).map_or(0, |digits| usize::from(*digits))),
            None => (number.digits().to_string().len(), 0),
        }
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

/// The region with this code, and its country code.
fn known_region(util: &PhoneNumberUtil, code: &str) -> Option<(Region, i32)> {
    if code.len() != 2 || !code.bytes().all(|c| c.is_ascii_uppercase()) {
        return None;
    }
    let region = Region::from_code(code).ok()?;
    Some((region, util.get_country_code_for_region(region)?))
}
