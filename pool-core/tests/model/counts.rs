//! Counts of the model, and since when something is so.

use pool_core::EndReason;

use super::reference::{Model, Resource};

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
        (least > self.max_size, most > self.max_size)
    }

    pub fn idle(&self) -> usize {
        self.count(|resource| resource.holders == 0)
    }

    pub fn in_use(&self) -> usize {
        self.resources.values().map(|resource| resource.holders).sum()
    }

    pub fn surplus(&self) -> usize {
        let most = self.settings.max_idle.unwrap_or(self.max_size);
        let spare = self.resources.len().saturating_sub(self.settings.min_size);
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
            if !fits && self.idle() <= self.settings.max_idle.unwrap_or(self.max_size) {
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
        let may_go = self.resources.len() > self.settings.min_size
            && self.idle() > self.settings.min_idle
            && !self.closed;
        self.spare_since = if may_go { self.spare_since.or(Some(self.now)) } else { None };
    }
}
