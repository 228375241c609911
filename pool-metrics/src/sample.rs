//! What a pool's numbers are at one moment.

use std::ptr;

use crate::family::{Family, Labelled};
use crate::histogram::Histogram;

/// The numbers of one pool at one moment, a series each.
///
/// The pool's name is no part of it: the registry knows under which name a pool was registered.
///
/// # Examples
///
/// ```
/// use pool_metrics::{Family, Sample};
///
/// static OPEN: Family = Family::gauge("orders_open", "Orders under way.");
///
/// let mut sample = Sample::new();
/// sample.set(&OPEN, 3);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Sample {
    points: Vec<Point>,
}

/// One series' value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) series: Series,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Whole(u64),
    Float(f64),
    Histogram(Histogram),
}

/// One series of a pool: a family, and the value of its label if it has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series {
    pub(crate) family: &'static Family,
    pub(crate) label: Option<(&'static str, &'static str)>,
    /// A second label, where there is one.
    pub(crate) also: Option<(&'static str, &'static str)>,
}

/// By name and labels, as Prometheus knows it.
impl PartialEq for Series {
    fn eq(&self, other: &Self) -> bool {
        let of_one_family =
            ptr::eq(self.family, other.family) || self.family.name() == other.family.name();
        of_one_family && (self.label, self.also) == (other.label, other.also)
    }
}

impl Sample {
    /// A sample without any series.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `family` this value. Of two values, the later counts.
    pub fn set(&mut self, family: &'static Family, value: u64) {
        self.put(Series::plain(family), Value::Whole(value));
    }

    /// The same with a value that is no whole number, as a gauge of seconds.
    pub fn set_float(&mut self, family: &'static Family, value: f64) {
        self.put(Series::plain(family), Value::Float(value));
    }

    /// The same for a histogram.
    pub fn set_histogram(&mut self, family: &'static Family, histogram: Histogram) {
        self.put(Series::plain(family), Value::Histogram(histogram));
    }

    /// Gives the series of `family` whose label is `label` this value. Of two values, the later counts.
    ///
    /// Set every value that the label can have, at 0 if need be: a series that appears only with its
    /// first event hides that event from `rate()`.
    pub fn set_by(&mut self, family: &'static Labelled, label: &'static str, value: u64) {
        self.put(Series::of(family, label), Value::Whole(value));
    }

    /// The same for a histogram.
    pub fn set_histogram_by(
        &mut self,
        family: &'static Labelled,
        label: &'static str,
        histogram: Histogram,
    ) {
        self.put(Series::of(family, label), Value::Histogram(histogram));
    }

    /// Adds a series that is not there yet, with up to two labels.
    pub(crate) fn add(
        &mut self,
        family: &'static Family,
        [label, also]: [Option<(&'static str, &'static str)>; 2],
        value: Value,
    ) {
        self.points.push(Point { series: Series { family, label, also }, value });
    }

    /// Adds the series of another sample. Of two values, that of the other counts.
    pub(crate) fn extend(&mut self, other: Self) {
        // Each is in the other once: only what was here before is searched.
        let known = self.points.len();
        for point in other.points {
            match self.points[..known].iter_mut().find(|here| here.series == point.series) {
                Some(here) => *here = point,
                None => self.points.push(point),
            }
        }
    }

    pub(crate) fn points(&self) -> &[Point] {
        &self.points
    }

    // A scrape with the same series twice is refused as a whole, hence the search.
    fn put(&mut self, series: Series, value: Value) {
        match self.points.iter_mut().find(|point| point.series == series) {
            Some(point) => point.value = value,
            None => self.points.push(Point { series, value }),
        }
    }
}

impl Series {
    fn plain(family: &'static Family) -> Self {
        Self { family, label: None, also: None }
    }

    fn of(family: &'static Labelled, label: &'static str) -> Self {
        Self { family: family.family(), label: Some((family.label(), label)), also: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static PLAIN: Family = Family::gauge("plain", "Plain.");
    static STATES: Labelled = Family::gauge("states", "States.").by("state");

    #[test]
    fn a_series_is_there_once_with_its_latest_value() {
        let mut sample = Sample::new();
        sample.set(&PLAIN, 1);
        sample.set_by(&STATES, "on", 2);
        sample.set_by(&STATES, "off", 3);
        sample.set(&PLAIN, 4);
        sample.set_by(&STATES, "on", 5);
        assert_eq!(values(&sample), [4, 5, 3].map(Value::Whole));
    }

    fn values(sample: &Sample) -> Vec<Value> {
        sample.points().iter().map(|point| point.value.clone()).collect()
    }

    #[test]
    fn two_families_of_one_name_are_one_series() {
        static OTHER: Family = Family::gauge("plain", "The same in other words.");
        let mut sample = Sample::new();
        sample.set_by(&STATES, "on", 1);
        sample.set(&PLAIN, 2);
        let mut other = Sample::new();
        other.set(&OTHER, 3);
        other.set_by(&STATES, "off", 4);
        sample.extend(other);
        assert_eq!(values(&sample), [1, 3, 4].map(Value::Whole));
    }
}
