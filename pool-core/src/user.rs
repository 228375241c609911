//! Code of users, who may panic where nobody is to get the panic: wakers, hooks, destructors.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::core::Core;
use crate::kind::Kind;
use crate::manager::Manager;
use crate::metadata::Slot;
use crate::state::Ended;

/// Wakes a task. Its waker may be anybody's, and others are still to be woken.
pub(crate) fn wake_up(waker: Waker) {
    contain(|| waker.wake());
}

/// Whether a runtime has timers, and has not ended: there is no way to ask but to try.
pub(crate) fn keeps_time(runtime: &Handle) -> bool {
    let _entered = runtime.enter();
    let mut cx = Context::from_waker(Waker::noop());
    contain(|| pin!(tokio::time::sleep(Duration::ZERO)).poll(&mut cx).is_ready()).is_some()
}

/// Destroys a resource without a task to do it in.
pub(crate) fn dispose_here<M: Manager, K: Kind<M>>(
    core: &Core<M, K>,
    mut ended: Ended<M::Resource>,
) {
    take_leave(core, &mut ended);
    let Slot { resource, data, .. } = *ended.slot;
    contain(|| drop(data));
    contain(|| drop(resource));
}

/// A resource is about to be destroyed.
pub(crate) fn take_leave<M: Manager, K: Kind<M>>(
    core: &Core<M, K>,
    ended: &mut Ended<M::Resource>,
) {
    let slot = &mut *ended.slot;
    if let Some(hook) = &core.hooks.before_destroy {
        let meta = slot.metadata(slot.uses, core.clock);
        let meta = if K::IS_SHARED { meta.shared() } else { meta };
        contain(|| hook(&mut slot.resource, &slot.data, &meta));
    }
    contain(|| core.manager.detached(&mut slot.resource));
}

/// Runs code of a user whose panic must not get out, because there is nobody to get it. Its message
/// has been printed by then.
#[inline(always)]
#[expect(clippy::inline_always, reason = "nothing is left of it around what cannot panic")]
pub(crate) fn contain<T>(user: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(user)) {
        Ok(result) => Some(result),
        Err(panic) => {
            drop_panic(panic);
            None
        }
    }
}

/// Drops what somebody panicked with, whose destructor may panic as well.
#[cold]
pub(crate) fn drop_panic(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}
