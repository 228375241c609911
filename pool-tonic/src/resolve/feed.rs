//! Endpoints from the program itself.

use std::future::pending;

use tokio::sync::watch;

use super::{Endpoints, Resolve, ResolveError, ResolveMode, ResolveTarget};

/// A resolver that gives what the program tells it: from a control plane, a file, a registry that has a client of its
/// own.
///
/// # Examples
///
/// ```
/// use pool_tonic::ChannelPool;
/// use pool_tonic::resolve::{self, Endpoint};
///
/// let (feed, fed) = resolve::feed();
/// let pool = ChannelPool::builder("http://orders.prod:50051").resolver(fed).build()?;
/// feed.set([Endpoint::new("10.0.0.1"), Endpoint::new("10.0.0.2")].into_iter().collect());
/// # Ok::<(), pool_tonic::ConfigError>(())
/// ```
pub fn feed() -> (EndpointFeed, Fed) {
    let (sender, receiver) = watch::channel(Endpoints::default());
    (EndpointFeed { sender }, Fed { receiver, given: false })
}

/// Where endpoints are put in that a [`Fed`] pool uses. Once the last clone is dropped, the last set stays in use.
#[derive(Clone, Debug)]
pub struct EndpointFeed {
    sender: watch::Sender<Endpoints>,
}

impl EndpointFeed {
    /// Replaces the whole set. Of two in quick succession the pool may see only the second. An empty one is not
    /// followed: what was set before stays in use.
    pub fn set(&self, endpoints: Endpoints) {
        self.sender.send_replace(endpoints);
    }
}

/// The resolver of an [`EndpointFeed`]. See [`feed`].
#[derive(Debug)]
pub struct Fed {
    receiver: watch::Receiver<Endpoints>,
    /// There was a set.
    given: bool,
}

impl Resolve for Fed {
    fn mode(&self) -> ResolveMode {
        ResolveMode::Push
    }

    async fn resolve(&mut self, _: &ResolveTarget) -> Result<Endpoints, ResolveError> {
        if self.receiver.changed().await.is_ok() {
            self.given = true;
            return Ok(self.receiver.borrow_and_update().clone());
        }
        if self.given {
            return pending().await;
        }
        Err(ResolveError::new("its feed was dropped before it was given endpoints").permanent())
    }
}
