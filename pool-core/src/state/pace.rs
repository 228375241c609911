//! How long creations hold back: after one that failed, and after a resource that died before it was of use.

use std::time::Duration;

use crate::config::Backoff;
use crate::moment::Moment;

/// How long a resource has to live not to hold up the next one when it dies unused.
const INFANCY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Default)]
pub(super) struct Pace {
    /// Failed creations in a row.
    pub(super) failures: u32,
    /// Resources in a row that died before they were of use, and when the last one did.
    infant_deaths: u32,
    infant_died: Moment,
    /// No creation before these, after a failure and after a death before use.
    retry_at: Moment,
    succeed_at: Moment,
}

impl Pace {
    /// A creation has failed, and the next one may start in so long; with `random` in -1..=1.
    pub(super) fn failed(
        &mut self,
        retry_in: Option<Duration>,
        backoff: &Backoff,
        random: f64,
        now: Moment,
    ) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let delay = retry_in.unwrap_or_else(|| backoff.delay(self.failures, random));
        self.retry_at = now.after(delay);
        delay
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.retry_at = Moment::default();
    }

    /// A resource that was created `created` died before it was of use. One like it may take as long as
    /// the back-off from birth to birth, so that a peer that accepts and hangs up is not stormed.
    pub(super) fn infant_death(&mut self, created: Moment, backoff: &Backoff, now: Moment) {
        if now.since(self.infant_died) > INFANCY * 2 {
            self.infant_deaths = 0;
        }
        self.infant_deaths = self.infant_deaths.saturating_add(1);
        self.infant_died = now;
        let delay = backoff.delay(self.infant_deaths, 0.0).min(INFANCY);
        self.succeed_at = self.succeed_at.max(created.after(delay));
    }

    /// The next creation is due now.
    pub(super) fn reset(&mut self) {
        self.succeeded();
        self.succeed_at = Moment::default();
    }

    /// When the next creation may start.
    pub(super) fn next_start(&self) -> Moment {
        self.retry_at.max(self.succeed_at)
    }
}
