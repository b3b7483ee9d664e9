//! Finds the columns by the first row of CSV, which sets the number of cells in every row.

use std::num::NonZero;

use zeroize::Zeroizing;

use super::{csv::Csv, input::Input, layout::Layout as _, names::Names, row_error::RowError, scan::Scan};
use crate::{cli::failure::Failure, phone::Numbering};

/// A column of CSV.
pub(super) enum Column {
    /// Its name in the first row, or its number if no column has that name.
    Header(String),
    /// Its number, counted from 1.
    Number(NonZero<usize>),
}

/// Finds the columns, and takes off the header if a column is named by it. `numbering` is given where numbers are
/// mapped: the header is passed on unchanged, so it must not contain one.
pub(super) fn locate(
    input: &mut Input,
    csv: &mut Csv,
    columns: &[Column],
    numbering: Option<&Numbering>,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let rows = input.peek(csv).map_err(Failure::failed)?;
    if rows.is_empty() {
        return Ok(Zeroizing::default());
    }
    if rows.len() > super::block::ROW_BYTES_MAX {
        return Err(wrong(RowError::TooLong));
    }
    let (fields, row_end) = csv.first_row(rows).map_err(wrong)?;
    csv.cells = fields.len();
    let mut has_header = false;
    for column in columns {
        csv.columns.push(match column {
            Column::Number(number) => numbered(csv, *number, &rows[row_end..])?,
            Column::Header(name) => {
                has_header = true;
                named(&fields, name)?
            }
        });
    }
    if has_header {
        check_header(&fields, numbering)?;
    }
    csv.columns.sort_unstable();
    csv.columns.dedup();
    Ok(if has_header { input.take(row_end) } else { Zeroizing::default() })
}

/// Checks that a header is text and contains no number. If line ends were lost, rows would be part of it.
fn check_header(fields: &[Zeroizing<Vec<u8>>], numbering: Option<&Numbering>) -> Result<(), Failure> {
    if fields.iter().any(|field| str::from_utf8(field).is_err()) {
        return Err(wrong(RowError::NotUtf8));
    }
    let Some(scan) = numbering.map(|numbering| Scan::new(numbering, None)) else { return Ok(()) };
    let has_number = |field: &[u8]| {
        let mut has_number = field.split(|byte| !byte.is_ascii_digit()).any(|digits| digits.len() > NAME_DIGITS_MAX);
        scan.look_wide(field, 0..field.len(), |_| has_number = true);
        has_number
    };
    match fields.iter().position(|field| has_number(field)) {
        Some(at) => Err(Failure::failed(format_args!(
            "row 1 has what reads as a phone number in column {}, which would stay as it is: are line ends lost? \
             (--no-header if row 1 is no header)",
            at + 1
        ))),
        None => Ok(()),
    }
}

fn wrong(error: RowError) -> Failure {
    Failure::failed(format_args!("row 1: {}: nobody can say what its columns are", error.code()))
}

/// The column with this number, in a file without a header. `rows` are the rows after the first.
fn numbered(csv: &Csv, number: NonZero<usize>, rows: &[u8]) -> Result<usize, Failure> {
    if number.get() > csv.cells {
        return Err(Failure::failed(format_args!("there is no column {number}: row 1 has {}", csv.cells)));
    }
    let next = csv.first_row(rows).map_or(0, |(fields, _)| fields.len());
    if csv.last_end(rows).is_some() && next > 1 && next != csv.cells {
        return Err(Failure::failed(format_args!(
            "row 1 has {} columns, and row 2 has {next}: which number has the column?",
            csv.cells
        )));
    }
    Ok(number.get() - 1)
}

/// The column with this name in the header, or with this number if no column has that name.
fn named(fields: &[Zeroizing<Vec<u8>>], name: &str) -> Result<usize, Failure> {
    let places: Vec<usize> = (0..fields.len()).filter(|at| **fields[*at] == *name.as_bytes()).collect();
    let number =
        || name.parse().ok().filter(|number| (1..=fields.len()).contains(number)).map(|number: usize| number - 1);
    let column = match places[..] {
        [only] => only,
        [] => number().ok_or_else(|| no_column(fields.len()))?,
        [..] => return Err(Failure::failed("several columns have that name: say which by its number")),
    };
    if places.is_empty() && reads_like_a_number(&fields[column]) {
        return Err(Failure::failed(
            "row 1 has a number in that column, which would stay as it is: --no-header if row 1 is no header",
        ));
    }
    Ok(column)
}

/// The names of the columns.
pub(super) fn names(csv: &Csv, header: &[u8]) -> Names {
    let fields = csv.first_row(header).map(|(fields, _)| fields).unwrap_or_default();
    Names(fields.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect())
}

/// The message repeats neither the name nor the row: without a header, these would be values.
fn no_column(columns: usize) -> Failure {
    let noun = if columns == 1 { "column" } else { "columns" };
    Failure::failed(format_args!(
        "no column has that name; row 1 has {columns} {noun}. Use a name or a number (--no-header if row 1 \
         is not a header)"
    ))
}

/// Maximum digits in a row in a column's name: those of a date.
const NAME_DIGITS_MAX: usize = 8;

/// A cell without letters and with this many digits is not a column's name.
const DIGITS_MIN: usize = 5;

/// Whether a cell of the first row is a value rather than a name.
fn reads_like_a_number(cell: &[u8]) -> bool {
    let digits = cell.iter().filter(|byte| byte.is_ascii_digit()).count();
    digits >= DIGITS_MIN && !cell.iter().any(u8::is_ascii_alphabetic)
}
