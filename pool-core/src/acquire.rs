//! Getting a place: at once, or after a wait in the queue.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Times;
use crate::core::{Core, Place};
use crate::error::{Error, Timeout};
use crate::kind::{CheckLimit, Kind, Unfit};
use crate::manager::Manager;
use crate::moment::{Clock, Moment};
use crate::state::{Answer, Failure, Key, Left, Lent, Polled, State, Unserved};

/// What one get asks for, beside the pool's settings.
///
/// # Examples
///
/// ```
/// use pool_core::GetOptions;
/// use std::time::Duration;
///
/// let impatient = GetOptions::new().timeout(Duration::from_millis(50));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct GetOptions {
    limit: Limit,
}

#[derive(Clone, Copy, Debug, Default)]
enum Limit {
    /// The pool's wait timeout.
    #[default]
    Pool,
    Timeout(Duration),
    Deadline(Instant),
}

impl GetOptions {
    /// What `get` asks for.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long this get may take in all, instead of the pool's wait timeout.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limit = Limit::Timeout(timeout);
        self
    }

    /// When this get has to be over, instead of the pool's wait timeout.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.limit = Limit::Deadline(deadline);
        self
    }
}

/// How long a get may take in all: settled when it first looks at the clock.
pub(crate) struct Patience {
    options: GetOptions,
    span: Option<Span>,
}

#[derive(Clone, Copy)]
struct Span {
    started: Moment,
    deadline: Moment,
}

impl Patience {
    pub(crate) fn new(options: GetOptions) -> Self {
        Self { options, span: None }
    }

    fn deadline(&mut self, now: Moment, times: &Times, clock: Clock) -> Moment {
        let limit = self.options.limit;
        let deadline = || match limit {
            Limit::Pool => now.after(times.wait),
            Limit::Timeout(timeout) => now.after(timeout),
            Limit::Deadline(deadline) => clock.moment(deadline),
        };
        self.span.get_or_insert_with(|| Span { started: now, deadline: deadline() }).deadline
    }

    /// Until when a check that starts now may run.
    pub(crate) fn check_limit(&mut self, times: &Times, clock: Clock) -> CheckLimit {
        let now = clock.now();
        let (callers, checks) = (self.deadline(now, times, clock), now.after(times.check));
        let (at, unfit) =
            if callers <= checks { (callers, Unfit::OutOfTime) } else { (checks, Unfit::Failed) };
        let at = clock.instant(at).unwrap_or_else(|| Instant::now() + A_YEAR);
        CheckLimit { at, unfit }
    }

    #[cold]
    pub(crate) fn timed_out<M: Manager, K: Kind<M>>(&self, core: &Core<M, K>) -> Error<M::Error> {
        let now = core.clock.now();
        let started = self.span.map_or(now, |span| span.started);
        let state = core.state();
        Error::Timeout(Box::new(Timeout {
            waited: now.since(started),
            status: state.status(),
            last_error: state.last_error(),
        }))
    }
}

/// For a timer that has to be set to something.
const A_YEAR: Duration = Duration::from_secs(86400 * 365);

type Got<M, K> = Result<Lent<Place<M, K>>, Error<<M as Manager>::Error>>;

/// A get, up to the place. Dropped while it waits, it leaves the queue; a place that it had been given
/// goes to the next.
pub(crate) struct Acquire<'a, M: Manager, K: Kind<M>> {
    core: &'a Arc<Core<M, K>>,
    patience: &'a mut Patience,
    waiting: Option<Key>,
}

impl<M: Manager, K: Kind<M>> Future for Acquire<'_, M, K> {
    type Output = Got<M, K>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Got<M, K>> {
        match self.waiting {
            Some(key) => self.poll_wait(key, cx),
            None => self.poll_start(cx),
        }
    }
}

impl<'a, M: Manager, K: Kind<M>> Acquire<'a, M, K> {
    pub(crate) fn new(core: &'a Arc<Core<M, K>>, patience: &'a mut Patience) -> Self {
        Self { core, patience, waiting: None }
    }

    fn poll_start(&mut self, cx: &mut Context<'_>) -> Poll<Got<M, K>> {
        let core = self.core;
        let mut waker = Some(cx.waker().clone());
        let answer = loop {
            let answer = core.update(|state, now, actions| {
                let deadline = self.patience.deadline(now, &core.times, core.clock);
                state.is_maintained().then(|| state.request(now, deadline, &mut waker, actions))
            });
            if answer.is_some() {
                break answer;
            }
            if !core.ensure_maintenance() {
                break core.update(State::request_unmaintained);
            }
        };
        match answer {
            Some(Answer::Lent(lent)) => Poll::Ready(Ok(lent)),
            Some(Answer::Queued(key)) => {
                self.waiting = Some(key);
                Poll::Pending
            }
            Some(Answer::QueueFull(waiting)) => Poll::Ready(Err(Error::QueueFull { waiting })),
            Some(Answer::Timeout) => Poll::Ready(Err(self.patience.timed_out(self.core))),
            Some(Answer::Closed) => Poll::Ready(Err(Error::Closed)),
            None => Poll::Ready(Err(Error::NoRuntime)),
        }
    }

    fn poll_wait(&mut self, key: Key, cx: &mut Context<'_>) -> Poll<Got<M, K>> {
        let mut spare = None;
        let outcome = loop {
            let (polled, maintained) = {
                let mut state = self.core.state();
                (state.poll_waiter(key, cx.waker(), &mut spare), state.is_maintained())
            };
            match polled {
                Polled::Ready(outcome) => break outcome,
                Polled::NeedsWaker => spare = Some(cx.waker().clone()),
                Polled::Waiting if maintained || self.core.ensure_maintenance() => {
                    return Poll::Pending;
                }
                // The runtime that looked after the queue has ended, and there is no other one here.
                Polled::Waiting => {
                    self.leave(Unserved::NoRuntime);
                    return Poll::Ready(Err(Error::NoRuntime));
                }
            }
        };
        self.waiting = None;
        Poll::Ready(match outcome {
            Ok(place) => Ok(Lent { place, stale: false }),
            Err(Failure::Timeout) => Err(self.patience.timed_out(self.core)),
            Err(Failure::Closed) => Err(Error::Closed),
            Err(Failure::Fatal(error)) => Err(Error::Create(error)),
        })
    }

    /// Leaves the queue, if it is in it.
    fn leave(&mut self, unserved: Unserved) {
        let Some(key) = self.waiting.take() else { return };
        let left = self.core.state().leave(key, unserved);
        if let Left::Granted(place) = left {
            self.core.give_back(place);
        }
    }
}

impl<M: Manager, K: Kind<M>> Drop for Acquire<'_, M, K> {
    fn drop(&mut self) {
        self.leave(Unserved::Cancelled);
    }
}
