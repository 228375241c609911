//! What the benchmarks share: how a system is driven, and how its figures are reported.

pub mod checkout;
pub mod report;
pub mod rpc;
