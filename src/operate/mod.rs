//! Everything for operators: the admin listener, metrics, pages, probes, and reloads.

pub mod admin;
pub mod exposition;
mod overview;
pub mod page;
pub mod process;
pub mod readiness;
pub mod reload;
pub mod ring_in_use;
