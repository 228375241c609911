//! Managers of bb8.

use bb8::ManageConnection;

use super::Failure;
use super::wrapper::wrapper;
use crate::manager::{CreateContext, Manager};
use crate::metadata::Metadata;

/// A manager of bb8, as a [`Manager`]. Made by the function of the same name.
///
/// | of bb8's `ManageConnection` | is called |
/// |---|---|
/// | `connect` | in a task of the pool, which a caller that gives up does not end |
/// | `is_valid` | before a connection is lent, by the pool's [`CheckPolicy`](crate::CheckPolicy) |
/// | `has_broken` | when a connection is given back |
///
/// bb8 asks `is_valid` each time unless it is told not to (`test_on_check_out`): that is
/// [`CheckPolicy::Always`](crate::CheckPolicy::Always) here, and has to be asked for. A connection that
/// is not valid is discarded, and the caller gets another one.
///
/// Dereferences to the manager: `pool.manager()` has its methods and fields.
///
/// # Examples
///
/// ```
/// use bb8::ManageConnection;
/// use pool_core::compat::{self, Bb8};
/// use pool_core::{CheckPolicy, Pool};
/// use std::io;
/// use std::net::SocketAddr;
/// use tokio::net::TcpStream;
///
/// struct Streams {
///     addr: SocketAddr,
/// }
///
/// impl ManageConnection for Streams {
///     type Connection = TcpStream;
///     type Error = io::Error;
///
///     async fn connect(&self) -> io::Result<TcpStream> {
///         TcpStream::connect(self.addr).await
///     }
///
///     async fn is_valid(&self, stream: &mut TcpStream) -> io::Result<()> {
///         stream.writable().await
///     }
///
///     fn has_broken(&self, stream: &mut TcpStream) -> bool {
///         stream.peer_addr().is_err()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let addr = listener.local_addr()?;
/// let manager = Bb8(Streams { addr }).text(compat::chain);
/// let pool = Pool::builder(manager).check(CheckPolicy::Always).build()?;
/// let stream = pool.get().await?;
/// assert_eq!(stream.peer_addr()?, pool.manager().addr);
/// # Ok(()) }
/// ```
pub struct Bb8<M: ManageConnection> {
    manager: M,
    text: fn(&M::Error) -> String,
    fatal: fn(&M::Error) -> bool,
}

/// Wraps a manager of bb8: see [the type](struct@Bb8).
#[expect(non_snake_case, reason = "reads as the constructor that it is")]
pub fn Bb8<M: ManageConnection>(manager: M) -> Bb8<M> {
    Bb8 { manager, text: |error| format!("{error:?}"), fatal: |_error| false }
}

wrapper!(Bb8 of ManageConnection,
    /// How an error of the manager is shown: by [`chain`](super::chain), if it is a
    /// [`std::error::Error`]. bb8 asks of an error only that it is `Debug`; without this, that is how it
    /// is shown.
);

impl<M: ManageConnection> Manager for Bb8<M> {
    type Resource = M::Connection;
    type Error = Failure<M::Error>;

    async fn create(&self, _cx: &CreateContext) -> Result<M::Connection, Failure<M::Error>> {
        self.manager.connect().await.map_err(|error| self.failure(error))
    }

    async fn check(
        &self,
        connection: &mut M::Connection,
        _meta: &Metadata,
    ) -> Result<(), Failure<M::Error>> {
        let valid = self.manager.is_valid(connection).await;
        valid.map_err(|error| self.failure(error))
    }

    fn is_broken(&self, connection: &mut M::Connection) -> bool {
        self.manager.has_broken(connection)
    }

    fn is_fatal(&self, error: &Failure<M::Error>) -> bool {
        self.knows_as_fatal(error)
    }
}
