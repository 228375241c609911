//! Getting places: at once, or after a wait in the queue.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Times;
use crate::core::{Core, Place};
use crate::error::{Error, Timeout};
use crate::kind::{Kind, Unfit, UntilWhen};
use crate::manager::Manager;
use crate::moment::{Clock, Moment};
use crate::options::{GetOptions, Limit, Priority};
use crate::state::{
    Answer, Ask, Failure, Key, Left, Lent, Outcome, Places, Polled, STANDS_FOR, State, Ticket,
    Unserved,
};
use crate::trace::WaitSpan;

/// How long after its deadline a get ends by itself, whoever was to end it.
pub(crate) const LATE: Duration = Duration::from_millis(50);

/// How long a get may take in all: settled when it first looks at the clock.
pub(crate) struct Patience {
    options: GetOptions,
    span: Option<Span>,
}

#[derive(Clone, Copy)]
struct Span {
    started: Moment,
    deadline: Moment,
    /// It began later than that, by maintenance's clock.
    sampled: bool,
}

impl Patience {
    pub(crate) fn new(options: GetOptions) -> Self {
        Self { options, span: None }
    }

    fn deadline(&mut self, now: Moment, times: &Times, clock: Clock) -> Moment {
        let limit = self.options.limit;
        let deadline = || match limit {
            Limit::Pool | Limit::NoWait => now.after(times.wait),
            Limit::Timeout(timeout) => now.after(timeout),
            Limit::Deadline(deadline) => clock.moment(deadline),
        };
        let span = || Span { started: now, deadline: deadline(), sampled: false };
        self.span.get_or_insert_with(span).deadline
    }

    /// Settles how long it may take by maintenance's clock, if that is kept and will do.
    #[inline]
    fn sample(&mut self, sampled: Option<Moment>, times: &Times) -> Option<Span> {
        let started = sampled?;
        let timeout = match self.options.limit {
            Limit::Pool => times.wait,
            Limit::Timeout(timeout) => timeout,
            Limit::Deadline(_) | Limit::NoWait => return None,
        };
        let span = Span { started, deadline: started.after(timeout), sampled: true };
        self.span = Some(span);
        Some(span)
    }

    /// Until when a get may wait for a place.
    fn wait_until(&mut self, now: Moment, times: &Times, clock: Clock) -> Moment {
        let deadline = self.deadline(now, times, clock);
        if matches!(self.options.limit, Limit::NoWait) { now } else { deadline }
    }

    /// Until when a blocking get may take.
    pub(crate) fn give_up_at(&mut self, times: &Times, clock: Clock) -> Option<Instant> {
        let deadline = self.deadline(clock.now(), times, clock);
        clock.instant(deadline)
    }

    /// Until when a check that starts now may run.
    pub(crate) fn check_until(&mut self, times: &Times, clock: Clock) -> UntilWhen {
        let limit = self.options.check_timeout.unwrap_or(times.check);
        self.until(limit, times, clock)
    }

    /// Until when a recycling that starts now may run.
    pub(crate) fn recycle_until(&mut self, times: &Times, clock: Clock) -> UntilWhen {
        let limit = self.options.recycle_timeout.unwrap_or(times.recycle);
        self.until(limit, times, clock)
    }

    fn until(&mut self, limit: Duration, times: &Times, clock: Clock) -> UntilWhen {
        let now = clock.now();
        let (mut callers, own) = (self.deadline(now, times, clock), now.after(limit));
        if callers <= now && self.span.is_some_and(|span| span.sampled) {
            // Maintenance was late, not this caller.
            callers = own.after(Duration::from_nanos(1));
        }
        let (at, unfit) =
            if callers <= own { (callers, Unfit::OutOfTime) } else { (own, Unfit::Failed) };
        UntilWhen { from: now, at: clock.instant_or_far(at), unfit }
    }

    #[cold]
    pub(crate) fn timed_out<M: Manager, K: Kind<M>>(&self, core: &Core<M, K>) -> Error<M::Error> {
        let now = core.clock.now();
        let started = self.span.map_or(now, |span| span.started);
        let (status, last_error) = core.look(|state| (state.status(), state.last_error()));
        Error::Timeout(Box::new(Timeout { waited: now.since(started), status, last_error }))
    }
}

/// What a get ended with: as many places as it asked for.
pub(crate) enum Acquired<P> {
    One(Lent<P>),
    Several(Vec<P>),
}

type Got<M, K> = Result<Acquired<Place<M, K>>, Error<<M as Manager>::Error>>;

/// A get, up to the place. Dropped while it waits, it leaves the queue; a place that it had been given
/// goes to the next.
pub(crate) struct Acquire<'a, M: Manager, K: Kind<M>> {
    core: &'a Arc<Core<M, K>>,
    patience: &'a mut Patience,
    places: usize,
    /// It has been served before, by a resource that was no good.
    again: bool,
    waiting: Option<Ticket>,
    /// Since when it waits, if that is timed; or [`Moment::NEVER`].
    since: Moment,
    /// For how many waits the time of this one stands.
    stands_for: u8,
    span: WaitSpan,
}

