//! Servers for pool-tonic's tests: an [echo service](EchoServer) that keeps books of its connections and
//! streams, also as a [process] that can be killed, a [scripted peer](peer) for what no server does
//! on demand, a [proxy] for what networks do, and a [DNS server](dns); with the feature `kubernetes` an API server
//! that serves `EndpointSlice`s.

mod accepted;
mod books;
pub mod dns;
mod echo;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod peer;
#[cfg(unix)]
pub mod process;
pub mod proxy;
pub mod raw;
mod server;

pub use accepted::Accepted;
pub use books::{Books, BooksNow};
pub use server::EchoServer;

/// The generated messages, client and server.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::pedantic)]
pub mod proto {
    tonic::include_proto!("pool.testing");
}
