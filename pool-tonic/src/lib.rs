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
//! # Instead of a `Channel`
//!
//! Who has a `tonic::transport::Channel` changes its type and nothing else: `OrdersClient<Channel>` becomes
//! `OrdersClient<PooledChannel>`, a struct's field and a function's argument likewise. Code that is to take
//! either says what it needs of them:
//!
//! ```
//! use pool_tonic::{ChannelPool, PooledChannel};
//! # #[derive(Clone)] struct OrdersClient<T>(T);
//! # impl<T> OrdersClient<T> { fn new(channel: T) -> Self { Self(channel) } }
//!
//! struct Shop {
//!     orders: OrdersClient<PooledChannel>, // was: OrdersClient<Channel>
//! }
//!
//! fn orders<T>(channel: T) -> OrdersClient<T>
//! where
//!     T: tonic::client::GrpcService<tonic::body::Body>, // a Channel, a PooledChannel, layers around them
//! {
//!     OrdersClient::new(channel)
//! }
//!
//! let pool = ChannelPool::builder("http://orders:50051").build()?;
//! let shop = Shop { orders: orders(pool.channel()) };
//! # let _ = shop.orders;
//! # Ok::<(), pool_tonic::ConfigError>(())
//! ```
//!
//! # What a call may ask for
//!
//! By extensions of its request: [`WaitForReady`], to wait through failures to connect; [`Dedicated`], for a long or
//! slow stream, to go on a connection of its own; [`Affinity`], to go where other calls with the same key go. Who needs one connection for several calls in a row takes an
//! [`ExclusiveChannel`]. Methods that may be called twice get a [`RetryPolicy`].
//!
//! # What it promises
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
//! # Endpoints
//!
//! | | |
//! |---|---|
//! | `http://HOST[:PORT]` | TCP; port 80 if none is named |
//! | `https://HOST[:PORT]` | TLS over TCP; port 443 if none is named |
//! | `unix:PATH`, `unix:///PATH` | a Unix socket, with TLS if there is a `tls_config` |
//!
//! Behind one name there may be many servers, that come and go. A [resolver](ChannelPoolBuilder::resolver) finds them:
//! by DNS, from what the program itself knows, or with a trait of a few lines. [`resolve`] says which one suits which
//! set-up.
//!
//! ```
//! use pool_tonic::ChannelPool;
//! use pool_tonic::resolve::Dns;
//!
//! let pool = ChannelPool::builder("http://orders.prod:50051").resolver(Dns::new()).build()?;
//! # Ok::<(), pool_tonic::ConfigError>(())
//! ```
//!
//! Of the endpoints with a free stream slot, two are drawn at random, and the one with fewer outstanding calls for its
//! weight gets the next call. [`Balance`] has other ways, among them by the time that answers take. An endpoint whose calls
//! fail gets fewer of them ([`ErrorPenalty`]), and on request none for a while ([`OutlierDetection`]).
//!
//! [`ChannelPoolBuilder::connector`] replaces TCP by whatever connects: a tunnel, a stream in memory, an HTTP
//! proxy (the example `http_proxy` is one with CONNECT).
//!
//! # TLS
//!
//! For `https://`, enable one that does the cryptography and one that brings the root
//! certificates:
//!
//! | feature | |
//! |---|---|
//! | `tls-ring` | cryptography by ring, which builds with nothing but a C compiler |
//! | `tls-aws-lc` | cryptography by AWS-LC, rustls's own default; it is used if both are on |
//! | `tls-native-roots` | trusts what the system trusts; it is the default if both are on |
//! | `tls-webpki-roots` | trusts what Mozilla trusts, as of the build |
//! | `tls` | what the others build on: alone, for a crypto provider and roots of one's own |
//!
//! ```toml
//! pool-tonic = { version = "0.1", features = ["tls-ring", "tls-native-roots"] }
//! ```
//!
//! Then `https://` is all it takes. Private roots, a client certificate and other names are said with a
//! `TlsConfig`:
//!
//! ```
//! # #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
//! # fn main() -> Result<(), pool_tonic::ConfigError> {
//! use pool_tonic::{ChannelPool, Pem, TlsConfig};
//!
//! let tls = TlsConfig::new()
//!     .ca_certificate(Pem::file("/etc/orders/ca.crt"))
//!     .identity(Pem::file("/etc/orders/tls.crt"), Pem::file("/etc/orders/tls.key"));
//! let pool = ChannelPool::builder("https://orders:50051").tls_config(tls).build()?;
//! # Ok(()) }
//! # #[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))] fn main() {}
//! ```
//!
//! Files are read again for each connection; [`ChannelPool::rotate`] replaces the connections that are there,
//! one by one and without a call's noticing, so that they have what is new.
//!
//! # Keepalive, health, age
//!
//! A connection with calls on which nothing comes for a minute is pinged, and ended if nothing comes then
//! ([`keepalive_time`](ChannelPoolBuilder::keepalive_time)). One is replaced before it is
//! [too old](ChannelPoolBuilder::max_connection_age) or its stream ids end. On request, servers are asked whether
//! they are [healthy](ChannelPoolBuilder::health_check), and new connections are [primed](ChannelPoolBuilder::priming).
//! [`ChannelPool::close`] ends it all in good order.
//!
//! # Features
//!
//! None is on by default. Beside those of [TLS](#tls):
//!
//! - `hickory`: endpoints from DNS with TTLs and services (`Dns::hickory`, `Dns::srv` in [`resolve`]).
//! - `discover`: endpoints from what implements tower's `Discover` (`FromDiscover` in [`resolve`]).
//! - `health`: a pool is a source of health for one's own server (`health_source`).
//! - `kubernetes`: endpoints from Kubernetes ([`resolve`]'s `Kubernetes`).
//! - `service-config`: retry policies are read from a gRPC service config in JSON
//!   (`ChannelPoolBuilder::service_config_json`).
//! - `tracing`: spans and events, with the target `pool_tonic`. `grpc.call` of every call, with OpenTelemetry's names for
//!   RPC clients, from the call to its status, and at `DEBUG` each attempt as an event in it (`server.address` is the one that
//!   it was sent to last); within it `pool.wait` where it waits for a connection. `grpc.connect` of every attempt to connect, within its `pool.create`. At `WARN` what somebody may have
//!   to look at: no endpoint can be connected to, one is ejected, the resolver fails. All with the pool's
//!   [name](ChannelPoolBuilder::name); what concerns connections that carry one call at a time with `NAME (dedicated)`. The example `opentelemetry` sends them on.
//!
//! Not here yet: service configuration by a resolver.

