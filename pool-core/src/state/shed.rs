//! Shedding: those that wait too long are turned away when the queue stands.
//!
//! The rule is that of `CoDel` (RFC 8289), as Elixir's `DBConnection` applies it to a pool. A queue that empties from time
//! to time is a burst, and does its work; one in which everybody waits for longer than the *target* during a
//! whole *interval* stands, and makes everybody wait for nothing. While it stands, those that have
//! waited for longer than twice the target fail, the others are served. Nobody fails for a pause, nor for what was waited
//! for one.

use std::error::Error as StdError;
use std::time::Duration;

use super::timers::FAILED_AT_ONCE;
use super::{ActionsOf, Failure, State, Store};
use crate::config::Shedding;
use crate::moment::Moment;

pub(super) struct Shed {
    target: Duration,
    interval: Duration,
    /// When this interval ends.
    ends: Moment,
    /// The shortest wait of this interval.
    shortest: Option<Duration>,
    /// The queue stands, by the interval before.
    stands: bool,
    /// The pool was paused until then: nobody's wait counts from before.
    resumed: Moment,
}

impl Shed {
    pub(super) fn new(shedding: Shedding) -> Self {
        Self {
            target: shedding.target,
            interval: shedding.interval,
            ends: Moment::NEVER,
            shortest: None,
            stands: false,
            resumed: Moment::default(),
        }
    }

    /// Somebody joins a queue that was empty, so it does not stand.
    pub(super) fn begin(&mut self, now: Moment) {
        self.ends = now.after(self.interval);
        self.shortest = None;
        self.stands = false;
    }

    /// A pause is over, during which a queue was no sign of anything.
    pub(super) fn resumed(&mut self, now: Moment) {
        self.begin(now);
        self.resumed = now;
    }

    /// Somebody who joined at `joined` is being served.
    pub(super) fn note(&mut self, joined: Moment, now: Moment) {
        let waited = self.waited(joined, now);
        self.shortest = Some(self.shortest.map_or(waited, |shortest| shortest.min(waited)));
    }

    fn waited(&self, joined: Moment, now: Moment) -> Duration {
        now.since(joined.max(self.resumed))
    }

    /// Ends the interval if it is over. The first one in the queue joined at `first`.
    fn turn(&mut self, now: Moment, first: Moment) {
        if now >= self.ends {
            let first = self.waited(first, now);
            self.stands = self.shortest.unwrap_or(first) > self.target;
            self.shortest = None;
            self.ends = now.after(self.interval);
        }
    }

    /// Those fail that joined before this.
    fn cutoff(&self, now: Moment) -> Option<Moment> {
        let cutoff = now.before(self.target.saturating_mul(2));
        (self.stands && cutoff > self.resumed).then_some(cutoff)
    }

    /// When there may be something to do, for a queue whose oldest joined at `joined`.
    pub(super) fn next(&self, joined: Moment) -> Moment {
        let sheds = joined
            .max(self.resumed)
            .after(self.target.saturating_mul(2))
            .after(Duration::from_nanos(1));
        if self.stands { self.ends.min(sheds) } else { self.ends }
    }
}

impl<S: Store, E: StdError + 'static> State<S, E> {
    /// Turns those away that have waited too long in a queue that stands.
    pub(super) fn shed(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        if self.paused.is_some() {
            return;
        }
        let (Some(shed), Some(joined)) = (&mut self.shed, self.waiters.first_joined()) else {
            return;
        };
        shed.turn(now, joined);
        let Some(cutoff) = shed.cutoff(now) else { return };
        // Those that are left are due at once, which wakes maintenance.
        for _ in 0..FAILED_AT_ONCE {
            let Some(refused) = self.waiters.fail_older(cutoff, Failure::Shed) else { return };
            self.refuse(refused, now, actions);
        }
    }
}
