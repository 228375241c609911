//! What a terminal shows of a load, line by line.

use std::mem;
use std::time::Duration;

use crate::live::{PoolProgress, Progress, short};

/// What is one column of the charts, at least: a few looks at the load.
const COLUMN: Duration = Duration::from_millis(200);

/// Columns of the charts, at most.
const COLUMNS: usize = 50;

/// Rows of the chart of calls.
const CALLS_ROWS: usize = 4;

/// Rows of the chart of waiting calls.
const WAITING_ROWS: usize = 2;

/// What is between the parts of a line.
const APART: &str = "   ";

/// For what is said of a line, before it.
const LABEL: usize = 13;

/// An eighth of a cell, two of them, and so on.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How a load went until now, in as many parts as the charts have columns, however long it runs.
#[derive(Debug)]
pub struct History {
    duration: Duration,
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    calls: u64,
    time: Duration,
    waiting: usize,
}

impl History {
    /// Of a load that is to run this long.
    pub fn new(duration: Duration) -> Self {
        let parts = duration.as_millis() / COLUMN.as_millis();
        let parts = usize::try_from(parts).unwrap_or(COLUMNS).clamp(1, COLUMNS);
        Self { duration, parts: vec![Part::default(); parts] }
    }

    /// This long after the start, `calls` have ended within `time`, and so many wait.
    pub fn add(&mut self, elapsed: Duration, time: Duration, calls: u64, waiting: usize) {
        let last = self.parts.len() - 1;
        // The middle of that time, which may have begun in the part before.
        let at = elapsed.saturating_sub(time / 2).as_nanos() * self.parts.len() as u128;
        let index = at.checked_div(self.duration.as_nanos()).unwrap_or(0);
        // Calls may end after the time of the load.
        let part = &mut self.parts[usize::try_from(index).unwrap_or(last).min(last)];
        part.calls += calls;
        part.time += time;
        part.waiting = part.waiting.max(waiting);
    }

    /// Calls per second in each part; `None` where nobody looked.
    fn rates(&self) -> Vec<Option<f64>> {
        self.values(|part| part.calls as f64 / part.time.as_secs_f64())
    }

    /// The most calls that were seen to wait in each part.
    fn waiting(&self) -> Vec<Option<f64>> {
        self.values(|part| part.waiting as f64)
    }

    fn values(&self, value: impl Fn(&Part) -> f64) -> Vec<Option<f64>> {
        self.parts.iter().map(|part| (!part.time.is_zero()).then(|| value(part))).collect()
    }
}

/// The lines of it, each of at most `width` columns, and at most `height` of them. What matters most
/// comes first: a terminal that is too small cuts off the rest.
pub fn view(
    progress: &Progress<'_>,
    history: &History,
    width: usize,
    height: usize,
) -> Vec<String> {
    let left = progress.duration.saturating_sub(progress.elapsed);
    let mut lines = vec![
        labelled(progress.system, &format!("{} left of {}", clock(left), clock(progress.duration))),
        labelled(
            "calls",
            &format!(
                "{}/s   failed {}",
                short(progress.calls_per_second, 6),
                short(progress.failed as f64, 6)
            ),
        ),
        labelled(
            "latency",
            &progress.latency.map_or_else(
                || "-".to_owned(),
                |latency| format!("p50 {}   p99 {}", time(latency.p50_us), time(latency.p99_us)),
            ),
        ),
    ];
    if let Some(pool) = progress.pool {
        let PoolProgress { connecting, ready, draining, streams, places, waiting } = pool;
        let [connecting, ready, draining, streams, places, waiting] =
            [connecting, ready, draining, streams, places, waiting]
                .map(|number| short(number as f64, 4));
        lines.push(labelled(
            "connections",
            &format!("ready {ready}   connecting {connecting}   draining {draining}"),
        ));
        lines.push(labelled("streams", &format!("{streams} of {places}   waiting {waiting}")));
    }
    let mut lines: Vec<String> = lines.iter().flat_map(|line| broken(line, width)).collect();
    lines.push(String::new());
    lines.extend(chart("calls/s", &history.rates(), CALLS_ROWS, width));
    if progress.pool.is_some() {
        lines.push(String::new());
        lines.extend(chart("waiting", &history.waiting(), WAITING_ROWS, width));
    }
    lines.truncate(height);
    for line in &mut lines {
        *line = line.chars().take(width).collect();
    }
    lines
}

