//! Replacing every connection while calls run.
//!
//! One at a time, and each time the new one first: the pool below has its
//! [`replace`](SharedPool::replace) for that. The new one is to the same address.

use pool_core::{CreateError, Error, ResourceId, SharedPool};

use crate::address::Address;
use crate::error::ConnectError;
use crate::manager::ConnectionManager;
use crate::pool::ChannelPool;

impl ChannelPool {
    /// Replaces every connection, one after the other, with calls going on: for certificates that have
    /// been renewed, or servers that were added behind a balancer.
    ///
    /// The new connection is READY before the old one takes no more calls, and takes its place at that
    /// moment; those that run on the old one finish there. So while one is made there is one connection more
    /// than may be, beside those that finish. Of the latter there are at most
    /// [`max_draining_connections`](crate::ChannelPoolBuilder::max_draining_connections): while there are as many, it is
    /// waited for one of them to close, at most for the
    /// [connect timeout](crate::ChannelPoolBuilder::connect_timeout).
    ///
    /// A connection that was being made when this began is made anew. Those of
    /// [`Dedicated`](crate::Dedicated) calls and [`ExclusiveChannel`](crate::ExclusiveChannel)s are
    /// replaced likewise if nobody has them. Whoever has one keeps it, and it is closed when it comes back.
    ///
    /// Returns how many were replaced. Of two rotations at once, one comes after the other.
    ///
    /// # Errors
    ///
    /// Why the first of the connections could not be replaced. It stays, and takes calls; the others are
    /// replaced nevertheless.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves the connections that it has not come to.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_tonic::{ChannelPool, ConnectError};
    /// // When a certificate on disk was renewed:
    /// async fn renewed(pool: &ChannelPool) -> Result<(), ConnectError> {
    ///     let replaced = pool.rotate().await?;
    ///     println!("{replaced} connections have the new certificate");
    ///     Ok(())
    /// }
    /// ```
    pub async fn rotate(&self) -> Result<usize, ConnectError> {
        let shared = rotate(self.connections(), false).await;
        let dedicated = rotate(self.dedicated_connections(), true).await;
        Ok(shared? + dedicated?)
    }
}

async fn rotate(
    pool: &SharedPool<ConnectionManager>,
    are_lent_whole: bool,
) -> Result<usize, ConnectError> {
    let manager = pool.manager();
    let _turn = manager.turn().await;
    let generation = manager.next_generation();
    let (mut replaced, mut kept, mut failure) = (0, Vec::new(), None);
    while let Some((id, address)) = older(pool, generation, &kept) {
        // Whoever has it alone keeps it, and the next one has a new one made.
        if are_lent_whole && in_use(pool, id) > 0 {
            replaced += remove(pool, id);
            continue;
        }
        match replace(pool, id, &address).await {
            Ok(true) => replaced += 1,
            // One that was to go for want of load could be taken back.
            Ok(false) => _ = remove(pool, id),
            Err(error) => {
                kept.push(id);
                failure.get_or_insert(error);
            }
        }
    }
    failure.map_or(Ok(replaced), Err)
}

/// Replaces one connection; `false` if it is gone.
async fn replace(
    pool: &SharedPool<ConnectionManager>,
    id: ResourceId,
    address: &Address,
) -> Result<bool, ConnectError> {
    let manager = pool.manager();
    let timeout = manager.connect_timeout();
    match pool.replace(id, timeout).await {
        Ok(false) if takes_calls(pool, id) => {
            Err(ConnectError::lost(address, "it took no calls".to_owned()))
        }
        Ok(replaced) => Ok(replaced),
        // It has gone meanwhile, its endpoint perhaps with it.
        Err(_) if !takes_calls(pool, id) => Ok(false),
        Err(Error::Create(error)) => Err(match &*error {
            CreateError::Failed(error) => error.clone(),
            _ => ConnectError::abandoned(address),
        }),
        Err(Error::Timeout(_)) => Err(ConnectError::no_room(address, timeout)),
        Err(_) => Err(ConnectError::abandoned(address)),
    }
}

/// A connection from before this generation that takes calls, or may do so again.
fn older(
    pool: &SharedPool<ConnectionManager>,
    generation: u64,
    kept: &[ResourceId],
) -> Option<(ResourceId, Address)> {
    let mut found = None;
    pool.retain(|connection, meta| {
        if found.is_none() && connection.generation() < generation && !kept.contains(&meta.id()) {
            found = Some((meta.id(), connection.address().clone()));
        }
        true
    });
    found
}

fn remove(pool: &SharedPool<ConnectionManager>, id: ResourceId) -> usize {
    pool.retain(|_, meta| meta.id() != id).removed
}

fn in_use(pool: &SharedPool<ConnectionManager>, id: ResourceId) -> usize {
    pool.list().iter().filter(|it| it.id == id).map(|it| it.in_use).sum()
}

fn takes_calls(pool: &SharedPool<ConnectionManager>, id: ResourceId) -> bool {
    pool.list().iter().any(|it| it.id == id && it.draining.is_none())
}