impl<M: Manager, K: Kind<M>> Future for Acquire<'_, M, K> {
    type Output = Got<M, K>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Got<M, K>> {
        let Some(ticket) = self.waiting else { return self.poll_start(cx) };
        match self.poll_served(ticket) {
            Some(lent) => Poll::Ready(Ok(Acquired::One(lent))),
            None => self.poll_unserved(ticket, cx),
        }
    }
}

/// The get of one place. What it ends with is two words.
pub(crate) struct AcquireOne<'a, M: Manager, K: Kind<M>>(Acquire<'a, M, K>);

impl<'a, M: Manager, K: Kind<M>> AcquireOne<'a, M, K> {
    pub(crate) fn new(core: &'a Arc<Core<M, K>>, patience: &'a mut Patience, again: bool) -> Self {
        Self(Acquire::new(core, patience, 1, again))
    }
}

impl<M: Manager, K: Kind<M>> Future for AcquireOne<'_, M, K> {
    type Output = Result<Lent<Place<M, K>>, Error<M::Error>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = match self.0.waiting {
            None => self.0.poll_start(cx),
            Some(ticket) => match self.0.poll_served(ticket) {
                Some(lent) => return Poll::Ready(Ok(lent)),
                None => self.0.poll_unserved(ticket, cx),
            },
        };
        polled.map_ok(|acquired| match acquired {
            Acquired::One(lent) => lent,
            Acquired::Several(_) => unreachable!("bug: one place was asked for, and several came"),
        })
    }
}

impl<'a, M: Manager, K: Kind<M>> Acquire<'a, M, K> {
    pub(crate) fn new(
        core: &'a Arc<Core<M, K>>,
        patience: &'a mut Patience,
        places: usize,
        again: bool,
    ) -> Self {
        let (since, stands_for) = (Moment::NEVER, 1);
        let span = WaitSpan::NONE;
        Self { core, patience, places, again, waiting: None, since, stands_for, span }
    }

    fn poll_start(&mut self, cx: &mut Context<'_>) -> Poll<Got<M, K>> {
        let core = self.core;
        let GetOptions { priority, group, through_failures, .. } = self.patience.options;
        let mut waker = Some(cx.waker().clone());
        let is_plain = priority == Priority::Normal && group.is_none() && !through_failures;
        if self.places == 1 && is_plain && !self.again {
            let sampled = self.patience.sample(core.front.sampled(), &core.times);
            let (now, deadline) = if let Some(span) = sampled {
                (span.started, span.deadline)
            } else {
                let now = core.clock.now();
                (now, self.patience.wait_until(now, &core.times, core.clock))
            };
            let mut spare = core.front.take_mailbox();
            let joined =
                core.state().join_hot(now, deadline, sampled.is_some(), &mut waker, &mut spare);
            if let Some(spare) = spare {
                core.keep_mailbox(spare);
            }
            if let Some(ticket) = joined {
                self.waiting = joined;
                self.span = WaitSpan::begin(core);
                if sampled.is_none() {
                    if core.spent.may_time_each(now) {
                        self.since = now;
                    } else if ticket.is_timed() {
                        (self.since, self.stands_for) = (now, STANDS_FOR);
                    }
                } else if ticket.is_timed() {
                    self.time_for_many();
                }
                return Poll::Pending;
            }
        }
        // What it has waited before counts.
        if !self.again && self.patience.span.is_some_and(|span| span.sampled) {
            self.patience.span = None;
        }
        let now = core.clock.now();
        let deadline = self.patience.wait_until(now, &core.times, core.clock);
        let (places, again) = (self.places, self.again);
        let ask = Ask { deadline, priority, group, places, again, through_failures };
        self.request(ask, now, waker)
    }

    #[cold]
    fn request(&mut self, ask: Ask, now: Moment, mut waker: Option<Waker>) -> Poll<Got<M, K>> {
        let core = self.core;
        let mut spare = core.front.take_mailbox();
        let answer = loop {
            let answer = core.update(|state, now, actions| {
                if let Some(spare) = spare.take() {
                    // For this one, if it waits.
                    state.free(spare);
                }
                // A closed pool answers without maintenance, which has ended or will.
                let answers = state.is_maintained() || state.is_closed();
                answers.then(|| state.request(now, ask, &mut waker, actions))
            });
            if answer.is_some() {
                break answer;
            }
            if !core.ensure_maintenance() {
                break core
                    .update(|state, now, actions| state.request_unmaintained(ask, now, actions));
            }
        };
        Poll::Ready(match answer {
            Some(Answer::Queued(ticket)) => {
                self.waiting = Some(ticket);
                self.since = now;
                self.span = WaitSpan::begin(core);
                return Poll::Pending;
            }
            Some(Answer::Lent(lent)) => Ok(Acquired::One(lent)),
            Some(Answer::Several(places)) => Ok(Acquired::Several(places)),
            Some(Answer::QueueFull(waiting)) => Err(Error::QueueFull { waiting }),
            Some(Answer::TooMany(max_size)) => Err(Error::TooMany { asked: ask.places, max_size }),
            Some(Answer::NoGroup) => Err(Error::NoGroup),
            Some(Answer::Timeout) => Err(self.patience.timed_out(core)),
            Some(Answer::Paused) => Err(Error::Paused),
            Some(Answer::Closed) => Err(Error::Closed),
            None => Err(Error::NoRuntime),
        })
    }

