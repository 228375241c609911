//! A pool in `tracing`: feature `tracing`. Without it all of this is nothing.
//!
//! Target `pool_tonic`. Spans, of level `INFO`, with the pool's name as `pool`:
//!
//! - `grpc.call`, of every call: a child of its caller's, from the call to its status, with OpenTelemetry's
//!   names for RPC clients (semantic conventions, "Semantic conventions for gRPC"); entered while the call is
//!   polled, so that the `pool.wait` below is its child. Each time that the call is sent, and each failure that
//!   does not end it, is an event in it
//! - `grpc.connect`, of an attempt to connect: within the `pool.create` of the connection
//!
//! What becomes of endpoints and of the pool's state is told in events: level `WARN` for what somebody may have to look
//! at, `DEBUG` for the rest.
//!
//! A subscriber that panics when it is told of an event, or of a span's begin or end, does so alone.

#[cfg(feature = "tracing")]
mod events;
#[cfg(not(feature = "tracing"))]
mod off;
#[cfg(feature = "tracing")]
mod spans;

#[cfg(not(feature = "tracing"))]
pub(crate) use self::off::{CallSpan, ConnectSpan, endpoint, state};
#[cfg(feature = "tracing")]
pub(crate) use self::{
    events::{endpoint, state},
    spans::{CallSpan, ConnectSpan, Propagate},
};
