//! Figures: medians, ratios, the table on the terminal and the JSON file.

use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::chart;
use crate::rounds::Options;

/// The figure of one system in one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// The scenario's title.
    pub scenario: String,
    /// The system's name.
    pub system: String,
    /// The median over all rounds, in `unit`.
    pub median: f64,
    /// What `median` counts.
    pub unit: &'static str,
    /// `median` over the baseline's median in the same scenario and unit. Where that is 0 and this is not,
    /// there is none: not finite, and `null` in the file.
    pub ratio: f64,
    /// The system that `ratio` refers to.
    pub baseline: String,
}

/// What a system is held to.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// The system held to it.
    pub system: &'static str,
    /// The system to whose figure the ratio is bound; the figure itself is, if there is none.
    pub baseline: Option<&'static str>,
    /// The unit of the figures that it is about.
    pub unit: &'static str,
    /// What the ratio, or the figure, may be.
    pub bound: Bound,
}

/// Which values pass.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// For what is better when lower.
    AtMost(f64),
    /// For what is better when higher.
    AtLeast(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "at most {most:.2}"),
            Self::AtLeast(least) => write!(f, "at least {least:.2}"),
        }
    }
}

/// The middle of `values`, the mean of the middle two if their number is even.
///
/// # Panics
///
/// If `values` is empty.
pub fn median(values: &mut [f64]) -> f64 {
    assert!(!values.is_empty(), "a median of nothing");
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

/// The figures of one scenario: `samples` holds each system's name and its rounds.
///
/// # Panics
///
/// If `baseline` is not among the systems, or one of them has no rounds.
pub fn figures(
    scenario: &str,
    unit: &'static str,
    baseline: &str,
    samples: Vec<(&str, Vec<f64>)>,
) -> Vec<Figure> {
    let medians: Vec<(&str, f64)> =
        samples.into_iter().map(|(system, mut rounds)| (system, median(&mut rounds))).collect();
    let (_, base) = *medians
        .iter()
        .find(|(system, _)| *system == baseline)
        .unwrap_or_else(|| panic!("the baseline {baseline} was not measured in {scenario:?}"));
    medians
        .into_iter()
        .map(|(system, median)| Figure {
            scenario: scenario.to_owned(),
            system: system.to_owned(),
            median,
            unit,
            ratio: quotient(median, base),
            baseline: baseline.to_owned(),
        })
        .collect()
}

/// One scenario as a table: a line for each system, with its figures in the order of their units, and below it
/// the bars that the system is held to.
pub fn table(figures: &[Figure], bars: &[Bar]) -> String {
    let mut out = String::new();
    let Some(first) = figures.first() else {
        return out;
    };
    let _ = writeln!(out, "\n{} (ratios to {})", first.scenario, first.baseline);
    for line in figures.iter().filter(|figure| figure.unit == first.unit) {
        let _ = write!(out, "  {:<24}", line.system);
        for figure in figures.iter().filter(|figure| figure.system == line.system) {
            let _ = write!(out, "  {:>9.1} {} {:>5.2}", figure.median, figure.unit, figure.ratio);
        }
        out.push('\n');
        for bar in bars.iter().filter(|bar| bar.system == line.system) {
            let Some(value) = value(figures, bar) else { continue };
            let verdict = if bar.bound.holds(value) { "held" } else { "NOT HELD" };
            let Bar { baseline, unit, bound, .. } = bar;
            let of = baseline.map_or_else(String::new, |baseline| format!("of {baseline} in "));
            let _ = writeln!(out, "    {verdict}: {value:.2} {of}{unit}, {bound}");
        }
    }
    out
}

/// What a bar is about, if its systems were measured, and there is something to compare with: of no calls there is not.
fn value(figures: &[Figure], bar: &Bar) -> Option<f64> {
    let median = |system: &str| {
        let is_it = |figure: &&Figure| figure.system == system && figure.unit == bar.unit;
        figures.iter().find(is_it).map(|figure| figure.median)
    };
    let figure = median(bar.system)?;
    let Some(baseline) = bar.baseline else { return Some(figure) };
    let base = median(baseline)?;
    let ratio = quotient(figure, base);
    (base.is_finite() && ratio.is_finite()).then_some(ratio)
}

/// The ratio, in which nothing is as much as nothing.
#[expect(clippy::float_cmp, reason = "only what is the very same needs no division")]
fn quotient(value: f64, base: f64) -> f64 {
    if value == base { 1.0 } else { value / base }
}

/// How a benchmark of this name ends. If it has failed, it says why.
pub fn exit_code<E: fmt::Display>(name: &str, done: Result<(), E>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes `figures` as `bench/NAME.json` (`bench/NAME-part.json` if not all were asked for) in the target folder that
/// `tmpdir` lies in, and those of these `units` into the chart, if one is asked for; says where.
///
/// `tmpdir` is Cargo's `CARGO_TARGET_TMPDIR`, which only a benchmark itself can see: it lies in the
/// workspace's target folder, wherever that was put.
///
/// # Errors
///
/// When nothing was measured, since no scenario is what `--only` and `--system` say; when the folder cannot be
/// created or a file cannot be written.
pub fn write(
    tmpdir: &str,
    name: &str,
    figures: &[Figure],
    options: &Options,
    units: &[&str],
) -> io::Result<()> {
    // Not in the place of the whole.
    let part = if options.is_partial() { "-part" } else { "" };
    let file = write_json(tmpdir, &format!("{name}{part}"), figures)?;
    println!("\nwritten to {}", file.display());
    if let Some(file) = &options.chart {
        chart::draw(file, figures, units)?;
        println!("drawn into {}", file.display());
    }
    Ok(())
}

fn write_json(tmpdir: &str, name: &str, figures: &[Figure]) -> io::Result<PathBuf> {
    if figures.is_empty() {
        return Err(io::Error::other("there is no such scenario: nothing was measured"));
    }
    let target = Path::new(tmpdir).parent().unwrap_or(Path::new(tmpdir));
    let folder = target.join("bench");
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{name}.json"));
    let mut text = serde_json::to_string_pretty(figures)?;
    text.push('\n');
    fs::write(&file, text)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_one_or_between_the_middle_two() {
        assert!((median(&mut [3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&mut [4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn a_ratio_refers_to_the_baseline_of_the_same_scenario() {
        let figures = figures("s", "ns", "b", vec![("a", vec![1.0, 1.0]), ("b", vec![4.0])]);
        assert!((figures[0].ratio - 0.25).abs() < f64::EPSILON);
        assert!((figures[1].ratio - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn nothing_is_as_much_as_nothing() {
        let figures = figures("s", "failed", "b", vec![("a", vec![0.0]), ("b", vec![0.0])]);
        assert!((figures[0].ratio - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_table_says_which_bar_is_missed() {
        let figures = figures("s", "ns", "b", vec![("a", vec![3.0]), ("b", vec![4.0])]);
        let bar = |bound| Bar { system: "a", baseline: Some("b"), unit: "ns", bound };
        let said = |bound| table(&figures, &[bar(bound)]);
        assert!(said(Bound::AtMost(0.8)).contains("  held: 0.75 of b in ns, at most 0.80"));
        assert!(said(Bound::AtMost(0.7)).contains("  NOT HELD: 0.75 of b in ns, at most 0.70"));
        assert!(said(Bound::AtLeast(0.7)).contains("  held: 0.75 of b in ns, at least 0.70"));
        assert!(said(Bound::AtLeast(0.8)).contains("  NOT HELD: 0.75 of b in ns, at least 0.80"));
    }

    #[test]
    fn what_is_compared_with_nothing_is_not_held() {
        for (unit, base) in [("calls/s", 0.0), ("us", f64::INFINITY)] {
            let figures = figures("s", unit, "b", vec![("a", vec![3.0]), ("b", vec![base])]);
            let bounds = [Bound::AtLeast(0.5), Bound::AtMost(0.5)];
            let bars = bounds.map(|bound| Bar { system: "a", baseline: Some("b"), unit, bound });
            assert!(!table(&figures, &bars).contains("held"), "{unit}");
        }
    }

    #[test]
    fn a_bar_without_a_baseline_is_about_the_figure_itself() {
        let figures = figures("s", "bytes", "b", vec![("a", vec![3.0]), ("b", vec![4.0])]);
        let bar = |bound| Bar { system: "a", baseline: None, unit: "bytes", bound };
        let said = |bound| table(&figures, &[bar(bound)]);
        assert!(said(Bound::AtMost(3.0)).contains("  held: 3.00 bytes, at most 3.00"));
        assert!(said(Bound::AtMost(2.0)).contains("  NOT HELD: 3.00 bytes, at most 2.00"));
    }

    #[test]
    fn a_system_has_one_line_for_all_of_its_units() {
        let mut both = figures("s", "calls/s", "b", vec![("a", vec![3.0]), ("b", vec![4.0])]);
        both.extend(figures("s", "us", "b", vec![("a", vec![6.0]), ("b", vec![4.0])]));
        let bar = Bar { system: "a", baseline: Some("b"), unit: "us", bound: Bound::AtMost(2.0) };
        let table = table(&both, &[bar]);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 5, "{table}");
        assert!(lines[2].contains("3.0 calls/s  0.75"), "{table}");
        assert!(lines[2].contains("6.0 us  1.50"), "{table}");
        assert!(lines[3].contains("held: 1.50 of b in us"), "{table}");
    }

    #[test]
    fn to_have_measured_nothing_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let tmpdir = folder.path().join("tmp");
        assert!(write_json(tmpdir.to_str().unwrap(), "checkout", &[]).is_err());
        assert!(!folder.path().join("bench").exists(), "what was measured before stays");
    }

    #[test]
    fn the_file_lies_in_the_target_folder_and_has_the_agreed_keys() {
        let target = std::env::temp_dir().join(format!("pool-benches-{}", std::process::id()));
        let tmpdir = target.join("tmp");
        let figures = figures("s", "ns", "b", vec![("b", vec![4.0])]);
        let file = write_json(tmpdir.to_str().unwrap(), "checkout", &figures).unwrap();
        assert_eq!(file, target.join("bench/checkout.json"));
        let read: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let keys: Vec<_> = read[0].as_object().unwrap().keys().map(String::as_str).collect();
        for key in ["scenario", "system", "median", "unit", "ratio", "baseline"] {
            assert!(keys.contains(&key), "{key} is missing");
        }
        fs::remove_dir_all(target).unwrap();
    }
}
