//! A generic asynchronous resource pool: fair, cancel-safe, bounded, observable.
//!
//! A [`Manager`] creates, checks and recycles resources; the pool decides how many there are, who gets
//! one, who waits and when one goes. A resource is lent either exclusively, by a [`Pool`], or to several
//! holders at once, by a [`SharedPool`].
//!
//! ```
//! use pool_core::{CreateContext, Manager, Pool};
//! use std::io;
//! use tokio::net::TcpStream;
//!
//! struct Streams {
//!     addr: std::net::SocketAddr,
//! }
//!
//! impl Manager for Streams {
//!     type Resource = TcpStream;
//!     type Error = io::Error;
//!
//!     async fn create(&self, _cx: &CreateContext) -> io::Result<TcpStream> {
//!         TcpStream::connect(self.addr).await
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let addr = listener.local_addr()?;
//! let pool = Pool::builder(Streams { addr }).max_size(16).min_idle(2).max_idle(8).build()?;
//! let stream = pool.get().await?; // waits its turn, at most the wait timeout
//! stream.writable().await?;       // goes back when dropped
//! # Ok(()) }
//! ```
//!
//! # What it promises
//!
//! - **A place is handed over**, not a permit or a wake-up: whoever frees one gives it to the one that
//!   has waited longest. Service is in order of arrival, and no wake-up is lost.
//! - **Giving up is safe**, at every moment: see *Cancel safety* at each method.
//! - **Creation belongs to the pool.** It runs in a task of its own, bounded in number and time; a caller
//!   takes whichever comes first, a return or a creation.
//! - **Everything has an end**: waits, creations, checks and destructions have timeouts, the queue has
//!   a limit, and dropping the last handle ends every task.
//! - **Dropping a lease is plain**: it spawns, blocks and panics nowhere, in or outside a runtime.
//! - **Nothing of a user runs under a lock.**
//! - **Counts are taken from the state**, so a [`Status`] fits together.
//!
//! # Features
//!
//! - `deadpool`, `bb8`: the managers of those pools work on this one, unchanged; see `compat`.

mod acquire;
mod blocking;
#[cfg(any(feature = "bb8", feature = "deadpool"))]
pub mod compat;
mod config;
mod control;
mod core;
mod create;
mod data;
#[cfg(feature = "dyn")]
mod dyn_manager;
mod error;
mod front;
mod hooks;
mod kind;
mod leaks;
mod lease;
mod mailboxes;
mod maintenance;
mod manager;
mod metadata;
mod moment;
mod observer;
mod pool;
mod seat;
mod state;
mod status;
mod sync;
#[cfg(feature = "test-util")]
pub mod test_util;
#[cfg(feature = "tracing")]
mod trace;

#[cfg(all(test, pool_loom))]
mod loom_tests;

pub use crate::acquire::{GetOptions, Priority};
pub use crate::config::{
    Backoff, Builder, CheckPolicy, ConfigError, Limits, PoolBuilder, PoolConfig, SharedPoolBuilder,
    Shedding,
};
pub use crate::control::{DrainReport, Pause, Retained};
pub use crate::data::Data;
#[cfg(feature = "dyn")]
pub use crate::dyn_manager::{DynManager, DynSharedManager};
pub use crate::error::{CreateError, Error, Timeout};
pub use crate::hooks::{HookError, HookFuture};
pub use crate::kind::{Exclusive, Kind, Shared};
pub use crate::leaks::Holder;
pub use crate::lease::{Lease, ResourceLease, SharedLease};
pub use crate::manager::{
    CreateContext, CreateReason, Manager, ResourceHandle, ResourceId, SharedManager,
};
pub use crate::metadata::Metadata;
pub use crate::observer::{EndReason, Event, Observer};
pub use crate::pool::{Pool, ResourcePool, SharedPool, WeakPool};
pub use crate::status::{Counters, Ended, Status};
/// The macro under which a [`DynManager`] is written.
#[cfg(feature = "dyn")]
pub use async_trait::async_trait;
