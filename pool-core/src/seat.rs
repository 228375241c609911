//! A number for each thread, small and its own while the thread lives.
//!
//! By it a thread finds its cell of a pool's [`Front`](crate::front::Front) and is the only writer of
//! the counter in there.

#[cfg(not(pool_loom))]
pub(crate) use self::threads::seat;

#[cfg(pool_loom)]
pub(crate) use self::model::seat;

#[cfg(pool_loom)]
#[cfg(test)]
pub(crate) use self::model::sit;

#[cfg(not(pool_loom))]
mod threads {
    use std::collections::BTreeSet;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    static SEATS: Mutex<Seats> = Mutex::new(Seats { free: BTreeSet::new(), used: 0 });

    struct Seats {
        /// Numbers below `used` whose threads have ended.
        free: BTreeSet<usize>,
        used: usize,
    }

    fn seats() -> MutexGuard<'static, Seats> {
        SEATS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    struct Seat(usize);

    impl Seat {
        /// The smallest number that no other thread has.
        fn take() -> Self {
            let mut seats = seats();
            let seat = seats.free.pop_first().unwrap_or(seats.used);
            seats.used = seats.used.max(seat + 1);
            Self(seat)
        }
    }

    impl Drop for Seat {
        fn drop(&mut self) {
            seats().free.insert(self.0);
        }
    }

    thread_local! {
        static SEAT: Seat = Seat::take();
    }

    /// The number of this thread; `None` while the thread is ending.
    #[inline]
    pub(crate) fn seat() -> Option<usize> {
        SEAT.try_with(|seat| seat.0).ok()
    }
}

/// Of the threads of a model, which are none to the system: each is told where it sits.
#[cfg(pool_loom)]
mod model {
    use std::cell::Cell;

    loom::thread_local! {
        static SEAT: Cell<Option<usize>> = Cell::new(None);
    }

    pub(crate) fn seat() -> Option<usize> {
        SEAT.with(Cell::get)
    }

    #[cfg(test)]
    pub(crate) fn sit(seat: usize) {
        SEAT.with(|mine| mine.set(Some(seat)));
    }
}

#[cfg(all(test, not(pool_loom)))]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn threads_that_live_have_different_seats() {
        let mine = seat();
        assert_eq!(mine, seat());
        let theirs = thread::spawn(seat).join().expect("the thread does not panic");
        assert!(theirs.is_some() && theirs != mine);
    }
}
