//! What a benchmark is asked for, and its rounds.

use std::env;
use std::path::{Path, PathBuf};

use clap::Args;

/// How many rounds there are, if neither quick nor said.
const ROUNDS: u32 = 15;

/// What every benchmark can be asked for.
#[derive(Args, Debug)]
pub struct Options {
    /// Fewer and shorter rounds.
    #[arg(long)]
    pub quick: bool,

    /// How many rounds, instead of 15, or of a few where those suffice or if quick.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,

    /// Only the scenarios whose title contains this.
    #[arg(long, default_value = "")]
    only: String,

    /// Only this system, compared with itself: for a profiler.
    #[arg(long)]
    system: Option<String>,

    /// Draw the result into this file, as SVG.
    #[arg(long, value_name = "FILE", value_parser = chart)]
    pub chart: Option<PathBuf>,

    /// What Cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Where a chart is drawn, seen from where the command was given: Cargo runs a benchmark in its package's folder.
fn chart(file: &str) -> Result<PathBuf, String> {
    let here = env::var_os("PWD").map(PathBuf::from).or_else(|| env::current_dir().ok());
    let file = here.unwrap_or_default().join(file);
    // Not found out after ten minutes.
    if !file.parent().is_some_and(Path::is_dir) {
        return Err(format!("there is no folder for {}", file.display()));
    }
    Ok(file)
}

impl Options {
    /// How many rounds there are: `quick` of them, if they are quick and nothing else is said.
    pub fn rounds(&self, quick: u32) -> u32 {
        self.rounds_or(quick, ROUNDS)
    }

    /// The same where others than usual suffice.
    pub fn rounds_or(&self, quick: u32, usual: u32) -> u32 {
        self.rounds.unwrap_or(if self.quick { quick } else { usual })
    }

    /// Is not all of it asked for?
    pub fn is_partial(&self) -> bool {
        !self.only.is_empty() || self.system.is_some()
    }

    /// Is the scenario of this title asked for?
    pub fn has(&self, title: &str) -> bool {
        title.contains(&self.only)
    }

    /// The system that the others are compared with, `baseline` if all are measured.
    pub fn baseline<'a>(&'a self, baseline: &'a str) -> &'a str {
        self.system.as_deref().unwrap_or(baseline)
    }

    /// The systems asked for.
    ///
    /// # Errors
    ///
    /// If there is none of that name.
    pub fn systems<'a, M>(&self, all: &'a [Entry<M>]) -> Result<Vec<&'a Entry<M>>, String> {
        let Some(only) = &self.system else {
            return Ok(all.iter().collect());
        };
        let systems: Vec<_> = all.iter().filter(|entry| entry.name == only).collect();
        if systems.is_empty() {
            let names: Vec<_> = all.iter().map(|entry| entry.name).collect();
            return Err(format!("there is no system {only:?}, but {}", names.join(", ")));
        }
        Ok(systems)
    }
}

/// A system without its type.
#[derive(Clone, Copy, Debug)]
pub struct Entry<M> {
    /// Its name.
    pub name: &'static str,
    /// What measures it.
    pub measure: M,
}

/// Systems by name, and what each of their rounds found.
pub type Samples<T> = Vec<(&'static str, Vec<T>)>;

/// Measures every system in every round, each round beginning with the next one.
///
/// # Errors
///
/// The first of `measure`.
pub fn rotate<M: Copy, T, E>(
    systems: &[&Entry<M>],
    rounds: u32,
    mut measure: impl FnMut(M) -> Result<T, E>,
) -> Result<Samples<T>, E> {
    let mut samples: Vec<_> = systems.iter().map(|system| (system.name, Vec::new())).collect();
    for round in 0..rounds as usize {
        for turn in 0..systems.len() {
            let index = (round + turn) % systems.len();
            samples[index].1.push(measure(systems[index].measure)?);
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Asked {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Options {
        Asked::parse_from(["bench"].iter().chain(arguments)).options
    }

    const fn entry(name: &'static str) -> Entry<&'static str> {
        Entry { name, measure: name }
    }

    #[test]
    fn a_round_begins_with_the_system_behind_the_first_of_the_last_one() {
        let (a, b, c) = (entry("a"), entry("b"), entry("c"));
        let mut order = String::new();
        let samples = rotate(&[&a, &b, &c], 4, |name| {
            order += name;
            Ok::<_, String>(order.len())
        });
        assert_eq!(order, "abcbcacababc");
        assert_eq!(samples.as_ref().map(|samples| &samples[1]), Ok(&("b", vec![2, 4, 9, 11])));
    }

    #[test]
    fn rounds_are_as_many_as_said() {
        assert_eq!(options(&[]).rounds(3), ROUNDS);
        assert_eq!(options(&["--quick"]).rounds(3), 3);
        assert_eq!(options(&["--quick", "--rounds", "7"]).rounds(3), 7);
        assert_eq!(options(&[]).rounds_or(1, 2), 2);
        assert_eq!(options(&["--rounds", "7"]).rounds_or(1, 2), 7);
    }

    #[test]
    fn a_chart_needs_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let asked = |file: &str| Asked::try_parse_from(["bench", "--chart", file]);
        let file = folder.path().join("chart.svg");
        let options = asked(file.to_str().unwrap()).ok().map(|asked| asked.options);
        assert_eq!(options.and_then(|options| options.chart), Some(file.clone()));
        let error = asked(file.join("chart.svg").to_str().unwrap()).err().unwrap();
        assert!(error.to_string().contains("there is no folder for"), "{error}");
    }

    #[test]
    fn one_system_is_compared_with_itself() {
        let all = [entry("a"), entry("b")];
        let names = |arguments: &[&str]| {
            let systems = options(arguments).systems(&all)?;
            Ok(systems.iter().map(|entry| entry.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]), Ok(vec!["a", "b"]));
        assert_eq!(names(&["--system", "b"]), Ok(vec!["b"]));
        assert_eq!(options(&["--system", "b"]).baseline("a"), "b");
        let unknown: Result<_, String> = names(&["--system", "c"]);
        assert_eq!(unknown, Err("there is no system \"c\", but a, b".to_owned()));
    }
}
