//! A benchmark's result as a picture: a block of bars for each scenario and unit, a bar for each system.

use std::io;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::{
    DrawingArea, IntoDrawingArea as _, IntoFont as _, RGBColor, Rectangle, SVGBackend, Text, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontStyle, TextStyle};

use crate::report::Figure;

const FONT: &str = "sans-serif";

/// All lengths are in pixels.
const COLUMNS: usize = 2;
const COLUMN: i32 = 520;
const MARGIN: i32 = 16;
/// And the unit beneath it.
const TITLE: i32 = 38;
const UNIT: i32 = 16;
const ROW: i32 = 16;
const NAMES: i32 = 150;
/// For the longest bar.
const BAR: i32 = 230;

const INK: RGBColor = RGBColor(0x22, 0x26, 0x2b);
const FAINT: RGBColor = RGBColor(0x6b, 0x72, 0x80);
const OURS: RGBColor = RGBColor(0x1d, 0x6f, 0xd1);
const BASELINE: RGBColor = RGBColor(0x5f, 0x66, 0x70);
const OTHERS: RGBColor = RGBColor(0xb4, 0xba, 0xc2);
const FLOORS: RGBColor = RGBColor(0xdd, 0xe1, 0xe6);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the `figures` of these units, of all if none is named.
///
/// # Errors
///
/// When the file cannot be written.
pub fn draw(file: &Path, figures: &[Figure], units: &[&str]) -> io::Result<()> {
    let shown = |figure: &&Figure| units.is_empty() || units.contains(&figure.unit);
    let mut blocks: Vec<Vec<&Figure>> = Vec::new();
    for figure in figures.iter().filter(shown) {
        let same = |block: &&mut Vec<&Figure>| {
            block[0].scenario == figure.scenario && block[0].unit == figure.unit
        };
        match blocks.iter_mut().find(same) {
            Some(block) => block.push(figure),
            None => blocks.push(vec![figure]),
        }
    }
    let rows: Vec<&[Vec<&Figure>]> = blocks.chunks(COLUMNS).collect();
    let heights: Vec<i32> =
        rows.iter().map(|row| row.iter().map(|block| height(block)).max().unwrap_or(0)).collect();
    let size = (pixels(COLUMN * 2 + MARGIN), pixels(heights.iter().sum::<i32>() + MARGIN));
    let area = SVGBackend::new(file, size).into_drawing_area();
    area.fill(&WHITE).map_err(io::Error::other)?;
    let mut top = MARGIN;
    for (row, height) in rows.iter().zip(heights) {
        let mut left = MARGIN;
        for block in *row {
            draw_block(&area, block, (left, top))?;
            left += COLUMN;
        }
        top += height;
    }
    area.present().map_err(io::Error::other)
}

/// A scenario's systems in one unit.
fn draw_block(area: &Area<'_>, block: &[&Figure], (left, top): (i32, i32)) -> io::Result<()> {
    let Figure { scenario, unit, .. } = block[0];
    let better = if unit.ends_with("/s") { "higher is better" } else { "lower is better" };
    write(area, scenario, (left, top), &style(13, INK).bold())?;
    let about = format!("{unit}, {better}");
    write(area, &about, (left, top + UNIT), &style(11, FAINT))?;
    let longest = block.iter().map(|figure| figure.median).fold(f64::MIN_POSITIVE, f64::max);
    for (row, figure) in (0..).zip(block) {
        let (from, middle) = (left + NAMES, top + TITLE + row * ROW);
        let is_ours = figure.system.starts_with("pool-");
        let (color, ink) = match &*figure.system {
            _ if is_ours => (OURS, INK),
            system if system == figure.baseline => (BASELINE, INK),
            system if system.starts_with("floor") => (FLOORS, FAINT),
            _ => (OTHERS, INK),
        };
        write(area, &figure.system, (from - 8, middle), &style(12, ink).right())?;
        #[expect(clippy::cast_possible_truncation, reason = "it is no longer than the longest")]
        let length = (figure.median.max(0.0) / longest * f64::from(BAR)).round() as i32;
        let corners = [(from, middle - 5), (from + length.max(1), middle + 5)];
        area.draw(&Rectangle::new(corners, color.filled())).map_err(io::Error::other)?;
        let value = format!("{} ({:.2})", short(figure.median), figure.ratio);
        write(area, &value, (from + length + 6, middle), &style(11, ink))?;
    }
    Ok(())
}

fn height(block: &[&Figure]) -> i32 {
    TITLE + i32::try_from(block.len()).unwrap_or(0) * ROW + MARGIN
}

/// No picture is less than nothing wide.
fn pixels(length: i32) -> u32 {
    length.unsigned_abs()
}

/// How a text looks, and whether it ends where it is put instead of beginning there.
struct Style {
    size: i32,
    color: RGBColor,
    bold: bool,
    right: bool,
}

fn style(size: i32, color: RGBColor) -> Style {
    Style { size, color, bold: false, right: false }
}

impl Style {
    fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    fn right(self) -> Self {
        Self { right: true, ..self }
    }
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), style: &Style) -> io::Result<()> {
    let font = (FONT, style.size).into_font();
    let font = font.style(if style.bold { FontStyle::Bold } else { FontStyle::Normal });
    let side = if style.right { HPos::Right } else { HPos::Left };
    let looks = TextStyle::from(font).color(&style.color).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text, at, looks)).map_err(io::Error::other)
}

/// Three digits that matter, with separators where there are more.
fn short(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.2}");
    }
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn figure(scenario: &str, system: &str, unit: &'static str, median: f64) -> Figure {
        let (scenario, system) = (scenario.to_owned(), system.to_owned());
        Figure { scenario, system, median, unit, ratio: median, baseline: "peer".to_owned() }
    }

    #[test]
    fn a_chart_has_a_block_for_each_scenario_and_a_bar_for_each_system() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chart.svg");
        let figures = [
            figure("one <task>", "pool-core", "ns", 12_345.0),
            figure("one <task>", "peer", "ns", 1.0),
            figure("two", "peer", "calls/s", 5.0),
            figure("two", "peer", "failed", 7.5),
        ];
        draw(&file, &figures, &["ns", "calls/s"]).unwrap();
        let svg = fs::read_to_string(&file).unwrap();
        for text in ["one &lt;task&gt;", "12,345", "ns, lower is better", "calls/s, higher is"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
        assert!(!svg.contains("7.5"), "not asked for");
        assert_eq!(svg.matches("<rect").count(), 1 + 3, "the ground and three bars");
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let nowhere = Path::new("/nowhere/at/all.svg");
        assert!(draw(nowhere, &[figure("one", "peer", "ns", 1.0)], &[]).is_err());
    }
}
