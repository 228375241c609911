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
//! # When to use it
//!
//! - For what is dear to make and is used by one caller at a time: connections of a database, of a cache, of a
//!   line-based protocol; sessions, interpreters, large buffers. That is a [`Pool`].
//! - For what many callers use at the same time, up to a limit of its own: multiplexed connections. That is
//!   a [`SharedPool`]: it spreads its callers over the resources, and has as many of these as the load
//!   asks for. Where resources belong to one of several peers, they are in [groups](SharedPool::update_groups).
//! - Not for what is cheap to make, nor for a limit without a resource: that is a semaphore.
//!
//! # What it promises
//!
//! - **A place is handed over**, not a permit or a wake-up: whoever frees one gives it to the one that
//!   has waited longest. Service is in order of arrival (within a [`Priority`]), and no wake-up is lost.
//! - **Giving up is safe**, at every moment: see *Cancel safety* at each method.
//! - **Creation belongs to the pool.** It runs in a task of its own, bounded in number and time; a caller
//!   takes whichever comes first, a return or a creation.
//! - **Everything has an end**: waits, creations, checks and destructions have timeouts, the queue has
//!   a limit, and dropping the last handle ends every task.
//! - **Dropping a lease is plain**: it spawns, blocks and panics nowhere, in or outside a runtime.
//! - **Nothing of a user runs under a lock.** A panic in it costs its resource, never a place.
//! - **Counts are taken from the state**, so a [`Status`] fits together.
//!
//! # What needs a runtime
//!
//! Tokio's, with its timers. It is the one that the [builder](Builder::runtime) is given, or else that of the
//! first asynchronous call that needs one; when that one ends, the next such call brings its own.
//!
//! | | needs one |
//! |---|---|
//! | [`build`](Builder::build) | no; a minimum is created from then on if there is one, or else from the first call on that has one |
//! | [`try_get`](ResourcePool::try_get), [`try_get_owned`](ResourcePool::try_get_owned) | no |
//! | [`get`](ResourcePool::get) and its forms, when a resource is free and nobody waits | no; but a check, a recycling or a hook that is not done at once is bounded in time, which needs the one of the caller |
//! | [`get`](ResourcePool::get) and its forms, when they have to wait | yes, the pool's; without one [`Error::NoRuntime`] |
//! | [`blocking_get`](ResourcePool::blocking_get) | the thread does not; the pool does, to create and to wait |
//! | dropping a lease, [`discard`](ResourceLease::discard), [`detach`](ResourceLease::detach), [`replace`](ResourceLease::replace) | no |
//! | [`status`](ResourcePool::status), [`counters`](ResourcePool::counters) and all that only looks | no |
//! | [`update_groups`](SharedPool::update_groups) | no, but the minimums of groups are created in one |
//! | [`resize`](ResourcePool::resize), [`set_limits`](ResourcePool::set_limits), [`reset`](ResourcePool::reset), [`retain`](ResourcePool::retain), [`pause`](ResourcePool::pause), [`resume`](ResourcePool::resume), [`close`](ResourcePool::close) | no |
//! | [`closed`](ResourcePool::closed) | no, any executor will do |
//! | [`warm_up`](ResourcePool::warm_up), [`drain`](ResourcePool::drain) | to wait: that of the caller, or else the pool's; without one `warm_up` is an [`Error::NoRuntime`], and `drain` closes the pool and does not wait |
//! | [`Manager::create`], [`Manager::destroy`] | run in it; a resource that ends where there is none is dropped instead of destroyed |
//! | what happens by time: idle timeouts, lifetimes, shrinking, keep-alive, leak reports | happens while there is one |
//!
//! # For those who come from another pool
//!
//! [`migrating`] has the settings, methods and errors of [deadpool](migrating::deadpool),
//! [bb8](migrating::bb8), [sqlx's pool](migrating::sqlx) and [mobc](migrating::mobc), name by name, what behaves
//! differently, and an example for each. Managers of deadpool and bb8 work as they are, in a wrapper.
//!
//! # Recipes
//!
//! [`recipes`] has pools by key, shutdown on SIGTERM, configuration from a file, new credentials, a pause for a
//! fail-over, threads without a runtime, and tests of what uses a pool.
//!
//! # Features
//!
//! None is on by default.
//!
//! - `bb8`, `deadpool`: the managers of those pools work on this one, unchanged: [`compat`](compat/index.html).
//! - `dyn`: managers that are chosen at run time: [`DynManager`](trait.DynManager.html).
//! - `serde`: [`PoolConfig`] is read from configuration files, and written to them.
//! - `test-util`: a manager that does what a test's script says: [`test_util`](test_util/index.html).
//! - `tracing`: each [`Event`] is one of `tracing` as well, with the target `pool_core`: at `WARN` what somebody
//!   may have to look at, at `DEBUG` the rest. Spans at `INFO`: `pool.wait` of a get that has to wait, a child of its
//!   caller's, and `pool.create` of each creation, in which the manager's own are. They bear the pool's
//!   [name](Builder::name); with `tracing-opentelemetry` they are spans of OpenTelemetry.

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
mod event_text;
mod front;
mod get;
mod group;
mod histogram;
mod hooks;
mod kind;
mod leaks;
mod lease;
mod mailboxes;
mod maintenance;
mod manager;
mod metadata;
pub mod migrating;
mod moment;
mod observer;
mod options;
mod pool;
mod recent;
pub mod recipes;
mod seat;
mod state;
mod status;
mod sync;
#[cfg(feature = "test-util")]
pub mod test_util;
mod timings;
mod trace;
mod user;

#[cfg(all(test, pool_loom))]
mod loom_tests;

pub use crate::config::{
    Backoff, Builder, CheckPolicy, ConfigError, Limits, PoolBuilder, PoolConfig, SharedPoolBuilder,
    Shedding,
};
pub use crate::control::{DrainReport, Pause, Retained};
pub use crate::data::Data;
#[cfg(feature = "dyn")]
pub use crate::dyn_manager::{DynManager, DynSharedManager};
pub use crate::error::{CreateError, Error, Timeout};
pub use crate::group::{Group, GroupChange, GroupId, GroupStatus, Pick};
pub use crate::histogram::Histogram;
pub use crate::hooks::{HookError, HookFuture};
pub use crate::kind::{Exclusive, Kind, Shared};
pub use crate::leaks::Holder;
pub use crate::lease::{Lease, ResourceLease, SharedLease};
pub use crate::manager::{
    CreateContext, CreateReason, Manager, ResourceHandle, ResourceId, SharedManager,
};
pub use crate::metadata::Metadata;
pub use crate::observer::{EndReason, Event, Observer, Resize, Sizing};
pub use crate::options::{GetOptions, Priority};
pub use crate::pool::{Pool, ResourcePool, SharedPool, WeakPool};
pub use crate::recent::{Recent, RecentEvents};
pub use crate::status::{Counters, Ended, SharedStatus, Snapshot, Status};
pub use crate::timings::{CheckTimes, CreateTimes, Timings};
/// The macro under which a [`DynManager`] is written.
#[cfg(feature = "dyn")]
pub use async_trait::async_trait;
