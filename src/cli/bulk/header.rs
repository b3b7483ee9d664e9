//! Finding the column in the first row of CSV, which says how many cells every row has.

use std::num::NonZero;

use zeroize::Zeroizing;

use super::{csv::Csv, input::Input, layout::Layout as _, report::RowError};
use crate::cli::Failure;

/// A column of CSV.
pub(super) enum Column {
    /// Its name in the first row; a number where no column is called so.
    Header(String),
    /// Its number, counted from 1.
    Number(NonZero<usize>),
}

/// Finds the column, and takes off the header that names it.
pub(super) fn locate(input: &mut Input, csv: &mut Csv, column: &Column) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let rows = input.peek(csv).map_err(Failure::failed)?;
    if rows.is_empty() {
        return Ok(Zeroizing::default());
    }
    let wrong = |row: usize, error: RowError| {
        Failure::failed(format_args!("row {row}: {}: nobody can say what its columns are", error.code()))
    };
    if rows.len() > super::input::ROW_BYTES_MAX {
        return Err(wrong(1, RowError::TooLong));
    }
    let (fields, row_end) = csv.first_row(rows).map_err(|error| wrong(1, error))?;
    csv.cells = fields.len();
    match column {
        Column::Number(number) => {
            csv.column = number.get() - 1;
            if csv.column >= fields.len() {
                return Err(Failure::failed(format_args!("there is no column {number}: row 1 has {}", fields.len())));
            }
            let next = csv.first_row(&rows[row_end..]).map_or(0, |(fields, _)| fields.len());
            if csv.last_end(&rows[row_end..]).is_some() && next > 1 && next != fields.len() {
                return Err(Failure::failed(format_args!(
                    "row 1 has {} columns, and row 2 has {next}: which number has the column?",
                    fields.len()
                )));
            }
            Ok(Zeroizing::default())
        }
        Column::Header(name) => {
            let places: Vec<usize> = (0..fields.len()).filter(|at| **fields[*at] == *name.as_bytes()).collect();
            let number = || {
                name.parse().ok().filter(|number| (1..=fields.len()).contains(number)).map(|number: usize| number - 1)
            };
            csv.column = match places[..] {
                [only] => only,
                [] => number().ok_or_else(|| no_column(fields.len()))?,
                [..] => return Err(Failure::failed("several columns have that name: say which by its number")),
            };
            Ok(input.take(row_end))
        }
    }
}

/// The name is not repeated, nor what stands in the row: if there is no header, these are values.
fn no_column(columns: usize) -> Failure {
    Failure::failed(format_args!(
        "no column has that name: row 1 has {columns}, and a number does as well (--no-header if row 1 is no header)"
    ))
}
