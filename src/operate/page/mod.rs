//! The page of one replica, and the page of all replicas side by side: figures in, HTML out. The pages load nothing,
//! run nothing, and contain no number, no UID and nothing of a key. Whatever comes from a configuration or another
//! machine is written as text, never as HTML. Each list has a bound, and so has each page.

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
