//! Errors of the configuration and of connecting. Calls fail with a [`tonic::Status`].

mod config;
mod connect;

pub use config::ConfigError;
pub use connect::{ConnectError, NotReady};
