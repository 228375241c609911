//! Retry by configuration: the rules of gRFC A6 for calls that may have been processed.
//!
//! - `policy.rs`: what is sent again, how often, and after which delay
//! - `rules.rs`: which method has which policy
//! - `throttle.rs`: the budget of a pool
//!
//! What one call does with it is in `call/retry.rs`. There is no hedging: see [`RetryPolicy`].

mod policy;
mod rules;
mod throttle;

pub use policy::RetryPolicy;
pub use rules::MethodName;
pub(crate) use rules::Rules;
pub(crate) use throttle::Throttle;
