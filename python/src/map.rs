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

/// Rows that are mapped at once: enough to make little of what each batch costs, and few enough for near caches.
const ROWS_AT_ONCE: usize = 1024;

/// Bytes of texts that one piece of results holds: what its offsets, of 32 bits, reach.
const TEXT_BYTES_MAX: usize = i32::MAX as usize;

/// What is said of a key that is not in the ring.
const UNKNOWN: &str = "unknown";

/// Rows of a column, by their place.
pub(crate) trait Rows: Sync {
    /// The bytes of the row at `at`; `None` where it is NULL.
    fn bytes(&self, at: usize) -> Option<&[u8]>;
}

/// What a piece of a column became.
pub(crate) struct Piece {
    pub(crate) results: ArrayRef,
    pub(crate) errors: Option<ArrayRef>,
    pub(crate) counts: Counts,
    /// The first row that failed, where no row may.
    pub(crate) refused: Option<(usize, ItemError)>,
}

/// The type of what becomes of a row, where it is a text of `texts`.
pub(crate) fn type_of_results(operation: Operation, texts: &DataType) -> DataType {
    match operation {
        Operation::Map(Mode::PhoneToAliases) => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        Operation::Inspect => DataType::Struct(fields_of_inspect()),
        Operation::Map(_) | Operation::Normalize => texts.clone(),
    }
}

/// The fields of what `inspect` gives: the key's id, and its state.
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
    /// What a row is normalised to.
    text: String,
    out: Out,
    errors: Option<StringBuilder>,
    counts: Counts,
    refused: Option<(usize, ItemError)>,
}

impl Mapper<'_> {
    fn map(&mut self, rows: &impl Rows, range: Range<usize>) -> Result<(), Failure> {
        let Self { task, batch, mapped, text: normalized, out, errors, counts, refused } = self;
        // What is not UTF-8 fails as the empty text does.
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

/// Notes why a row failed, if it did, where that is wanted.
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

/// The key that the UID `text` names, and what it is good for.
fn inspect(task: &Task<'_>, text: &str) -> Result<(KeyId, &'static str), ItemError> {
    let uid = Uid::parse(text).map_err(|_| ItemError::MalformedUid)?;
    let ring = task.tokenizer.ring();
    Ok((uid.key_id, ring.key(uid.key_id).map_or(UNKNOWN, |key| ring.state(key, task.now).name())))
}

/// Results that are being made.
enum Out {
    Texts(StringBuilder),
    Lists(ListBuilder<StringBuilder>),
    Pairs { first: StringBuilder, second: StringBuilder, valid: BooleanBufferBuilder },
}

impl Out {
    /// Room for the results of so many `rows`.
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

    /// Keeps a text that was not mapped, which may be of any length.
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
