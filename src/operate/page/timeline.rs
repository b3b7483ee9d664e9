//! The keys of a ring over time, as SVG that needs neither a script nor a fixed width: places along the time axis are
//! percentages.

use std::fmt::{self, Write as _};

use jiff::Timestamp;

use super::look::{At, Text, Words, many};
use crate::keyring::key::KeyState;

/// The most keys that are shown. Nobody could tell more apart at a glance.
pub(super) const KEYS_MAX: usize = 40;

/// Pixels above the first key, for each key, and below the last.
const TOP: usize = 24;
const ROW: usize = 36;
const BOTTOM: usize = 28;

/// The least time that is drawn: a younger ring is drawn as if it were this old.
const SECONDS_MIN: i64 = 3600;

/// The margin at both sides, in tenths of a percent of the width.
const MARGIN: i64 = 10;

/// A key of a ring, over time.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its name, as it came.
    pub id: String,
    /// What it is good for now.
    pub state: KeyState,
    /// When it was made.
    pub created: Timestamp,
    /// When it becomes the primary, or became it.
    pub activates: Timestamp,
    /// When it was disabled, if it is and the time is known.
    pub retired: Option<Timestamp>,
}

impl Span {
    /// Ranks the most useful keys first: the one to come, the primary, and then the others from new to old.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let state = match self.state {
            KeyState::Pending => 0,
            KeyState::Primary => 1,
            KeyState::Enabled => 2,
            KeyState::Disabled => 3,
            KeyState::Destroyed => 4,
        };
        (state, std::cmp::Reverse(self.activates))
    }

    /// The state of the key, and since when or until when it lasts, as HTML.
    pub(super) fn says(&self, now: Timestamp) -> String {
        match (self.state, self.retired) {
            (KeyState::Primary, _) if self.activates > now => "primary, being the first".to_owned(),
            (KeyState::Primary, _) => format!("primary<small>since {}</small>", At(self.activates)),
            (KeyState::Pending, _) => {
                let (left, when) = (Words(now, self.activates), At(self.activates));
                format!("pending<small>primary in {left}, on {when}</small>")
            }
            (KeyState::Enabled, _) => "opens UIDs".to_owned(),
            (state, Some(retired)) => format!("{}<small>since {}</small>", state.name(), At(retired)),
            (state, None) => state.name().to_owned(),
        }
    }
}

/// When a key was used last, as a line of its own.
pub(super) fn last_opened(last: Option<Timestamp>) -> String {
    last.map(|last| format!("<small>last opened {}</small>", At(last))).unwrap_or_default()
}

/// Says which key becomes the primary next.
pub(super) fn next_activation(out: &mut String, spans: &[Span], now: Timestamp) -> fmt::Result {
    let next = spans.iter().filter(|span| span.state == KeyState::Pending).min_by_key(|span| span.activates);
    match next {
        Some(next) => {
            let (id, left, when) = (Text(&next.id), Words(now, next.activates), At(next.activates));
            writeln!(out, "<p><strong>Key {id} becomes the primary in {left}</strong>, on {when}.</p>")
        }
        None => writeln!(out, "<p>No key waits to become the primary.</p>"),
    }
}

/// How times are placed along the width.
struct Scale {
    first: i64,
    seconds: i64,
}

impl Scale {
    fn of(spans: &[Span], now: Timestamp) -> Self {
        let times = spans.iter().flat_map(|span| [span.created, span.activates]).chain([now]);
        let (first, last) = times.fold((now, now), |(first, last), time| (first.min(time), last.max(time)));
        let last = last.as_second();
        let first = first.as_second().min(last - SECONDS_MIN);
        Self { first, seconds: last - first }
    }

    /// The place of `time`, in tenths of a percent.
    fn place(&self, time: Timestamp) -> i64 {
        let since = i128::from(time.as_second().clamp(self.first, self.first + self.seconds) - self.first);
        let share = since * i128::from(1000 - 2 * MARGIN) / i128::from(self.seconds);
        MARGIN + i64::try_from(share).unwrap_or(0)
    }

    /// The time at this many quarters of the whole.
    fn quarter(&self, quarter: i64) -> Timestamp {
        Timestamp::from_second(self.first + self.seconds / 4 * quarter).unwrap_or_default()
    }
}

/// A share of the width.
struct Percent(i64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}%", self.0 / 10, self.0 % 10)
    }
}

