//! Code of users, who may panic where nobody is to get the panic: observers, subscribers, what propagates a trace.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs it. `None` if it panicked.
pub(crate) fn contain<T>(run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => Some(result),
        Err(panic) => {
            // What was thrown may be a user's type, whose destructor panics as well.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::contain;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    fn neither_a_panic_nor_what_was_thrown_gets_out() {
        assert_eq!(contain(|| 1), Some(1));
        assert_eq!(contain(|| std::panic::panic_any(Bomb)), None::<()>);
    }
}
