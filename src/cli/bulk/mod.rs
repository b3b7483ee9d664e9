//! `callveil tokenize`, `detokenize` and `rewrap`: map values, or millions of rows of a file or of stdin.
//!
//! ```text
//! bytes -> input (blocks of whole rows) -> map (on all cores: layout finds cells, tokenizer maps them) -> output, report
//! ```
//!
//! The blocks circulate in `pipeline`; their number bounds the memory. Each format is a `layout`.

mod block;
mod counts;
mod csv;
mod delimiter;
mod disguise;
mod encoding;
mod form;
mod guard;
mod header;
mod input;
mod interrupt;
mod json_scanner;
mod jsonl;
mod kind;
mod layout;
mod lines;
mod map;
mod names;
mod output;
mod patch;
mod pipeline;
mod progress;
mod record;
mod report;
mod row_error;
mod run;
mod scan;
mod screen;
mod sniff;
mod task;

use std::{
    fs::File,
    io::{self, IsTerminal as _},
    num::NonZero,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    thread,
};

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use self::{
    csv::Csv,
    delimiter::Delimiter,
    encoding::Encoding,
    form::NumberForm,
    header::Column,
    input::{Input, Pace, Position},
    interrupt::Litter,
    jsonl::{Jsonl, NotAPointer},
    lines::Lines,
    output::UnfinishedFile,
    run::Run,
    task::{OnError, Style, Task},
};
use super::{
    container::Container,
    failure::Failure,
    ring::RingArgs,
    say::{tell, warn_of_arguments},
};
use crate::{ids::Context, item::Mode, phone::TrunkZeroRegions, tokenizer::Tokenizer};

/// Writes a whole file. It gets its name only once it is complete.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let litter = Litter::clear_on_signals()
        .map_err(|error| Failure::failed(format_args!("cannot wait for signals: {error}")))?;
    let mut file = UnfinishedFile::create(path, Encoding::Utf8, &litter)?;
    file.write(bytes)?;
    file.finish()
}

/// Default maximum of mapping threads: one thread reads, another writes, and they cannot keep more than these busy.
const THREADS_DEFAULT_MAX: NonZero<usize> = NonZero::new(16).expect("it is not zero");

/// Maximum of threads that may be asked for.
const THREADS_MAX: u16 = 256;

/// Default of the line ends that a row of CSV may have within quotes: enough for long notes.
const QUOTED_LINES_DEFAULT: usize = 100;

/// How Spark, Hive and others write NULL.
const NULL_DEFAULT: &str = r"\N";

/// The file name that means stdin.
const STDIN: &str = "-";

#[derive(Args)]
pub(super) struct BulkArgs {
    /// The file to read [default: stdin]
    #[arg(conflicts_with = "value")]
    file: Option<PathBuf>,
    /// A value, instead of a file; may be repeated. Other users of this machine see it
    #[arg(long, allow_hyphen_values = true, conflicts_with_all = ["format", "column", "encoding", "output", "report", "rejects", "dry_run"])]
    value: Vec<String>,
    /// How the file is laid out
    #[arg(long, value_enum, default_value_t = Format::Lines)]
    format: Format,
    /// A column: in CSV its name or its number, in JSON lines a JSON pointer. May be repeated
    #[arg(long, value_name = "NAME")]
    column: Vec<String>,
    /// What stands between the columns of CSV: one character, or tab
    #[arg(long, value_name = "CHAR", default_value = ",", hide_default_value = true)]
    delimiter: Delimiter,
    /// The first row of CSV is one like the others: --column is a number
    #[arg(long)]
    no_header: bool,
    /// How many line ends a row of CSV may have within quotes
    #[arg(long, value_name = "N", default_value_t = QUOTED_LINES_DEFAULT)]
    quoted_lines: usize,
    /// A text that means no value, besides the empty text; it is left unchanged. May be repeated
    #[arg(long, value_name = "TEXT", default_value = NULL_DEFAULT)]
    null: Vec<String>,
    /// What the input is, and the results: gb18030, big5, utf-16, latin-1 … [default: utf-8]
    ///
    /// Without it, input that does not begin as UTF-8 is refused.
    #[arg(long, value_name = "NAME")]
    encoding: Option<Encoding>,
    /// Write the results here, once all are there [default: stdout]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What to do with rows that cannot be mapped [default: blank]
    ///
    /// With this option, except with `fail`, failed rows do not make the command fail: the exit code is 0.
    #[arg(long, value_enum)]
    on_error: Option<OnError>,
    /// Mend numbers that somebody put something around: an apostrophe or ="…", .0, a word and a colon
    #[arg(long)]
    repair: bool,
    /// Texts that are no numbers fail
    #[arg(long)]
    only_numbers: bool,
    /// Fail where texts are no numbers, or where other columns have what reads as a number
    #[arg(long, conflicts_with = "value")]
    strict: bool,
    /// Write here which rows failed, and why [default: show the first 20 on stderr]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write here, as they were, the rows that are left out
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Show the values that failed, too
    #[arg(long)]
    show_values: bool,
    /// Write no results: only count what would become of the rows
    #[arg(long, conflicts_with = "output")]
    dry_run: bool,
    /// How many threads map [default: as many as CPUs, up to 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(THREADS_MAX)))]
    threads: Option<u16>,
    /// No bar, and no counts at the end
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    ring: RingArgs,
    /// detokenize only: the form of the numbers
    #[arg(long, value_enum, default_value_t, hide_default_value = true)]
    form: NumberForm,
    /// detokenize only: put an apostrophe before texts that a spreadsheet would run, such as =1+1
    #[arg(long)]
    guard_formulas: bool,
    /// The space of the UIDs
    #[arg(long, value_name = "NAME", default_value = "default")]
    context: Context,
    /// Each result as a JSON object with Key, Value and, where it failed, Error
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One value a line
    Lines,
    /// Comma-separated values, or separated by something else
    Csv,
    /// One JSON value a line
    Jsonl,
}

