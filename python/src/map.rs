//! Rows to results: what one thread does with a piece of a column.

use std::{ops::Range, sync::Arc};

use arrow_array::{
    ArrayRef, StructArray,
    builder::{ListBuilder, StringBuilder},
};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer};
use arrow_schema::{DataType, Field, Fields};
use callveil::{
    ids::KeyId,
    item::{ItemError, Mode},
    mapped::Mapped,
    tokenizer::batch::Batch,
    uid::{CHARS_MIN, Uid},
};

use crate::{
    failure::Failure,
    task::{Counts, OnError, Operation, Task},
};

/// Rows in one batch: enough to make the cost of a batch small, and few enough for the near caches.
const ROWS_AT_ONCE: usize = 1024;

/// Maximum bytes of text in one piece of results: its 32-bit offsets reach no further.
const TEXT_BYTES_MAX: usize = i32::MAX as usize;

/// The state of a key that is not in the ring.
const UNKNOWN: &str = "unknown";

/// Rows of a column, by index.
pub(crate) trait Rows: Sync {
    /// The bytes of the row at `at`; `None` if it is NULL.
    fn bytes(&self, at: usize) -> Option<&[u8]>;
}

/// The results of a piece of a column.
pub(crate) struct Piece {
    pub(crate) results: ArrayRef,
    pub(crate) errors: Option<ArrayRef>,
    pub(crate) counts: Counts,
    /// The first row that failed, if no row may fail.
    pub(crate) refused: Option<(usize, ItemError)>,
}

/// The type of the results, if the texts of the column have the type `texts`.
pub(crate) fn type_of_results(operation: Operation, texts: &DataType) -> DataType {
    match operation {
        Operation::Map(Mode::PhoneToAliases) => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        Operation::Inspect => DataType::Struct(fields_of_inspect()),
        Operation::Map(_) | Operation::Normalize => texts.clone(),
    }
}

/// The fields of an `inspect` result: the key's id and its state.
fn fields_of_inspect() -> Fields {
    ["key", "state"].map(|name| Field::new(name, DataType::Utf8, true)).into_iter().collect()
}

/// Maps the rows at `range`.
pub(crate) fn map(task: &Task<'_>, rows: &impl Rows, range: Range<usize>) -> Result<Piece, Failure> {
    let mut mapper = Mapper {
        task,
        batch: task.tokenizer.batch(task.context, task.now),
        mapped: Mapped::with_capacity(ROWS_AT_ONCE),
        text: String::new(),
        out: Out::new(task.operation, range.len()),
        errors: task.wants_errors.then(StringBuilder::new),
        counts: Counts::default(),
        refused: None,
    };
    let mut at = range.start;
    while at < range.end && mapper.refused.is_none() {
        let end = range.end.min(at + ROWS_AT_ONCE);
        mapper.map(rows, at..end)?;
        at = end;
    }
    let Mapper { out, errors, counts, refused, .. } = mapper;
    let errors = errors.map(|mut errors| Arc::new(errors.finish()) as ArrayRef);
    Ok(Piece { results: out.finish(), errors, counts, refused })
}

struct Mapper<'t> {
    task: &'t Task<'t>,
    batch: Batch<'t>,
    mapped: Mapped,
    /// The normalised text of a row.
    text: String,
    out: Out,
    errors: Option<StringBuilder>,
    counts: Counts,
    refused: Option<(usize, ItemError)>,
}

