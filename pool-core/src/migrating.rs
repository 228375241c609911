#![doc = include_str!("../docs/migrating.md")]

/// From deadpool 0.13 (`deadpool::managed`).
#[doc = include_str!("../docs/migrating/deadpool.md")]
pub mod deadpool {}

/// From bb8 0.9.
#[doc = include_str!("../docs/migrating/bb8.md")]
pub mod bb8 {}

/// From the pool of sqlx 0.8.
#[doc = include_str!("../docs/migrating/sqlx.md")]
pub mod sqlx {}

/// From mobc 0.9, in brief.
#[doc = include_str!("../docs/migrating/mobc.md")]
pub mod mobc {}