/// The line, or as many as it takes where it is too long: broken between its parts.
fn broken(line: &str, width: usize) -> Vec<String> {
    // The label's own space is none between parts.
    let (label, text) = line.split_at_checked(LABEL).unwrap_or((line, ""));
    let mut lines = Vec::new();
    let mut current = label.to_owned();
    for (at, part) in text.split(APART).enumerate() {
        if at > 0 && current.chars().count() + APART.len() + part.chars().count() > width {
            lines.push(mem::replace(&mut current, labelled("", part)));
        } else {
            current.push_str(if at > 0 { APART } else { "" });
            current.push_str(part);
        }
    }
    lines.push(current);
    lines
}

fn labelled(label: &str, text: &str) -> String {
    format!("{label:LABEL$}{text}")
}

/// Bars of these values up to the greatest, which is written beside them: the latest ones, if not all
/// fit.
fn chart(label: &str, values: &[Option<f64>], rows: usize, width: usize) -> Vec<String> {
    let seen = values.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    let room = width.saturating_sub(LABEL);
    let first = if values.len() > room { seen.saturating_sub(room) } else { 0 };
    let shown = &values[first..seen];
    let top = shown.iter().flatten().copied().fold(0.0, f64::max);
    (0..rows)
        .map(|row| {
            let below = (rows - 1 - row) * BLOCKS.len();
            let said = match row {
                0 => label.to_owned(),
                1 => format!("up to {}", short(top, 6)),
                _ => String::new(),
            };
            let bars: String = shown.iter().map(|value| cell(*value, top, rows, below)).collect();
            format!("{said:LABEL$}{bars}").trim_end().to_owned()
        })
        .collect()
}

/// What a bar has in the row that begins this many eighths from the bottom. Something is not nothing,
/// however little it is; and nothing has no bar.
fn cell(value: Option<f64>, top: f64, rows: usize, below: usize) -> char {
    let height = value.unwrap_or(0.0) * (rows * BLOCKS.len()) as f64;
    let filled = (0..BLOCKS.len()).rev().find(|eighth| height > top * (below + eighth) as f64);
    filled.map_or(' ', |eighth| BLOCKS[eighth])
}

/// As long as it needs: `4.2 s`, `3:05`, `1:00:00`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{:02}", seconds % 60)
    } else if minutes > 0 {
        format!("{minutes}:{:02}", seconds % 60)
    } else {
        format!("{seconds}.{} s", time.subsec_millis() / 100)
    }
}

