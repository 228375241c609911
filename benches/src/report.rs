//! Figures: medians, ratios, the table on the terminal and the JSON file.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

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
    /// `median` over the baseline's median in the same scenario.
    pub ratio: f64,
    /// The system that `ratio` refers to.
    pub baseline: String,
}

/// A ratio that a system is held to.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// The system held to it.
    pub system: &'static str,
    /// The system that the ratio refers to.
    pub baseline: &'static str,
    /// The highest ratio that passes.
    pub at_most: f64,
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
            ratio: median / base,
            baseline: baseline.to_owned(),
        })
        .collect()
}

/// One scenario as a table, each bar beside the system that is held to it.
pub fn table(figures: &[Figure], bars: &[Bar]) -> String {
    let mut out = String::new();
    let Some(first) = figures.first() else {
        return out;
    };
    let _ = writeln!(out, "\n{}", first.scenario);
    for figure in figures {
        let _ = write!(
            out,
            "  {:<24} {:>9.1} {}   {:>5.2} of {}",
            figure.system, figure.median, figure.unit, figure.ratio, figure.baseline
        );
        for bar in bars.iter().filter(|bar| bar.system == figure.system) {
            let base = figures.iter().find(|other| other.system == bar.baseline);
            let Some(base) = base else { continue };
            let ratio = figure.median / base.median;
            let verdict = if ratio <= bar.at_most { "within" } else { "OVER" };
            let _ = write!(
                out,
                "   [{verdict}: {ratio:.2} of {}, bar {:.2}]",
                bar.baseline, bar.at_most
            );
        }
        out.push('\n');
    }
    out
}

/// Writes `figures` as `bench/NAME.json` in the target folder that `tmpdir` lies in, and says where.
///
/// `tmpdir` is Cargo's `CARGO_TARGET_TMPDIR`, which only a benchmark itself can see: it lies in the
/// workspace's target folder, wherever that was put.
///
/// # Errors
///
/// When the folder cannot be created or the file cannot be written.
pub fn write_json(tmpdir: &str, name: &str, figures: &[Figure]) -> io::Result<PathBuf> {
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
    fn a_table_says_which_bar_is_missed() {
        let figures = figures("s", "ns", "b", vec![("a", vec![3.0]), ("b", vec![4.0])]);
        let bar = |at_most| Bar { system: "a", baseline: "b", at_most };
        assert!(table(&figures, &[bar(0.8)]).contains("[within: 0.75 of b, bar 0.80]"));
        assert!(table(&figures, &[bar(0.7)]).contains("[OVER: 0.75 of b, bar 0.70]"));
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
