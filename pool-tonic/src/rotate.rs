//! Replacing every connection while calls run.
//!
//! One at a time, and each time the new one first: it is dialled, then put by as the *spare*, then the old
//! one drains, and the creation that the pool begins for it takes the spare, with no wait for a network.
//! What the load does not need is not made again: the spare then serves for the next one, and in a pool
//! without load for the last.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use pool_core::{ResourceId, SharedPool};

use crate::address::Address;
use crate::error::ConnectError;
use crate::manager::ConnectionManager;
use crate::pool::ChannelPool;

impl ChannelPool {
    /// Replaces every connection, one after the other, with calls going on: for certificates that have
    /// been renewed, or servers that were added behind a balancer.
    ///
    /// The new connection is READY before the old one takes no more calls; those that run on the old one
    /// finish there. So for a while there is one connection more than may be, beside those that finish.
    /// A connection that the load does not need is closed without a successor, except the last one. A
    /// connection that was being made when this began is made anew. Those of
    /// [`Dedicated`](crate::Dedicated) calls and [`ExclusiveChannel`](crate::ExclusiveChannel)s are
    /// replaced likewise; whoever has one keeps it.
    ///
    /// Returns how many were replaced. Of two rotations at once, one comes after the other.
    ///
    /// # Errors
    ///
    /// Why the first of the new connections could not be made. Its predecessor stays, and takes calls;
    /// the others are replaced nevertheless.
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
        let shared = rotate(self.connections()).await;
        let dedicated = rotate(self.dedicated_connections()).await;
        Ok(shared? + dedicated?)
    }
}

async fn rotate(pool: &SharedPool<ConnectionManager>) -> Result<usize, ConnectError> {
    let manager = pool.manager();
    let _turn = manager.turn().await;
    let _spare = Unneeded(manager);
    let generation = manager.next_generation();
    let (mut replaced, mut kept, mut failure) = (0, Vec::new(), None);
    while let Some((id, address)) = older(pool, generation, &kept) {
        if !manager.has_spare()
            && let Err(error) = manager.dial_spare(&address).await
        {
            kept.push(id);
            failure.get_or_insert(error);
            continue;
        }
        let creating = pool.status().creating;
        replaced += pool.retain(|_, meta| meta.id() != id).removed;
        if pool.status().creating > creating {
            spare_taken(pool).await;
        }
    }
    if manager.has_spare() && pool.status().size == 0 {
        // Fails only if the pool was closed meanwhile.
        let _ = pool.get().await;
    }
    failure.map_or(Ok(replaced), Err)
}

/// A connection from before this generation that takes calls.
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

/// Waits until a creation has taken the spare. None does in a pool that was closed meanwhile.
async fn spare_taken(pool: &SharedPool<ConnectionManager>) {
    let mut closed = pin!(pool.closed());
    let mut taken = pin!(pool.manager().spare_taken());
    poll_fn(|cx| {
        let over = taken.as_mut().poll(cx).is_ready() || closed.as_mut().poll(cx).is_ready();
        if over { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Closes the spare that nobody took.
struct Unneeded<'a>(&'a ConnectionManager);

impl Drop for Unneeded<'_> {
    fn drop(&mut self) {
        self.0.drop_spare();
    }
}
