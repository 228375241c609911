//! What every wrapper has, whatever it wraps: how it is set up, and what it lets through.

/// The methods and traits that a wrapper has beside its [`Manager`](crate::Manager). It is a struct of a
/// `manager`, a `text` and a `fatal`.
///
/// A macro and not a type: the wrappers are types of their own, since each is a manager by a trait of another
/// crate.
macro_rules! wrapper {
    ($wrapper:ident of $manager:path, $(#[$about_text:meta])+) => {
        impl<M: $manager> $wrapper<M> {
            $(#[$about_text])+
            #[must_use = "the wrapper that shows errors in this way is returned"]
            pub fn text(mut self, text: fn(&M::Error) -> String) -> Self {
                self.text = text;
                self
            }

            /// Which errors of a creation are fatal: they fail all that wait at once, instead of being tried
            /// again in the background. Without this, none.
            #[must_use = "the wrapper that knows these errors is returned"]
            pub fn fatal(mut self, fatal: fn(&M::Error) -> bool) -> Self {
                self.fatal = fatal;
                self
            }

            fn failure(&self, error: M::Error) -> $crate::compat::Failure<M::Error> {
                $crate::compat::Failure::new(error, self.text)
            }

            fn knows_as_fatal(&self, failure: &$crate::compat::Failure<M::Error>) -> bool {
                failure.with(self.fatal).unwrap_or(false)
            }
        }

        impl<M: $manager> std::ops::Deref for $wrapper<M> {
            type Target = M;

            fn deref(&self) -> &M {
                &self.manager
            }
        }

        impl<M: $manager + std::fmt::Debug> std::fmt::Debug for $wrapper<M> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($wrapper)).field(&self.manager).finish()
            }
        }
    };
}

pub(super) use wrapper;
