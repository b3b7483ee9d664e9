//! What is cleaned up when somebody interrupts a run: the bar on the terminal, and incomplete files.

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

/// Things that must not be left behind.
#[derive(Clone, Default)]
pub(super) struct Litter(Arc<Mutex<Things>>);

#[derive(Default)]
struct Things {
    bar: Option<ProgressBar>,
    files: BTreeSet<PathBuf>,
}

impl Litter {
    /// Cleans up when SIGINT or SIGTERM comes. Then the process ends as if nobody had handled the signal, so that
    /// shells see the cause.
    pub(super) fn clear_on_signals() -> io::Result<Self> {
        let litter = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let things = litter.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                // The lock is held to the end: from now on no file may be completed and nothing drawn.
                let things = things.things();
                if let Some(bar) = &things.bar {
                    bar.finish_and_clear();
                }
                // Best effort: the next run removes what is left over.
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

    /// Settles a file, for example by renaming or removing it, and forgets it, in one step.
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
