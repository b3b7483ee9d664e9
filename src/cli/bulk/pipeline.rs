//! One thread reads blocks, some map them, and this one takes what became of them, in their order.

use std::{
    num::NonZero,
    sync::{
        Mutex,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use super::{
    block::Block,
    input::{Input, InputError},
    layout::Layout,
    map::Mapper,
    task::Task,
};
use crate::{cli::failure::Failure, lock::lock};

/// Bytes of the usual block; less where there are many threads, so that what is under way fits [`BYTES_UNDER_WAY_MAX`].
const BLOCK_BYTES: usize = 128 * 1024;

/// Bytes of all usual blocks together.
const BYTES_UNDER_WAY_MAX: usize = 2 * 1024 * 1024;

/// Blocks beyond one a thread: one being read, one being written, and one on each way.
const BLOCKS_BETWEEN: usize = 4;

/// Why the last rows are not there.
pub(super) enum Stop {
    /// They could not be read.
    Input(InputError),
    /// Somebody who takes them failed.
    Sink(Failure),
}

/// A block to be mapped, and where it is waited for; nothing tells a thread to end.
type Job = Option<(Block, Sender<Block>)>;

/// Whether all rows were written, as far as they could be read.
enum Written {
    All,
    Enough,
}

/// Maps all rows of `input` on so many threads, and gives each block to `sink`, in order, until that wants no more or
/// fails, or nothing is left.
pub(super) fn run<L: Layout>(
    input: Input,
    layout: &L,
    task: &Task<'_>,
    threads: NonZero<usize>,
    mut sink: impl FnMut(&Block) -> Result<(), Failure>,
) -> Result<(), Stop> {
    let blocks = threads.get() + BLOCKS_BETWEEN;
    let block_bytes = BLOCK_BYTES.min(BYTES_UNDER_WAY_MAX / blocks);
    let (free, frees) = mpsc::channel();
    for _ in 0..blocks {
        free.send(Block::default()).expect("its other end is here");
    }
    let (job, jobs) = mpsc::channel::<Job>();
    let jobs = Mutex::new(jobs);
    let (next, nexts) = mpsc::channel();
    let (readers_job, readers_layout) = (job.clone(), layout.clone());
    let reader = thread::spawn(move || read(input, &readers_layout, block_bytes, &frees, &readers_job, &next));
    let written = thread::scope(|scope| {
        for _ in 0..threads.get() {
            scope.spawn(|| map(&jobs, Mapper::new(task, layout)));
        }
        let written = write(nexts, free, &mut sink);
        for _ in 0..threads.get() {
            job.send(None).expect("its other end is here");
        }
        written
    });
    match written.map_err(Stop::Sink)? {
        // The reader is left alone: it may wait for input that never comes.
        Written::Enough => Ok(()),
        Written::All => reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(Stop::Input),
    }
}

/// Reads until nothing is left or nobody wants more. The number of free blocks bounds how far ahead.
fn read<L: Layout>(
    mut input: Input,
    layout: &L,
    block_bytes: usize,
    frees: &Receiver<Block>,
    job: &Sender<Job>,
    next: &Sender<Receiver<Block>>,
) -> Result<(), InputError> {
    while let Ok(mut block) = frees.recv() {
        if !input.next(layout, &mut block, block_bytes)? {
            break;
        }
        let (mapped, waiting) = mpsc::channel();
        if next.send(waiting).is_err() || job.send(Some((block, mapped))).is_err() {
            break;
        }
    }
    Ok(())
}

fn map<L: Layout>(jobs: &Mutex<Receiver<Job>>, mut mapper: Mapper<'_, L>) {
    loop {
        // Whoever waits for a job holds the lock; the others wait for that.
        let job = lock(jobs).recv();
        let Ok(Some((mut block, mapped))) = job else { return };
        mapper.map(&mut block);
        // Nobody wants it once the writer has stopped.
        let _ = mapped.send(block);
    }
}

fn write(
    nexts: Receiver<Receiver<Block>>,
    free: Sender<Block>,
    sink: &mut impl FnMut(&Block) -> Result<(), Failure>,
) -> Result<Written, Failure> {
    for next in nexts {
        // A thread that panicked sends nothing; the scope tells of it.
        let Ok(block) = next.recv() else { return Ok(Written::Enough) };
        sink(&block)?;
        if block.done.stopped {
            return Ok(Written::Enough);
        }
        // Nobody wants it once everything is read.
        let _ = free.send(block);
    }
    Ok(Written::All)
}
