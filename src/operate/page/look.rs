//! The parts that both pages share: the style, text that is safe to write, times in words, and the HTML around them.

use std::{
    fmt::{self, Display, Write as _},
    sync::LazyLock,
};

use data_encoding::BASE64;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// The one style, which is written into each page.
pub(super) const STYLE: &str = include_str!("look.css");

/// Value of `Content-Security-Policy`: nothing may be loaded, run or sent, and only the one style applies.
pub static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = BASE64.encode(&Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// How each page begins.
const BEGINNING: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"generator\" content=\"callveil\">\n";

/// Whether `file` begins as the pages of this program do.
pub fn is_page(file: &[u8]) -> bool {
    file.starts_with(BEGINNING.as_bytes())
}

/// The most characters of a text from elsewhere that are shown. Paths and reasons are shorter.
const TEXT_CHARS_MAX: usize = 400;

/// A name or hash with more bytes of HTML than this has a line of its own.
const LONG_BYTES: usize = 40;

/// A text from elsewhere, such as a configuration or another machine, escaped for HTML between tags and in quotes.
/// Characters that change the direction of text, or that nobody can see, are shown as U+FFFD.
pub(super) struct Text<'a>(pub(super) &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for c in characters.by_ref().take(TEXT_CHARS_MAX) {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c if c.is_control() || is_unseen(c) => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        if characters.next().is_some() { f.write_char('…') } else { Ok(()) }
    }
}

/// Whether `c` marks a direction of text, or otherwise takes no room.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A text from elsewhere that may be in any script. The text beside it keeps its place.
pub(super) struct Name<'a>(pub(super) &'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<bdi>{}</bdi>", Text(self.0))
    }
}

/// A count with commas between thousands.
pub(super) struct Count(pub(super) u64);

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.char_indices() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

/// A time to the minute.
pub(super) struct At(pub(super) Timestamp);

impl Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (exact, minute) = (self.0.strftime("%FT%TZ"), self.0.strftime("%F %R UTC"));
        write!(f, "<time datetime=\"{exact}\">{minute}</time>")
    }
}

/// The time from one moment to a later one, in words: its two largest units.
pub(super) struct Words(pub(super) Timestamp, pub(super) Timestamp);

impl Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.1.as_second().saturating_sub(self.0.as_second()).max(0);
        let units = [("day", 86_400, i64::MAX), ("hour", 3600, 24), ("minute", 60, 60), ("second", 1, 60)];
        let counts = units.map(|(unit, length, of)| (unit, seconds / length % of));
        let first = counts.iter().position(|(_, count)| *count > 0).unwrap_or(counts.len() - 1);
        for (at, (unit, count)) in counts[first..].iter().take(2).enumerate() {
            if at > 0 && *count == 0 {
                break;
            }
            let (space, plural) = (if at > 0 { " " } else { "" }, if *count == 1 { "" } else { "s" });
            write!(f, "{space}{count} {unit}{plural}")?;
        }
        Ok(())
    }
}

/// A count of something, in words: "1 key", "2 keys".
pub(super) fn many(count: usize, what: &str) -> String {
    format!("{} {what}{}", Count(count as u64), if count == 1 { "" } else { "s" })
}

/// Whether something is good or bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    /// Neither good nor bad.
    Plain,
    Warn,
    Bad,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Plain => "plain",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }

    /// A word beside the colour, as HTML, for those who do not see the colour.
    fn word(self) -> &'static str {
        match self {
            Self::Good => "<strong>Fine:</strong> ",
            Self::Plain => "",
            Self::Warn => "<strong>Look:</strong> ",
            Self::Bad => "<strong>Wrong:</strong> ",
        }
    }
}

/// The page up to its first section. `title` is the program's own; `state` is shown beneath, in the colour of `tone`.
pub(super) fn begin(out: &mut String, title: &str, state: impl Display, tone: Tone) -> fmt::Result {
    write!(
        out,
        "{BEGINNING}\
        <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
        <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
        <meta name=\"color-scheme\" content=\"light dark\">\n\
        <title>{title}: {state}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
        <p class=\"state {class}\">{state}</p>\n",
        policy = in_document(),
        class = tone.class(),
    )
}

/// The part of the policy that a document can state itself.
fn in_document() -> &'static str {
    POLICY.strip_suffix("; frame-ancestors 'none'").unwrap_or(&POLICY)
}

/// The end of the page, with `foot`, which is HTML.
pub(super) fn end(out: &mut String, foot: impl Display) -> fmt::Result {
    write!(out, "</main>\n<footer>\n{foot}\n</footer>\n</body>\n</html>\n")
}

/// The heading of a section.
pub(super) fn heading(out: &mut String, text: &str) -> fmt::Result {
    writeln!(out, "<h2>{text}</h2>")
}

/// Sentences as HTML, each with its tone.
pub(super) fn says(out: &mut String, sentences: &[(Tone, String)]) -> fmt::Result {
    if sentences.is_empty() {
        return Ok(());
    }
    out.write_str("<ul class=\"says\">\n")?;
    for (tone, sentence) in sentences {
        let (class, word) = (tone.class(), tone.word());
        writeln!(out, "<li class=\"{class}\">{word}<span>{sentence}</span></li>")?;
    }
    out.write_str("</ul>\n")
}

