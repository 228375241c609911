//! A terminal to test with: as much of one as the view needs.

/// What becomes of lines that are longer than a terminal that became narrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Narrowed {
    /// They go on in the next row, and are joined again when there is room, as in most terminals.
    Broken,
    /// What is too long is lost, as in xterm.
    Cut,
}

#[derive(Debug)]
pub(super) struct Terminal {
    rows: usize,
    columns: usize,
    narrowed: Narrowed,
    /// All that there is, with what has left the screen at its top.
    lines: Vec<Line>,
    /// The first one on the screen.
    top: usize,
    /// Where the cursor is, from the first line on.
    row: usize,
    column: usize,
}

#[derive(Clone, Debug, Default)]
struct Line {
    cells: Vec<char>,
    /// It goes on in the next one.
    broken: bool,
}

impl Terminal {
    pub(super) fn new(narrowed: Narrowed, (rows, columns): (u16, u16)) -> Self {
        let (rows, columns) = (rows.into(), columns.into());
        Self { rows, columns, narrowed, lines: vec![Line::default()], top: 0, row: 0, column: 0 }
    }

    /// What is on the screen above the cursor, without the space at the ends of lines. There is nothing below, and no
    /// line is broken.
    pub(super) fn shown(&self) -> Vec<String> {
        let text = |line: &Line| line.cells.iter().collect::<String>().trim_end().to_owned();
        let below = self.lines[self.row..].iter().map(text);
        assert_eq!(below.collect::<String>(), "");
        assert!(!self.lines[self.top..].iter().any(|line| line.broken), "{self:?}");
        self.lines[self.top..self.row].iter().map(text).collect()
    }

    pub(super) fn write(&mut self, text: &str) {
        let mut text = text.chars();
        while let Some(char) = text.next() {
            match char {
                '\r' => self.column = 0,
                // The system's terminal driver makes it a carriage return too.
                '\n' => self.next_line(),
                '\x1b' => {
                    let mut order = String::new();
                    while !order.ends_with(char::is_alphabetic) {
                        order.extend(text.next());
                    }
                    self.obey(&order);
                }
                _ => self.put(char),
            }
        }
    }

    fn obey(&mut self, order: &str) {
        match order {
            "[2K" => self.lines[self.row] = Line::default(),
            "[0J" => {
                assert_eq!(self.column, 0);
                self.lines[self.row..].fill(Line::default());
            }
            _ => {
                let rows = order.strip_prefix('[').and_then(|order| order.strip_suffix('A'));
                let rows: usize =
                    rows.and_then(|rows| rows.parse().ok()).expect("an order to go up");
                self.row = self.row.saturating_sub(rows).max(self.top);
            }
        }
    }

    fn put(&mut self, char: char) {
        if self.column == self.columns {
            self.lines[self.row].broken = true;
            self.next_line();
        }
        let cells = &mut self.lines[self.row].cells;
        cells.resize(cells.len().max(self.column + 1), ' ');
        cells[self.column] = char;
        self.column += 1;
    }

    fn next_line(&mut self) {
        (self.row, self.column) = (self.row + 1, 0);
        if self.row == self.lines.len() {
            self.lines.push(Line::default());
        }
        self.scroll();
    }

    /// Until the cursor is on the screen.
    fn scroll(&mut self) {
        self.top = self.top.max((self.row + 1).saturating_sub(self.rows));
    }

    pub(super) fn resize(&mut self, (rows, columns): (u16, u16)) {
        (self.rows, self.columns) = (rows.into(), columns.into());
        match self.narrowed {
            Narrowed::Broken => self.break_lines(),
            Narrowed::Cut => {
                self.lines.iter_mut().for_each(|line| line.cells.truncate(self.columns));
            }
        }
        self.scroll();
    }

    fn break_lines(&mut self) {
        let mut lines = Vec::new();
        let (mut top, mut row) = (0, 0);
        let mut whole = Vec::new();
        for (at, line) in self.lines.iter().enumerate() {
            if at == self.top {
                top = lines.len();
            }
            if at == self.row {
                row = lines.len();
            }
            whole.extend(&line.cells);
            if line.broken {
                continue;
            }
            let mut rest = whole.as_slice();
            while rest.len() > self.columns {
                let (cells, left) = rest.split_at(self.columns);
                lines.push(Line { cells: cells.to_vec(), broken: true });
                rest = left;
            }
            lines.push(Line { cells: rest.to_vec(), broken: false });
            whole.clear();
        }
        (self.lines, self.top, self.row) = (lines, top, row);
    }
}
