//! From a place that was lent to a lease that is held: its resource is made ready, or given up.
//!
//! Dropped before it is held, a lease gives its resource up, since nobody knows what state that is in.

use std::task::Poll;
use std::thread;

use super::ResourceLease;
use super::marks::Stage;
use crate::acquire::Patience;
use crate::config::CheckPolicy;
use crate::core::Core;
use crate::kind::{Kind, Limits, Unfit, UntilWhen};
use crate::manager::Manager;
use crate::moment::Moment;
use crate::state::{Store, Unserved};
use crate::timings::Ending;

/// The limits of a get's checks.
struct PatienceLimits<'a, M: Manager, K: Kind<M>> {
    patience: &'a mut Patience,
    core: &'a Core<M, K>,
}

impl<M: Manager, K: Kind<M>> Limits for PatienceLimits<'_, M, K> {
    fn check_until(&mut self) -> UntilWhen {
        self.patience.check_until(&self.core.times, self.core.clock)
    }

    fn recycle_until(&mut self) -> UntilWhen {
        self.patience.recycle_until(&self.core.times, self.core.clock)
    }

    fn ended(&self, from: Moment, ending: Ending) {
        self.core.spent.checked(self.core.clock.now().since(from), ending);
    }
}

impl<M: Manager, K: Kind<M>> ResourceLease<'_, M, K> {
    /// Makes the resource ready for the holder, or gives it up, if that takes no future of the
    /// manager's; pending means to [`prepare`](Self::prepare) it.
    #[inline]
    pub(crate) fn prepare_now(&mut self, stale: bool) -> Poll<Result<(), Unfit>> {
        let Core { manager, hooks, clock, times, .. } = &*self.core;
        let check = stale || times.check_policy == CheckPolicy::Always;
        let Some(place) = &mut self.place else { return Poll::Pending };
        let before = self.marks.stage();
        self.marks.set_stage(Stage::Asked);
        let prepared = K::prepare_now(manager, hooks, place, check, *clock);
        match prepared {
            Poll::Ready(Ok(())) => {
                if check {
                    K::Store::checked(place);
                }
                self.marks.set_stage(Stage::Held);
            }
            Poll::Ready(Err(_unfit)) => {
                self.marks.set_stage(before);
                self.reject(Unserved::GoesOn);
            }
            Poll::Pending => self.marks.set_stage(before),
        }
        prepared
    }

    /// Makes the resource ready for the holder.
    pub(crate) async fn prepare(
        &mut self,
        stale: bool,
        patience: &mut Patience,
    ) -> Result<(), Unfit> {
        self.core.state().check_begins();
        self.marks.set_stage(Stage::Checked);
        let check = stale || self.core.times.check_policy == CheckPolicy::Always;
        if let Some(place) = &mut self.place {
            let core = &*self.core;
            let Core { manager, hooks, clock, .. } = core;
            let limits = PatienceLimits { patience, core };
            let prepared = K::prepare(manager, hooks, place, check, *clock, limits).await;
            if let Err(unfit) = prepared {
                self.reject(match unfit {
                    Unfit::Failed => Unserved::GoesOn,
                    Unfit::NoRuntime => Unserved::NoRuntime,
                    Unfit::OutOfTime => Unserved::TimedOut,
                });
                return Err(unfit);
            }
            if check {
                K::Store::checked(place);
            }
        }
        self.core.state().check_passed();
        self.marks.set_stage(Stage::Held);
        Ok(())
    }

    /// The holder has not come to use it.
    fn put_back(&mut self) {
        if let Some(place) = self.place.take() {
            let waiter = self.marks.waiter();
            self.core.update(|state, now, actions| {
                state.free(waiter);
                state.put_back(place, now, actions);
            });
            self.untrack(false);
        }
    }

    /// There is nothing to make ready.
    #[inline]
    pub(crate) fn arrived(mut self) -> Self {
        self.marks.set_stage(Stage::Held);
        self
    }

    #[cold]
    fn reject(&mut self, unserved: Unserved) {
        if matches!(self.marks.stage(), Stage::Lent | Stage::Asked) {
            self.core.state().check_begins();
        }
        if let Some(place) = self.place.take() {
            self.core.reject(place, self.marks.waiter(), unserved);
            self.untrack(false);
        }
    }

    /// Ends a lease whose resource may be in the middle of being looked at.
    fn end_unready(&mut self) {
        if self.marks.stage() == Stage::Held {
            self.put_back();
        } else {
            self.end_unused();
        }
    }

    /// Ends a lease that its holder had not come to use.
    #[cold]
    #[inline(never)]
    pub(super) fn end_unused(&mut self) {
        if self.place.is_some() {
            let panicked = match self.marks.stage() {
                // It would have an answer otherwise.
                Stage::Asked => true,
                Stage::Checked => thread::panicking(),
                Stage::Lent | Stage::Held => false,
            };
            self.reject(if panicked { Unserved::Panicked } else { Unserved::Cancelled });
        }
    }
}

/// Several leases, of which none is used before all are ready. Dropped before that, those go back whose
/// resources nobody is in the middle of looking at.
pub(crate) struct Several<'p, M: Manager, K: Kind<M>> {
    leases: Vec<(ResourceLease<'p, M, K>, bool)>,
    /// The one whose resource is being looked at.
    at: usize,
}

impl<'p, M: Manager, K: Kind<M>> Several<'p, M, K> {
    /// With, for each, whether its resource is to be checked.
    pub(crate) fn new(leases: Vec<(ResourceLease<'p, M, K>, bool)>) -> Self {
        let mut several = Self { leases, at: usize::MAX };
        several.withhold(|withheld, leases| withheld + leases);
        several
    }

    /// They are no gets that have ended with a lease before all are ready.
    fn withhold(&mut self, change: impl FnOnce(usize, usize) -> usize) {
        if let Some((lease, _)) = self.leases.first() {
            lease.core.state().withhold(|withheld| change(withheld, self.leases.len()));
        }
    }

    /// The next one whose resource is to be looked at.
    pub(crate) fn next(&mut self) -> Option<&mut (ResourceLease<'p, M, K>, bool)> {
        self.at = self.at.wrapping_add(1);
        self.leases.get_mut(self.at)
    }

    /// They are all ready.
    pub(crate) fn ready(mut self) -> Vec<ResourceLease<'p, M, K>> {
        self.withhold(|withheld, leases| withheld - leases);
        std::mem::take(&mut self.leases).into_iter().map(|(lease, _)| lease).collect()
    }
}

impl<M: Manager, K: Kind<M>> Drop for Several<'_, M, K> {
    fn drop(&mut self) {
        for (at, (lease, _)) in self.leases.iter_mut().enumerate() {
            if at == self.at {
                lease.end_unready();
            } else {
                lease.put_back();
            }
        }
        self.withhold(|withheld, leases| withheld - leases);
    }
}
