//! The part of a terminal that is rewritten in place.

use std::io;

use console::Term;

use crate::live::Progress;
use crate::view::{History, view};

#[cfg(all(test, unix))]
mod terminal;
#[cfg(all(test, unix))]
mod tests;

#[derive(Debug)]
pub(crate) struct Screen {
    /// Writes a whole frame at once, so that nothing flickers.
    term: Term,
    /// The width of each line that is there, above the cursor.
    drawn: Vec<usize>,
    /// Rows and columns of the terminal as they were drawn on.
    size: (u16, u16),
}

impl Screen {
    /// Of a terminal that is written to as a whole.
    pub(crate) fn new(term: Term) -> Self {
        let size = term.size();
        Self { term, drawn: Vec::new(), size }
    }

    /// Shows where the load is now, in place of what was shown before.
    pub(crate) fn show(&mut self, progress: &Progress<'_>, history: &History) -> io::Result<()> {
        self.draw(self.term.size(), progress, history)
    }

    /// Takes away what is shown.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.take_away(self.term.size())
    }

    /// Writes a line that stays, in place of what is shown.
    pub(crate) fn say(&mut self, line: &str) -> io::Result<()> {
        self.clear()?;
        self.term.write_line(line)?;
        self.term.flush()
    }

    fn draw(
        &mut self,
        size: (u16, u16),
        progress: &Progress<'_>,
        history: &History,
    ) -> io::Result<()> {
        let (rows, columns) = size;
        if size != self.size {
            // Who knows how the terminal has broken the lines that were there.
            self.take_away(size)?;
            self.size = size;
        }
        // The last column and the last row stay free: writing there scrolls or wraps.
        let (width, height) = (usize::from(columns).max(2) - 1, usize::from(rows).max(2) - 1);
        let lines = view(progress, history, width, height);
        self.to_top(columns)?;
        let mut widths = Vec::with_capacity(lines.len());
        for (row, line) in lines.iter().enumerate() {
            let now = line.chars().count();
            // Covers what was there, which a line cleared first would let one see vanish.
            let before = self.drawn.get(row).copied().unwrap_or(0).min(width);
            self.term.write_line(&format!("{line}{:1$}", "", before.saturating_sub(now)))?;
            widths.push(now.max(before));
        }
        self.drawn = widths;
        // What else is below, such as the echo of a key.
        self.term.clear_to_end_of_screen()?;
        self.term.flush()
    }

    fn take_away(&mut self, (_, columns): (u16, u16)) -> io::Result<()> {
        if self.drawn.is_empty() {
            return Ok(());
        }
        self.to_top(columns)?;
        self.drawn.clear();
        self.term.clear_to_end_of_screen()?;
        self.term.flush()
    }

    /// To where the first line begins. A terminal that became narrower has broken long lines; one that has cut them
    /// instead, as xterm does, loses as many lines above.
    fn to_top(&self, columns: u16) -> io::Result<()> {
        let columns = usize::from(columns).max(1);
        let rows = self.drawn.iter().map(|width| width.div_ceil(columns).max(1)).sum();
        // Where the cursor is there may be the echo of a key.
        self.term.clear_line()?;
        self.term.move_cursor_up(rows)
    }
}
