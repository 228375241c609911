//! Why endpoints are not known.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// Why a resolver knows no endpoints. Cheap to clone.
///
/// # Examples
///
/// ```
/// use pool_tonic::resolve::ResolveError;
///
/// let refused = std::io::Error::other("403 Forbidden");
/// let error = ResolveError::new("cannot list the endpoints of orders").with_source(refused).permanent();
/// assert_eq!(error.to_string(), "cannot list the endpoints of orders: 403 Forbidden");
/// assert!(!error.is_temporary());
/// ```
#[derive(Clone, Debug)]
pub struct ResolveError {
    what: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    temporary: bool,
}

impl ResolveError {
    /// A temporary one. `what` says what failed, without its cause.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None, temporary: true }
    }

    /// With its cause, which messages show behind `what`.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// To ask again soon will not help: it needs somebody to change something. It is asked again at the full interval
    /// then, without the quicker attempts that follow a temporary one.
    ///
    /// A name that does not exist is no such case: that of a headless service of Kubernetes does not while none of its
    /// pods is ready.
    pub fn permanent(mut self) -> Self {
        self.temporary = false;
        self
    }

    /// May it help to ask again soon?
    pub fn is_temporary(&self) -> bool {
        self.temporary
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl StdError for ResolveError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
