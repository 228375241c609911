//! Groups of shared resources: whose share of the leases is whose, what is created for whom, and what goes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

#[path = "groups/bound.rs"]
mod bound;
#[path = "groups/bound_ending.rs"]
mod bound_ending;
#[path = "groups/failing.rs"]
mod failing;
#[path = "groups/many.rs"]
mod many;
#[path = "groups/minimums.rs"]
mod minimums;
#[path = "groups/random.rs"]
mod random;
#[path = "groups/retiring.rs"]
mod retiring;
#[path = "groups/servers.rs"]
mod servers;
#[path = "groups/shares.rs"]
mod shares;
#[path = "groups/storm.rs"]
mod storm;
