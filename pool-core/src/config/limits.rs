//! [`Limits`]: how many of everything.

use super::ConfigError;

/// How many of everything. See the builder's setting of the same name for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most resources at a time.
    pub max_size: usize,
    /// The fewest resources that the pool keeps, idle and lent together.
    pub min_size: usize,
    /// The fewest idle resources that the pool keeps; in a shared pool, as many free places as so many have.
    pub min_idle: usize,
    /// The most idle resources that stay; `None` for as many as the maximum size.
    pub max_idle: Option<usize>,
    /// How many shared resources may drain, be destroyed or be replaced beside the maximum size; `None` for as many as that.
    pub max_draining: Option<usize>,
    /// The most callers that may wait at a time.
    pub max_waiters: usize,
    /// The most creations at a time.
    pub max_creating: usize,
    /// Leases per shared resource over which the pool grows in the background; `usize::MAX` for none.
    pub soft_target: usize,
    /// How far it grows for that; `usize::MAX` for as far as the maximum size.
    pub soft_max_size: usize,
    /// Places of a shared resource whose manager has not said how many it has.
    pub places: usize,
}

impl Limits {
    /// Whether a pool can have these limits.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] names the limit that cannot be: a maximum of zero, a minimum above a maximum.
    pub fn check(&self) -> Result<(), ConfigError> {
        let at_least_one = [
            ("max_size", self.max_size),
            ("max_creating", self.max_creating),
            ("max_draining", self.max_draining.unwrap_or(1)),
            ("places", self.places),
            ("soft_target", self.soft_target),
            ("soft_max_size", self.soft_max_size),
        ];
        if let Some((field, _)) = at_least_one.into_iter().find(|&(_, value)| value == 0) {
            return Err(ConfigError::new(field, "must be at least 1"));
        }
        // The tighter maximum last, so that the one that nobody set is not blamed.
        let ordered = [
            ("min_size", self.min_size, "max_size", self.max_size),
            ("min_idle", self.min_idle, "max_size", self.max_size),
            ("min_idle", self.min_idle, "max_idle", self.max_idle_or_size()),
        ];
        match ordered.into_iter().find(|&(_, least, _, most)| least > most) {
            None => Ok(()),
            Some((field, least, bound, most)) => {
                Err(ConfigError::new(field, format!("{least} is above {bound}, which is {most}")))
            }
        }
    }

    pub(crate) fn max_idle_or_size(&self) -> usize {
        self.max_idle.unwrap_or(self.max_size)
    }
}

#[cfg(test)]
mod tests {
    use super::super::PoolConfig;
    use super::*;

    fn limits() -> Limits {
        PoolConfig::default().limits()
    }

    #[test]
    fn the_most_idle_are_as_many_as_there_may_be_unless_it_is_said() {
        let unsaid = Limits { max_size: 7, ..limits() };
        let said = Limits { max_idle: Some(3), ..unsaid };
        assert_eq!((unsaid.max_idle_or_size(), said.max_idle_or_size()), (7, 3));
    }

    #[test]
    fn a_minimum_may_be_as_much_as_its_maximum() {
        let most = usize::MAX;
        let limits = Limits { max_size: most, min_size: most, min_idle: most, ..limits() };
        assert_eq!(limits.check(), Ok(()));
    }
}
