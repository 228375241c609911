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
    discover: Pin<Box<D>>,
    known: HashMap<D::Key, Endpoint>,
    /// There was a change.
    given: bool,
    /// There is something that the pool has not heard: a change, or that an error is over.
    untold: bool,
    /// The stream has ended, and is not to be polled any more.
    ended: bool,
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
        Self {
            discover: Box::pin(discover),
            known: HashMap::new(),
            given: false,
            untold: false,
            ended: false,
        }
    }

    /// Takes the changes that there are.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        for _ in 0..MOST_CHANGES {
            let polled = if self.ended {
                Poll::Ready(None)
            } else {
                self.discover.as_mut().poll_discover(cx)
            };
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
                    self.ended = true;
                    let error = ResolveError::new("its discovery ended before it found anything");
                    return Poll::Ready(Err(error.permanent()));
                }
                Poll::Ready(None) | Poll::Pending => {
                    self.ended |= polled.is_ready();
                    if !self.untold {
                        return Poll::Pending;
                    }
                    break;
                }
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