    /// The place that it was given, if that can be had without the lock.
    #[inline]
    fn poll_served(&mut self, ticket: Ticket) -> Option<Lent<Place<M, K>>> {
        let place = self.core.mailboxes.take(ticket.key.index())?;
        self.waiting = None;
        self.span.served();
        if self.since != Moment::NEVER {
            self.waited();
        }
        let waiter = self.core.front.pick_up(ticket.key).unwrap_or_else(|| {
            self.core.state().picked_up();
            ticket.key
        });
        Some(self.core.granted(place, waiter))
    }

    #[cold]
    fn poll_unserved(&mut self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<Got<M, K>> {
        let mut spare = None;
        let polled = loop {
            let (polled, maintained) = {
                let mut state = self.core.state();
                (state.poll_waiter(ticket, cx.waker(), &mut spare), state.is_maintained())
            };
            match polled {
                Polled::NeedsWaker => spare = Some(cx.waker().clone()),
                Polled::Waiting if self.is_late(ticket) => {
                    self.leave(Unserved::TimedOut);
                    return Poll::Ready(Err(self.patience.timed_out(self.core)));
                }
                Polled::Waiting if maintained || self.core.ensure_maintenance() => {
                    return Poll::Pending;
                }
                // The runtime that looked after the queue has ended, and there is no other one here.
                Polled::Waiting => {
                    self.leave(Unserved::NoRuntime);
                    return Poll::Ready(Err(Error::NoRuntime));
                }
                polled => break polled,
            }
        };
        self.waiting = None;
        self.waited();
        let got = match polled {
            Polled::Granted(Places::One(place)) => {
                Ok(Acquired::One(self.core.granted(place, Key::NIL)))
            }
            Polled::Granted(Places::Several(places)) => Ok(Acquired::Several(places)),
            Polled::Failed(Failure::Timeout) => Err(self.patience.timed_out(self.core)),
            Polled::Failed(Failure::Closed) => Err(Error::Closed),
            Polled::Failed(Failure::Paused) => Err(Error::Paused),
            Polled::Failed(Failure::Shed) => Err(Error::Shed),
            Polled::Failed(Failure::TooMany(max_size)) => {
                Err(Error::TooMany { asked: self.places, max_size })
            }
            Polled::Failed(Failure::NoGroup) => Err(Error::NoGroup),
            Polled::Failed(Failure::Create(error)) => Err(Error::Create(error)),
            Polled::Waiting | Polled::NeedsWaker => unreachable!("bug: it waits on"),
        };
        self.span.over(&got);
        Poll::Ready(got)
    }

    /// Whether its time is long over, and nobody has said so: who keeps the pool's time may be blocked by this
    /// very caller.
    fn is_late(&mut self, ticket: Ticket) -> bool {
        let core = self.core;
        let now = core.clock.now();
        let is_over = |deadline: Moment| deadline.after(LATE) <= now;
        if !is_over(self.patience.deadline(now, &core.times, core.clock)) {
            return false;
        }
        let Some(Span { started, sampled: true, .. }) = self.patience.span else { return true };
        // What it joined by was earlier than it did. The queue knows by how much, once maintenance has looked at that.
        let Some((joined, deadline)) = core.state().times_of(ticket) else { return false };
        if joined != started {
            return is_over(deadline);
        }
        self.patience.span = None;
        self.patience.deadline(now, &core.times, core.clock);
        false
    }

    /// It joined by maintenance's clock, and is one of those that look at their own all the same.
    #[cold]
    fn time_for_many(&mut self) {
        self.since = self.core.clock.now();
        self.stands_for = STANDS_FOR;
    }

    /// Its wait is over, if it is one that is timed.
    #[inline(never)]
    fn waited(&self) {
        if self.since != Moment::NEVER {
            let core = self.core;
            core.spent.waited(core.clock.now().since(self.since), self.stands_for.into());
        }
    }

    /// Leaves the queue, if it is in it.
    #[cold]
    fn leave(&mut self, unserved: Unserved) {
        let Some(ticket) = self.waiting.take() else { return };
        self.waited();
        self.span.left(unserved);
        let several = self.places != 1;
        let left = self.core.state().leave(ticket, unserved);
        let places = match left {
            Left::Settled(Outcome::Granted(Places::One(place))) => vec![place],
            Left::Settled(Outcome::Granted(Places::Several(places))) | Left::Waiting(_, places) => {
                places
            }
            Left::Settled(Outcome::Failed(_)) => Vec::new(),
        };
        for place in places {
            self.core.update(|state, now, actions| state.give_back_unused(place, now, actions));
        }
        if several {
            // Those behind it may be served now.
            self.core.update(State::settle);
        }
    }
}

impl<M: Manager, K: Kind<M>> Drop for Acquire<'_, M, K> {
    #[inline]
    fn drop(&mut self) {
        if self.waiting.is_some() {
            self.leave(Unserved::Cancelled);
        }
    }
}
