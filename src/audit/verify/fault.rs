//! What is wrong with the lines of a chain, and where.

use crate::audit::chain::Instance;

/// Where a line stands. The caller decides from where files and lines are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Which file.
    pub file: usize,
    /// Which line of it.
    pub line: u64,
}

/// What is wrong with lines of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The line does not fit the line before it: one of the two was altered.
    Altered,
    /// The line is there twice.
    Repeated,
    /// The line stands behind a line that should follow it.
    Reordered,
    /// The lines stand in another file than the lines around them.
    Moved,
    /// The lines are not there.
    Missing,
    /// The lines are not there, but the log on stderr reports the last of them.
    Cut,
    /// The line differs from the line that the log on stderr reports: the chain was rebuilt.
    Remade,
    /// There are more chains or runs than can be told apart.
    TooMuch,
}

/// Something that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it is.
    pub wrong: Wrong,
    /// The start whose chain it is.
    pub instance: Instance,
    /// The first line of the chain that is affected.
    pub first: u64,
    /// The last line of the chain that is affected.
    pub last: u64,
    /// Where the fault shows.
    pub location: Option<Location>,
}
