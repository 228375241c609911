//! How often something was of which size.

/// How often something was of which size, in classic buckets, and the sum of all sizes.
///
/// Of times, the bounds and the sum are in seconds: Prometheus knows base units only.
///
/// # Examples
///
/// ```
/// use pool_metrics::{Family, Histogram, Sample};
///
/// static PACKING: Family =
///     Family::histogram("orders_packing_time_seconds", "How long packing took.");
///
/// let mut sample = Sample::new();
/// // Two took a tenth of a second or less, none up to a second, and one took longer.
/// sample.set_histogram(&PACKING, Histogram::new(&[0.1, 1.0], &[2, 0, 1], 3.2));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Upper bounds, that of the last one infinite, each with how many there are above the bound before.
    buckets: Vec<(f64, u64)>,
    sum: f64,
}

impl Histogram {
    /// `counts` says how many there are up to each of `bounds` and above the one before, and at its end how many are above
    /// them all.
    ///
    /// # Panics
    ///
    /// If the bounds are not finite and ascending, or there is not one count more than there are bounds.
    pub fn new(bounds: &[f64], counts: &[u64], sum: f64) -> Self {
        assert!(bounds.iter().all(|bound| bound.is_finite()), "bounds are finite");
        assert!(bounds.is_sorted_by(|a, b| a < b), "bounds ascend");
        assert_eq!(counts.len(), bounds.len() + 1, "one count more than bounds: of what is above");
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        Self { buckets: bounds.zip(counts.iter().copied()).collect(), sum }
    }

    /// Upper bounds, that of the last one infinite, each with how many there are above the bound before.
    pub fn buckets(&self) -> &[(f64, u64)] {
        &self.buckets
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// The sum of all sizes.
    pub fn sum(&self) -> f64 {
        self.sum
    }
}

/// In seconds.
impl From<&pool_core::Histogram> for Histogram {
    fn from(times: &pool_core::Histogram) -> Self {
        let bounds: Vec<_> =
            pool_core::Histogram::bounds().map(|bound| bound.as_secs_f64()).collect();
        Self::new(&bounds, times.counts(), times.sum().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_all_bounds_has_a_bucket_too() {
        let histogram = Histogram::new(&[0.5, 1.0], &[1, 2, 3], 9.0);
        assert_eq!(histogram.buckets(), [(0.5, 1), (1.0, 2), (f64::INFINITY, 3)]);
        assert_eq!((histogram.count(), histogram.sum()), (6, 9.0));
    }

    #[test]
    #[should_panic(expected = "bounds ascend")]
    fn bounds_ascend() {
        Histogram::new(&[1.0, 1.0], &[0, 0, 0], 0.0);
    }

    #[test]
    #[should_panic(expected = "one count more than bounds")]
    fn none_is_left_out() {
        Histogram::new(&[1.0], &[0], 0.0);
    }
}
