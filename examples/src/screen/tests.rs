//! What a terminal shows after each frame, however its size changes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use console::Term;

use super::Screen;
use super::terminal::{Narrowed, Terminal};
use crate::live::{PoolProgress, Progress};
use crate::view::{History, view};

/// What is there before, and stays.
const EARLIER: &str = "3 servers on 127.0.0.1:1, 127.0.0.1:2";

/// A screen and the terminal that it writes to.
struct Shown {
    screen: Screen,
    output: UnixStream,
    terminal: Terminal,
    size: (u16, u16),
}

impl Shown {
    fn new(narrowed: Narrowed, size: (u16, u16)) -> Self {
        let (input, output) = UnixStream::pair().unwrap();
        output.set_nonblocking(true).unwrap();
        let term = Term::read_write_pair(input.try_clone().unwrap(), input);
        let mut terminal = Terminal::new(narrowed, size);
        terminal.write(&format!("{EARLIER}\n"));
        Self { screen: Screen::new(term), output, terminal, size }
    }

    fn resize(&mut self, size: (u16, u16)) {
        self.size = size;
        self.terminal.resize(size);
    }

    fn draw(&mut self, progress: &Progress<'_>) -> Vec<String> {
        self.screen.draw(self.size, progress, &history()).unwrap();
        self.look()
    }

    /// Draws, and returns what is above that.
    fn above(&mut self, progress: &Progress<'_>) -> Vec<String> {
        let mut now = self.draw(progress);
        let (rows, columns) = self.size;
        let wanted = view(progress, &history(), usize::from(columns) - 1, usize::from(rows) - 1);
        let first = now.len().checked_sub(wanted.len()).expect("all lines are on the screen");
        let wanted: Vec<_> = wanted.iter().map(|line| line.trim_end()).collect();
        assert_eq!(now.split_off(first), wanted, "at {:?}", self.size);
        now
    }

    fn clear(&mut self) -> Vec<String> {
        self.screen.take_away(self.size).unwrap();
        self.look()
    }

    fn look(&mut self) -> Vec<String> {
        let mut written = Vec::new();
        // It ends with an error, since there is no more now.
        self.output.read_to_end(&mut written).unwrap_err();
        self.terminal.write(&String::from_utf8(written).unwrap());
        self.terminal.shown()
    }
}

/// A load of which every column of the charts is seen.
fn history() -> History {
    let mut history = History::new(Duration::from_secs(10));
    for part in 1..=50 {
        let each = Duration::from_millis(200);
        history.add(each * part, each, u64::from(part), part as usize);
    }
    history
}

/// Frames with long lines and with short ones.
fn frames() -> [Progress<'static>; 4] {
    let short = Progress { latency: None, ..Progress::sample(Some(PoolProgress::all(0))) };
    let long = Progress { failed: 123_456, ..Progress::sample(Some(PoolProgress::all(1234))) };
    [Progress::sample(Some(PoolProgress::SAMPLE)), short, long, Progress::sample(None)]
}

#[test]
fn all_numbers_are_shown_at_each_width() {
    for columns in [40, 80, 200] {
        let mut shown = Shown::new(Narrowed::Broken, (24, columns));
        let now = shown.draw(&frames()[0]).join("\n");
        for part in [
            "0.2 s left of 1.0 s",
            "17271/s",
            "failed 2",
            "p50 870 µs",
            "p99 7.63 ms",
            "ready 7",
            "connecting 1",
            "draining 2",
            "61 of 90",
            "waiting 3",
        ] {
            assert!(now.contains(part), "{part} at {columns}: {now}");
        }
    }
}

#[test]
fn a_frame_leaves_nothing_of_the_one_before() {
    for columns in [40, 80, 200] {
        for (rows, stays) in [(24, true), (5, false), (2, false)] {
            let mut shown = Shown::new(Narrowed::Broken, (rows, columns));
            for progress in frames().iter().chain(&frames()) {
                let above = shown.above(progress);
                assert!(!stays || above == [EARLIER], "{above:?}");
            }
            let left = shown.clear();
            assert!(left.is_empty() || left == [EARLIER], "{left:?}");
        }
    }
}

#[test]
fn what_is_said_meanwhile_stays() {
    let mut shown = Shown::new(Narrowed::Broken, (24, 80));
    for progress in &frames() {
        shown.above(progress);
    }
    shown.screen.say("interrupted").unwrap();
    for progress in &frames() {
        assert_eq!(shown.above(progress), [EARLIER, "interrupted"]);
    }
    assert_eq!(shown.clear(), [EARLIER, "interrupted"]);
}

#[test]
fn a_terminal_that_becomes_narrower_or_wider_keeps_what_is_above_and_no_scrap() {
    for widths in [[80, 40, 80], [200, 80, 40], [200, 40, 200], [80, 79, 50]] {
        let mut shown = Shown::new(Narrowed::Broken, (40, widths[0]));
        for columns in widths {
            shown.resize((40, columns));
            for progress in &frames() {
                assert_eq!(shown.above(progress), [EARLIER], "{widths:?}");
            }
        }
        // Made narrower in steps, and nothing was drawn meanwhile.
        shown.resize((40, 60));
        shown.resize((40, 40));
        assert_eq!(shown.clear(), [EARLIER], "{widths:?}");
    }
}

#[test]
fn a_terminal_that_becomes_small_keeps_no_scrap_whatever_it_does_with_long_lines() {
    for narrowed in [Narrowed::Broken, Narrowed::Cut] {
        for sizes in [[(24, 80), (8, 80), (8, 40)], [(24, 200), (6, 30), (3, 16)]] {
            let mut shown = Shown::new(narrowed, sizes[0]);
            for size in sizes {
                shown.resize(size);
                for progress in &frames() {
                    let above = shown.above(progress);
                    assert!(above.is_empty() || above == [EARLIER], "{narrowed:?} {above:?}");
                }
            }
        }
    }
}
