//! Who of the endpoints is used, and how much.
//!
//! - `select.rs`: the near ones before the far, of many a subset; pure
//! - `spread.rs`: what a choice changes in the address book and the pools below; `groups.rs`: how the pools hear of it
//! - `monitor.rs`: what calls tell of their endpoint
//! - `outlier.rs`: which answers worse than the others; pure. `ejector.rs`: the task that acts on it
//! - `sim.rs`: a thousand clients and two hundred servers, on a clock of their own

mod ejector;
mod groups;
mod monitor;
mod observer;
mod outlier;
mod select;
#[cfg(test)]
mod sim;
mod spread;

pub(crate) use ejector::Ejector;
pub(crate) use groups::Groups;
pub(crate) use monitor::{Monitor, Placed};
pub(crate) use observer::Observed;
pub use observer::{EndpointEvent, EndpointObserver};
pub(crate) use outlier::Tally;
pub use outlier::{EjectedBy, FailurePercentage, OutlierDetection, SuccessRate};
pub(crate) use select::Nearness;
pub(crate) use spread::{Change, Chosen, Site, Spread};
