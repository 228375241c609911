//! Managers that were written for other pools, on this one, as they are.
//!
//! - feature `deadpool`: `Deadpool` wraps a `deadpool::managed::Manager`, and with it those of every
//!   `deadpool-*` crate;
//! - feature `bb8`: `Bb8` wraps a `bb8::ManageConnection`, and with it those of every `bb8-*` crate.
//!
//! The resource is what the manager makes, not a wrapper of it: `&mut *lease` is the connection itself.
//! The manager is asked at the moments at which its own pool would have asked it; how many resources
//! there are, and when one goes, is up to this one.
//!
//! Their errors come as a [`Failure`], which asks nothing of them. How they are shown is up to the
//! wrapper's `text`: [`chain`] is a good choice for all that are [`std::error::Error`]s.

#[cfg(feature = "bb8")]
mod bb8;
#[cfg(feature = "deadpool")]
mod deadpool;
mod failure;
#[cfg(any(feature = "bb8", feature = "deadpool"))]
mod wrapper;

#[cfg(feature = "bb8")]
pub use self::bb8::Bb8;
#[cfg(feature = "deadpool")]
pub use self::deadpool::Deadpool;
pub use self::failure::{Failure, chain};
