//! Output for people: results on stdout, everything else on stderr.

use std::{fmt::Display, io::Write as _};

use anstream::{stderr, stdout};
use jiff::Timestamp;

use super::failure::Failure;

/// Writes a message to stderr. If the terminal does not take it, the command goes on.
pub(super) fn tell(message: impl Display) {
    let _ = writeln!(stderr(), "{message}");
}

/// Warns that values given as arguments are visible to others.
pub(super) fn warn_of_arguments() {
    tell("other users of this machine can see the arguments of a command, and so the values: stdin keeps them private");
}

/// Writes one result as a line on stdout.
pub(super) fn print(result: impl Display) -> Result<(), Failure> {
    writeln!(stdout(), "{result}").map_err(Failure::from)
}

/// The time from `now` to `later`, in its two largest units.
pub(super) fn countdown(now: Timestamp, later: Timestamp) -> String {
    let seconds = later.as_second().saturating_sub(now.as_second()).max(0);
    let units = [("d", seconds / 86_400), ("h", seconds / 3_600 % 24), ("m", seconds / 60 % 60), ("s", seconds % 60)];
    let first = units.iter().position(|(_, count)| *count > 0).unwrap_or(units.len() - 1);
    let shown = units[first..].iter().take(2).filter(|(_, count)| *count > 0 || first == units.len() - 1);
    shown.map(|(unit, count)| format!("{count}{unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countdowns_have_two_units() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (61, "1m 1s"), (86_399, "23h 59m"), (90_061, "1d 1h"), (-5, "0s")]
        {
            assert_eq!(countdown(at(0), at(seconds)), text);
        }
    }
}
