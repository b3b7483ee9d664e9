//! Records who opens UIDs, in the command line's format, with the host and the process.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use callveil::{
    audit::journal::{self, Journal},
    ids::Context,
    keyring::KeyRing,
};
use pyo3::{prelude::*, types::PyDict};
use serde_json::{Value, json};

use crate::{failure::Failure, task::Counts};

/// The destination of the records.
pub(crate) enum Sink {
    /// Beside the ring at this path.
    Beside(PathBuf),
    /// In this file.
    File(PathBuf),
    /// A Python callable, which is called with each record.
    Call(Py<PyAny>),
}

/// Where records go, and the host that they name.
pub(crate) struct Recorder {
    sink: Sink,
    host: String,
    /// The runs in progress, while several calls are recorded together.
    runs: Mutex<Option<Vec<Run>>>,
}

/// Calls that are recorded together.
struct Run {
    command: &'static str,
    to: To,
    counts: Counts,
}

enum To {
    Journal(Journal),
    Call(Py<PyAny>),
}

impl Recorder {
    pub(crate) fn new(sink: Sink, host: String) -> Self {
        Self { sink, host, runs: Mutex::default() }
    }

    /// Records all calls until [`Recorder::leave`] as one run.
    pub(crate) fn enter(&self) -> Result<(), Failure> {
        let mut runs = self.runs();
        if runs.is_some() {
            return Err(Failure::value("this tokenizer is in a `with` already: make another one"));
        }
        *runs = Some(Vec::new());
        Ok(())
    }

    /// Records how these calls ended.
    pub(crate) fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let runs = self.runs().take().unwrap_or_default();
        // All of them are recorded, even if one cannot be.
        runs.into_iter().map(|run| run.end(py)).fold(Ok(()), Result::and)
    }

    /// Does `act`, which opens UIDs as `command` does, between two records. If the first one fails, `act` is not done.
    pub(crate) fn around<T>(
        &self,
        py: Python<'_>,
        command: Option<&'static str>,
        (ring, context): (&KeyRing, &Context),
        act: impl FnOnce(&mut Counts) -> PyResult<T>,
    ) -> PyResult<T> {
        let mut counts = Counts::default();
        let Some(command) = command else { return act(&mut counts) };
        let fields = || {
            let keys: Vec<String> = ring.enabled_newest_first().map(|key| key.id.to_string()).collect();
            json!({
                "by": "python", "host": self.host, "process": std::process::id(), "context": context.as_str(),
                "generation": ring.generation(), "keys": keys,
            })
        };
        let is_new = |runs: &Vec<Run>| runs.iter().all(|run| run.command != command);
        let (is_joined, begins) = self.runs().as_ref().map_or((false, true), |runs| (true, is_new(runs)));
        let begun = if begins { Some(self.begin(py, command, fields())?) } else { None };
        let alone = match (begun, is_joined) {
            (Some(run), true) => {
                self.runs().get_or_insert_default().push(run);
                None
            }
            (begun, _) => begun,
        };
        let acted = act(&mut counts);
        let Some(mut alone) = alone else {
            if let Some(run) = self.runs().iter_mut().flatten().find(|run| run.command == command) {
                run.counts.add(counts);
            }
            return acted;
        };
        alone.counts = counts;
        let ended = alone.end(py);
        acted.and_then(|acted| ended.map(|()| acted))
    }

    fn begin(&self, py: Python<'_>, command: &'static str, mut fields: Value) -> PyResult<Run> {
        let not_recorded = |error: journal::NotRecorded| Failure::NotRecorded(error.to_string());
        let journal = match &self.sink {
            Sink::Beside(ring) => Journal::beside(command, ring),
            Sink::File(path) => Journal::open(command, path.clone()),
            Sink::Call(call) => {
                fields["begins"] = true.into();
                tell(call.bind(py), command, fields)?;
                return Ok(Run { command, to: To::Call(call.clone_ref(py)), counts: Counts::default() });
            }
        };
        let mut journal = journal.map_err(not_recorded)?;
        py.detach(|| journal.announce(fields)).map_err(not_recorded)?;
        Ok(Run { command, to: To::Journal(journal), counts: Counts::default() })
    }

    fn runs(&self) -> MutexGuard<'_, Option<Vec<Run>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    fn end(mut self, py: Python<'_>) -> PyResult<()> {
        let Counts { rows, mapped, failed } = self.counts;
        let mut fields = json!({"process": std::process::id(), "rows": rows, "mapped": mapped, "failed": failed});
        match &mut self.to {
            To::Journal(journal) => {
                py.detach(|| journal.conclude(fields)).map_err(|error| Failure::NotRecorded(error.to_string()))?;
                Ok(())
            }
            To::Call(call) => {
                fields["ends"] = true.into();
                tell(call.bind(py), self.command, fields)
            }
        }
    }
}

/// Calls `call` with a record that has the form of a line in the file.
fn tell(call: &Bound<'_, PyAny>, command: &str, fields: Value) -> PyResult<()> {
    let line = journal::line(command, fields);
    let record = call.py().import("json")?.call_method1("loads", (line,))?;
    call.call1((record.cast_into::<PyDict>()?,)).map(|_| ())
}