/// Draws the keys, the oldest at the top, with `now` as a line. `spans` are at most [`KEYS_MAX`].
pub(super) fn draw(out: &mut String, spans: &[Span], now: Timestamp) -> fmt::Result {
    let mut spans = spans.to_vec();
    spans.sort_by(|one, other| (one.activates, &one.id).cmp(&(other.activates, &other.id)));
    let (scale, bottom) = (Scale::of(&spans, now), TOP + ROW * spans.len());
    let height = bottom + BOTTOM;
    write!(
        out,
        "<svg role=\"img\" aria-labelledby=\"timeline\" aria-describedby=\"timeline-keys\" height=\"{height}\">"
    )?;
    write!(out, "<title id=\"timeline\">The keys of the ring over time</title>")?;
    write!(out, "<desc id=\"timeline-keys\">{}</desc>", description(&spans, now))?;
    for quarter in 0..=4 {
        let time = scale.quarter(quarter);
        let x = Percent(scale.place(time));
        write!(out, "<line class=\"grid\" x1=\"{x}\" x2=\"{x}\" y1=\"{TOP}\" y2=\"{bottom}\"/>")?;
        // More than three dates would not fit in the width of a telephone.
        if quarter % 2 == 0 {
            let anchor = ["", " m", " e"][usize::try_from(quarter / 2).unwrap_or(0)];
            let format = if scale.seconds < 4 * 86_400 { "%m-%d %R" } else { "%F" };
            let y = bottom + 18;
            write!(out, "<text class=\"dim{anchor}\" x=\"{x}\" y=\"{y}\">{}</text>", time.strftime(format))?;
        }
    }
    let x = Percent(scale.place(now));
    write!(out, "<line class=\"now\" x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{bottom}\"/>", TOP - 6)?;
    let anchor = match scale.place(now) {
        0..100 => "",
        100..900 => " m",
        _ => " e",
    };
    write!(out, "<text class=\"nowtext{anchor}\" x=\"{x}\" y=\"{}\">now</text>", TOP - 10)?;
    for (at, span) in spans.iter().enumerate() {
        draw_key(out, &spans, span, TOP + ROW * at + ROW - 8, (&scale, now))?;
    }
    out.write_str("</svg>\n")?;
    legend(out)
}

/// Draws one key: first made, then making UIDs, then only opening them, up to its end.
fn draw_key(out: &mut String, spans: &[Span], span: &Span, y: usize, (scale, now): (&Scale, Timestamp)) -> fmt::Result {
    let mut line = |class: &str, from: Timestamp, to: Timestamp| {
        let (x1, x2) = (scale.place(from), scale.place(to));
        if x1 >= x2 {
            return Ok(());
        }
        write!(out, "<line class=\"{class}\" x1=\"{}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/>", Percent(x1), Percent(x2))
    };
    line("made", span.created, span.activates)?;
    let is_over = matches!(span.state, KeyState::Disabled | KeyState::Destroyed);
    // It made UIDs until the next key came, whatever became of that key later.
    let later = spans.iter().filter(|other| (other.activates, &other.id) > (span.activates, &span.id));
    let next = later.map(|other| other.activates).min().map_or(now, |next| next.min(now));
    // If nobody knows when it was disabled, its line ends where the next key came.
    let end = span.retired.unwrap_or(if is_over { next } else { now }).min(now);
    let next = next.min(end);
    line("open", span.activates, end)?;
    line("seal", span.activates, next)?;
    let x = Percent(scale.place(span.activates));
    if span.state == KeyState::Pending {
        write!(out, "<circle class=\"seal\" cx=\"{x}\" cy=\"{y}\" r=\"2\"/>")?;
    }
    if is_over && span.retired.is_some() {
        let x = Percent(scale.place(end));
        write!(out, "<line class=\"end\" x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{}\"/>", y - 8, y + 8)?;
    }
    let from = scale.place(span.created);
    // Near the right edge, the words would leave the picture.
    let (anchor, x) = if from > 600 { ("e", Percent(1000 - MARGIN)) } else { ("", Percent(from)) };
    let (id, state) = (Text(&span.id), span.state.name());
    write!(out, "<text class=\"{anchor}\" x=\"{x}\" y=\"{}\">{id} {state}</text>", y - 9)
}

