//! The progress bar on a terminal while logs are read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::source::Source;

/// Reading that takes no longer shows no bar.
const BAR_AFTER: Duration = Duration::from_millis(500);

/// Lines between two updates of the bar.
const LINES_A_LOOK: u64 = 4096;

/// The progress bar on a terminal.
pub(super) struct Bar {
    pub(super) bar: ProgressBar,
    began: Instant,
    pub(super) read: Arc<AtomicU64>,
}

impl Bar {
    pub(super) fn new(sources: &[Source]) -> Self {
        let bytes: Option<u64> = sources.iter().map(Source::bytes).sum();
        let bar = bytes.map_or_else(ProgressBar::no_length, ProgressBar::new);
        bar.set_draw_target(ProgressDrawTarget::hidden());
        let template = match bytes {
            Some(_) => "{bar:32} {percent:>3} %  {bytes_per_sec}, {eta} left",
            None => "{spinner} {bytes} read  {bytes_per_sec}, {elapsed} so far",
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is right"));
        Self { bar, began: Instant::now(), read: Arc::default() }
    }

    /// Updates the bar from time to time.
    pub(super) fn look(&mut self, line: u64) {
        if !line.is_multiple_of(LINES_A_LOOK) {
            return;
        }
        self.bar.set_position(self.read.load(Ordering::Relaxed));
        if self.bar.is_hidden() && self.began.elapsed() > BAR_AFTER {
            // If stderr is no terminal, the bar stays hidden.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.began = Instant::now();
        }
    }
}
