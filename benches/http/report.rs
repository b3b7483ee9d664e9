//! The results as tables: plain on stdout as they come, and as Markdown at the end.

use std::fmt::Write as _;

/// The values of one measurement, one for each round.
#[derive(Clone, Default)]
pub struct Series(pub Vec<f64>);

impl Series {
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
    }

    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The ratio of the medians, and the least and greatest ratio of a round.
    pub fn over(&self, other: &Self) -> String {
        let rounds = Self(self.0.iter().zip(&other.0).map(|(one, other)| one / other).collect());
        format!("**{:.3}** ({:.3} to {:.3})", self.median() / other.median(), rounds.min(), rounds.max())
    }

    /// The median, the minimum and the maximum, all divided by `unit`.
    pub fn spread(&self, unit: f64) -> String {
        format!("{:.1} ({:.1} to {:.1})", self.median() / unit, self.min() / unit, self.max() / unit)
    }
}

/// A whole number in groups of three digits.
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A table with a title and a note that explains it.
pub struct Table {
    pub title: &'static str,
    pub note: String,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: &'static str, note: &str, columns: &[&str]) -> Self {
        Self { title, note: note.to_owned(), rows: vec![columns.iter().map(|name| (*name).to_owned()).collect()] }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.rows[0].len(), "a row has a cell for each column");
        self.rows.push(cells.into());
    }

    /// The table as Markdown. Its columns are also aligned on a terminal.
    fn markdown(&self) -> String {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..self.rows[0].len()).map(width).collect();
        let mut text = format!("### {}\n\n{}\n\n", self.title, self.note);
        for (at, row) in self.rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                write!(text, "| {cell:width$} ").unwrap();
            }
            text.push_str("|\n");
            if at == 0 {
                widths.iter().for_each(|width| write!(text, "|{}", "-".repeat(width + 2)).unwrap());
                text.push_str("|\n");
            }
        }
        text
    }

    /// The same table without Markdown's markup.
    fn plain(&self) -> String {
        let rows = self.rows.iter().map(|row| row.iter().map(|cell| cell.replace("**", "")).collect()).collect();
        Self { title: self.title, note: self.note.clone(), rows }.markdown()
    }
}

/// All tables so far.
#[derive(Default)]
pub struct Report(String);

impl Report {
    pub fn heading(&mut self, text: &str) {
        println!("{text}\n");
        writeln!(self.0, "{text}\n").unwrap();
    }

    pub fn table(&mut self, table: &Table) {
        println!("{}", table.plain());
        writeln!(self.0, "{}", table.markdown()).unwrap();
    }

    pub fn markdown(&self) -> &str {
        &self.0
    }
}
