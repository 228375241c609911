//! Who of the endpoints is used, and how much.
//!
//! - `select.rs`: the near ones before the far, of many a subset; pure
//! - `spread.rs`: what a choice changes in the address book and the pools below; `groups.rs`: how the pools hear of it
//! - `monitor.rs`: what calls tell of their endpoint; `gauge.rs`: averages of that over time, pure
//! - `policy.rs`: what a user says of how they are spread. `weigher.rs`: the task that makes weights of what calls tell
//! - `outlier.rs`: which answers worse than the others; pure. `ejector.rs`: the task that acts on it
//! - `single.rs`: how such tasks begin and end
//! - `affinity.rs`: which one a key belongs to
//! - `sim.rs`: a thousand clients and two hundred servers, on a clock of their own

mod affinity;
mod ejector;
mod gauge;
mod groups;
mod monitor;
mod observer;
mod outlier;
mod policy;
mod select;
#[cfg(test)]
mod sim;
mod single;
mod spread;
mod weigher;

pub(crate) use affinity::Homes;
pub(crate) use ejector::Ejector;
pub(crate) use groups::Groups;
pub(crate) use monitor::{Measures, Monitor, Outcomes, Placed, Stopwatch};
pub(crate) use observer::Observed;
pub use observer::{EndpointEvent, EndpointObserver};
pub use outlier::{EjectedBy, FailurePercentage, OutlierDetection, SuccessRate};
pub use policy::{Balance, ErrorPenalty, PeakEwma};
pub(crate) use select::Nearness;
pub(crate) use spread::{Change, Chosen, Site, Spread};
pub(crate) use weigher::{Weighed, Weigher};
