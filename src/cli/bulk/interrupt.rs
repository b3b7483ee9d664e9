//! What is to be cleared away where somebody ends the run: the bar on the terminal, and files that are not complete.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use indicatif::ProgressBar;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
    low_level::emulate_default_handler,
};

use crate::lock::lock;

/// What is there that nobody should find later.
#[derive(Clone, Default)]
pub(super) struct Litter(Arc<Mutex<Things>>);

#[derive(Default)]
struct Things {
    bar: Option<ProgressBar>,
    files: BTreeSet<PathBuf>,
}

impl Litter {
    /// Clears away what there is when SIGINT or SIGTERM comes, and then ends as if nobody had waited for it, so that
    /// shells see what happened.
    pub(super) fn clear_on_signals() -> io::Result<Self> {
        let litter = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let things = litter.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                // Held to the end: no file may be completed, and nothing drawn, from now on.
                let things = things.things();
                if let Some(bar) = &things.bar {
                    bar.finish_and_clear();
                }
                // Best effort: the next run removes what is left.
                things.files.iter().for_each(|file| _ = fs::remove_file(file));
                let _ = emulate_default_handler(signal);
            }
        })?;
        Ok(litter)
    }

    pub(super) fn bar(&self, bar: &ProgressBar) {
        self.things().bar = Some(bar.clone());
    }

    pub(super) fn file(&self, path: &Path) {
        self.things().files.insert(path.to_owned());
    }

    /// Does something to a file after which it is none of these, in one step with forgetting it.
    pub(super) fn settle(&self, path: &Path, settle: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut things = self.things();
        settle()?;
        things.files.remove(path);
        Ok(())
    }

    fn things(&self) -> MutexGuard<'_, Things> {
        lock(&self.0)
    }
}
