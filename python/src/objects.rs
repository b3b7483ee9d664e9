//! Lists of Python's own strings.

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, builder::LargeStringBuilder, cast::AsArray as _};
use arrow_schema::DataType;
use pyo3::{
    prelude::*,
    types::{PyDict, PyFloat, PyList, PyString},
};

use crate::failure::Failure;

/// Rows that are copied from a list at a time. This bounds the memory besides the results.
pub(crate) const ROWS_AT_ONCE: usize = 256 * 1024;

/// The name of pandas' NA type.
const NA: &str = "NAType";

/// The texts of `objects`, which begin at row `first`; NULL for an object that stands for no value.
///
/// # Errors
/// [`Failure::Kind`] for any other object.
pub(crate) fn read(objects: &[Bound<'_, PyAny>], first: usize) -> PyResult<ArrayRef> {
    let mut texts = LargeStringBuilder::new();
    for (at, object) in objects.iter().enumerate() {
        if let Ok(text) = object.cast::<PyString>() {
            // An unpaired surrogate is not text. It fails like an empty text.
            texts.append_value(text.to_cow().unwrap_or_default());
        } else if is_null(object)? {
            texts.append_null();
        } else {
            let kind = object.get_type().name()?;
            return Err(Failure::Kind(format!(
                "row {}: a text is wanted, not {kind}: leading zeros are lost in what was read as a number",
                first + at
            ))
            .into());
        }
    }
    Ok(Arc::new(texts.finish()))
}

fn is_null(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    if object.is_none() {
        return Ok(true);
    }
    if let Ok(float) = object.cast::<PyFloat>() {
        return Ok(float.value().is_nan());
    }
    Ok(object.get_type().name()? == NA)
}

/// Appends the rows of `results` to `list`. Where the column has NULL, the original object is appended. A text that was
/// kept comes from `results` and is equal to the original.
pub(crate) fn write(
    results: &ArrayRef,
    objects: &[Bound<'_, PyAny>],
    nulls: &ArrayRef,
    list: &Bound<'_, PyList>,
) -> PyResult<()> {
    for (at, object) in objects.iter().enumerate() {
        if nulls.is_null(at) {
            list.append(object)?;
        } else {
            list.append(object_at(results, at, list.py())?)?;
        }
    }
    Ok(())
}

/// Appends the rows of `errors` to `list`.
pub(crate) fn write_errors(errors: &ArrayRef, list: &Bound<'_, PyList>) -> PyResult<()> {
    let errors = errors.as_string::<i32>();
    errors.iter().try_for_each(|error| list.append(error.map(|error| PyString::intern(list.py(), error))))
}

/// The row at `at` as a Python object.
fn object_at<'py>(results: &ArrayRef, at: usize, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
    if results.is_null(at) {
        return Ok(py.None().into_bound(py));
    }
    Ok(match results.data_type() {
        DataType::Utf8 => PyString::new(py, results.as_string::<i32>().value(at)).into_any(),
        DataType::LargeUtf8 => PyString::new(py, results.as_string::<i64>().value(at)).into_any(),
        DataType::List(_) => {
            let texts = results.as_list::<i32>().value(at);
            PyList::new(py, texts.as_string::<i32>().iter())?.into_any()
        }
        DataType::Struct(fields) => {
            let (dict, row) = (PyDict::new(py), results.as_struct());
            for (field, column) in fields.iter().zip(row.columns()) {
                dict.set_item(field.name(), column.as_string::<i32>().value(at))?;
            }
            dict.into_any()
        }
        _ => return Err(Failure::Defect.into()),
    })
}
