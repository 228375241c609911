//! What the pools do, as metrics.
mod endpoint;
mod family;
mod mirror;
mod registry;
mod render;
mod sample;
mod source;

pub use endpoint::{CONTENT, Endpoint};
pub use family::{Family, Kind, Labelled};
pub use mirror::{Mirror, MirrorError, Mirroring};
pub use registry::{RegisterError, Registry};
pub use sample::Sample;
pub use source::{Probe, Source};