mod address;
mod address_book;
mod attempts;
mod backoff;
mod balance;
mod call;
mod channel;
mod close;
mod code;
mod config;
mod connection;
mod connectivity;
mod disconnect;
mod error;
mod exclusive;
mod handshakes;
#[cfg(feature = "health")]
mod health;
mod manager;
mod options;
mod pool;
mod ready;
mod register;
pub mod resolve;
mod retry;
mod rotate;
mod state_watch;
mod stats;
mod trace;
mod transport;
mod user;

pub use attempts::{AttemptObserver, ObserveAttempts, Retries};
pub use balance::{
    Balance, EjectedBy, EndpointEvent, EndpointObserver, ErrorPenalty, FailurePercentage,
    OutlierDetection, PeakEwma, SuccessRate,
};
pub use call::CallError;
pub use channel::{PooledChannel, ResponseFuture};
pub use code::code_name;
pub use config::{ChannelPoolBuilder, Subset};
pub use connection::Connection;
pub use connectivity::ConnectivityState;
pub use disconnect::{DisconnectError, Disconnections};
pub use error::{ConfigError, ConnectError, NotReady};
pub use exclusive::ExclusiveChannel;
pub use handshakes::{TlsHandshakes, TlsOutcome};
#[cfg(feature = "health")]
pub use health::health_source;
pub use manager::ConnectionManager;
pub use options::{Affinity, Dedicated, SentTo, ServedBy, WaitForReady};
pub use pool::{ChannelPool, WeakChannelPool};
pub use retry::{MethodName, RetryPolicy};
pub use state_watch::StateWatch;
pub use stats::{
    AddressStatus, CallsEnded, ChannelCounters, ChannelSnapshot, ChannelStatus, CloseReport,
    ConnectionStatus, DedicatedStatus,
};
#[cfg(feature = "tls")]
pub use transport::tls::{Pem, TlsConfig};
