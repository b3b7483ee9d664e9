//! Numbers that cannot ring, and the ways in which people write them.
//!
//! - China: mobile numbers 154…. In MIIT's list of the prefixes of public mobile networks (March 2023), 154 belongs to
//!   nobody, and libphonenumber finds such a number possible but not valid.
//! - North America: 555-0100 to 555-0199, reserved for fiction. United Kingdom: 020 7946 0000 to 0999, Ofcom's numbers
//!   for drama. libphonenumber finds these valid, unlike Ofcom's mobile numbers for drama.
//! - With China's numbers, two that do ring: the example number in CCC's documents, in the forms used there, and a
//!   hotline. The endpoint only maps them; nobody is called.

use clap::ValueEnum;

/// A region whose way of writing numbers is tried.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Region {
    #[value(name = "CN", help = "mainland China")]
    Cn,
    #[value(name = "GB", help = "the United Kingdom")]
    Gb,
    #[value(name = "US", help = "the United States")]
    Us,
    #[value(name = "none", help = "any other: no number is written without its country code")]
    None,
}

/// One number, in the groups in which it is written.
pub(super) struct Number {
    code: &'static str,
    trunk: &'static str,
    groups: [&'static str; 3],
}

const CHINA: [Number; 2] = [
    Number { code: "86", trunk: "", groups: ["154", "0000", "0001"] },
    Number { code: "86", trunk: "", groups: ["154", "0000", "0029"] },
];
const BRITAIN: [Number; 2] = [
    Number { code: "44", trunk: "0", groups: ["20", "7946", "0123"] },
    Number { code: "44", trunk: "0", groups: ["20", "7946", "0456"] },
];
const AMERICA: [Number; 2] = [
    Number { code: "1", trunk: "", groups: ["202", "555", "0123"] },
    Number { code: "1", trunk: "", groups: ["202", "555", "0145"] },
];

/// CCC's own example, as its documents write it in one place and another.
const DOCUMENTED: [(&str, &str); 3] = [
    ("a landline as CCC writes it, with its trunk 0", "0086075586013388"),
    ("that landline, with + and country code", "+8675586013388"),
    ("that landline, national", "075586013388"),
];

/// A hotline that everybody in China knows.
pub(super) const HOTLINE: &str = "10086";

/// Its forms.
const HOTLINES: [(&str, &str); 3] = [
    ("a hotline", HOTLINE),
    ("a hotline as CCC writes it", "008610086"),
    ("a hotline with + and country code", "+86 10086"),
];

/// The numbers of one run.
pub(super) struct Numbers {
    region: Region,
    home: &'static [Number; 2],
    abroad: &'static Number,
}

impl Number {
    /// The number without trunk prefix and country code.
    pub(super) fn national(&self) -> String {
        self.groups.concat()
    }

    /// The form that CCC expects back, and that it writes itself when it names the country.
    pub(super) fn dialled(&self) -> String {
        format!("00{}{}", self.code, self.national())
    }

    fn international(&self, separator: &str) -> String {
        format!("+{}{separator}{}", self.code, self.groups.join(separator))
    }

    fn local(&self, separator: &str) -> String {
        format!("{}{}", self.trunk, self.groups.join(separator))
    }
}

/// The text with full-width digits and plus sign, as Chinese input methods write them.
fn full_width(text: &str) -> String {
    let wide = |c: char| char::from_u32(u32::from(c) + 0xFEE0).unwrap_or(c);
    text.chars().map(|c| if c.is_ascii_graphic() { wide(c) } else { c }).collect()
}

impl Numbers {
    pub(super) fn of(region: Region) -> Self {
        let (home, abroad) = match region {
            Region::Cn => (&CHINA, &BRITAIN[0]),
            Region::Us => (&AMERICA, &BRITAIN[0]),
            Region::Gb | Region::None => (&BRITAIN, &AMERICA[0]),
        };
        Self { region, home, abroad }
    }

