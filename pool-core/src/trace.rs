//! A pool in `tracing`: feature `tracing`. Without it all of this is nothing.
//!
//! Target `pool_core`. Each event of a pool is one of `tracing`: level `DEBUG`, and `WARN` for what somebody may have
//! to look at: a failed creation, a broken resource, a leak. Spans, of level `INFO`:
//!
//! - `pool.wait`, of a get that could not be served at once: a child of the caller's, from when it joins the queue until
//!   it leaves it, with its `outcome`
//! - `pool.create`, of a creation: a root, since no caller owns it; entered while the manager works on it
//!
//! All of them have the pool's name as `pool`, if it was given one, and the manager's type as `manager`. A subscriber
//! that panics when it is told of an event, or of a span's begin or end, does so alone.

#[cfg(feature = "tracing")]
mod events;
#[cfg(not(feature = "tracing"))]
mod off;
#[cfg(feature = "tracing")]
mod spans;

#[cfg(not(feature = "tracing"))]
pub(crate) use self::off::{CreateSpan, WaitSpan, event};
#[cfg(feature = "tracing")]
pub(crate) use self::{
    events::event,
    spans::{CreateSpan, WaitSpan},
};
