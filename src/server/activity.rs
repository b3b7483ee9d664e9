//! What a connection is doing and since when: how long it may go on so, and which to give up when places are scarce.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    io,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use atomic_waker::AtomicWaker;
use hyper::Version;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use crate::{clock, limits::Limits, lock::lock};

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing: no byte of another request came.
    Idle,
    /// Its peer is sending the head of a request.
    Head,
    /// A request is read and worked on.
    Request,
    /// Its peer is reading the answer.
    Answer,
    /// Its peer is sending a body that nobody will read, and the connection ends with it.
    Discard,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Idle, Self::Head, Self::Request, Self::Answer, Self::Discard];

    fn patience(self, limits: &Limits) -> Duration {
        match self {
            Self::Idle => limits.idle,
            Self::Head => limits.header,
            Self::Request | Self::Answer | Self::Discard => limits.request,
        }
    }
}

/// What a connection has been told to do, each more urgent than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    GoOn,
    LastAnswer,
    Drain,
    Close,
}

impl Order {
    const ALL: [Self; 4] = [Self::GoOn, Self::LastAnswer, Self::Drain, Self::Close];
}

/// What a connection is doing and since when, and what it has been told to do.
pub(super) struct Activity {
    /// Milliseconds of the coarse clock, times 8, plus the phase.
    state: AtomicU64,
    order: AtomicU8,
    ordered: AtomicWaker,
    /// Tells that an answer to a request whose body nobody reads has left.
    pub(super) answered: Notify,
    /// Whether a request of this connection was ever granted.
    proved: AtomicBool,
    /// Whether this is HTTP/2, where many requests are under way at once: since when each of them is.
    multiplexed: AtomicBool,
    streams: Mutex<Streams>,
}

#[derive(Default)]
struct Streams {
    under_way: BTreeMap<u64, Duration>,
    next: u64,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        let (ordered, answered, streams) = (AtomicWaker::new(), Notify::new(), Mutex::default());
        let (state, order) = (AtomicU64::new(0), AtomicU8::new(Order::GoOn as u8));
        let [proved, multiplexed] = [(); 2].map(|()| AtomicBool::new(false));
        let activity = Self { state, order, ordered, answered, proved, multiplexed, streams };
        activity.enter(Phase::Idle);
        Arc::new(activity)
    }

    pub(super) fn enter(&self, phase: Phase) {
        let millis = u64::try_from(clock::coarse().as_millis()).unwrap_or(u64::MAX);
        self.state.store((millis << 3) | phase as u64, Ordering::Relaxed);
    }

    pub(super) fn enter_from(&self, from: Phase, to: Phase) {
        if self.phase() == from {
            self.enter(to);
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase_since().0
    }

    fn phase_since(&self) -> (Phase, Duration) {
        let state = self.state.load(Ordering::Relaxed);
        (Phase::ALL[usize::try_from(state & 7).unwrap_or(0)], Duration::from_millis(state >> 3))
    }

    /// Since when nothing happens here, by the coarse clock; `None` while something does.
    pub(super) fn idle_since(&self) -> Option<Duration> {
        let (phase, since) = self.phase_since();
        (phase == Phase::Idle).then_some(since)
    }

    /// Since when a peer that has shown no good credentials makes us wait, where it does.
    pub(super) fn dawdles_since(&self) -> Option<Duration> {
        let (phase, since) = self.phase_since();
        let dawdles = matches!(phase, Phase::Head | Phase::Discard) && !self.proved.load(Ordering::Relaxed);
        dawdles.then_some(since)
    }

    /// Notes that a request of this connection was granted.
    pub(super) fn prove(&self) {
        self.proved.store(true, Ordering::Relaxed);
    }

    /// Until when its peer may go on with what it is doing.
    pub(super) fn deadline(&self, limits: &Limits) -> Instant {
        // An HTTP/2 peer may take its time for the body, and again for the answer, of the oldest of its requests.
        if self.is_multiplexed()
            && let Some(oldest) = lock(&self.streams).under_way.values().min()
        {
            return instant(*oldest + limits.request * 2);
        }
        let (phase, since) = self.phase_since();
        instant(since + phase.patience(limits))
    }

    /// Lets the next answer be the last: its peer then turns to another replica, with no request lost between.
    pub(super) fn answer_last(&self) {
        self.tell(Order::LastAnswer);
    }

    /// Ends the connection after the requests that are under way.
    pub(super) fn drain(&self) {
        self.tell(Order::Drain);
    }

    /// Ends the connection now.
    pub(super) fn close(&self) {
        self.tell(Order::Close);
    }

    /// Notes a request: until what this gives is dropped, where it is one of many, and else until another phase.
    pub(super) fn begin_request(self: &Arc<Self>, version: Version) -> Option<UnderWay> {
        if version != Version::HTTP_2 {
            self.enter(Phase::Request);
            return None;
        }
        let mut streams = lock(&self.streams);
        let stream = streams.next;
        streams.next += 1;
        streams.under_way.insert(stream, clock::coarse());
        self.enter(Phase::Request);
        Some(UnderWay { activity: self.clone(), stream })
    }

    /// Notes that this is HTTP/2.
    pub(super) fn multiplex(&self) {
        self.multiplexed.store(true, Ordering::Relaxed);
        // It waits for nothing until there is a request.
        self.enter(Phase::Idle);
    }

    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Ordering::Relaxed)
    }

    /// What `future` gives, unless it takes longer than `limit`, fails, or the connection is told to close.
    pub(super) async fn unless_closed<T>(
        &self,
        limit: Duration,
        future: impl Future<Output = io::Result<T>>,
    ) -> Option<T> {
        let closed = poll_fn(|cx| {
            self.heed_orders(cx);
            if self.is_to_end() { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            done = timeout(limit, future) => done.ok()?.ok(),
            () = closed => None,
        }
    }

    pub(super) fn order(&self) -> Order {
        Order::ALL[usize::from(self.order.load(Ordering::Relaxed))]
    }

    fn tell(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::Relaxed);
        self.ordered.wake();
    }

    /// Whether it was told to end, after what it is doing or at once.
    pub(super) fn is_to_end(&self) -> bool {
        self.order() >= Order::Drain
    }

    /// Has the task of `cx` woken by the next order.
    pub(super) fn heed_orders(&self, cx: &Context<'_>) {
        self.ordered.register(cx.waker());
    }
}

/// A request under way, one of many that an HTTP/2 connection may have.
pub(super) struct UnderWay {
    activity: Arc<Activity>,
    stream: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut streams = lock(&self.activity.streams);
        streams.under_way.remove(&self.stream);
        if streams.under_way.is_empty() {
            self.activity.enter(Phase::Idle);
        }
    }
}

/// The time for a timer, of a time of the coarse clock.
pub(super) fn instant(coarse: Duration) -> Instant {
    /// One moment by both clocks.
    static MOMENT: LazyLock<(Instant, Duration)> = LazyLock::new(|| (Instant::now(), clock::coarse()));
    let (exact, then) = *MOMENT;
    exact + coarse.saturating_sub(then)
}
