//! What the benchmarks share: how a system is driven, what is asked for, and how figures are reported.

pub mod chart;
pub mod checkout;
pub mod report;
pub mod rounds;
pub mod rpc;
pub mod spread;
