//! Splits the bytes of a log into the lines that programs wrote.

use std::io::{self, BufRead};

use super::unwrap::{BEGIN, Piece, RAW_BYTES_MAX, Unwrap};
use crate::audit::verify::fault::Location;

/// Gives `each` every message of `log`, and every piece that is no message.
pub(super) fn read_lines<E: From<io::Error>>(
    mut log: impl BufRead,
    file: usize,
    mut each: impl FnMut(Location, Piece<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let (mut line, mut number, mut unwrap) = (Vec::new(), 0, Unwrap::default());
    loop {
        line.clear();
        let end = next_line(&mut log, &mut line)?;
        number += 1;
        let location = Location { file, line: number };
        match end {
            End::OfLog if line.is_empty() => {
                if let Some((line, piece)) = unwrap.end() {
                    each(Location { file, line }, piece)?;
                }
                return Ok(());
            }
            End::TooFar => each(location, Piece::Unreadable)?,
            // Collectors complete the lines that they write. Only a line that a program wrote to a file itself can be
            // torn.
            End::OfLog if is_ours(&line) => each(location, Piece::Torn(&line))?,
            End::OfLine | End::OfLog => {
                if let Some(binary) = unwrap.binary_field(&line) {
                    unwrap.skip(&mut log, binary)?;
                } else if let Some((line, piece)) = unwrap.line(number, &line) {
                    each(Location { file, line }, piece)?;
                }
            }
        }
    }
}

/// Whether it begins as our lines do, as far as it goes.
fn is_ours(line: &[u8]) -> bool {
    line.starts_with(BEGIN) || BEGIN.starts_with(line)
}

/// How a line ends.
enum End {
    OfLine,
    OfLog,
    TooFar,
}

/// Reads the next line without its end. Of a line that is too long, nothing is kept.
fn next_line(log: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<End> {
    let mut is_too_long = false;
    loop {
        let some = match log.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            some => some?,
        };
        let (end, is_over) = memchr::memchr(b'\n', some).map_or((some.len(), some.is_empty()), |end| (end, true));
        if line.len() + end > RAW_BYTES_MAX {
            is_too_long = true;
            line.clear();
        } else if !is_too_long {
            line.extend_from_slice(&some[..end]);
        }
        let is_end_of_log = some.is_empty();
        let used = end + usize::from(is_over && !is_end_of_log);
        log.consume(used);
        if is_over {
            return Ok(match (is_too_long, is_end_of_log) {
                (true, _) => End::TooFar,
                (false, true) => End::OfLog,
                (false, false) => End::OfLine,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(log: &[u8]) -> Vec<(u64, String)> {
        let mut pieces = Vec::new();
        read_lines(log, 0, |location, piece| {
            let (kind, text) = match piece {
                Piece::Message(text) => ("", text),
                Piece::Aside(text) => ("aside ", text),
                Piece::Unreadable => ("unreadable", &[][..]),
                Piece::Torn(text) => ("torn ", text),
            };
            pieces.push((location.line, format!("{kind}{}", String::from_utf8_lossy(text))));
            Ok::<(), io::Error>(())
        })
        .expect("it can be read");
        pieces
    }

    #[track_caller]
    fn check(log: &str, expected: &[(u64, &str)]) {
        let pieces = pieces(log.as_bytes());
        let pieces: Vec<_> = pieces.iter().map(|(line, text)| (*line, &**text)).collect();
        assert_eq!(pieces, expected, "{log}");
    }

    #[test]
    fn what_collectors_put_around_lines_is_taken_off() {
        let line = r#"{"time":"t","a":"é"}"#;
        check(&format!("{line}\n\n{line}\n"), &[(1, line), (3, line)]);
        let cri = "2026-11-26T08:00:00.123456789Z";
        check(
            &format!(
                "{cri} stdout F {line}\n{cri} stderr F x\n{cri} stdout P {{\"time\":\n{cri} stderr P y\n{cri} stdout F 1}}\n{cri} stderr F z\n"
            ),
            &[(1, line), (2, "aside x"), (5, "{\"time\":1}"), (6, "aside yz")],
        );
        let docker = |text: &str, stream: &str| {
            format!("{}\n", serde_json::json!({"log": text, "stream": stream, "time": "2026-11-26T08:00:00Z"}))
        };
        check(
            &[
                docker(&format!("{line}\n"), "stdout"),
                docker("{\"time", "stdout"),
                docker("x\n", "stderr"),
                docker("\":1}\n", "stdout"),
            ]
            .concat(),
            &[(1, line), (3, "aside x"), (4, "{\"time\":1}")],
        );
        check(&docker("never ended", "stdout"), &[(0, "unreadable")]);
        let journal = serde_json::json!({"MESSAGE": line, "_TRANSPORT": "stdout", "__CURSOR": "s=1"}).to_string();
        let of_systemd = serde_json::json!({"MESSAGE": "Started", "_TRANSPORT": "journal"}).to_string();
        check(&format!("{journal}\n{of_systemd}\n"), &[(1, line)]);
        check(
            &format!(
                "__CURSOR=s\nMESSAGE={line}\n_TRANSPORT=stdout\n\n__CURSOR=t\n_TRANSPORT=journal\nMESSAGE=Started\n\n__CURSOR=u\n_CMDLINE\n\u{4}\0\0\0\0\0\0\0a\n\nb\nMESSAGE={line}\n"
            ),
            &[(2, line), (11, line)],
        );
        check(
            &format!(
                "Nov 26 08:00:00 host callveil[7]: {line}\n<30>Nov  6 08:00:00 host callveil: {line}\n2026-11-26T08:00:00.5+00:00 host callveil[7]: {line}\n"
            ),
            &[(1, line), (2, line), (3, line)],
        );
        check(
            &format!(
                "<165>1 2026-11-26T08:00:00Z host callveil 7 - [a@1 b=\"]\\\"x\"][c] \u{feff}{line}\n<30>1 - - - - - - {line}\n"
            ),
            &[(1, line), (2, line)],
        );
    }

    #[test]
    fn what_is_no_line_is_told_of() {
        check("{\"time\":\"2026", &[(1, "torn {\"time\":\"2026")]);
        let long = "x".repeat(RAW_BYTES_MAX + 1);
        check(
            &format!("{long}\n{{\"time\":\"t\"}}\n{long}"),
            &[(1, "unreadable"), (2, "{\"time\":\"t\"}"), (3, "unreadable")],
        );
        check("{\"log\":\"\n", &[(1, "unreadable")]);
        check("hello\n", &[(1, "hello")]);
    }
}
