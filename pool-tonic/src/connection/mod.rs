//! One HTTP/2 connection, driven by this crate: the resource that the pool lends.
//!
//! - `dial.rs`: from an address to a connection that is READY
//! - `driver.rs`: the task that runs it and tells the pool what happens to it
//! - `places.rs`: how many streams it takes

mod dial;
mod driver;
mod places;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::oneshot;

use crate::address::Address;
use crate::options::ServedBy;
use crate::stats::Totals;
use places::Places;

pub(crate) use dial::{DialConfig, Dialled, Http2, Start, dial, establish};

/// An HTTP/2 connection whose server has sent its settings.
///
/// The resource of a [`ConnectionManager`](crate::ConnectionManager). When it is dropped its task ends
/// and its socket is closed.
pub struct Connection {
    sender: SendRequest<Bytes>,
    address: Address,
    served_by: ServedBy,
    /// How often the pool had been rotated when it was dialled.
    generation: u64,
    places: Arc<Places>,
    totals: Arc<Totals>,
    /// Dropped with the connection, which the driver sees. After `sender`, so that the driver finds no
    /// handle left that would keep the connection open.
    _alive: oneshot::Sender<std::convert::Infallible>,
}

impl Connection {
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The address, for callers.
    pub(crate) fn served_by(&self) -> &ServedBy {
        &self.served_by
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Opens a stream.
    ///
    /// # Errors
    ///
    /// Nothing of the request was sent then.
    pub(crate) fn send(
        &self,
        request: http::Request<()>,
        end_of_stream: bool,
    ) -> Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>), SendError> {
        // A handle per call: one that is shared would keep a reference to a stream that h2 has not
        // opened yet, and with it alive when its call is cancelled.
        let mut sender = self.sender.clone();
        sender.send_request(request, end_of_stream).map_err(|error| {
            let mut cx = Context::from_waker(Waker::noop());
            match sender.poll_ready(&mut cx) {
                Poll::Ready(Err(gone)) => {
                    // The driver says so too, but perhaps after the pool has lent it again.
                    self.places.handle().drain(gone.to_string());
                    SendError::Connection
                }
                _ => SendError::Request(error),
            }
        })
    }

    /// The server refused a stream of this connection: fewer at a time, for a while.
    pub(crate) fn refused(&self) {
        self.totals.streams_refused.fetch_add(1, Ordering::Relaxed);
        self.places.refuse();
    }
}

/// Why a stream was not opened.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The connection takes no more streams, which the pool knows by now.
    Connection,
    /// The request cannot be sent as HTTP/2.
    Request(h2::Error),
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", &format_args!("{}", self.address))
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}