/// Microseconds, as one reads them.
fn time(micros: u64) -> String {
    match micros {
        ..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.2} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Latency;

    /// Calls in the parts of a load of a second, and as many that wait.
    fn history(calls: &[usize]) -> History {
        let mut history = History::new(Duration::from_secs(1));
        for (calls, end) in calls.iter().zip(1..) {
            history.add(COLUMN * end, COLUMN, *calls as u64, *calls);
        }
        history
    }

    #[test]
    fn the_view_shows_the_numbers_and_how_they_were() {
        let progress = Progress::sample(Some(PoolProgress::SAMPLE));
        let lines = view(&progress, &history(&[0, 1, 16, 32]), 79, 23);
        assert_eq!(
            lines,
            [
                "pool         0.2 s left of 1.0 s",
                "calls        17271/s   failed 2",
                "latency      p50 870 µs   p99 7.63 ms",
                "connections  ready 7   connecting 1   draining 2",
                "streams      61 of 90   waiting 3",
                "",
                "calls/s         █",
                "up to 160       █",
                "               ██",
                "              ▁██",
                "",
                "waiting         █",
                "up to 32      ▁██",
            ]
        );
    }

    #[test]
    fn a_system_without_a_pool_shows_no_connections() {
        let lines = view(&Progress::sample(None), &history(&[5]), 79, 23);
        for absent in ["connections", "streams", "waiting"] {
            assert!(!lines.iter().any(|line| line.contains(absent)), "{absent}: {lines:#?}");
        }
        assert!(lines.iter().any(|line| line.contains('█')), "{lines:#?}");
    }

    #[test]
    fn a_pool_without_a_connection_and_a_call_has_no_bars() {
        let mut progress = Progress::sample(Some(PoolProgress::all(0)));
        progress.latency = None;
        let lines = view(&progress, &history(&[0, 0]), 79, 23);
        assert!(lines.contains(&"latency      -".to_owned()), "{lines:#?}");
        assert!(lines.contains(&"streams      0 of 0   waiting 0".to_owned()), "{lines:#?}");
        assert!(!lines.concat().contains(BLOCKS), "{lines:#?}");
    }

    #[test]
    fn the_view_fits_whatever_the_size_and_the_numbers() {
        for seconds in [0.05, 1.0, 10.0, 86_400.0, 1e9] {
            let duration = Duration::from_secs_f64(seconds);
            for number in [0, 9_999, 1_000_000, usize::MAX] {
                let mut history = History::new(duration);
                for tenth in 1..=12 {
                    history.add(duration * tenth / 10, duration / 10, number as u64 / 20, number);
                }
                let progress = Progress {
                    elapsed: duration * 12 / 10,
                    duration,
                    calls_per_second: number as f64,
                    failed: number as u64,
                    latency: Some(Latency { p50_us: number as u64, p99_us: number as u64 }),
                    ..Progress::sample(Some(PoolProgress::all(number)))
                };
                for (width, height) in [(79, 23), (39, 23), (14, 5), (1, 1)] {
                    let lines = view(&progress, &history, width, height);
                    assert!(lines.len() <= height, "{} lines in {height}", lines.len());
                    for line in lines {
                        assert!(line.chars().count() <= width, "more than {width}: {line}");
                    }
                }
                let whole = view(&progress, &history, 200, 23).concat();
                let cut = view(&progress, &history, 79, 23).concat();
                assert_eq!(whole, cut, "80 columns show all of it");
            }
        }
    }

    #[test]
    fn a_narrow_terminal_shows_the_latest_of_the_chart() {
        let lines = view(&Progress::sample(None), &history(&[64, 0, 1, 2]), LABEL + 2, 23);
        assert_eq!(lines.last().map(String::as_str), Some("             ██"));
        assert!(lines.contains(&"up to 10      █".to_owned()), "{lines:#?}");
    }

    #[test]
    fn a_narrow_terminal_breaks_lines_between_their_parts() {
        let lines = view(&Progress::sample(Some(PoolProgress::all(9))), &history(&[]), 39, 23);
        assert_eq!(
            lines[2..7],
            [
                "latency      p50 870 µs   p99 7.63 ms",
                "connections  ready 9   connecting 9",
                "             draining 9",
                "streams      9 of 9   waiting 9",
                "",
            ]
        );
        let lines = view(&Progress::sample(None), &history(&[]), 30, 23);
        assert_eq!(lines[3..5], ["latency      p50 870 µs", "             p99 7.63 ms"]);
    }

    #[test]
    fn a_long_load_has_no_longer_chart() {
        let day = Duration::from_secs(86_400);
        let mut history = History::new(day);
        for minute in 1..=1_500 {
            let minute = Duration::from_secs(60 * minute);
            history.add(minute, Duration::from_secs(60), 600, 0);
        }
        let rates = history.rates();
        assert_eq!(rates.len(), COLUMNS);
        assert!(rates.iter().all(|rate| *rate == Some(10.0)), "{rates:?}");
    }

    #[test]
    fn times_are_as_long_as_they_need() {
        for (seconds, text) in [
            (0.0, "0.0 s"),
            (59.94, "59.9 s"),
            (60.0, "1:00"),
            (185.0, "3:05"),
            (3600.0, "1:00:00"),
        ] {
            assert_eq!(clock(Duration::from_secs_f64(seconds)), text);
        }
        for (micros, text) in [(999, "999 µs"), (1_000, "1.00 ms"), (2_500_000, "2.50 s")] {
            assert_eq!(time(micros), text);
        }
    }
}
