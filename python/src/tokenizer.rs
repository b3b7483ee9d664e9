//! The tokenizer of one context, as the package calls it.

use std::{num::NonZero, path::PathBuf, sync::Arc, thread};

use arrow_array::ArrayRef;
use arrow_schema::{ArrowError, DataType, Field};
use callveil::ids::Context;
use jiff::Timestamp;
use pyo3::{prelude::*, types::PyList};
use pyo3_arrow::{PyArray, PyChunkedArray, input::AnyArray};

use crate::{
    column::{self, Mapped, TEXTS},
    failure::Failure,
    map::type_of_results,
    objects,
    record::{Recorder, Sink},
    ring::{Open, Ring},
    task::{Counts, OnError, Operation, Task},
};

/// Maximum of threads that may be asked for.
const THREADS_MAX: usize = 256;

/// Maps columns for one context.
#[pyclass(frozen, module = "callveil._native")]
pub(crate) struct Tokenizer {
    open: Arc<Open>,
    context: Context,
    recorder: Recorder,
}

/// The arguments of a call.
struct Call {
    operation: Operation,
    on_error: OnError,
    wants_errors: bool,
    threads: usize,
}

impl Call {
    fn new(operation: &str, on_error: &str, wants_errors: bool, threads: Option<usize>) -> Result<Self, Failure> {
        let operation = Operation::from_name(operation)?;
        let on_error = OnError::from_name(on_error, operation)?;
        let threads = match threads {
            None => thread::available_parallelism().map_or(1, NonZero::get),
            Some(threads) if (1..=THREADS_MAX).contains(&threads) => threads,
            Some(_) => return Err(Failure::value(format_args!("threads is from 1 to {THREADS_MAX}"))),
        };
        Ok(Self { operation, on_error, wants_errors, threads })
    }
}

impl Tokenizer {
    /// Does `act` with the current ring. It is recorded if it opens UIDs.
    fn with_task<T>(
        &self,
        py: Python<'_>,
        call: &Call,
        act: impl FnOnce(&Task<'_>, &mut Counts) -> PyResult<T>,
    ) -> PyResult<T> {
        let tokenizer = self.open.tokenizer();
        let task = Task {
            tokenizer: &tokenizer,
            context: &self.context,
            now: Timestamp::now(),
            operation: call.operation,
            on_error: call.on_error,
            wants_errors: call.wants_errors,
        };
        let of = (tokenizer.ring(), &self.context);
        self.recorder.around(py, call.operation.recorded_as(), of, |counts| act(&task, counts))
    }
}

/// Maps `chunks` while other Python threads go on.
fn map(
    py: Python<'_>,
    task: &Task<'_>,
    (chunks, texts): (&[ArrayRef], &DataType),
    threads: usize,
    counts: &mut Counts,
) -> Result<Mapped, Failure> {
    let mapped = py.detach(|| column::map(task, chunks, texts, threads))?;
    counts.add(mapped.counts);
    mapped.refused.map_or_else(|| Ok(Mapped { refused: None, ..mapped }), Err)
}

/// The return value of a call: the results and, if wanted, the errors of rows.
type Answer<'py> = (Bound<'py, PyAny>, Option<Bound<'py, PyAny>>);

#[pymethods]
impl Tokenizer {
    /// A tokenizer over `ring`. Records go to `audit`: a path, something to call, or beside the ring.
    #[new]
    #[pyo3(signature = (ring, context, audit, host))]
    fn new(ring: &Bound<'_, Ring>, context: &str, audit: Option<Bound<'_, PyAny>>, host: String) -> PyResult<Self> {
        let context = context.parse().map_err(Failure::value)?;
        let open = ring.get().open.clone();
        let sink = match audit {
            None => Sink::Beside(open.path()),
            Some(call) if call.is_callable() => Sink::Call(call.unbind()),
            Some(path) => Sink::File(path.extract::<PathBuf>()?),
        };
        Ok(Self { open, context, recorder: Recorder::new(sink, host) })
    }

    /// The space of the UIDs.
    #[getter]
    fn context(&self) -> &str {
        self.context.as_str()
    }

    /// Makes one recorded run of all calls up to `leave`.
    fn enter(&self) -> PyResult<()> {
        Ok(self.recorder.enter()?)
    }

    /// Ends that run.
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        self.recorder.leave(py)
    }

    /// Maps an array or a stream of arrays of Arrow.
    #[pyo3(signature = (column, operation, on_error, errors, threads))]
    fn map_arrow<'py>(
        &self,
        py: Python<'py>,
        column: AnyArray,
        operation: &str,
        on_error: &str,
        errors: bool,
        threads: Option<usize>,
    ) -> PyResult<Answer<'py>> {
        let call = Call::new(operation, on_error, errors, threads)?;
        let is_array = matches!(column, AnyArray::Array(_));
        let reader = column.into_reader()?;
        let texts = column::type_of_texts(reader.field().data_type());
        let texts = texts.ok_or_else(|| Failure::Kind(format!("a column of texts is wanted: {TEXTS}")))?;
        let chunks = reader.collect::<Result<Vec<_>, ArrowError>>();
        let chunks = chunks.map_err(|_| Failure::Kind("the producer of this column failed".to_owned()))?;
        let mapped =
            self.with_task(py, &call, |task, counts| Ok(map(py, task, (&chunks, &texts), call.threads, counts)?))?;
        let to_python = |chunks: Vec<ArrayRef>, data_type: DataType| {
            let field = Arc::new(Field::new("", data_type, true));
            match <[ArrayRef; 1]>::try_from(chunks) {
                Ok([array]) if is_array => Ok(PyArray::new(array, field).into_pyobject(py)?.into_any()),
                Ok(chunks) => Ok(PyChunkedArray::try_new(chunks.into(), field)?.into_pyobject(py)?.into_any()),
                Err(chunks) => Ok(PyChunkedArray::try_new(chunks, field)?.into_pyobject(py)?.into_any()),
            }
        };
        let results: PyResult<_> = to_python(mapped.results, type_of_results(call.operation, &texts));
        let errors: PyResult<_> = mapped.errors.map(|errors| to_python(errors, DataType::Utf8)).transpose();
        Ok((results?, errors?))
    }

    /// Maps a list of texts.
    #[pyo3(signature = (column, operation, on_error, errors, threads))]
    fn map_objects<'py>(
        &self,
        py: Python<'py>,
        column: Vec<Bound<'py, PyAny>>,
        operation: &str,
        on_error: &str,
        errors: bool,
        threads: Option<usize>,
    ) -> PyResult<Answer<'py>> {
        let call = Call::new(operation, on_error, errors, threads)?;
        let (results, reasons) = (PyList::empty(py), PyList::empty(py));
        self.with_task(py, &call, |task, counts| {
            for objects in column.chunks(objects::ROWS_AT_ONCE) {
                let first = results.len();
                let chunk = [objects::read(objects, first)?];
                let mapped = map(py, task, (&chunk, &DataType::LargeUtf8), call.threads, counts);
                let mapped = mapped.map_err(|failure| failure.behind(first))?;
                let [texts] = &chunk;
                for all in &mapped.results {
                    objects::write(all, objects, texts, &results)?;
                }
                for all in mapped.errors.iter().flatten() {
                    objects::write_errors(all, &reasons)?;
                }
            }
            Ok(())
        })?;
        Ok((results.into_any(), errors.then_some(reasons.into_any())))
    }
}
