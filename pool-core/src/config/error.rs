//! [`ConfigError`]: a setting that cannot be.

/// A setting that cannot be, found by `build`.
///
/// # Examples
///
/// ```
/// # use pool_core::{CreateContext, Manager, Pool};
/// # struct Units;
/// # impl Manager for Units {
/// #     type Resource = ();
/// #     type Error = std::convert::Infallible;
/// #     async fn create(&self, _cx: &CreateContext) -> Result<(), Self::Error> { Ok(()) }
/// # }
/// let error = Pool::builder(Units).max_size(2).min_idle(3).build().unwrap_err();
/// assert_eq!(error.field(), "min_idle");
/// assert_eq!(error.to_string(), "min_idle: 3 is above max_size, which is 2");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    field: &'static str,
    problem: String,
}

impl ConfigError {
    pub(super) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }

    /// The name of the setting; of one inside another, both: `backoff.jitter`.
    pub fn field(&self) -> &'static str {
        self.field
    }
}
