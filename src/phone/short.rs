//! Short numbers of each region, such as 10086 in China: those that libphonenumber's ShortNumberInfo considers valid
//! there.

use std::{collections::HashMap, sync::OnceLock};

use regex::{Regex, RegexBuilder};

use crate::number::Hotline;

/// Maximum bytes of one compiled pattern. The longest in the table takes a tenth of this.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// The short numbers of all regions.
pub(super) struct ShortNumbers(HashMap<&'static str, OfRegion>);

/// The short numbers of one region.
pub(super) struct OfRegion {
    /// One bit for each possible number of digits.
    lengths: u32,
    pattern: &'static str,
    compiled: OnceLock<Regex>,
}

impl ShortNumbers {
    /// Parses `table`. Each line has a region, the numbers of digits of its short numbers, and the pattern that they
    /// match as a whole.
    pub(super) fn new(table: &'static str) -> Self {
        let region = |line: &'static str| {
            let mut fields = line.split('\t');
            let (region, lengths, pattern) = (fields.next()?, fields.next()?, fields.next()?);
            let lengths =
                lengths.split(',').map(|length| 1 << length.parse::<u32>().expect("a number of digits")).sum();
            Some((region, OfRegion { lengths, pattern, compiled: OnceLock::new() }))
        };
        Self(table.lines().filter(|line| !line.starts_with('#')).filter_map(region).collect())
    }

    /// The short numbers of `region`, if it has any.
    pub(super) fn of_region(&self, region: &str) -> Option<&OfRegion> {
        self.0.get(region)
    }
}

impl OfRegion {
    /// Whether these digits are a short number.
    pub(super) fn contains(&self, hotline: &Hotline) -> bool {
        let digits = hotline.as_str();
        let has_length = self.lengths >> digits.len() & 1 == 1;
        has_length && self.compiled.get_or_init(|| self.compile()).is_match(digits)
    }

    fn compile(&self) -> Regex {
        let whole = format!("^(?:{})$", self.pattern);
        let compiled = RegexBuilder::new(&whole).unicode(false).size_limit(COMPILED_BYTES_MAX).build();
        compiled.expect("the pattern is in a file of this repository")
    }
}
