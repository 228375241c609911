//! Endpoints from tower's discovery.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::hash::Hash;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower::discover::{Change, Discover};

use super::{Endpoint, Endpoints, Resolve, ResolveError, ResolveMode, ResolveTarget};

/// Changes that are taken at a time, so that a source that never pauses does not keep the task.
const MOST_CHANGES: usize = 10_000;

/// A resolver of what a [`Discover`] finds: a stream of [`Change`]s whose services are endpoints, or become some. Keys
/// may be anything.
///
/// When the stream ends, its last set stays in use. An error of it counts as a failure, and it is polled again after the
/// back-off.
///
/// # Examples
///
/// ```
/// use pool_tonic::ChannelPool;
/// use pool_tonic::resolve::{Endpoint, FromDiscover};
/// use tower::discover::Change;
///
/// let changes = [Change::Insert("pod-0", Endpoint::new("10.0.0.1")), Change::Remove("pod-1")];
/// let changes = tokio_stream::iter(changes.map(Ok::<_, std::io::Error>));
/// let pool = ChannelPool::builder("http://orders.prod:50051").resolver(FromDiscover::new(changes)).build()?;
/// # Ok::<(), pool_tonic::ConfigError>(())
/// ```
pub struct FromDiscover<D: Discover> {
    /// Gone when it has ended.
    discover: Option<Pin<Box<D>>>,
    known: HashMap<D::Key, Endpoint>,
    /// There was a change.
    given: bool,
    /// There is something that the pool has not heard: a change, or that an error is over.
    untold: bool,
}

impl<D> FromDiscover<D>
where
    D: Discover,
    D::Key: Hash,
    D::Service: Into<Endpoint>,
    D::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    /// Nothing is polled before the pool is used.
    pub fn new(discover: D) -> Self {
        let discover = Some(Box::pin(discover));
        Self { discover, known: HashMap::new(), given: false, untold: false }
    }

    /// Takes the changes that there are.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        for _ in 0..MOST_CHANGES {
            let polled = match &mut self.discover {
                Some(discover) => discover.as_mut().poll_discover(cx),
                None => Poll::Ready(None),
            };
            if let Poll::Ready(None) = polled {
                self.discover = None;
            }
            match polled {
                Poll::Ready(Some(Ok(change))) => {
                    match change {
                        Change::Insert(key, service) => {
                            self.known.insert(key, service.into());
                        }
                        Change::Remove(key) => {
                            self.known.remove(&key);
                        }
                    }
                    self.untold = true;
                    self.given = true;
                }
                Poll::Ready(Some(Err(error))) => {
                    self.untold = self.given;
                    let error = ResolveError::new("its discovery failed").with_source(error);
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(None) if !self.given => {
                    let error = ResolveError::new("its discovery ended before it found anything");
                    return Poll::Ready(Err(error.permanent()));
                }
                Poll::Ready(None) | Poll::Pending if self.untold => break,
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
        self.untold = false;
        Poll::Ready(Ok(()))
    }
}

impl<D> Resolve for FromDiscover<D>
where
    D: Discover + Send + 'static,
    D::Key: Hash + Send,
    D::Service: Into<Endpoint>,
    D::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    fn mode(&self) -> ResolveMode {
        ResolveMode::Push
    }

    async fn resolve(&mut self, _: &ResolveTarget) -> Result<Endpoints, ResolveError> {
        poll_fn(|cx| self.poll(cx)).await?;
        Ok(self.known.values().cloned().collect())
    }
}

impl<D: Discover> fmt::Debug for FromDiscover<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromDiscover").field("known", &self.known.len()).finish_non_exhaustive()
    }
}
