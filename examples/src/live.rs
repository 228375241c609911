//! Shows a load while it runs: a view that is rewritten in place on a terminal, one line a second
//! elsewhere.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use console::Term;

use crate::screen::Screen;
use crate::stats::Latency;
use crate::view::History;

/// How often the view is rewritten on a terminal.
const ON_TERMINAL: Duration = Duration::from_millis(100);

/// How often there is a line elsewhere.
const ELSEWHERE: Duration = Duration::from_secs(1);

/// Where the demo speaks while it runs: standard error. Clones speak to the same.
#[derive(Clone, Debug)]
pub struct Live {
    screen: Option<Arc<Mutex<Screen>>>,
}

/// What there is to show.
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
    /// How long calls took lately.
    pub latency: Option<Latency>,
}

/// The pool's part of it.
#[derive(Clone, Copy, Debug)]
pub struct PoolProgress {
    /// Connections being opened.
    pub connecting: usize,
    /// Connections that take calls.
    pub ready: usize,
    /// Connections that end what they have.
    pub draining: usize,
    /// Calls that have a stream.
    pub streams: usize,
    /// Streams that there could be on these connections.
    pub places: usize,
    /// Calls that wait for a stream.
    pub waiting: usize,
}

#[cfg(test)]
impl Progress<'static> {
    /// With numbers that differ.
    pub(crate) fn sample(pool: Option<PoolProgress>) -> Self {
        Self {
            system: "pool",
            elapsed: Duration::from_millis(800),
            duration: Duration::from_secs(1),
            pool,
            calls_per_second: 17_271.4,
            failed: 2,
            latency: Some(Latency { p50_us: 870, p99_us: 7_630 }),
        }
    }
}

#[cfg(test)]
impl PoolProgress {
    /// With numbers that differ.
    pub(crate) const SAMPLE: Self =
        Self { connecting: 1, ready: 7, draining: 2, streams: 61, places: 90, waiting: 3 };

    /// With one number for all.
    pub(crate) fn all(number: usize) -> Self {
        Self {
            connecting: number,
            ready: number,
            draining: number,
            streams: number,
            places: number,
            waiting: number,
        }
    }
}

impl Live {
    /// For the standard error of this process.
    pub fn new() -> Self {
        let term = Term::buffered_stderr();
        let screen = term.is_term().then(|| Arc::new(Mutex::new(Screen::new(term))));
        Self { screen }
    }

    /// How often [`show`](Self::show) is worth calling.
    pub fn interval(&self) -> Duration {
        if self.screen.is_some() { ON_TERMINAL } else { ELSEWHERE }
    }

    /// Shows where the load is now, and how it came there.
    pub fn show(&self, progress: &Progress<'_>, history: &History) {
        match &self.screen {
            Some(screen) => {
                // A terminal that is gone has no reader to miss anything.
                let _ = lock(screen).show(progress, history);
            }
            None => write_line(&progress.to_string()),
        }
    }

    /// Takes away what is rewritten.
    pub fn clear(&self) {
        if let Some(screen) = &self.screen {
            let _ = lock(screen).clear();
        }
    }

    /// Says something that stays.
    pub fn say(&self, line: &str) {
        match &self.screen {
            Some(screen) => {
                let _ = lock(screen).say(line);
            }
            None => write_line(line),
        }
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

/// A panic leaves at worst a view that is drawn again.
fn lock(screen: &Mutex<Screen>) -> MutexGuard<'_, Screen> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The line for where there is no terminal: at most 78 columns, whatever the numbers.
impl fmt::Display for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (elapsed, duration) = (self.elapsed.as_secs_f64(), self.duration.as_secs_f64());
        let (unit, seconds) = match self.duration.as_secs() {
            ..99 => ("s", 1.0),
            99..=3600 => ("m", 60.0),
            _ => ("h", 3600.0),
        };
        let (elapsed, duration) = (elapsed / seconds, duration / seconds);
        // The load may go on a little for the calls under way.
        let elapsed_digits = usize::from(elapsed < 99.0);
        let duration_digits = usize::from(duration < 10.0 && duration.fract() > 0.0);
        write!(
            f,
            "{} {elapsed:.elapsed_digits$}/{duration:.duration_digits$} {unit}",
            self.system
        )?;
        write!(
            f,
            "  failed {}  {}/s",
            short(self.failed as f64, 4),
            short(self.calls_per_second, 5)
        )?;
        if let Some(pool) = self.pool {
            let PoolProgress { ready, draining, streams, places, waiting, .. } = pool;
            let connections = ready.saturating_add(draining);
            let [connections, streams, places, waiting] =
                [connections, streams, places, waiting].map(|number| short(number as f64, 4));
            write!(f, "  conns {connections}  streams {streams}/{places}  wait {waiting}")?;
        }
        Ok(())
    }
}

/// A number in full if it has at most this many digits (4 or more), else in thousands, millions and
/// so on.
pub(crate) fn short(number: f64, digits: i32) -> String {
    let mut number = number.round();
    if number < 10_f64.powi(digits) {
        return format!("{number:.0}");
    }
    for unit in ["k", "M", "G", "T", "P"] {
        number = (number / 1000.0).floor();
        if number < 1000.0 {
            return format!("{number:.0}{unit}");
        }
    }
    format!("{:.0}E", (number / 1000.0).floor())
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
            elapsed: Duration::from_millis(3210),
            duration: Duration::from_secs(10),
            calls_per_second: 12_345.6,
            failed: 0,
            ..Progress::sample(Some(PoolProgress::SAMPLE))
        };
        assert_eq!(
            progress.to_string(),
            "pool 3.2/10 s  failed 0  12346/s  conns 9  streams 61/90  wait 3"
        );
        progress.pool = None;
        progress.system = "Channel";
        progress.duration = Duration::from_millis(1500);
        assert_eq!(progress.to_string(), "Channel 3.2/1.5 s  failed 0  12346/s");
    }

    #[test]
    fn the_line_fits_80_columns_whatever_the_numbers() {
        for seconds in [9.9, 98.9, 99.0, 3600.0, 3601.0, 86_400.0] {
            for number in [9_999, 99_999, 999_999, 999_999_999_999, usize::MAX] {
                let duration = Duration::from_secs_f64(seconds);
                let line = Progress {
                    elapsed: duration + Duration::from_secs(15),
                    duration,
                    calls_per_second: number as f64,
                    failed: number as u64,
                    ..Progress::sample(Some(PoolProgress::all(number)))
                }
                .to_string();
                assert!(line.len() <= 78, "{} columns: {line}", line.len());
            }
        }
    }

    #[test]
    fn a_long_number_is_shortened() {
        for (number, text) in [
            (0.0, "0"),
            (9_999.4, "9999"),
            (9_999.5, "10k"),
            (999_999.0, "999k"),
            (1_000_000.0, "1M"),
            (u64::MAX as f64, "18E"),
        ] {
            assert_eq!(short(number, 4), text);
        }
        assert_eq!(short(99_999.0, 5), "99999");
    }
}
