//! What a pool costs when there is much of it: resources, waiters, connections.

pub mod connections;
pub mod handoff;
pub mod memory;
pub mod waiters;
