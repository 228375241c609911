//! Behaviours as data: each file of `scenarios/` has a pool's settings, a script for its manager, steps,
//! and what the observer is to be told. `SCENARIO=name` runs those whose name contains it.
//!
//! Time is paused. After each step everything happens that takes no time, and the manager's books are
//! compared with the pool's numbers; at the end nothing may be left, neither resource nor task.

mod harness;
mod runner;

use std::env;
use std::path::Path;

use harness::{ends, hush, secs};
use runner::{Scenario, files, play};

fn run(text: &str) -> Result<(), String> {
    play(&Scenario::parse(text)?)
}

#[test]
fn every_scenario_goes_as_it_is_written() {
    hush();
    let wanted = env::var("SCENARIO").unwrap_or_default();
    ends(secs(20), move |at| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
        let mut failed = Vec::new();
        let mut played = 0;
        for file in files(&folder) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            if name.contains(&wanted) {
                at(format!("in {name}"));
                let text = std::fs::read_to_string(&file).unwrap();
                if let Err(problem) = run(&text) {
                    failed.push(format!("{name}: {problem}"));
                }
                played += 1;
            }
        }
        assert!(played > 0, "no scenario is called that");
        assert!(failed.is_empty(), "{} of {played}:\n\n{}\n", failed.len(), failed.join("\n\n"));
    });
}

/// A scenario whose steps and events are these.
fn told(steps: &str, events: &str) -> String {
    format!("about = \"a test\"\npool = {{ max_size = 1 }}\nsteps = '''\n{steps}\n'''\n{events}")
}

#[test]
fn a_scenario_that_goes_otherwise_says_where() {
    run(&told("get a\nexpect served a", "")).unwrap();
    let problem = run(&told("get a\nget b\nexpect served b", "")).unwrap_err();
    assert!(problem.starts_with("step in line 3, `expect served b`: b: it waits"), "{problem}");
    let problem = run(&told("get a\nexpect status idle=1 in_use=1", "")).unwrap_err();
    assert!(problem.contains("line 2") && problem.contains("idle is 0, not 1"), "{problem}");
    let problem = run(&told("get a\nget b timeout 1s\nadvance 2s\nexpect failed b closed", ""));
    assert!(problem.unwrap_err().contains("b failed: (\"timeout\""));
}

#[test]
fn a_scenario_whose_events_are_others_says_which() {
    let events = "events = '''\ncreating 0 demand\ncreated 0\n'''";
    run(&told("get a", events)).unwrap();
    let problem = run(&told("get a\ndiscard a", events)).unwrap_err();
    assert!(problem.contains("    created 0\n  + ended 0 discarded"), "{problem}");
    let problem = run(&told("expect status size=0", events)).unwrap_err();
    assert!(problem.contains("  - creating 0 demand\n  - created 0"), "{problem}");
}

#[test]
fn what_a_scenario_file_may_not_say_is_refused() {
    let refused = |text: &str, why: &str| {
        let problem = run(text).unwrap_err();
        assert!(problem.contains(why), "{problem}");
    };
    refused(&told("get a", "surprise = 1"), "unknown field `surprise`");
    refused(&told("dance a", ""), "step in line 1, `dance a`: no such operation");
    refused(&told("expect status sise=0", ""), "no number `sise`");
    refused(&told("script is_broken never", ""), "is_broken cannot do `never`");
    refused(&told("get a", "[manager]\nqueued.create = [\"dance\"]"), "no step of a script");
    refused("about = \"a test\"\npool.max_sise = 1\nsteps = 'get a'", "unknown field `max_sise`");
    refused(
        "about = \"a test\"\npool.max_size = 0\nsteps = 'get a'",
        "max_size: must be at least 1",
    );
    refused("about = \"a test\"\npool.places = 2\nsteps = 'get a'", "are for shared pools");
    refused("about = \"a test\"\nsteps = ''", "it has no steps");
}
