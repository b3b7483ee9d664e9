//! The form in which decoded numbers, and other texts, are written.

use std::borrow::Cow;

use super::kind::Kind;
use crate::phone::Numbering;

/// The prefix that CCC writes before a country code.
const INTERNATIONAL: &str = "00";

/// The form of numbers that were UIDs. Other texts have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum NumberForm {
    /// As CCC dials them: 008613988888888, 0086075586013388
    #[default]
    Dialled,
    /// +8613988888888
    E164,
    /// As they are dialled at home, 13988888888 or 075586013388; numbers of other countries as with e164
    National,
}

/// The first characters of texts that spreadsheets run as formulas, also in full width as Chinese keyboards type them.
const FORMULA_BEGINS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// The prefix that keeps spreadsheets from running a text.
const GUARD: &str = "'";

/// Whether a spreadsheet would run `text` as a formula instead of showing it.
pub(super) fn is_formula(text: &str) -> bool {
    let is_number = text.strip_prefix(['+', '-']).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    text.starts_with(FORMULA_BEGINS) && !is_number
}

/// `text` with the prefix that keeps spreadsheets from running it.
pub(super) fn guard(text: &str) -> String {
    [GUARD, text].concat()
}

impl NumberForm {
    /// Writes `dialled`, a text of this kind, in this form, so that `numbering` reads it as the same value. `dialled`
    /// has trunk prefixes only if this form wants them. A hotline of another country has no other form.
    pub(super) fn write<'a>(self, kind: Kind, dialled: &'a str, numbering: &Numbering) -> Cow<'a, str> {
        let digits = match (self, kind) {
            (Self::E164 | Self::National, Kind::E164 | Kind::Hotline) => dialled.strip_prefix(INTERNATIONAL),
            _ => None,
        };
        let Some(digits) = digits else { return dialled.into() };
        match digits.strip_prefix(numbering.country_code().to_string().as_str()) {
            Some(at_home) if self == Self::National || kind == Kind::Hotline => at_home.into(),
            None if kind == Kind::Hotline => dialled.into(),
            _ => format!("+{digits}").into(),
        }
    }
}
