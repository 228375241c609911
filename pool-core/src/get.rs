//! Gets: a place, and its resource made ready.

use std::sync::Arc;
use std::task::Poll;

use crate::acquire::{Acquire, AcquireOne, Acquired, Patience};
use crate::core::Core;
use crate::error::Error;
use crate::kind::{Kind, Unfit};
use crate::lease::{Caller, Holding, ResourceLease, Several};
use crate::manager::Manager;
use crate::options::{GetOptions, Options};
use crate::state::{Key, Lent};

/// A lease whose resource is ready for its holder: those that are not fit are discarded on the way.
#[inline]
pub(crate) async fn lease<'p, M: Manager, K: Kind<M>>(
    holding: impl Holding<'p, M, K>,
    options: impl Options,
    at: Caller,
) -> Result<ResourceLease<'p, M, K>, Error<M::Error>> {
    let core = holding.core();
    let mut hit = None;
    let mut again = false;
    if !options.is_bound()
        && let Some(lent) = core.lend_hot()
    {
        let stale = lent.is_stale();
        let mut lease = ResourceLease::new(holding, lent, at);
        match lease.prepare_now(stale) {
            Poll::Ready(Ok(())) => return Ok(lease),
            Poll::Ready(Err(_unfit)) => again = true,
            Poll::Pending => hit = Some((lease, stale)),
        }
    }
    // A hit pays for nothing of this.
    let mut patience = Patience::new(options.into());
    loop {
        let (mut lease, stale) = if let Some(hit) = hit.take() {
            hit
        } else {
            let lent = AcquireOne::new(core, &mut patience, again).await?;
            let stale = lent.is_stale();
            (ResourceLease::new(holding, lent, at), stale)
        };
        let ready = match lease.prepare_now(stale) {
            Poll::Ready(ready) => ready.is_ok(),
            Poll::Pending => make_ready(core, &mut lease, stale, &mut patience).await?,
        };
        if ready {
            return Ok(lease);
        }
        again = true;
    }
}

/// Several leases whose resources are all ready. If one is not fit, all go back before they are asked for
/// anew: nobody holds some while it waits for others, so no two wait for each other.
pub(crate) async fn lease_many<'p, M: Manager, K: Kind<M>>(
    holding: impl Holding<'p, M, K>,
    count: usize,
    options: GetOptions,
    at: Caller,
) -> Result<Vec<ResourceLease<'p, M, K>>, Error<M::Error>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let core = holding.core();
    let mut patience = Patience::new(options);
    let mut again = false;
    'anew: loop {
        let acquired = Acquire::new(core, &mut patience, count, again).await?;
        let lent = match acquired {
            Acquired::One(lent) => vec![lent],
            Acquired::Several(places) => {
                places.into_iter().map(|place| core.granted(place, Key::NIL)).collect()
            }
        };
        let with_stale = |lent: Lent<_>| {
            let stale = lent.is_stale();
            (ResourceLease::new(holding, lent, at), stale)
        };
        let mut several = Several::new(lent.into_iter().map(with_stale).collect());
        again = true;
        while let Some((lease, stale)) = several.next() {
            let ready = match lease.prepare_now(*stale) {
                Poll::Ready(ready) => ready.is_ok(),
                Poll::Pending => make_ready(core, lease, *stale, &mut patience).await?,
            };
            if !ready {
                continue 'anew;
            }
        }
        return Ok(several.ready());
    }
}

/// Makes a resource ready for its holder, in a future. Says whether it is.
async fn make_ready<M: Manager, K: Kind<M>>(
    core: &Arc<Core<M, K>>,
    lease: &mut ResourceLease<'_, M, K>,
    stale: bool,
    patience: &mut Patience,
) -> Result<bool, Error<M::Error>> {
    match lease.prepare(stale, patience).await {
        Ok(()) => Ok(true),
        Err(Unfit::Failed) => Ok(false),
        Err(Unfit::NoRuntime) => Err(Error::NoRuntime),
        Err(Unfit::OutOfTime) => Err(patience.timed_out(core)),
    }
}
