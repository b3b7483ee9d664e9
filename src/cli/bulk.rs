//! `callveil tokenize`, `detokenize` and `rewrap`: values, or lines of a file or of stdin.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read as _, Write},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{Failure, RingArgs, tell};
use crate::{
    ids::Context,
    tokenizer::{Batch, Mapped, Mode},
    wire,
};

/// Bytes of a line that are looked at. The longest UID has 248, and white space may surround it.
const LINE_BYTES_MAX: u64 = 4096;

#[derive(Args)]
pub(super) struct BulkArgs {
    /// The file to read [default: stdin]
    #[arg(conflicts_with = "value")]
    file: Option<PathBuf>,
    /// A value, instead of a file; may be repeated
    #[arg(long, allow_hyphen_values = true)]
    value: Vec<String>,
    /// How the file is laid out
    #[arg(long, value_enum, default_value_t = Format::Lines)]
    format: Format,
    #[command(flatten)]
    ring: RingArgs,
    /// The space of the UIDs
    #[arg(long, value_name = "NAME", default_value = "default")]
    context: Context,
    /// Each result as a JSON object with Key, Value and, where it failed, Error
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// One value a line
    Lines,
}

/// One result a value goes to stdout, an empty line for one that failed; what failed is told on stderr, by its place.
pub(super) fn run(args: &BulkArgs, mode: Mode) -> Result<(), Failure> {
    let tokenizer = args.ring.tokenizer()?;
    let mut batch = tokenizer.batch(&args.context, Timestamp::now());
    let mut sink = Sink { out: BufWriter::new(io::stdout().lock()), json: args.json, rows: 0, failed: 0 };
    let Format::Lines = args.format;
    if !args.value.is_empty() {
        args.value.iter().try_for_each(|value| sink.put(&mut batch, mode, value))?;
    } else if let Some(path) = &args.file {
        let file = File::open(path).map_err(|error| {
            Failure::failed(format_args!("cannot open the file: {error} (values go after --value)"))
        })?;
        lines(BufReader::new(file), |line| sink.put(&mut batch, mode, line))?;
    } else {
        lines(io::stdin().lock(), |line| sink.put(&mut batch, mode, line))?;
    }
    sink.finish()
}

/// Gives each line of `input` to `each`, without its end, and the first without a byte order mark. A line that is too
/// long, or no UTF-8, is given with a character in it that neither a number nor a UID can have.
fn lines(mut input: impl BufRead, mut each: impl FnMut(&str) -> Result<(), Failure>) -> Result<(), Failure> {
    let failed = |error| Failure::failed(format_args!("cannot read: {error}"));
    let mut line = Zeroizing::new(Vec::with_capacity(4096 + 1));
    let mut first = true;
    loop {
        line.clear();
        let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(failed)?;
        if read == 0 {
            return Ok(());
        }
        let ended = line.last() == Some(&b'\n');
        if !ended && read as u64 == LINE_BYTES_MAX {
            input.skip_until(b'\n').map_err(failed)?;
            line.push(0);
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let text = if first { text.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(text) } else { text };
        first = false;
        match str::from_utf8(text) {
            Ok(text) => each(text)?,
            Err(_) => each(&(String::from_utf8_lossy(text) + "\0"))?,
        }
    }
}

struct Sink<W: Write> {
    out: W,
    json: bool,
    rows: u64,
    failed: u64,
}

impl<W: Write> Sink<W> {
    fn put(&mut self, batch: &mut Batch<'_>, mode: Mode, item: &str) -> Result<(), Failure> {
        let mut mapped = Mapped::default();
        batch.map(mode, &[item], &mut mapped);
        self.rows += 1;
        for outcome in mapped.iter() {
            if let Err(error) = outcome {
                self.failed += 1;
                tell(format_args!("row {}: {}", self.rows, error.code()));
            }
            if self.json {
                let mut json = Zeroizing::new(Vec::new());
                wire::item(&mut json, mode, item, outcome);
                self.out.write_all(&json)?;
            } else if let Ok(value) = outcome {
                self.out.write_all(value.as_bytes())?;
            }
        }
        self.out.write_all(b"\n")?;
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.out.flush()?;
        if self.failed > 0 {
            return Err(Failure::failed(format_args!("{} of {} failed", self.failed, self.rows)));
        }
        Ok(())
    }
}
