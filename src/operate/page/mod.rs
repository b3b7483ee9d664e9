//! The page of a replica, and that of all replicas side by side: figures in, HTML out. They load nothing, run nothing, and
//! hold no number, no UID and nothing of a key. What comes from a configuration or another machine is text, never HTML, and
//! each list has a bound, so that each page has one.

mod fleet;
mod look;
mod replica;
#[cfg(test)]
mod tests;
mod timeline;

pub use self::{
    fleet::{Answer, Fleet, FleetKey, Lag, fleet},
    look::{POLICY, is_page},
    replica::{AuditFigures, ClientFigures, KeyFigures, LimitUse, Replica, RingFigures, replica},
    timeline::Span,
};