/// Names of things and their values, both as HTML.
pub(super) fn facts(out: &mut String, facts: &[(&str, String)]) -> fmt::Result {
    out.write_str("<dl>\n")?;
    for (name, value) in facts {
        // Beside other values, it would be cut into pieces.
        let class = if value.starts_with("<code>") && value.len() > LONG_BYTES { " class=\"long\"" } else { "" };
        writeln!(out, "<div{class}><dt>{name}</dt><dd>{value}</dd></div>")?;
    }
    out.write_str("</dl>\n")
}

/// The kind of a column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// The name of its row.
    Name,
    /// Some text.
    Text,
    /// A figure.
    Figure,
}

/// A table whose cells are HTML, in a box that scrolls sideways if it must, by keyboard too.
pub(super) fn table<const N: usize>(
    out: &mut String,
    caption: &str,
    columns: [(&str, Column); N],
    rows: &[[String; N]],
) -> fmt::Result {
    write!(
        out,
        "<div class=\"wide\" role=\"region\" tabindex=\"0\" aria-label=\"{caption}\">\n<table>\n\
        <caption>{caption}</caption>\n<thead><tr>"
    )?;
    for (name, column) in columns {
        let class = if column == Column::Figure { " class=\"n\"" } else { "" };
        write!(out, "<th scope=\"col\"{class}>{name}</th>")?;
    }
    out.write_str("</tr></thead>\n<tbody>\n")?;
    for row in rows {
        out.write_str("<tr>")?;
        for ((_, column), cell) in columns.iter().zip(row) {
            match column {
                Column::Name => write!(out, "<th scope=\"row\" class=\"name\">{cell}</th>")?,
                Column::Text => write!(out, "<td class=\"text\">{cell}</td>")?,
                Column::Figure => write!(out, "<td class=\"n\">{cell}</td>")?,
            }
        }
        out.write_str("</tr>\n")?;
    }
    out.write_str("</tbody>\n</table>\n</div>\n")
}

/// Says how many entries were left out of a list.
pub(super) fn rest(out: &mut String, left_out: usize, what: &str) -> fmt::Result {
    if left_out == 0 {
        return Ok(());
    }
    writeln!(out, "<p class=\"dim\">Not shown: {} more.</p>", many(left_out, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_is_text() {
        let check = |text: &str, expected: &str| assert_eq!(Text(text).to_string(), expected, "{text:?}");
        check("crm", "crm");
        check("<script>alert('1')</script>", "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;");
        check("\" onload=\"x&", "&quot; onload=&quot;x&amp;");
        check("&lt;", "&amp;lt;");
        check("a\u{202e}b\u{0}c\u{200b}d\u{feff}\n\u{9b}", "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}\u{fffd}\u{fffd}");
        check("呼叫中心 שלום", "呼叫中心 שלום");
        assert_eq!(Text(&"<".repeat(TEXT_CHARS_MAX + 1)).to_string(), format!("{}…", "&lt;".repeat(TEXT_CHARS_MAX)));
        assert_eq!(Text(&"é".repeat(TEXT_CHARS_MAX)).to_string().chars().count(), TEXT_CHARS_MAX);
        assert_eq!(Name("</bdi><b>").to_string(), "<bdi>&lt;/bdi&gt;&lt;b&gt;</bdi>");
    }

    #[test]
    fn counts_and_times_read_well() {
        for (count, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(Count(count).to_string(), text);
        }
        let at = |second| Timestamp::from_second(second).expect("a time");
        for (seconds, text) in [
            (-5, "0 seconds"),
            (0, "0 seconds"),
            (1, "1 second"),
            (60, "1 minute"),
            (61, "1 minute 1 second"),
            (7199, "1 hour 59 minutes"),
            (86_400, "1 day"),
            (86_459, "1 day"),
            (183_600, "2 days 3 hours"),
            (86_400 * 4000, "4000 days"),
        ] {
            assert_eq!(Words(at(0), at(seconds)).to_string(), text);
        }
        let time = "<time datetime=\"2026-11-27T01:02:03Z\">2026-11-27 01:02 UTC</time>";
        assert_eq!(At("2026-11-27T01:02:03.9Z".parse().expect("a time")).to_string(), time);
        assert_eq!((many(1, "key"), many(2000, "key")), ("1 key".to_owned(), "2,000 keys".to_owned()));
    }

    #[test]
    fn the_policy_is_of_the_style_that_is_written() {
        let mut page = String::new();
        begin(&mut page, "t", "s", Tone::Good).expect("a string takes everything");
        let style = page.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>")).expect("a style").0;
        let hash = BASE64.encode(&Sha256::digest(style));
        assert!(POLICY.starts_with(&format!("default-src 'none'; style-src 'sha256-{hash}'; ")), "{}", *POLICY);
        assert!(page.contains(&format!("content=\"{}\"", in_document())) && !page.contains("frame-ancestors"));
        assert!(!page.contains("<script") && !STYLE.contains("url(") && !STYLE.contains("@import"));
    }
}
