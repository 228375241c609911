//! An error of a wrapped manager.

use std::error::Error as StdError;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// What a wrapped manager says went wrong.
///
/// The managers of other pools may have any type for an error: one that is no [`StdError`], that
/// cannot be shown, or that one thread may look at only. A failure is an error that all threads may
/// have, whatever it holds. What it shows was written down when it arose, in the way that the wrapper
/// was given (`text`); what is in it can be asked for and taken out.
///
/// It is the source of a [`CreateError::Failed`](crate::CreateError::Failed), and so of a get that ran
/// into its deadline because nothing could be created.
///
/// # Examples
///
/// ```
/// use pool_core::compat::Failure;
/// use pool_core::{CreateError, Error};
///
/// /// An error that is none, and that one thread may look at only.
/// struct Refused {
///     code: std::cell::Cell<u16>,
/// }
///
/// fn code(error: &Error<Failure<Refused>>) -> Option<u16> {
///     let Error::Timeout(timeout) = error else { return None };
///     let Some(CreateError::Failed(failure)) = timeout.last_error.as_deref() else { return None };
///     failure.with(|refused| refused.code.get())
/// }
/// # let _ = code(&Error::Closed);
/// ```
pub struct Failure<E> {
    text: String,
    /// Not there where the manager had only words. In a lock that is never waited for by the pool:
    /// whoever wants to see the error holds it, since it need not be `Sync`.
    cause: Option<Mutex<E>>,
}

impl<E> Failure<E> {
    pub(super) fn new(cause: E, text: fn(&E) -> String) -> Self {
        Self { text: text(&cause), cause: Some(Mutex::new(cause)) }
    }

    /// One that has no cause but words.
    #[cfg(feature = "deadpool")]
    pub(super) fn message(text: String) -> Self {
        Self { text, cause: None }
    }

    /// Looks at the manager's error, one thread at a time. `None` where there is none because the
    /// manager had only words (`RecycleError::Message` of deadpool): those are what is shown.
    ///
    /// Looking again within `look` does not end, or panics: the error is being looked at.
    pub fn with<R>(&self, look: impl FnOnce(&E) -> R) -> Option<R> {
        let cause = self.cause.as_ref()?;
        // A look that panicked has left nothing behind: it had no more than a reference.
        Some(look(&cause.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Takes the manager's error out. `None` as for [`with`](Self::with).
    pub fn into_inner(self) -> Option<E> {
        let cause = self.cause?;
        Some(cause.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<E> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<E> fmt::Debug for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Failure").field(&self.text).finish()
    }
}

impl<E> StdError for Failure<E> {}

/// An error with its sources, as a text: what to show of the many errors that leave it to their source
/// to say why.
///
/// A source that the error shows at its end already is not shown again.
///
/// # Examples
///
/// ```
/// use pool_core::compat::chain;
/// use std::io;
///
/// #[derive(Debug, thiserror::Error)]
/// #[error("error connecting to server")]
/// struct ConnectError(#[from] io::Error);
///
/// let error = ConnectError(io::Error::other("the cable is out"));
/// assert_eq!(chain(&error), "error connecting to server: the cable is out");
/// ```
pub fn chain<E: StdError + ?Sized>(error: &E) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let shown = source.to_string();
        if !text.ends_with(&shown) {
            text.push_str(": ");
            text.push_str(&shown);
        }
        next = source.source();
    }
    text
}
