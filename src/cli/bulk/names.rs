//! The names of columns in messages. A name that could be a number is never shown.

use std::fmt;

use super::scan::{Label, Left};

/// Maximum bytes and digits of a column's name that is shown.
const BYTES_MAX: usize = 64;
const DIGITS_MAX: usize = 4;

/// The names of the columns of CSV.
#[derive(Default)]
pub(super) struct Names(pub(super) Vec<String>);

impl Names {
    /// The name of this column for messages.
    pub(super) fn of<'a>(&'a self, label: &'a Label) -> Name<'a> {
        Name { names: self, label }
    }
}

/// The name of one column.
pub(super) struct Name<'a> {
    names: &'a Names,
    label: &'a Label,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.label {
            Label::Cell(at) => match self.names.0.get(*at).filter(|name| is_a_name(name)) {
                Some(name) => f.write_str(name),
                None => write!(f, "column {}", at + 1),
            },
            Label::Key(key) if is_a_name(key) => f.write_str(key),
            Label::Key(_) | Label::Elsewhere => f.write_str("elsewhere"),
        }
    }
}

/// The columns in which numbers stayed, and in how many cells of each.
pub(super) struct LeftOver<'a> {
    pub(super) left: &'a Left,
    pub(super) names: &'a Names,
}

impl fmt::Display for LeftOver<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "\nother columns contain what looks like a phone number: ";
        for (label, cells) in self.left.iter() {
            write!(f, "{separator}{}: {cells}", self.names.of(label))?;
            separator = ", ";
        }
        Ok(())
    }
}

/// Whether this may be shown: it must look like a name, not like a value.
fn is_a_name(text: &str) -> bool {
    let digits = text.chars().filter(|c| c.is_numeric()).count();
    !text.is_empty() && text.len() <= BYTES_MAX && digits <= DIGITS_MAX && !text.contains(char::is_control)
}
