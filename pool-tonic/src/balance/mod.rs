//! Who of the endpoints is used, and how much.

// Reached by their tests alone as yet.
#![allow(dead_code, unreachable_pub)]

mod affinity;
mod monitor;
mod outlier;
mod select;
mod spread;
