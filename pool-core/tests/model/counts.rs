//! Counts of the model, and since when something is so.

use std::time::Duration;

use pool_core::EndReason;
use tokio::time::Instant;

use super::plan::{BACKOFF_INITIAL, BACKOFF_MAX, Settings};
use super::reference::{Model, Resource, TICK, millis};

/// How long a resource that died unused holds up the next one at most.
const INFANCY: Duration = Duration::from_secs(1);

impl Model {
    pub fn is_vague(&self, resource: &Resource) -> bool {
        let excess = resource.ends.iter().all(|&reason| reason == EndReason::Excess);
        self.shared && !resource.ends.is_empty() && excess
    }

    pub fn vague(&self) -> bool {
        self.resources.values().any(|resource| self.is_vague(resource))
    }

    pub fn count(&self, which: impl Fn(&Resource) -> bool) -> usize {
        self.resources.values().filter(|resource| which(resource)).count()
    }

    /// Idle resources, of a shared pool all, that are to be replaced before they expire: for certain where
    /// a minimum is kept; possibly, in a shared pool without one those that are used, too.
    pub fn aging(&self) -> (usize, usize) {
        let Settings { limits, max_lifetime, check_after, idle_timeout, .. } = self.settings;
        let keeps = limits.min_size > 0 || limits.min_idle > 0;
        let Some(lifetime) = max_lifetime.filter(|_| keeps || self.shared) else {
            return (0, 0);
        };
        let lifetime = millis(lifetime);
        let until = self.now + (lifetime / 10).min(millis(self.settings.create_timeout));
        // A return may be noticed with the next tick of the coarse clock only.
        let tick = millis(check_after.min(idle_timeout.unwrap_or(u64::MAX))) / 8 + TICK * 2;
        let rests = |r: &Resource| self.shared || r.holders == 0;
        let must = |r: &Resource| {
            let latest = r.expires.unwrap_or(r.born + lifetime) + TICK;
            keeps && rests(r) && r.ends.is_empty() && latest <= until && r.rested + tick <= self.now
        };
        let may = |r: &Resource| {
            let earliest = r.expires.unwrap_or(r.born + lifetime / 10 * 9 - TICK);
            rests(r) && (r.ends.is_empty() || self.is_vague(r)) && earliest <= until
        };
        (self.count(must), self.count(may))
    }

    /// When one that rests has little time left.
    pub fn old_at(&self) -> Option<Instant> {
        let lifetime = millis(self.settings.max_lifetime?);
        let resting = self.resources.values().filter(|resource| resource.holders == 0);
        let ends = resting.map(|r| r.expires.unwrap_or(r.born + lifetime / 50 * 47));
        ends.min().map(|end| end - TICK * 5)
    }

    /// One that was born at `born` died before it was of use: the next one waits as after a failure.
    pub fn died_unused(&mut self, born: Instant) {
        if self.now - self.infant_died > INFANCY * 2 {
            self.infants = 0;
        }
        self.infants += 1;
        self.infant_died = self.now;
        let hold = backoff(self.infants).min(INFANCY);
        self.holds_until = self.holds_until.max(born + hold);
    }

    /// Resources that count towards the maximum, at least and at most.
    pub fn active(&self) -> (usize, usize) {
        let (all, vague) = (self.resources.len(), self.count(|r| self.is_vague(r)));
        let sure = if self.shared { self.count(|r| r.ends.is_empty()) } else { all };
        (sure, sure + vague)
    }

    pub fn draining(&self) -> (usize, usize) {
        let (least, most) = self.active();
        (self.resources.len() - most, self.resources.len() - least)
    }

    /// Whether there are more than may be: for certain, possibly.
    pub fn oversize(&self) -> (bool, bool) {
        let (least, most) = self.active();
        let (shed_least, shed_most) = self.to_shed;
        // Those that go now, of which the model is still to be told.
        let going = |r: &Resource| !self.shared && r.holders == 0 && !r.ends.is_empty();
        let may = self.settings.limits.max_size + self.count(going);
        (least > may + shed_most, most > may + shed_least)
    }

    pub fn idle(&self) -> usize {
        self.count(|resource| resource.holders == 0)
    }

    pub fn in_use(&self) -> usize {
        self.resources.values().map(|resource| resource.holders).sum()
    }

    pub fn surplus(&self) -> usize {
        let most = self.settings.limits.max_idle.unwrap_or(self.settings.limits.max_size);
        let spare = self.resources.len().saturating_sub(self.settings.limits.min_size);
        self.idle().saturating_sub(most).min(spare)
    }

    /// Whether the leases would have fitted on one less of these resources.
    fn fits_on_fewer(&self, which: impl Fn(&Resource) -> bool) -> bool {
        let active: Vec<_> = self.resources.values().filter(|r| which(r)).collect();
        let places: usize = active.iter().map(|resource| resource.places).sum();
        let fewer = active.len().saturating_sub(1);
        fewer > 0 && (places < active.len() || self.in_use() * active.len() <= fewer * places)
    }

    /// Keeps the moments since when something is so.
    pub fn note(&mut self) {
        if self.shared {
            let sure = |r: &Resource| r.ends.is_empty();
            let fits =
                self.fits_on_fewer(sure) || self.fits_on_fewer(|r| sure(r) || self.is_vague(r));
            if !fits
                && self.idle()
                    <= self.settings.limits.max_idle.unwrap_or(self.settings.limits.max_size)
            {
                self.full_at = self.now;
            }
            return;
        }
        if self.closed || self.surplus() == 0 {
            self.surplus_since = None;
            self.shrinking = 0;
        } else {
            self.surplus_since.get_or_insert(self.now);
        }
        let may_go = self.resources.len() > self.settings.limits.min_size
            && self.idle() > self.settings.limits.min_idle
            && !self.closed;
        self.spare_since = if may_go { self.spare_since.or(Some(self.now)) } else { None };
    }
}

/// The wait after this many failures in a row.
pub fn backoff(failures: u32) -> Duration {
    let doubled = (0..failures.min(16)).skip(1).fold(BACKOFF_INITIAL, |delay, _| delay * 2);
    millis(doubled.min(BACKOFF_MAX))
}
