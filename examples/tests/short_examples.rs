//! The short examples run to their end, and show what they are for.

use std::process::Command;

fn output_of(executable: &str) -> String {
    let output = Command::new(executable).output().expect("the example starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn lines_shares_cleans_and_replaces_connections() {
    let shown = output_of(env!("CARGO_BIN_EXE_lines"));
    for line in [
        "12 callers took turns on 3 connections",
        "its next holder finds a connection without a name: \"hello\"",
        "the pool let go of it, and keeps the other 2",
        "the next caller gets an answer: \"hello again\"",
        "closed: the pool is closed",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line:?} is missing: {shown}");
    }
}

#[test]
fn tonic_channels_answers_all_calls_over_a_few_connections() {
    let shown = output_of(env!("CARGO_BIN_EXE_tonic_channels"));
    assert!(shown.starts_with("200 of 200 calls answered over "), "{shown}");
}

/// Below the caller's, two calls: the one that made the other wait, and that one with its wait; each with the server's.
#[cfg(feature = "opentelemetry")]
#[test]
fn opentelemetry_shows_what_a_call_waited_for_and_who_served_it() {
    let shown = output_of(env!("CARGO_BIN_EXE_opentelemetry"));
    for (begin, part) in [
        ("checkout ", ""),
        ("  demo.v1.Demo/Echo ", "attempts=1"),
        ("    pool.wait ", "outcome=ok"),
        ("    demo.v1.Demo/Echo ", ""),
        ("pool.create ", ""),
        ("  grpc.connect ", ""),
    ] {
        let is_it = |line: &str| line.starts_with(begin) && line.contains(part);
        assert!(shown.lines().any(is_it), "{begin:?} with {part:?} is missing: {shown}");
    }
}
