//! A gRPC connection pool for tonic clients.
//!
//! A [`PooledChannel`] stands where a `tonic::transport::Channel` stands: generated clients, interceptors
//! and tower layers work over it unchanged. Behind it, a [`ChannelPool`] shares several HTTP/2 connections
//! among all calls.
//!
//! ```
//! use pool_tonic::ChannelPool;
//! # struct OrdersClient<T>(T);
//! # impl<T> OrdersClient<T> { fn new(channel: T) -> Self { Self(channel) } }
//!
//! let pool = ChannelPool::builder("http://orders:50051").max_connections(8).build()?;
//! let orders = OrdersClient::new(pool.channel());
//! # Ok::<(), pool_tonic::ConfigError>(())
//! ```
//!
//! What it promises:
//!
//! - A connection never carries more calls than its server allows, as last announced; further calls wait in
//!   the pool, in order, under their deadline. Nothing waits where it cannot be seen.
//! - A stream slot is freed exactly once, when the response has ended: trailers, error or drop.
//! - A connection is used when the server's first settings have arrived, not when TCP has accepted.
//! - A GOAWAY is seen the moment it is read: the connection takes no more calls and finishes those it has.
//! - A call that provably was not processed is sent again on another connection. A call that may
//!   have been processed is not.
//! - A server that is down is left alone for gRPC's back-off, and calls fail at once with the reason.
//!
//! Not here yet: TLS, keepalive, name resolution, service configuration.

mod address;
mod address_book;
mod backoff;
mod call;
mod channel;
mod config;
mod connection;
mod connectivity;
mod error;
mod exclusive;
mod manager;
mod options;
mod pool;
mod retry;
mod stats;

pub use call::CallError;
pub use channel::{PooledChannel, ResponseFuture};
pub use config::ChannelPoolBuilder;
pub use connection::Connection;
pub use connectivity::ConnectivityState;
pub use error::{ConfigError, ConnectError, NotReady};
pub use exclusive::ExclusiveChannel;
pub use manager::ConnectionManager;
pub use options::{Dedicated, ServedBy, WaitForReady};
pub use pool::{ChannelPool, WeakChannelPool};
pub use retry::{MethodName, RetryPolicy};
pub use stats::{
    AddressStatus, CallsEnded, ChannelCounters, ChannelSnapshot, ChannelStatus, DedicatedStatus,
};
