//! A task of which there is one at a time. It begins with a connection and ends with the pool, or with its runtime; then
//! the next connection begins it anew.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;

use tokio::time::{Instant, sleep_until};

use crate::address_book::AddressBook;

/// Whether the task is there.
#[derive(Debug, Default)]
pub(super) struct Single(Arc<AtomicBool>);

struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Single {
    /// Begins the task, unless it is there. Called in a runtime.
    pub(super) fn begin<F>(&self, task: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if !self.0.swap(true, Ordering::SeqCst) {
            let (running, task) = (Running(Arc::clone(&self.0)), task());
            tokio::spawn(async move {
                let _running = running;
                task.await;
            });
        }
    }
}

/// Why such a task goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// It is time.
    Due,
    Rung,
    /// The pool is gone, or closed.
    Over,
}

/// Waits until then, or until the bell rings. Holds the book no longer than it takes to look.
pub(super) async fn wait(
    book: &Weak<AddressBook>,
    due: Option<Instant>,
    bell: impl Future<Output = ()>,
) -> Woken {
    let Some(mut watch) = book.upgrade().map(|book| book.watch()) else { return Woken::Over };
    let mut bell = pin!(bell);
    let mut due = pin!(async {
        match due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    });
    let woken = poll_fn(|cx| {
        if bell.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Woken::Rung);
        }
        due.as_mut().poll(cx).map(|()| Woken::Due)
    });
    watch.until_closed(woken).await.unwrap_or(Woken::Over)
}
