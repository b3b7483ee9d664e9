//! One thread reads blocks, several map them, and the calling thread takes the results in their order.

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

/// Bytes of the usual block. With many threads it is smaller, so that all blocks fit into [`BYTES_UNDER_WAY_MAX`].
const BLOCK_BYTES: usize = 128 * 1024;

/// Bytes of all usual blocks together.
const BYTES_UNDER_WAY_MAX: usize = 2 * 1024 * 1024;

/// Blocks in addition to one for each thread: one being read, one being written, and one in each queue.
const BLOCKS_BETWEEN: usize = 4;

/// Why the last rows are missing.
pub(super) enum Stop {
    /// The input could not be read.
    Input(InputError),
    /// The sink failed.
    Sink(Failure),
}

/// A block to map, and the channel for its result. `None` tells a thread to end.
type Job = Option<(Block, Sender<Block>)>;

/// Whether all rows that could be read were written.
enum Written {
    All,
    Enough,
}

/// Maps all rows of `input` on this many threads, and gives each block to `sink` in order, until the sink stops or
/// fails, or the input ends.
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
        // The reader is not joined: it may wait for input that never comes.
        Written::Enough => Ok(()),
        Written::All => reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(Stop::Input),
    }
}

/// Reads until the input ends or nobody wants more. The number of free blocks bounds how far it reads ahead.
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
        // The thread that waits for a job holds the lock; the others wait for the lock.
        let job = lock(jobs).recv();
        let Ok(Some((mut block, mapped))) = job else { return };
        mapper.map(&mut block);
        // Once the writer has stopped, nobody receives this.
        let _ = mapped.send(block);
    }
}

fn write(
    nexts: Receiver<Receiver<Block>>,
    free: Sender<Block>,
    sink: &mut impl FnMut(&Block) -> Result<(), Failure>,
) -> Result<Written, Failure> {
    for next in nexts {
        // A thread that panicked sends nothing. The scope reports the panic.
        let Ok(block) = next.recv() else { return Ok(Written::Enough) };
        sink(&block)?;
        if block.done.stopped {
            return Ok(Written::Enough);
        }
        // Once everything is read, nobody receives this.
        let _ = free.send(block);
    }
    Ok(Written::All)
}
