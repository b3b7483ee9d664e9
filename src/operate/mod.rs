//! What those who run callveil look at.

pub mod page;
