//! What is wrong with the lines of a chain, and where.

use crate::audit::chain::Instance;

/// Where a line stands: both are counted from where the caller likes.
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
    /// The line does not fit the one before: one of them was altered.
    Altered,
    /// The line is there twice.
    Repeated,
    /// The line stands behind one that follows it.
    Reordered,
    /// The lines stand in another file than those around them.
    Moved,
    /// The lines are not there.
    Missing,
    /// The lines are not there, and the log on stderr tells of the last of them.
    Cut,
    /// The line is another than the one of which the log on stderr tells: the chain was made anew.
    Remade,
    /// There is more than can be told.
    TooMuch,
}

/// Something that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it is.
    pub wrong: Wrong,
    /// Of which chain.
    pub instance: Instance,
    /// The first line of the chain that it is about.
    pub first: u64,
    /// And the last.
    pub last: u64,
    /// Where it shows.
    pub location: Option<Location>,
}
