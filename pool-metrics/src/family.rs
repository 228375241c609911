//! Metric families: a name, what it means, what kind of number it is.

/// What kind of number a family holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Only grows while its pool lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often something was of which size.
    Histogram,
}

/// A metric family with one series per pool.
///
/// Its name and kind are checked when it is made, at compile time in a `static`.
///
/// # Examples
///
/// ```
/// use pool_metrics::Family;
///
/// static RETRIES: Family = Family::counter("orders_retries_total", "Orders sent again.");
/// assert_eq!(RETRIES.name(), "orders_retries_total");
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
}

/// A metric family with one more label than the pool's name, whose values are a closed set.
///
/// Values are `&'static str`, so that no text from outside can become a label and multiply the series.
///
/// # Examples
///
/// ```
/// use pool_metrics::Family;
/// use pool_metrics::Labelled;
///
/// static SHARDS: Labelled = Family::gauge("orders_shards", "Shards by state.").by("state");
/// assert_eq!(SHARDS.label(), "state");
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Labelled {
    family: Family,
    label: &'static str,
}

impl Family {
    /// A counter.
    ///
    /// # Panics
    ///
    /// If `name` is not lower-case letters, digits and underscores beginning with a letter, or does
    /// not end in `_total`; if `help` is empty.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        assert!(ends_with(name, "_total"), "a counter's name ends in _total");
        Self::new(name, help, Kind::Counter)
    }

    /// A gauge.
    ///
    /// # Panics
    ///
    /// If `name` is not lower-case letters, digits and underscores beginning with a letter, or ends
    /// in what is reserved for other kinds (`_total`, `_count`, `_sum`, `_bucket`); if `help` is empty.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        assert!(!ends_with(name, "_total"), "only a counter's name ends in _total");
        Self::new(name, help, Kind::Gauge)
    }

    /// A histogram.
    ///
    /// # Panics
    ///
    /// If `name` is not lower-case letters, digits and underscores beginning with a letter, or ends
    /// in what is reserved (`_total`, `_count`, `_sum`, `_bucket`); if `help` is empty.
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        assert!(!ends_with(name, "_total"), "only a counter's name ends in _total");
        Self::new(name, help, Kind::Histogram)
    }

    const fn new(name: &'static str, help: &'static str, kind: Kind) -> Self {
        assert!(is_name(name), "a name is lower-case letters, digits and underscores");
        assert!(
            !ends_with(name, "_count") && !ends_with(name, "_sum") && !ends_with(name, "_bucket"),
            "_count, _sum and _bucket belong to a histogram's series"
        );
        assert!(!help.is_empty(), "a family says what it means");
        Self { name, help, kind }
    }

    /// The same family, divided by one more label.
    ///
    /// # Panics
    ///
    /// If `label` is not lower-case letters, digits and underscores beginning with a letter, or is
    /// `pool`, which every series has, or `le`, which those of a histogram have.
    pub const fn by(self, label: &'static str) -> Labelled {
        assert!(is_name(label), "a label is lower-case letters, digits and underscores");
        assert!(!equal(label.as_bytes(), b"le"), "le is the label of a histogram's bounds");
        assert!(!equal(label.as_bytes(), b"pool"), "every series has the label pool already");
        Labelled { family: self, label }
    }

    /// The name, as it is scraped.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it means, in one sentence.
    pub const fn help(&self) -> &'static str {
        self.help
    }

    /// What kind of number it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }
}

impl Labelled {
    /// The family without its label.
    pub const fn family(&self) -> &Family {
        &self.family
    }

    /// The label's name.
    pub const fn label(&self) -> &'static str {
        self.label
    }
}

const fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || !bytes[0].is_ascii_lowercase() {
        return false;
    }
    let mut i = 0;
    while i < bytes.len() {
        let byte = bytes[i];
        if !(byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
            return false;
        }
        i += 1;
    }
    true
}

const fn ends_with(name: &str, suffix: &str) -> bool {
    let Some(start) = name.len().checked_sub(suffix.len()) else {
        return false;
    };
    let (_, end) = name.as_bytes().split_at(start);
    equal(end, suffix.as_bytes())
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a counter's name ends in _total")]
    fn a_counter_says_that_it_is_one() {
        Family::counter("things", "Things.");
    }

    #[test]
    #[should_panic(expected = "only a counter's name ends in _total")]
    fn a_gauge_does_not_claim_to_be_a_counter() {
        Family::gauge("things_total", "Things.");
    }

    #[test]
    #[should_panic(expected = "belong to a histogram's series")]
    fn a_gauge_does_not_take_a_histograms_suffix() {
        Family::gauge("things_count", "Things.");
    }

    #[test]
    #[should_panic(expected = "le is the label of a histogram's bounds")]
    fn the_label_le_is_taken() {
        let _ = Family::histogram("things", "Things.").by("le");
    }

    #[test]
    #[should_panic(expected = "a name is lower-case letters")]
    fn a_name_is_one_that_prometheus_takes() {
        Family::gauge("1thing", "Things.");
    }

    #[test]
    #[should_panic(expected = "every series has the label pool already")]
    fn the_label_pool_is_taken() {
        let _ = Family::gauge("things", "Things.").by("pool");
    }
}
