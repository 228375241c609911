//! Compiles the demo's service in pure Rust: no `protoc` is needed.

use std::error::Error;

const PROTO: &str = "proto/demo.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTO}");
    let descriptors = protox::compile([PROTO], ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