impl Mapper<'_> {
    fn map(&mut self, rows: &impl Rows, range: Range<usize>) -> Result<(), Failure> {
        let Self { task, batch, mapped, text: normalized, out, errors, counts, refused } = self;
        // A row that is not UTF-8 fails like an empty text.
        let texts: Vec<Option<&str>> =
            range.clone().map(|at| rows.bytes(at).map(|row| str::from_utf8(row).unwrap_or_default())).collect();
        mapped.clear();
        if let Operation::Map(mode) = task.operation {
            let items: Vec<&str> = texts.iter().flatten().copied().collect();
            batch.map(mode, &items, mapped);
        }
        let mut outcomes = mapped.iter();
        for (at, text) in range.zip(texts) {
            counts.rows += 1;
            let Some(text) = text else {
                out.push_null();
                note(errors, None);
                continue;
            };
            let done = match task.operation {
                Operation::Map(_) => outcomes.next().expect("each text has an outcome").map(|result| out.push(result)),
                Operation::Normalize => normalize(task, text, normalized).map(|()| out.push(normalized)),
                Operation::Inspect => inspect(task, text).map(|(key, state)| out.push_pair(key, state)),
            };
            note(errors, done.err());
            match (done, task.on_error) {
                (Ok(()), _) => {
                    counts.mapped += 1;
                    continue;
                }
                (Err(_), OnError::Null) => out.push_null(),
                (Err(_), OnError::Keep) => out.keep(text)?,
                (Err(error), OnError::Raise) => *refused = Some((at, error)),
            }
            counts.failed += 1;
            if refused.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Adds the error of a row, or none, if errors are wanted.
fn note(errors: &mut Option<StringBuilder>, error: Option<ItemError>) {
    if let Some(errors) = errors {
        errors.append_option(error.map(ItemError::code));
    }
}

/// Writes the number that `text` means to `normalized`.
fn normalize(task: &Task<'_>, text: &str, normalized: &mut String) -> Result<(), ItemError> {
    normalized.clear();
    let number = task.tokenizer.numbering(task.now).normalize(text).map_err(|_| ItemError::InvalidNumber)?;
    number.push_canonical(normalized);
    Ok(())
}

/// The key that the UID `text` names, and that key's state.
fn inspect(task: &Task<'_>, text: &str) -> Result<(KeyId, &'static str), ItemError> {
    let uid = Uid::parse(text).map_err(|_| ItemError::MalformedUid)?;
    let ring = task.tokenizer.ring();
    Ok((uid.key_id, ring.key(uid.key_id).map_or(UNKNOWN, |key| ring.state(key, task.now).name())))
}

/// A builder of results.
enum Out {
    Texts(StringBuilder),
    Lists(ListBuilder<StringBuilder>),
    Pairs { first: StringBuilder, second: StringBuilder, valid: BooleanBufferBuilder },
}

impl Out {
    /// A builder with room for the results of `rows` rows.
    fn new(operation: Operation, rows: usize) -> Self {
        match operation {
            Operation::Map(Mode::PhoneToAliases) => Self::Lists(ListBuilder::new(StringBuilder::new())),
            Operation::Inspect => Self::Pairs {
                first: StringBuilder::new(),
                second: StringBuilder::new(),
                valid: BooleanBufferBuilder::new(rows),
            },
            Operation::Map(_) | Operation::Normalize => {
                Self::Texts(StringBuilder::with_capacity(rows, rows * CHARS_MIN))
            }
        }
    }

    fn push(&mut self, result: &str) {
        match self {
            Self::Texts(texts) => texts.append_value(result),
            Self::Lists(lists) => lists.append_value(result.split(Mapped::SEPARATOR).map(Some)),
            Self::Pairs { .. } => unreachable!("what is inspected gives pairs"),
        }
    }

    fn push_pair(&mut self, key: KeyId, state: &str) {
        if let Self::Pairs { first, second, valid } = self {
            let hex = key.to_hex();
            first.append_value(str::from_utf8(&hex).expect("hex digits are text"));
            second.append_value(state);
            valid.append(true);
        }
    }

    fn push_null(&mut self) {
        match self {
            Self::Texts(texts) => texts.append_null(),
            Self::Lists(lists) => lists.append_null(),
            Self::Pairs { first, second, valid } => {
                first.append_null();
                second.append_null();
                valid.append(false);
            }
        }
    }

    /// Adds a text that was not mapped. It may have any length.
    fn keep(&mut self, text: &str) -> Result<(), Failure> {
        if let Self::Texts(texts) = self {
            if texts.values_slice().len() + text.len() > TEXT_BYTES_MAX {
                return Err(Failure::TooLarge);
            }
            texts.append_value(text);
        }
        Ok(())
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Texts(mut texts) => Arc::new(texts.finish()),
            Self::Lists(mut lists) => Arc::new(lists.finish()),
            Self::Pairs { mut first, mut second, mut valid } => {
                let columns: Vec<ArrayRef> = vec![Arc::new(first.finish()), Arc::new(second.finish())];
                Arc::new(StructArray::new(fields_of_inspect(), columns, Some(NullBuffer::new(valid.finish()))))
            }
        }
    }
}
