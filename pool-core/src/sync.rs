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
    use std::mem::ManuallyDrop;

    use crossbeam_utils::atomic::AtomicCell;

    /// A place for one pointer.
    ///
    /// Every access but [`fill`](Self::fill) is an atomic read-modify-write with acquire and release, and all of one cell
    /// are in one order: whoever comes second sees everything that the first had done before.
    pub(crate) struct Exchange<T>(AtomicCell<Option<ManuallyDrop<T>>>);

    impl<T> Exchange<T> {
        pub(crate) fn new() -> Self {
            const {
                let is_pointer = AtomicCell::<Option<ManuallyDrop<T>>>::is_lock_free();
                assert!(is_pointer, "more than a pointer");
            }
            Self(AtomicCell::new(None))
        }

        #[inline]
        pub(crate) fn swap(&self, value: Option<T>) -> Option<T> {
            self.0.swap(value.map(ManuallyDrop::new)).map(ManuallyDrop::into_inner)
        }

        #[inline]
        pub(crate) fn take(&self) -> Option<T> {
            self.swap(None)
        }

        /// Puts something in where there is nothing, and nobody else puts anything: what there was would not be dropped. It
        /// is a store with release, which does not wait for the line of the cache as an exchange does, and sees nothing.
        #[inline]
        pub(crate) fn fill(&self, value: T) {
            self.0.store(Some(ManuallyDrop::new(value)));
        }
    }

    impl<T> Drop for Exchange<T> {
        fn drop(&mut self) {
            self.take();
        }
    }
}

#[cfg(pool_loom)]
mod model {
    use loom::sync::Mutex;

    /// A lock of its own has the order of an exchange and nothing more. It is more than that of a fill, which sees nothing:
    /// who fills a cell has taken a lock since it was emptied.
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

        pub(crate) fn fill(&self, value: T) {
            assert!(self.swap(Some(value)).is_none(), "bug: what is in there would be lost");
        }
    }
}