/// How much there is to read, if known, and how far the input was read.
#[derive(Default)]
struct Extent {
    bytes: Option<u64>,
    position: Position,
}

/// Where the values are in each row.
enum Selection {
    Lines,
    Csv(Vec<Column>),
    Jsonl(Jsonl),
}

/// Maps every row, and reports failures by row number.
pub(super) fn run(args: &BulkArgs, mode: Mode) -> Result<(), Failure> {
    let selection = args.selection()?;
    // This comes before anything is opened, so that a misplaced file gets the right message.
    let in_place = guard::check(args)?;
    if !args.value.is_empty() && !args.quiet {
        warn_of_arguments();
    }
    let now = Timestamp::now();
    let tokenizer = args.tokenizer(mode, now)?;
    let task = Task {
        tokenizer: &tokenizer,
        context: &args.context,
        now,
        mode,
        on_error: args.on_error.unwrap_or(OnError::Blank),
        // For a dry run, `--json` is about the counts.
        style: if args.json && !args.dry_run { Style::Object } else { Style::Row },
        nulls: if args.value.is_empty() { &args.null } else { &[] },
        numbering: tokenizer.numbering(now),
        has_one_numbering: tokenizer.has_one_numbering(),
        repairs: args.repair,
        only_numbers: args.only_numbers,
        form: args.form,
        guards_formulas: args.guard_formulas,
    };
    let (mut input, extent, encoding) = args.input()?;
    let run = Run::begin(args, task, extent, in_place, encoding)?;
    match selection {
        Selection::Lines if !args.value.is_empty() => run.map(input, &Lines { end: 0 }, &[], 0),
        Selection::Lines => {
            // These results have other lines, which need no mark in UTF-8.
            let mark = input.take_byte_order_mark().map_err(Failure::failed)?;
            let mark = if encoding.wants_mark() { mark } else { b"" };
            let end = if input.has_cr_alone().map_err(Failure::failed)? { b'\r' } else { b'\n' };
            run.map(input, &Lines { end }, &[mark], 0)
        }
        Selection::Csv(columns) => {
            let mark = input.take_byte_order_mark().map_err(Failure::failed)?;
            let mut csv =
                Csv { delimiter: args.delimiter, columns: Vec::new(), cells: 0, quoted_lines: args.quoted_lines };
            let numbering = (mode == Mode::PhoneToUid).then(|| tokenizer.numbering(now));
            let header = header::locate(&mut input, &mut csv, &columns, numbering)?;
            let names = header::names(&csv, &header);
            run.with_names(names).map(input, &csv, &[mark, &header], u64::from(!header.is_empty()))
        }
        Selection::Jsonl(jsonl) => {
            let mark = input.take_byte_order_mark().map_err(Failure::failed)?;
            run.map(input, &jsonl, &[mark], 0)
        }
    }
}

