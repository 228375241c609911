//! What the examples share, and the parts of the demo (`src/bin/demo.rs`) from the outside in:
//! the command line, the servers, the load, what is measured and how it is shown.

pub mod calls;
pub mod cli;
pub mod environment;
pub mod error;
pub mod live;
pub mod load;
pub mod measure;
pub mod report;
pub mod run;
mod screen;
pub mod server;
pub mod service;
pub mod stats;
pub mod supervisor;
pub mod view;

/// The service of `proto/demo.proto`.
pub mod proto {
    #![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::pedantic)]
    tonic::include_proto!("demo.v1");
}
