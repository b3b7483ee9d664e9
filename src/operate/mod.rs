//! What those who run callveil look at.

pub mod page;
pub mod ring_in_use;
