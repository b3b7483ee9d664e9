//! Tables with a heading, for a terminal of 80 columns.

use super::{failure::Failure, say::print};

/// Characters of a line, unless the cells need more.
const LINE_CHARS_MAX: usize = 80;

/// Prints rows of equal width under a heading. If they do not fit on a line, the first cell gets a line of its own.
pub(super) fn print_table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
    lines(heading, rows).iter().try_for_each(print)
}

fn lines<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heading[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let fits = widths.iter().map(|width| width + 2).sum::<usize>() <= LINE_CHARS_MAX + 2;
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        if fits {
            return vec![padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()];
        }
        let rest = padded.skip(1).collect::<Vec<_>>().join("  ");
        vec![cells[0].to_owned(), format!("  {}", rest.trim_end())]
    };
    let rows = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    std::iter::once(line(heading)).chain(rows).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_table_has_two_lines_a_row() {
        let row = |first: &str| [first.to_owned(), "b".repeat(30), "c".to_owned()];
        assert_eq!(lines(["A", "B", "C"], &[row("a")])[0], format!("A  B{}  C", " ".repeat(29)));
        let wide = lines(["A", "B", "C"], &[row(&"a".repeat(60))]);
        assert_eq!(wide.len(), 4);
        assert!(wide.iter().all(|line| line.len() <= LINE_CHARS_MAX), "{wide:?}");
    }
}
