//! One HTTP/2 connection, driven by this crate: the resource that the pool lends.
//!
//! - `dial.rs`: from an address to a connection whose server has sent its settings
//! - `fresh.rs`: from there to one that is lent: priming call, first word of the server's health
//! - `driver.rs`: the task that runs it and tells the pool what happens to it
//! - `control.rs`: what the pool tells that task
//! - `wire.rs`: what it reads and writes, in batches, which are counted
//! - `keepalive.rs`, `pulse.rs`: is anybody there? the decisions, the timer and the ping
//! - `health.rs`, `priming.rs`, `own_call.rs`: what servers are asked by the pool itself
//! - `places.rs`: how many streams it takes

mod control;
mod dial;
mod driver;
mod fresh;
mod health;
mod keepalive;
mod own_call;
mod places;
mod priming;
mod pulse;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::SendRequest;
use tonic::Code;

use crate::address::Address;
use crate::balance::{Monitor, Stopwatch};
use crate::options::ServedBy;
use crate::stats::Totals;
use control::Hold;
use places::Places;
use wire::Traffic;

pub(crate) use control::{Control, CutBy, Uploading};
pub(crate) use dial::{DialConfig, Http2, Start, Upkeep, dial, establish};
pub(crate) use health::Health;
pub(crate) use keepalive::KeepaliveConfig;
pub(crate) use priming::Priming;

/// The last stream that is opened on a connection: its ids end at 2^31, and room is left for all that
/// are lent when it is reached.
pub(crate) const LAST_STREAM: u32 = (1 << 31) - (1 << 17);

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
    /// Of its endpoint, where it is compared with others.
    monitor: Option<Arc<Monitor>>,
    totals: Arc<Totals>,
    traffic: Traffic,
    last_stream: u32,
    /// After `sender`, so that the driver finds no handle left that would keep the connection open.
    hold: Hold,
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
        let sent = sender.send_request(request, end_of_stream);
        if let Ok((response, _)) = &sent
            && response.stream_id().as_u32() >= self.last_stream
        {
            self.hold.0.use_up();
        }
        sent.map_err(|error| {
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

    /// A call has a slot of it now.
    pub(crate) fn call_begins(&self) {
        self.hold.0.call_begins();
    }

    /// That slot is given back; its call has had its whole answer, or not.
    pub(crate) fn call_ends(&self, finished: bool) {
        self.hold.0.call_ends(finished);
    }

    /// A request is being sent as the windows have room, until this is dropped.
    pub(crate) fn upload(&self) -> Uploading {
        Uploading::on(&self.hold.0)
    }

    /// Whether there is one that may have used up the windows.
    pub(crate) fn has_uploads(&self) -> bool {
        self.hold.0.has_uploads()
    }

    /// How often it was tried to write anything new to it.
    pub(crate) fn writes(&self) -> u64 {
        self.traffic.writes()
    }

    /// Whether nothing was written of a request that was opened when there were so many writes, and nothing will be. Of a
    /// connection that is over.
    pub(crate) fn has_kept(&self, writes: u64) -> bool {
        self.traffic.seal(writes)
    }

    /// An attempt begins. `None` if it does not matter how long its answer takes.
    #[inline]
    pub(crate) fn time(&self) -> Option<Stopwatch> {
        self.monitor.as_ref()?.time()
    }

    /// An attempt of a call on it has ended like this.
    pub(crate) fn attempt_ended(&self, code: Code) {
        if let Some(monitor) = &self.monitor {
            monitor.ended(code);
        }
    }

    /// Why this side ended the connection under its calls, if it did.
    pub(crate) fn cut_by(&self) -> Option<CutBy> {
        self.hold.0.cut_by()
    }

    /// The server refused a stream of this connection: fewer at a time, for a while.
    pub(crate) fn refused(&self) {
        self.totals.streams_refused.fetch_add(1, Ordering::Relaxed);
        self.places.refuse();
        // It gives the places back later.
        self.hold.0.ring();
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

#[cfg(test)]
mod ids_tests;
