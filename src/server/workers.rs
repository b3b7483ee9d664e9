//! The threads that serve connections. Each has its own runtime, so that a connection stays on its thread and nothing
//! of it moves from core to core. Each new connection goes to the thread that has the fewest.
//!
//! Sockets that share a port (SO_REUSEPORT) would avoid this hand-over, which costs a connection a few microseconds
//! once. But they distribute connections by a hash, so that several busy ones could share a core beside an idle one,
//! and a second process could take the same port unnoticed.

use std::{
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use super::handshake::HandshakeQueue;

/// Tasks that a thread runs before it asks the operating system for new events. Each is at most a few dozen
/// microseconds of a handshake or a refusal, so that a call does not wait for a whole flood of strangers.
const TASKS_A_LOOK: u32 = 16;

/// The threads, which end when this is dropped.
pub struct Workers(Vec<Worker>);

struct Worker {
    handle: Handle,
    connections: Arc<AtomicUsize>,
    handshakes: HandshakeQueue,
    /// Only for a thread that was started here: dropping it ends the thread.
    _ends_when_dropped: Option<oneshot::Sender<()>>,
}

impl Workers {
    /// Starts so many threads.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn start(threads: NonZeroUsize) -> io::Result<Self> {
        let worker = |at| {
            let runtime = Builder::new_current_thread().enable_all().event_interval(TASKS_A_LOOK).build()?;
            let (sender, ended) = oneshot::channel();
            let handle = runtime.handle().clone();
            thread::Builder::new().name(format!("worker-{at}")).spawn(move || {
                let _ = runtime.block_on(ended);
            })?;
            Ok(Worker {
                handle,
                connections: Arc::default(),
                handshakes: HandshakeQueue::default(),
                _ends_when_dropped: Some(sender),
            })
        };
        (0..threads.get()).map(worker).collect::<io::Result<_>>().map(Self)
    }

    /// The calling thread, whose runtime has other work as well.
    ///
    /// # Panics
    /// If the thread has no runtime.
    pub fn this_thread() -> Self {
        let handle = Handle::current();
        Self(vec![Worker {
            handle,
            connections: Arc::default(),
            handshakes: HandshakeQueue::default(),
            _ends_when_dropped: None,
        }])
    }

    /// The runtime of the first thread, which also accepts connections. Another thread would have to wake a worker for
    /// each of them: that was 10% of a new connection's CPU over TLS, and 20% without.
    ///
    /// # Panics
    /// Never: there is at least one.
    pub fn first(&self) -> &Handle {
        &self.0.first().expect("there is at least one thread").handle
    }

    /// A slot on the thread with the fewest connections.
    pub(super) fn least_busy(&self) -> Assigned<'_> {
        let open = |worker: &&Worker| worker.connections.load(Ordering::Relaxed);
        let worker = self.0.iter().min_by_key(open).expect("there is at least one thread");
        worker.connections.fetch_add(1, Ordering::Relaxed);
        let slot = WorkerSlot(worker.connections.clone());
        Assigned { handle: &worker.handle, handshakes: &worker.handshakes, slot }
    }

    /// Completes once every thread has run a new task, which shows that none of them hangs.
    pub async fn are_alive(&self) {
        for worker in &self.0 {
            // A runtime that ended has nothing to do, and so cannot hang.
            let _ = worker.handle.spawn(async {}).await;
        }
    }
}

/// The thread of one connection.
pub(super) struct Assigned<'w> {
    pub(super) handle: &'w Handle,
    pub(super) handshakes: &'w HandshakeQueue,
    pub(super) slot: WorkerSlot,
}

/// One connection's slot among those of its thread.
pub(super) struct WorkerSlot(Arc<AtomicUsize>);

impl Drop for WorkerSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
