//! Who of the endpoints is used, and how much.

// Reached by their tests alone as yet.
#![allow(dead_code, unreachable_pub)]

mod outlier;
mod select;
mod spread;
