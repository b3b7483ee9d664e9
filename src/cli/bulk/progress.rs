//! The progress bar on a terminal: how far, how fast, and how long still.

use std::{
    fmt::{self, Display},
    io::{IsTerminal as _, stderr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::{input::Position, interrupt::Litter, screen::Screen};
use crate::cli::say::tell;

/// A run that ends sooner shows no bar.
const SHOWN_AFTER: Duration = Duration::from_millis(500);

/// How often the bar is redrawn while no rows come.
const TICK: Duration = Duration::from_millis(500);

/// Maximum redraws a second.
const DRAWS_PER_SECOND: u8 = 10;

/// Who watches the run. Without a terminal there is no bar.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    Terminal,
    Nobody,
}

impl Audience {
    pub(super) fn of_stderr() -> Self {
        if stderr().is_terminal() { Self::Terminal } else { Self::Nobody }
    }
}

/// The progress of a run.
pub(super) struct Progress {
    bar: ProgressBar,
    position: Position,
    audience: Audience,
    rows: Arc<AtomicU64>,
    began: Instant,
    litter: Litter,
}

impl Progress {
    /// The progress in an input of `bytes`, if its length is known, by the position up to which it was read.
    pub(super) fn new(audience: Audience, bytes: Option<u64>, position: Position, litter: &Litter) -> Self {
        let bar = bytes.map_or_else(ProgressBar::no_length, ProgressBar::new);
        bar.set_draw_target(ProgressDrawTarget::hidden());
        let (rows, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let counted = rows.clone();
        let template = match bytes {
            Some(_) => "{bar:32} {percent:>3} %  {rate}, {eta} left",
            None => "{spinner} {bytes} read  {rate}, {elapsed} so far",
        };
        let style = ProgressStyle::with_template(template).expect("the template is right");
        let style = style.with_key("rate", move |_: &ProgressState, f: &mut dyn fmt::Write| {
            let rows = counted.load(Ordering::Relaxed);
            // If the bar cannot be drawn, the run goes on.
            let _ = write!(f, "{}", Rate { rows, took: began.elapsed() });
        });
        bar.set_style(style);
        Self { bar, position, audience, rows, began, litter: litter.clone() }
    }

    /// Counts a block as done.
    pub(super) fn advance(&mut self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bar.set_position(self.position.bytes());
        if self.audience == Audience::Terminal && self.began.elapsed() > SHOWN_AFTER {
            self.audience = Audience::Nobody; // From now on it looks after itself.
            self.litter.bar(&self.bar);
            self.bar.set_draw_target(ProgressDrawTarget::term_like_with_hz(Box::<Screen>::default(), DRAWS_PER_SECOND));
            self.bar.enable_steady_tick(TICK);
        }
    }

    /// Writes a message above the bar.
    pub(super) fn tell(&self, message: impl Display) {
        self.bar.suspend(|| tell(message));
    }

    /// Removes the bar, and returns its text about the rate. That is empty for a run that ended at once.
    pub(super) fn finish(&self) -> String {
        self.bar.finish_and_clear();
        let (rows, took) = (self.rows.load(Ordering::Relaxed), self.began.elapsed());
        let rate = Rate { rows, took };
        if took > SHOWN_AFTER { format!(", in {:.1} s ({rate})", took.as_secs_f64()) } else { String::new() }
    }
}

/// Rows a second, with as many digits as are meaningful.
struct Rate {
    rows: u64,
    took: Duration,
}

impl Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = u128::from(self.rows) * 1000 / self.took.as_millis().max(1);
        match rate {
            0..10_000 => write!(f, "{rate} rows/s"),
            10_000..1_000_000 => write!(f, "{} thousand rows/s", rate / 1000),
            _ => write!(f, "{}.{:02} million rows/s", rate / 1_000_000, rate / 10_000 % 100),
        }
    }
}
