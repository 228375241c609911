//! The hand-off, in every order in which threads can go through it: `.ci/loom`.
//!
//! The models have no runtime and no maintenance task: what maintenance would do, the model does at a
//! moment of its choice. Each has at most three threads.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};

use loom::future::block_on;
use loom::thread;

use crate::data::Data;
use crate::seat::sit;
use crate::state::Newborn;
use crate::{CheckPolicy, CreateContext, Error, Manager, Pool};

/// Counts what is alive by itself.
#[derive(Default)]
struct Tokens {
    live: Arc<AtomicUsize>,
}

struct Token(Arc<AtomicUsize>);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Manager for Tokens {
    type Resource = Token;
    type Error = Infallible;

    async fn create(&self, _cx: &CreateContext) -> Result<Token, Infallible> {
        unreachable!("the model creates by itself")
    }
}

/// A pool of this many resources, all idle, as its maintenance would have left it.
fn pool_of(size: usize) -> Pool<Tokens> {
    let builder = Pool::builder(Tokens::default()).max_size(size).min_size(size);
    let builder = builder.max_creating(size).max_lifetime(None).check(CheckPolicy::Never);
    let pool = builder.build().expect("the settings are good");
    assert!(pool.core.state().adopt());
    for order in pool.core.maintain().births {
        let live = Arc::clone(&pool.manager().live);
        live.fetch_add(1, SeqCst);
        pool.core.born(order.id, Newborn { resource: Token(live), data: Data::new() });
    }
    assert_eq!(pool.status().idle, size);
    pool
}

/// Maintenance has a look: it takes everything out of the front, and destroys what is to go.
fn maintain(pool: &Pool<Tokens>) {
    for ended in pool.core.maintain().disposals {
        drop(ended);
        pool.core.disposed();
    }
}

fn model(test: impl Fn() + Send + Sync + 'static) {
    loom::model(move || {
        sit(2);
        test();
    });
}

fn in_thread<T: 'static>(seat: usize, work: impl FnOnce() -> T + 'static) -> thread::JoinHandle<T> {
    thread::spawn(move || {
        sit(seat);
        work()
    })
}

/// Nothing is lent, and everything can be lent again.
fn is_whole(pool: &Pool<Tokens>, size: usize) {
    maintain(pool);
    let status = pool.status();
    assert_eq!((status.in_use, status.waiting, status.idle), (0, 0, size), "{status:?}");
    assert_eq!(pool.manager().live.load(SeqCst), size);
    let all: Vec<_> = (0..size).map(|_| pool.try_get().expect("it is idle")).collect();
    assert!(pool.try_get().is_none());
    drop(all);
}

#[test]
fn a_return_meets_one_that_joins_the_queue() {
    model(|| {
        let pool = pool_of(1);
        let lease = pool.try_get_owned().expect("it is idle");
        let other = {
            let pool = pool.clone();
            in_thread(0, move || drop(block_on(pool.get()).expect("it comes back")))
        };
        drop(lease);
        other.join().expect("no panic");
        is_whole(&pool, 1);
    });
}

#[test]
fn two_threads_take_turns() {
    model(|| {
        let pool = pool_of(1);
        let others = [0, 1].map(|seat| {
            let pool = pool.clone();
            in_thread(seat, move || drop(block_on(pool.get()).expect("it comes back")))
        });
        for other in others {
            other.join().expect("no panic");
        }
        is_whole(&pool, 1);
    });
}

#[test]
fn threads_that_use_their_cells_are_seen_by_the_state() {
    model(|| {
        let pool = pool_of(2);
        let others = [0, 1].map(|seat| {
            let pool = pool.clone();
            in_thread(seat, move || drop(pool.try_get()))
        });
        let status = pool.status();
        assert_eq!((status.size, status.idle + status.in_use), (2, 2));
        for other in others {
            other.join().expect("no panic");
        }
        is_whole(&pool, 2);
    });
}

#[test]
fn one_that_gives_up_meets_the_hand_off() {
    model(|| {
        let pool = pool_of(1);
        let lease = pool.try_get_owned().expect("it is idle");
        let quits = {
            let pool = pool.clone();
            in_thread(0, move || {
                let mut get = pin!(pool.get());
                let mut cx = Context::from_waker(Waker::noop());
                drop(get.as_mut().poll(&mut cx));
            })
        };
        drop(lease);
        quits.join().expect("no panic");
        is_whole(&pool, 1);
    });
}

#[test]
fn one_that_gives_up_leaves_its_place_to_the_next() {
    model(|| {
        let pool = pool_of(1);
        let lease = pool.try_get_owned().expect("it is idle");
        let quits = {
            let pool = pool.clone();
            in_thread(0, move || {
                let mut get = pin!(pool.get());
                let mut cx = Context::from_waker(Waker::noop());
                drop(get.as_mut().poll(&mut cx));
            })
        };
        let waits = {
            let pool = pool.clone();
            in_thread(1, move || drop(block_on(pool.get()).expect("it is not lost")))
        };
        drop(lease);
        quits.join().expect("no panic");
        waits.join().expect("no panic");
        is_whole(&pool, 1);
    });
}

#[test]
fn a_get_meets_the_close() {
    model(|| {
        let pool = pool_of(1);
        let lease = pool.try_get_owned().expect("it is idle");
        let other = {
            let pool = pool.clone();
            in_thread(0, move || match block_on(pool.get()) {
                Ok(lease) => drop(lease),
                Err(error) => assert!(matches!(error, Error::Closed)),
            })
        };
        let closer = {
            let pool = pool.clone();
            in_thread(1, move || pool.close())
        };
        drop(lease);
        other.join().expect("no panic");
        closer.join().expect("no panic");
        maintain(&pool);
        assert_eq!(pool.manager().live.load(SeqCst), 0, "closed, and something is left");
        assert_eq!(pool.status().in_use, 0);
    });
}

#[test]
fn a_get_meets_the_shrinking() {
    model(|| {
        let pool = pool_of(2);
        let other = {
            let pool = pool.clone();
            in_thread(0, move || drop(pool.try_get()))
        };
        pool.resize(1);
        other.join().expect("no panic");
        is_whole(&pool, 1);
    });
}

#[test]
fn a_return_meets_a_new_generation() {
    model(|| {
        let pool = pool_of(1);
        let lease = pool.try_get_owned().expect("it is idle");
        let other = in_thread(0, move || drop(lease));
        pool.reset();
        // It goes, at once or when it comes back.
        assert!(pool.try_get().is_none(), "an older generation was lent");
        other.join().expect("no panic");
        maintain(&pool);
        assert_eq!(pool.manager().live.load(SeqCst), 0);
    });
}

#[test]
fn nobody_overtakes_one_that_waits() {
    model(|| {
        let pool = pool_of(1);
        let lease = pool.try_get_owned().expect("it is idle");
        let mut first = pin!(pool.get());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        let late = {
            let pool = pool.clone();
            in_thread(0, move || assert!(pool.try_get().is_none(), "it has overtaken"))
        };
        let back = in_thread(1, move || drop(lease));
        late.join().expect("no panic");
        back.join().expect("no panic");
        let Poll::Ready(Ok(lease)) = first.as_mut().poll(&mut cx) else {
            panic!("the first one was forgotten")
        };
        drop(lease);
        is_whole(&pool, 1);
    });
}
