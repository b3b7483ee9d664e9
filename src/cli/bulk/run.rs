//! One run, from its first row to its last.

use std::{num::NonZero, path::PathBuf};

use super::{
    BulkArgs, Extent,
    block::Block,
    encoding::{Encoder, Encoding},
    guard::InPlace,
    input::Input,
    interrupt::Litter,
    layout::Layout,
    names::{LeftOver, Names},
    output::{Output, UnfinishedFile},
    pipeline::{self, Stop},
    progress::{Audience, Progress},
    record::Record,
    report::{RowReport, Values},
    task::Task,
};
use crate::cli::{
    failure::Failure,
    say::{print, tell},
};

/// What is printed at the end of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    Nothing,
    /// The counts, in addition to the results.
    Counts,
    /// The counts are the result: as text, or as JSON.
    Census,
    CensusAsJson,
}

pub(super) struct Run<'a> {
    task: Task<'a>,
    threads: NonZero<usize>,
    output: Output,
    report: RowReport,
    progress: Progress,
    closing: Closing,
    /// Whether somebody said what happens to rows that fail.
    expects_failures: bool,
    in_place: InPlace,
    record: Record,
    is_strict: bool,
    is_dry: bool,
    /// The names of the columns.
    names: Names,
}

impl<'a> Run<'a> {
    /// Opens everything that a run writes to.
    pub(super) fn begin(
        args: &BulkArgs,
        task: Task<'a>,
        extent: Extent,
        in_place: InPlace,
        encoding: Encoding,
    ) -> Result<Self, Failure> {
        let record = Record::new(args, task.mode, task.tokenizer.ring())?;
        let litter = Litter::clear_on_signals()
            .map_err(|error| Failure::failed(format_args!("cannot wait for signals: {error}")))?;
        let output = match &args.output {
            _ if args.dry_run => Output::Nowhere,
            Some(path) => Output::File(UnfinishedFile::create(path, encoding, &litter)?),
            None => Output::Stdout(std::io::stdout(), Encoder::new(encoding)),
        };
        let create = |path: &PathBuf, encoding| UnfinishedFile::create(path, encoding, &litter);
        let report = args.report.as_ref().map(|path| create(path, Encoding::Utf8)).transpose()?;
        let rejects = args.rejects.as_ref().map(|path| create(path, encoding)).transpose()?;
        let report = RowReport::new(report, rejects, if args.show_values { Values::Shown } else { Values::Hidden });
        let audience = if args.quiet { Audience::Nobody } else { Audience::of_stderr() };
        let closing = match args.dry_run {
            true if args.json => Closing::CensusAsJson,
            true => Closing::Census,
            false if args.quiet || !args.value.is_empty() => Closing::Nothing,
            false => Closing::Counts,
        };
        let progress = Progress::new(audience, extent.bytes, extent.position, &litter);
        Ok(Self {
            task,
            threads: args.threads(),
            output,
            report,
            progress,
            closing,
            expects_failures: args.on_error.is_some(),
            in_place,
            record,
            is_strict: args.strict,
            is_dry: args.dry_run,
            names: Names::default(),
        })
    }

    /// Sets the names of the columns.
    pub(super) fn with_names(self, names: Names) -> Self {
        Self { names, ..self }
    }

    /// Maps all rows of `input` after a `preamble` of some rows that is written unchanged.
    pub(super) fn map<L: Layout>(
        mut self,
        input: Input,
        layout: &L,
        preamble: &[&[u8]],
        preamble_rows: u64,
    ) -> Result<(), Failure> {
        self.record.begin()?;
        preamble.iter().try_for_each(|bytes| self.output.write(bytes))?;
        self.report.skip(preamble_rows, preamble.iter().map(|bytes| bytes.len() as u64).sum());
        let Self { task, threads, output, report, progress, names, .. } = &mut self;
        let mut is_stopped = false;
        let ran = pipeline::run(input, layout, task, *threads, |block: &Block| {
            output.write(&block.done.output)?;
            report.add(block, names, progress)?;
            progress.advance(block.done.counts.rows);
            is_stopped = block.done.stopped;
            Ok(())
        });
        let rate = self.progress.finish();
        self.record.end(&self.report.counts)?;
        let next_row = self.report.next_row();
        ran.map_err(|stop| match stop {
            Stop::Sink(failure) => failure,
            Stop::Input(error) => Failure::failed(error),
        })?;
        self.report.finish(&self.progress)?;
        if is_stopped {
            return Err(Failure::failed(format_args!("stopped at row {}", next_row - 1)));
        }
        self.finish(&rate)
    }

    fn finish(self, rate: &str) -> Result<(), Failure> {
        let counts = &self.report.counts;
        if counts.found_no_column() {
            return Err(Failure::failed(format_args!("none of the {} rows has that column", counts.rows)));
        }
        if self.in_place == InPlace::Yes && counts.failed() > 0 && !self.expects_failures {
            return Err(Failure::failed(format_args!(
                "{counts}; the input is not replaced unless --on-error says what to do with such rows"
            )));
        }
        let left = LeftOver { left: &counts.left, names: &self.names };
        if self.is_strict && counts.has_doubts() {
            return Err(Failure::failed(format_args!("{counts}{left}; --strict allows neither")));
        }
        self.output.finish()?;
        match self.closing {
            Closing::Nothing => {}
            Closing::Counts => tell(format_args!("{counts}{rate}{left}")),
            Closing::Census => print(format_args!(
                "{counts}{left}\n{} bytes read, {} bytes would be written",
                counts.bytes_in, counts.bytes_out
            ))?,
            Closing::CensusAsJson => print(counts.to_json())?,
        }
        match (counts.failed(), self.is_dry) {
            (0, _) => Ok(()),
            _ if self.expects_failures => Ok(()),
            (failed, false) => Err(Failure::failed(format_args!("{failed} of {} failed", counts.rows))),
            (failed, true) => Err(Failure::failed(format_args!("{failed} of {} would fail", counts.rows))),
        }
    }
}
