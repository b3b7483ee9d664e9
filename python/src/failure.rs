//! Errors, raised as exceptions of the package. Their texts never contain a number, a UID or a key.

use std::fmt::Display;

use callveil::item::ItemError;
use pyo3::prelude::*;

/// The module of the exceptions.
const EXCEPTIONS: &str = "callveil._errors";

/// Why a call failed.
pub(crate) enum Failure {
    /// The ring or its identity was refused.
    Ring(String),
    /// The use of keys cannot be recorded.
    NotRecorded(String),
    /// A row failed, and the caller does not accept failures.
    Row { row: usize, error: ItemError },
    /// The column is of a kind that cannot be mapped.
    Kind(String),
    /// An argument has an invalid value.
    Value(String),
    /// The result is too large.
    TooLarge,
    /// A defect of this library.
    Defect,
}

impl Failure {
    pub(crate) fn ring(reason: impl Display) -> Self {
        Self::Ring(reason.to_string())
    }

    pub(crate) fn value(reason: impl Display) -> Self {
        Self::Value(reason.to_string())
    }

    /// The same failure, counted after `rows` earlier rows.
    pub(crate) fn behind(self, rows: usize) -> Self {
        match self {
            Self::Row { row, error } => Self::Row { row: rows + row, error },
            other => other,
        }
    }

    /// The failure as an exception.
    fn raise(self, py: Python<'_>) -> PyResult<PyErr> {
        let exceptions = py.import(EXCEPTIONS)?;
        let of = |class: &str, text: String| Ok(PyErr::from_value(exceptions.getattr(class)?.call1((text,))?));
        match self {
            Self::Ring(reason) => of("RingRefused", reason),
            Self::NotRecorded(reason) => of("NotRecorded", reason),
            Self::Kind(reason) => Ok(pyo3::exceptions::PyTypeError::new_err(reason)),
            Self::Value(reason) => Ok(pyo3::exceptions::PyValueError::new_err(reason)),
            Self::TooLarge => of(
                "Error",
                "the result is over 2 GiB, which no one array of `string` holds: give `large_string`, or chunks".into(),
            ),
            Self::Defect => of("Error", "this is a defect of callveil; stderr tells where".into()),
            Self::Row { row, error } => {
                let item = exceptions.getattr("ITEM_ERRORS")?.get_item(error.code())?;
                let exception = item.call1((format!("row {row}: {}", error.code()),))?;
                exception.setattr("row", row)?;
                Ok(PyErr::from_value(exception))
            }
        }
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        Python::attach(|py| failure.raise(py).unwrap_or_else(|error| error))
    }
}