impl BulkArgs {
    /// The tokenizer. It writes trunk prefixes if the form wants them.
    fn tokenizer(&self, mode: Mode, now: Timestamp) -> Result<Tokenizer, Failure> {
        if (self.form != NumberForm::Dialled || self.guard_formulas) && mode != Mode::UidToPhone {
            return Err(Failure::usage("--form and --guard-formulas are for detokenize: UIDs have one form"));
        }
        let tokenizer = self.ring.tokenizer()?;
        let region = tokenizer.ring().primary(now).region.clone();
        let trunk_zero = match self.form {
            NumberForm::Dialled => return Ok(tokenizer),
            NumberForm::E164 => TrunkZeroRegions::new([]),
            NumberForm::National => TrunkZeroRegions::new([&*region]),
        };
        Ok(tokenizer.dialling(trunk_zero.map_err(Failure::failed)?))
    }

    /// Where the values are, after a check that the flags fit together.
    fn selection(&self) -> Result<Selection, Failure> {
        if self.json && self.format != Format::Lines && !self.dry_run {
            return Err(Failure::usage(
                "--json is for --format lines and --dry-run: the other formats keep their rows",
            ));
        }
        if self.format != Format::Csv
            && (self.no_header || self.delimiter != Delimiter::default() || self.quoted_lines != QUOTED_LINES_DEFAULT)
        {
            return Err(Failure::usage("--delimiter, --no-header and --quoted-lines are for --format csv"));
        }
        match (self.format, &self.column[..]) {
            (Format::Lines, []) => Ok(Selection::Lines),
            (Format::Lines, _) => Err(Failure::usage("--column is for --format csv and jsonl")),
            (Format::Csv, []) => {
                Err(Failure::usage("--format csv needs --column: a name in its first row, or a number"))
            }
            (Format::Csv, columns) if self.no_header => {
                let numbers = columns.iter().map(|column| column.parse().map(Column::Number));
                let numbers: Result<_, _> = numbers.collect();
                let numbers = numbers.map_err(|_| Failure::usage("--no-header needs a number as --column, from 1"));
                Ok(Selection::Csv(numbers?))
            }
            (Format::Csv, columns) => Ok(Selection::Csv(columns.iter().cloned().map(Column::Header).collect())),
            (Format::Jsonl, []) => Err(Failure::usage(format_args!("--format jsonl needs --column: {NotAPointer}"))),
            (Format::Jsonl, columns) => {
                let pointers: Result<_, _> = columns.iter().map(|column| column.parse()).collect();
                Ok(Selection::Jsonl(Jsonl { pointers: pointers.map_err(Failure::usage)? }))
            }
        }
    }

    /// The input, its size if known, and its encoding.
    fn input(&self) -> Result<(Input, Extent, Encoding), Failure> {
        let mut extent = Extent::default();
        if !self.value.is_empty() {
            // A value cannot contain a NUL, since the system ends arguments with one.
            let values: String = self.value.iter().flat_map(|value| [value, "\0"]).collect();
            return Ok((Input::new(io::Cursor::new(values), Pace::Full), extent, Encoding::Utf8));
        }
        let Some(path) = self.file.as_deref().filter(|path| *path != Path::new(STDIN)) else {
            if io::stdin().is_terminal() {
                tell(
                    "waiting for lines from this terminal; Ctrl-D on a line of its own ends them (--help tells of files)",
                );
            }
            extent.bytes = length(&File::from(io::stdin().as_fd().try_clone_to_owned().map_err(Failure::failed)?));
            // A program that writes to a pipe may wait for answers, as people at a terminal do.
            let pace = if extent.bytes.is_some() { Pace::Full } else { Pace::Row };
            let (input, encoding) =
                Input::open(extent.position.of(io::stdin()), pace, self.encoding).map_err(Failure::failed)?;
            return Ok((input, extent, encoding));
        };
        let file = File::open(path).map_err(|error| {
            Failure::failed(format_args!("cannot open the file: {error} (values go after --value)"))
        })?;
        extent.bytes = length(&file);
        let unpacked = Container::of(path).unpack(extent.position.of(file)).map_err(Failure::failed)?;
        let (input, encoding) = Input::open(unpacked, Pace::Full, self.encoding).map_err(Failure::failed)?;
        Ok((input, extent, encoding))
    }

    fn reads_stdin(&self) -> bool {
        self.value.is_empty() && self.file.as_deref().is_none_or(|path| path == Path::new(STDIN))
    }

    fn threads(&self) -> NonZero<usize> {
        let asked = self.threads.and_then(|threads| NonZero::new(usize::from(threads)));
        asked
            .or_else(|| thread::available_parallelism().ok().map(|cpus| cpus.min(THREADS_DEFAULT_MAX)))
            .unwrap_or(NonZero::<usize>::MIN)
    }
}

/// How many bytes a file has. For a pipe this is unknown.
fn length(file: &File) -> Option<u64> {
    file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
}