    /// The explanation for people why these numbers cannot ring.
    pub(super) fn why_they_cannot_ring(&self) -> &'static str {
        match self.region {
            Region::Cn => {
                "Apart from CCC's documented example and a hotline, the numbers sent cannot ring: Chinese mobiles \
                 with an unallocated prefix, and a British number reserved for drama."
            }
            Region::Us => "The numbers sent cannot ring: American and British numbers that are reserved for fiction.",
            Region::Gb | Region::None => {
                "The numbers sent cannot ring: British and American numbers that are reserved for fiction."
            }
        }
    }

    /// Two numbers of the region and one of another country, each as CCC would write it.
    pub(super) fn as_ccc_writes_them(&self) -> [(&Number, String); 3] {
        let home = |number: &Number| match self.region {
            Region::None => number.dialled(),
            _ => number.local(""),
        };
        let [first, second] = self.home;
        [(first, home(first)), (second, home(second)), (self.abroad, self.abroad.dialled())]
    }

    /// Whether the run uses China's numbers.
    pub(super) fn are_chinese(&self) -> bool {
        self.region == Region::Cn
    }

    /// A hundred numbers of the region, each twice: as CCC would write it, and without trunk prefix and country code.
    pub(super) fn batch(&self) -> Vec<(String, String)> {
        let home = &self.home[0];
        let number = |at: usize| {
            // With any of these last three digits, the number still cannot ring.
            let national = home.national();
            let national = format!("{}{at:03}", &national[..national.len() - 3]);
            let written = match self.region {
                Region::None => format!("00{}{national}", home.code),
                _ => format!("{}{national}", home.trunk),
            };
            (written, national)
        };
        (100..200).map(number).collect()
    }

    /// Groups of texts with their names. All texts of a group mean one number: first the region's first, then CCC's
    /// examples.
    pub(super) fn groups(&self) -> Vec<Vec<(&'static str, String)>> {
        let owned = |group: [(&'static str, &str); 3]| group.map(|(name, text)| (name, text.to_owned())).to_vec();
        let documented = if self.are_chinese() { vec![owned(DOCUMENTED), owned(HOTLINES)] } else { Vec::new() };
        [vec![self.spellings()], documented].concat()
    }

    /// All spellings of the first number, each with its name.
    fn spellings(&self) -> Vec<(&'static str, String)> {
        let number = &self.home[0];
        let code = number.code;
        let mut spellings = vec![
            ("00 and country code", number.dialled()),
            ("+ and country code", number.international("")),
            ("country code and spaces", number.international(" ")),
            ("country code and dashes", format!("+{code} {}", number.groups.join("-"))),
            ("country code in full-width digits", full_width(&number.international(""))),
        ];
        if self.region != Region::None {
            spellings.extend([
                ("national", number.local("")),
                ("national with spaces", number.local(" ")),
                ("national with dashes", number.local("-")),
                ("national in full-width digits", full_width(&number.local(""))),
            ]);
        }
        spellings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        number::Number as Canonical,
        phone::{NUMBERS_NEWEST, Numbering},
    };

    /// libphonenumber reads all spellings as one number, which must come back.
    #[test]
    fn spellings_mean_one_number() {
        for (region, code) in [(Region::Cn, "CN"), (Region::Gb, "GB"), (Region::Us, "US"), (Region::None, "SG")] {
            let numbering = Numbering::new(NUMBERS_NEWEST, code).expect("a region");
            let numbers = Numbers::of(region);
            let e164 = |text: &str| match numbering.normalize(text) {
                Ok(Canonical::E164(number)) => number.digits(),
                _ => panic!("{text:?} is no number"),
            };
            let first = e164(&numbers.as_ccc_writes_them()[0].1);
            for (name, text) in numbers.spellings() {
                assert_eq!(e164(&text), first, "{name}");
            }
            for (written, national) in numbers.batch() {
                assert!(e164(&written).to_string().ends_with(&national));
            }
            for group in numbers.groups() {
                let [first, others @ ..] = &group[..] else { panic!("a group is of several") };
                assert!(others.iter().all(|other| numbering.normalize(&other.1) == numbering.normalize(&first.1)));
            }
            for (number, text) in numbers.as_ccc_writes_them() {
                assert_eq!(format!("00{}", e164(&text)), number.dialled());
            }
        }
    }
}
