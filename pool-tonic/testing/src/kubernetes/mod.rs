//! An API server of Kubernetes that knows `EndpointSlice`s and nothing else: it lists and watches them as the real one
//! does, and goes wrong in the ways of the real one when a test says so.
//!
//! # Implementation details
//!
//! `Store` is the state: slices, a version that grows with each change, and the changes since the
//! oldest version that it still knows. A watch is what is written into its body from then on; who asks for changes since
//! a version that is forgotten is told 410 Gone. Faults are a matter of [`Api`], which looks at them before it looks
//! into the store.
//!
//! An [`Api`] answers requests. [`ApiServer`] puts it on loopback, HTTP/1.1; without one, a client of the `kube` crate
//! takes it as its service, and a paused clock is not in a socket's way.

mod api;
mod server;
mod store;

pub use api::{Api, Asked, Verb};
pub use server::ApiServer;
pub use store::Gone;
