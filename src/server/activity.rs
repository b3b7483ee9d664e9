//! What a connection is doing, since when, and what it has been told. This is all that its task and the table of
//! connections share.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

use crate::{budget::Share, limits::Limits, lock::lock, respond::Patience};

/// How long a connection is idle before it rests: longer than a busy one ever is.
pub(super) const REST_AFTER: Duration = Duration::from_millis(100);

/// A time to a few milliseconds. Each request needs four, and all reading of clocks together was 2.5% of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(Duration);

impl Moment {
    /// The kernel's time at its last tick.
    pub(super) fn now() -> Self {
        let now = clock_gettime(ClockId::MonotonicCoarse);
        Self(Duration::try_from(now).unwrap_or_default())
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing: no byte of another request has come.
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

/// What a connection has been told to do. Each order is more urgent than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// Go on.
    GoOn,
    /// Let the next answer be the last. The peer then turns to another replica, and no request is lost.
    LastAnswer,
    /// End once idle. A request under way is still answered.
    Drain,
    /// End now.
    Close,
}

/// What happens to a connection that waits for its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It waits on.
    Wait,
    /// It is idle, and gives back everything that it needs only for requests.
    Rest,
    /// It ends, with an answer to a peer that sent a head too slowly.
    TooSlow,
    /// It ends.
    End,
}

/// What a connection is doing, since when, and what it has been told.
pub(super) struct Activity {
    state: Mutex<State>,
    ordered: Notify,
    /// Tells that an answer has left, where the body of its request was not read.
    pub(super) answered: Notify,
    /// The time limit of the request under way.
    pub(super) patience: Patience,
}

struct State {
    phase: Phase,
    since: Moment,
    order: Order,
    /// The share that the largest answer holds, since the connection last rested.
    share: Option<Share>,
}

impl Activity {
    pub(super) fn new(order: Order) -> Arc<Self> {
        let state = State { phase: Phase::Idle, since: Moment::now(), order, share: None };
        let (ordered, answered, patience) = (Notify::new(), Notify::new(), Patience::default());
        Arc::new(Self { state: Mutex::new(state), ordered, answered, patience })
    }

    pub(super) fn enter(&self, phase: Phase) {
        lock(&self.state).enter(phase);
    }

    /// Enters `to` where the connection is in `from`.
    pub(super) fn move_on(&self, from: Phase, to: Phase) {
        let mut state = lock(&self.state);
        if state.phase == from {
            state.enter(to);
        }
    }

    /// Notes that a request begins, and starts its time.
    pub(super) fn begin_request(&self) {
        self.patience.begin();
        self.enter(Phase::Request);
    }

    /// Notes that an answer is on its way. It holds `share`.
    pub(super) fn begin_answer(&self, phase: Phase, share: Option<Share>) {
        let mut state = lock(&self.state);
        state.enter(phase);
        // hyper keeps the room of the largest answer until the connection rests.
        let bytes = |share: &Option<Share>| share.as_ref().map_or(0, Share::bytes);
        if bytes(&share) > bytes(&state.share) {
            state.share = share;
        }
    }

    /// Notes that the operating system has everything that there was to send.
    pub(super) fn flushed(&self) {
        let mut state = lock(&self.state);
        match state.phase {
            Phase::Answer => state.enter(Phase::Idle),
            Phase::Discard => self.answered.notify_one(),
            Phase::Idle | Phase::Head | Phase::Request => {}
        }
    }

    /// Notes that the connection rests, which gives back what its answers held.
    pub(super) fn rest(&self) {
        lock(&self.state).share = None;
    }

    /// Since when the connection is idle; `None` while it is not.
    pub(super) fn idle_since(&self) -> Option<Moment> {
        let state = lock(&self.state);
        (state.phase == Phase::Idle).then_some(state.since)
    }

    pub(super) fn order(&self) -> Order {
        lock(&self.state).order
    }

    /// Gives an order, unless there is a more urgent one.
    pub(super) fn tell(&self, order: Order) {
        let mut state = lock(&self.state);
        state.order = state.order.max(order);
        drop(state);
        self.ordered.notify_one();
    }