/// The picture in words.
fn description(spans: &[Span], now: Timestamp) -> String {
    let mut words = many(spans.len(), "key");
    for span in spans {
        let (id, state, day) = (Text(&span.id), span.state.name(), span.activates.strftime("%F"));
        let verb = if span.activates > now { "activates" } else { "activated" };
        let _ = write!(words, ". {id}: {state}, {verb} {day}");
    }
    words
}

fn legend(out: &mut String) -> fmt::Result {
    out.write_str("<ul class=\"legend\">\n")?;
    for (class, words) in [
        ("made", "made, not active yet"),
        ("seal", "makes UIDs"),
        ("open", "opens UIDs"),
        ("end", "disabled or destroyed"),
    ] {
        let (x1, x2, y1, y2) = if class == "end" { ("50%", "50%", 0, 12) } else { ("0", "100%", 6, 6) };
        writeln!(
            out,
            "<li><svg aria-hidden=\"true\"><line class=\"{class}\" x1=\"{x1}\" x2=\"{x2}\" y1=\"{y1}\" y2=\"{y2}\"/></svg>{words}</li>"
        )?;
    }
    out.write_str("</ul>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, state: KeyState, created: &str, activates: &str) -> Span {
        let at = |day: &str| format!("{day}T00:00:00Z").parse().expect("a time");
        Span { id: id.to_owned(), state, created: at(created), activates: at(activates), retired: None }
    }

    fn drawn(spans: &[Span], now: &str) -> String {
        let mut out = String::new();
        draw(&mut out, spans, now.parse().expect("a time")).expect("a string takes everything");
        out
    }

    #[test]
    fn keys_stand_where_their_times_are() {
        let spans = [
            span("0b7e", KeyState::Pending, "2026-10-08", "2026-10-11"),
            span("3fa1", KeyState::Primary, "2026-10-01", "2026-10-01"),
        ];
        let svg = drawn(&spans, "2026-10-09T00:00:00Z");
        let x = |place| format!("x1=\"{place}\"");
        assert!(svg.contains(&format!("<line class=\"seal\" {} x2=\"79.4%\" y1=\"52\"", x("1.0%"))), "{svg}");
        assert!(svg.contains(&format!("<line class=\"made\" {} x2=\"99.0%\" y1=\"88\"", x("69.6%"))), "{svg}");
        assert!(svg.contains(&format!("<line class=\"now\" {}", x("79.4%"))), "{svg}");
        assert!(svg.contains("<circle class=\"seal\" cx=\"99.0%\" cy=\"88\""), "{svg}");
        let words = "2 keys. 3fa1: primary, activated 2026-10-01. 0b7e: pending, activates 2026-10-11<";
        assert!(svg.contains(words), "{svg}");
        assert!(svg.contains(">2026-10-01<") && svg.contains(">2026-10-06<") && svg.contains(">2026-10-11<"));
    }

    #[test]
    fn a_key_ends_where_it_was_disabled_and_was_followed() {
        let mut old = span("3fa1", KeyState::Disabled, "2026-10-01", "2026-10-01");
        old.retired = Some("2026-10-07T00:00:00Z".parse().expect("a time"));
        let spans = [old, span("0b7e", KeyState::Primary, "2026-10-03", "2026-10-05")];
        let svg = drawn(&spans, "2026-10-11T00:00:00Z");
        assert!(svg.contains("<line class=\"open\" x1=\"1.0%\" x2=\"59.8%\" y1=\"52\""), "{svg}");
        assert!(svg.contains("<line class=\"seal\" x1=\"1.0%\" x2=\"40.2%\" y1=\"52\""), "{svg}");
        assert!(svg.contains("<line class=\"end\" x1=\"59.8%\""), "{svg}");
    }

    #[test]
    fn a_new_ring_and_absurd_times_are_drawn() {
        let one = drawn(&[span("3fa1", KeyState::Primary, "2026-10-01", "2026-10-01")], "2026-10-01T00:00:00Z");
        assert!(one.contains("<line class=\"now\" x1=\"99.0%\""), "{one}");
        let wide = drawn(&[span("<b>", KeyState::Primary, "0001-01-01", "9999-12-30")], "2026-10-01T00:00:00Z");
        assert!(wide.contains("&lt;b&gt; primary") && !wide.contains("<b>"), "{wide}");
        drawn(&[], "2026-10-01T00:00:00Z");
    }
}
