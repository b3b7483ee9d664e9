//! Which build this is: the version, and the commit that `build.rs` found.

/// The version, such as `0.2.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The first 12 digits of the Git commit; `None` if the program was built from sources without a known commit.
pub const COMMIT: Option<&str> = if env!("CALLVEIL_COMMIT").is_empty() { None } else { Some(env!("CALLVEIL_COMMIT")) };

/// Both, as `--version` shows them: `0.2.0 (0123456789ab)`.
pub const LONG: &str = env!("CALLVEIL_VERSION");