    /// Completes when an order was given. Only the connection's own task may wait for this.
    pub(super) async fn ordered(&self) {
        self.ordered.notified().await;
    }

    /// Completes when the connection, which is idle, is to end.
    pub(super) async fn told_to_end(&self) {
        while self.order() < Order::Drain {
            self.ordered().await;
        }
    }

    /// What happens to the connection after it did everything that was possible by `now`.
    pub(super) fn verdict(&self, limits: &Limits, now: Moment) -> Verdict {
        let state = lock(&self.state);
        let waits = now.0.saturating_sub(state.since.0);
        match (state.phase, state.order) {
            (_, Order::Close) | (Phase::Idle, Order::Drain) => Verdict::End,
            (Phase::Idle, _) if waits >= REST_AFTER => Verdict::Rest,
            (Phase::Head, _) if waits >= limits.header => Verdict::TooSlow,
            (Phase::Request, _) if waits >= limits.request => {
                self.patience.end();
                // The request is then refused as too slow, or because we are busy, unless it hangs.
                if waits >= limits.request * 2 { Verdict::End } else { Verdict::Wait }
            }
            (Phase::Answer | Phase::Discard, _) if waits >= limits.request => Verdict::End,
            _ => Verdict::Wait,
        }
    }
}

impl State {
    fn enter(&mut self, phase: Phase) {
        (self.phase, self.since) = (phase, Moment::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(phase: Phase, order: Order, waits: Duration, expected: Verdict) {
        let activity = Activity::new(order);
        activity.enter(phase);
        let since = lock(&activity.state).since;
        assert_eq!(
            activity.verdict(&Limits::default(), Moment(since.0 + waits)),
            expected,
            "{phase:?} {order:?} {waits:?}"
        );
    }

    #[test]
    fn a_connection_waits_as_long_as_its_phase_allows() {
        let limits = Limits::default();
        let tick = Duration::from_millis(1);
        check(Phase::Idle, Order::GoOn, REST_AFTER - tick, Verdict::Wait);
        check(Phase::Idle, Order::LastAnswer, REST_AFTER, Verdict::Rest);
        check(Phase::Head, Order::GoOn, limits.header - tick, Verdict::Wait);
        check(Phase::Head, Order::GoOn, limits.header, Verdict::TooSlow);
        check(Phase::Request, Order::GoOn, limits.request, Verdict::Wait);
        check(Phase::Request, Order::GoOn, limits.request * 2, Verdict::End);
        check(Phase::Answer, Order::GoOn, limits.request - tick, Verdict::Wait);
        check(Phase::Answer, Order::GoOn, limits.request, Verdict::End);
        check(Phase::Discard, Order::GoOn, limits.request, Verdict::End);
    }

    #[test]
    fn an_order_ends_what_it_may_end() {
        check(Phase::Idle, Order::Drain, Duration::ZERO, Verdict::End);
        for phase in [Phase::Head, Phase::Request, Phase::Answer, Phase::Discard] {
            check(phase, Order::Drain, Duration::ZERO, Verdict::Wait);
            check(phase, Order::Close, Duration::ZERO, Verdict::End);
        }
    }

    #[test]
    fn the_more_urgent_order_stays() {
        let activity = Activity::new(Order::GoOn);
        activity.tell(Order::Drain);
        activity.tell(Order::LastAnswer);
        assert_eq!(activity.order(), Order::Drain);
    }

    #[test]
    fn a_connection_that_rests_gives_back_what_its_answers_held() {
        let (activity, budget) = (Activity::new(Order::GoOn), crate::budget::Budget::new(10));
        let mut share = budget.share();
        assert!(share.add(10).is_ok());
        activity.begin_answer(Phase::Answer, Some(share));
        assert!(budget.share().add(1).is_err());
        activity.flushed();
        assert!(budget.share().add(1).is_err() && activity.idle_since().is_some());
        activity.rest();
        assert!(budget.share().add(10).is_ok());
    }
}
