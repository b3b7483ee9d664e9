//! Arrow columns: splits them into pieces for all cores, and joins the results in order.

use std::{
    any::Any,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use arrow_array::{
    Array, ArrayRef, BinaryViewArray, GenericStringArray, LargeStringArray, OffsetSizeTrait, StringArray,
    StringViewArray, new_empty_array,
};
use arrow_cast::cast;
use arrow_schema::DataType;
use arrow_select::concat::concat;

use crate::{
    failure::Failure,
    map::{self, Piece, Rows, type_of_results},
    task::{Counts, Task},
};

/// Rows of a piece: enough that starting a thread pays off, and few enough that all cores stay busy to the end.
const PIECE_ROWS: usize = 64 * 1024;

/// The results of a column.
pub(crate) struct Mapped {
    /// A result for each chunk.
    pub(crate) results: Vec<ArrayRef>,
    pub(crate) errors: Option<Vec<ArrayRef>>,
    pub(crate) counts: Counts,
    /// Why there are no results, if a row failed and none may.
    pub(crate) refused: Option<Failure>,
}

/// The types whose rows are texts.
pub(crate) const TEXTS: &str = "string, large_string, string_view, or a dictionary of one of these";

/// The type of the texts that a column of type `texts` is mapped to; `None` if it does not hold texts.
pub(crate) fn type_of_texts(texts: &DataType) -> Option<DataType> {
    match texts {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(texts.clone()),
        DataType::Dictionary(_, values) => type_of_texts(values),
        DataType::Null => Some(DataType::Utf8),
        _ => None,
    }
}

/// Maps all rows of `chunks`, which have this type, on this many `threads`.
pub(crate) fn map(task: &Task<'_>, chunks: &[ArrayRef], texts: &DataType, threads: usize) -> Result<Mapped, Failure> {
    // Otherwise a panic would carry its message, perhaps with a number, to Python.
    let mapped = catch_unwind(AssertUnwindSafe(|| map_chunks(task, chunks, texts, threads)));
    mapped.unwrap_or_else(|_: Box<dyn Any + Send>| Err(Failure::Defect))
}

fn map_chunks(task: &Task<'_>, chunks: &[ArrayRef], texts: &DataType, threads: usize) -> Result<Mapped, Failure> {
    let columns = chunks.iter().map(|chunk| Column::of(chunk, texts)).collect::<Result<Vec<_>, _>>()?;
    let ranges: Vec<(usize, Range<usize>)> =
        chunks.iter().enumerate().flat_map(|(at, chunk)| pieces(chunk.len()).map(move |range| (at, range))).collect();
    let pieces = on_threads(ranges.len(), threads, |at| {
        let (chunk, range) = &ranges[at];
        columns[*chunk].map(task, range.clone())
    })?;
    let mut mapped = Mapped {
        results: Vec::with_capacity(chunks.len()),
        errors: task.wants_errors.then(Vec::new),
        counts: Counts::default(),
        refused: None,
    };
    let begins: Vec<usize> =
        chunks.iter().scan(0, |rows, chunk| Some(std::mem::replace(rows, *rows + chunk.len()))).collect();
    let mut pieces = ranges.iter().zip(pieces).peekable();
    for (chunk, begin) in begins.into_iter().enumerate() {
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        while let Some((_, piece)) = pieces.next_if(|((of, _), _)| *of == chunk) {
            let Some(piece) = piece else { continue };
            mapped.counts.add(piece.counts);
            if let (None, Some((row, error))) = (&mapped.refused, piece.refused) {
                mapped.refused = Some(Failure::Row { row: begin + row, error });
            }
            results.push(piece.results);
            errors.extend(piece.errors);
        }
        if mapped.refused.is_none() {
            mapped.results.push(joined(results, &type_of_results(task.operation, texts))?);
            if let Some(all) = &mut mapped.errors {
                all.push(joined(errors, &DataType::Utf8)?);
            }
        }
    }
    Ok(mapped)
}

/// The pieces of a chunk with this many `rows`.
fn pieces(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(PIECE_ROWS).map(move |begin| begin..rows.min(begin + PIECE_ROWS))
}

/// Does `work` for each number below `count` on one of `threads`. After a refused row, no later number is started.
fn on_threads(
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> Result<Piece, Failure> + Sync,
) -> Result<Vec<Option<Piece>>, Failure> {
    let (next, last) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
    let done: Mutex<Vec<Option<Piece>>> = Mutex::new((0..count).map(|_| None).collect());
    let worker = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count || at > last.load(Ordering::Relaxed) {
                return Ok(());
            }
            let piece = work(at).inspect_err(|_| last.store(0, Ordering::Relaxed))?;
            if piece.refused.is_some() {
                last.fetch_min(at, Ordering::Relaxed);
            }
            done.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(piece);
        }
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(count)).map(|_| scope.spawn(worker)).collect();
        let ours = worker();
        let theirs = others.into_iter().map(|other| other.join().unwrap_or(Err(Failure::Defect)));
        theirs.fold(ours, Result::and)
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// All `arrays` joined into one of this type.
fn joined(mut arrays: Vec<ArrayRef>, data_type: &DataType) -> Result<ArrayRef, Failure> {
    if arrays.len() == 1 {
        return Ok(arrays.remove(0));
    }
    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    if arrays.is_empty() {
        return Ok(new_empty_array(data_type));
    }
    concat(&arrays).map_err(|_| Failure::TooLarge)
}

/// A chunk with access to its rows.
enum Column {
    Small(StringArray),
    Large(LargeStringArray),
    View(BinaryViewArray),
}

impl Column {
    fn of(chunk: &ArrayRef, texts: &DataType) -> Result<Self, Failure> {
        let unpacked;
        let chunk = if chunk.data_type() == texts {
            chunk
        } else {
            unpacked = cast(chunk, texts).map_err(|_| Failure::TooLarge)?;
            &unpacked
        };
        let any: &dyn Any = chunk.as_any();
        let small = any.downcast_ref::<StringArray>().map(|texts| Self::Small(texts.clone()));
        let large = || any.downcast_ref::<LargeStringArray>().map(|texts| Self::Large(texts.clone()));
        let view = || any.downcast_ref::<StringViewArray>().map(|texts| Self::View(texts.clone().to_binary_view()));
        small.or_else(large).or_else(view).ok_or(Failure::Defect)
    }

    fn map(&self, task: &Task<'_>, range: Range<usize>) -> Result<Piece, Failure> {
        let (mut piece, wanted) = match self {
            Self::Small(texts) => return map::map(task, texts, range),
            Self::Large(texts) => (map::map(task, texts, range)?, DataType::LargeUtf8),
            Self::View(texts) => (map::map(task, texts, range)?, DataType::Utf8View),
        };
        if task.operation.gives_texts() {
            piece.results = cast(&piece.results, &wanted).map_err(|_| Failure::Defect)?;
        }
        Ok(piece)
    }
}

impl<O: OffsetSizeTrait> Rows for GenericStringArray<O> {
    fn bytes(&self, at: usize) -> Option<&[u8]> {
        // The bytes are not checked to be UTF-8 yet, so they must not be made into a `str`.
        let offsets = self.value_offsets();
        self.is_valid(at)
            .then(|| self.value_data().get(offsets[at].as_usize()..offsets[at + 1].as_usize()).unwrap_or_default())
    }
}

impl Rows for BinaryViewArray {
    fn bytes(&self, at: usize) -> Option<&[u8]> {
        self.is_valid(at).then(|| self.value(at))
    }
}
