//! Callveil: a stateless tokenizer of phone numbers for Tencent Cloud Contact Center (CCC).
//!
//! CCC posts phone numbers and shows agents the UIDs that it gets back. When an agent dials a UID, CCC posts it and
//! gets the number. A UID *is* the number, encrypted with AES-SIV under a key of a small ring, so there is no table to
//! keep: any replica with the same ring file gives the same answers.
//!
//! The program is shaped like the path of one request. The modules below are listed in the order in which a request
//! passes through them, and each imports only modules below it:
//!
//! ```text
//! bytes -> server -> handler -> ambiguity / auth / peer -> wire (JSON in) -> tokenizer -> keyring / phone / siv / uid -> wire (JSON out) -> bytes
//! ```
//!
//! `docs/specification.md` fixes everything that other systems depend on; comments refer to its sections.
//! `docs/architecture.md` is a guide to the code.
//!
//! `wire`, `tokenizer`, `phone`, `uid`, `siv` and the ring's model do no I/O, read no clock and are not async.
//! `handler` reserves a place in the `audit` log before it maps anything. When the request's log entry is dropped,
//! `audit` counts the outcome in `metrics`.
//!
//! ```
//! use callveil::{
//!     ids::Context, item::Mode, keyring::{KeyRing, rotation::{Export, init}}, mapped::Mapped, phone, tokenizer::{self, Tokenizer},
//! };
//!
//! let now = "2026-11-23T00:00:00Z".parse()?;
//! let ring = init(now, phone::NUMBERS_NEWEST, "CN", &[], Export::Never)?;
//! let ring = KeyRing::from_note(&ring, tokenizer::supports, &[])?;
//! let tokenizer = Tokenizer::new(ring, phone::TrunkZeroRegions::new(["CN"])?)?;
//! let context = Context::default();
//! let mut batch = tokenizer.batch(&context, now);
//! let (mut uids, mut numbers) = (Mapped::default(), Mapped::default());
//! batch.map(Mode::PhoneToUid, &["139 8888 8888"], &mut uids);
//! let uids: Vec<&str> = uids.iter().collect::<Result<_, _>>().expect("it is a number");
//! assert_eq!(uids[0].len(), 40);
//! batch.map(Mode::UidToPhone, &uids, &mut numbers);
//! assert!(numbers.iter().eq([Ok("008613988888888")]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// The program around a request.
pub mod cli;
pub mod operate;

pub mod config;

// The path of a request, from the socket down.
pub mod server;

pub mod handler;

pub mod respond;

pub mod state;

pub mod audit;

pub mod metrics;

pub mod ambiguity;

pub mod auth;

pub mod usage;

pub mod allowance;

pub mod peer;

pub mod wire;

pub mod tokenizer;

// The results of a batch, and the terms for its items.
pub mod mapped;

pub mod item;

// The parts of the tokenizer. They do not know each other.
pub mod keyring;
pub mod phone;
pub mod siv;
pub mod uid;

// Names, values and bounds that all modules share, and the utilities below them.
pub mod budget;
pub mod disk;
pub mod lately;
pub mod limits;
pub mod memory;
pub mod number;

pub mod ids;

mod json;
mod lock;
#[cfg(test)]
mod random;
mod secret;
pub mod version;
