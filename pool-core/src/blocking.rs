//! Getting a resource from a thread that is no task.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use crate::acquire::{LATE, Patience};
use crate::core::Core;
use crate::error::Error;
use crate::kind::Kind;
use crate::manager::Manager;
use crate::options::GetOptions;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A thread's own time, which nobody pauses.
#[expect(
    clippy::disallowed_methods,
    reason = "the pool's may stand still while this thread blocks"
)]
fn now() -> Instant {
    Instant::now()
}

/// Blocks this thread until a get is over. It keeps the time itself: the runtime of the pool may be the
/// one that this thread would have to drive.
pub(crate) fn get<T, M: Manager, K: Kind<M>>(
    core: &Arc<Core<M, K>>,
    options: GetOptions,
    get: impl Future<Output = Result<T, Error<M::Error>>>,
) -> Result<T, Error<M::Error>> {
    let mut patience = Patience::new(options);
    let left = patience.give_up_at(&core.times, core.clock);
    let left = left.map(|at| at.saturating_duration_since(tokio::time::Instant::now()));
    let give_up_at = left.and_then(|left| now().checked_add(left.saturating_add(LATE)));
    // Timers of checks are those of the pool's runtime.
    let runtime = core.runtime();
    let _entered = runtime.as_ref().map(|runtime| runtime.enter());
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut get = pin!(get);
    loop {
        let left = give_up_at.map(|at| at.saturating_duration_since(now()));
        if let Poll::Ready(got) = get.as_mut().poll(&mut cx) {
            return got;
        }
        match left {
            // The pool's time stands still.
            Some(left) if left.is_zero() => return Err(patience.timed_out(core)),
            Some(left) => thread::park_timeout(left),
            None => thread::park(),
        }
    }
}
