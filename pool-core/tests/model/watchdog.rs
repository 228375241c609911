//! Ends a test that hangs: a pool that never rests keeps the clock from going on, and the test with it.

use std::io::Write;
use std::process::abort;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::plan::{Settings, Step};

/// Longer than a step takes on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Barks when a step does not end. Dropped with the plan that it watches over.
pub struct Watchdog(Sender<Step>);

impl Watchdog {
    pub fn new(settings: Settings) -> Self {
        let (sender, steps) = channel();
        let of = thread::current().name().unwrap_or_default().to_owned();
        let watch = move || {
            let mut plan: Vec<Step> = Vec::new();
            loop {
                match steps.recv_timeout(PATIENCE) {
                    Ok(step) => plan.push(step),
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => break,
                }
            }
            let seed = std::env::var("PROPTEST_RNG_SEED").unwrap_or_else(|_| "0".to_owned());
            // Not by `eprintln`, which is kept until the test ends.
            let mut stderr = std::io::stderr().lock();
            let _ = writeln!(stderr, "{of} hangs: PROPTEST_RNG_SEED={seed}, {settings:?}");
            for step in plan {
                let _ = writeln!(stderr, "{step:?}");
            }
            // Its thread cannot be made to panic.
            abort();
        };
        thread::Builder::new().name("watchdog".to_owned()).spawn(watch).unwrap();
        Self(sender)
    }

    pub fn begins(&self, step: Step) {
        self.0.send(step).unwrap();
    }
}
