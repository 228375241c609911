//! What threads share: from `std`, or from `loom` where the hand-off is model-checked
//! (`--cfg pool_loom`).

#[cfg(not(pool_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic::AtomicU64};

#[cfg(pool_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic::AtomicU64};

#[cfg(not(pool_loom))]
pub(crate) use self::plain::Exchange;

#[cfg(pool_loom)]
pub(crate) use self::model::Exchange;

#[cfg(not(pool_loom))]
mod plain {
    use crossbeam_utils::atomic::AtomicCell;

    /// A place for one pointer, which is put in and taken out by an exchange.
    ///
    /// Every access is an atomic read-modify-write with acquire and release, and all of one cell are in
    /// one order: whoever comes second sees everything that the first had done before.
    pub(crate) struct Exchange<T>(AtomicCell<Option<T>>);

    impl<T> Exchange<T> {
        pub(crate) fn new() -> Self {
            const { assert!(AtomicCell::<Option<T>>::is_lock_free(), "more than a pointer") };
            Self(AtomicCell::new(None))
        }

        #[inline]
        pub(crate) fn swap(&self, value: Option<T>) -> Option<T> {
            self.0.swap(value)
        }

        #[inline]
        pub(crate) fn take(&self) -> Option<T> {
            self.swap(None)
        }
    }
}

#[cfg(pool_loom)]
mod model {
    use loom::sync::Mutex;

    /// A lock of its own has the order of an exchange and nothing more.
    pub(crate) struct Exchange<T>(Mutex<Option<T>>);

    impl<T> Exchange<T> {
        pub(crate) fn new() -> Self {
            Self(Mutex::new(None))
        }

        pub(crate) fn swap(&self, value: Option<T>) -> Option<T> {
            std::mem::replace(&mut *self.0.lock().expect("nothing panics in here"), value)
        }

        pub(crate) fn take(&self) -> Option<T> {
            self.swap(None)
        }
    }
}
