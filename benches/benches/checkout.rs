//! Getting and returning.
fn main() {}
