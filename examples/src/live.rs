//! The line that shows a load while it runs: rewritten in place on a terminal, one line a second
//! elsewhere.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the line is rewritten on a terminal.
const ON_TERMINAL: Duration = Duration::from_millis(100);

/// How often there is a line elsewhere.
const ELSEWHERE: Duration = Duration::from_secs(1);

/// Where the demo speaks while it runs: standard error.
#[derive(Debug)]
pub struct Live {
    bar: Option<ProgressBar>,
}

/// What the line says.
#[derive(Debug)]
pub struct Progress<'a> {
    /// What is driven.
    pub system: &'a str,
    /// Since the load began.
    pub elapsed: Duration,
    /// How long it is to run.
    pub duration: Duration,
    /// What the pool says of itself, if it is one.
    pub pool: Option<PoolProgress>,
    /// Calls that ended lately, per second.
    pub calls_per_second: f64,
    /// Calls that failed.
    pub failed: u64,
}

/// The pool's part of the line.
#[derive(Clone, Copy, Debug)]
pub struct PoolProgress {
    /// Connections open.
    pub connections: usize,
    /// Calls that have a stream.
    pub streams: usize,
    /// Streams that there could be on these connections.
    pub places: usize,
    /// Calls that wait for a stream.
    pub waiting: usize,
}

impl Live {
    /// For the standard error of this process.
    pub fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(
                ProgressStyle::with_template("{spinner} {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar
        });
        Self { bar }
    }

    /// How often [`show`](Self::show) is worth calling.
    pub fn interval(&self) -> Duration {
        if self.bar.is_some() { ON_TERMINAL } else { ELSEWHERE }
    }

    /// Shows where the load is now.
    pub fn show(&self, progress: &Progress<'_>) {
        if let Some(bar) = &self.bar {
            bar.set_message(progress.to_string());
            bar.tick();
        } else {
            write_line(&progress.to_string());
        }
    }

    /// Takes the line away, if it is one that is rewritten.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message("");
            bar.finish_and_clear();
            bar.reset();
        }
    }

    /// Says something that stays.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| write_line(line)),
            None => write_line(line),
        }
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

/// What matters most comes first: a terminal that is too narrow cuts off the rest.
impl fmt::Display for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (elapsed, duration) = (self.elapsed.as_secs_f64(), self.duration.as_secs_f64());
        write!(f, "{:<12} {elapsed:>4.1}/{duration:.1} s", self.system)?;
        write!(f, " | failed {} | {:>5.0} calls/s", self.failed, self.calls_per_second)?;
        if let Some(PoolProgress { connections, streams, places, waiting }) = self.pool {
            write!(f, " | connections {connections:>2} | streams {streams:>3}/{places:<3}")?;
            write!(f, " | waiting {waiting}")?;
        }
        Ok(())
    }
}

/// A standard error that is closed has no reader to miss anything.
fn write_line(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_the_pool_where_there_is_one() {
        let mut progress = Progress {
            system: "pool",
            elapsed: Duration::from_millis(3210),
            duration: Duration::from_secs(10),
            pool: Some(PoolProgress { connections: 9, streams: 61, places: 90, waiting: 3 }),
            calls_per_second: 12_345.6,
            failed: 0,
        };
        assert_eq!(
            progress.to_string(),
            "pool          3.2/10.0 s | failed 0 | 12346 calls/s \
             | connections  9 | streams  61/90  | waiting 3"
        );
        progress.pool = None;
        progress.system = "Channel";
        assert_eq!(progress.to_string(), "Channel       3.2/10.0 s | failed 0 | 12346 calls/s");
    }
}
