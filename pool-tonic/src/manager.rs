//! The [`Manager`] of connections: it picks the address and dials it.
//!
//! How connectivity becomes the health of the pool below: a READY connection is a resource to lend, with as
//! many places as its peer, by what it last announced, and the pool's own cap allow streams. A GOAWAY drains it: it is lent no more, and a
//! successor is made at once while its calls finish. A lost connection is broken, and goes. When the pool
//! is down (`TRANSIENT_FAILURE`), a failed creation is fatal: it fails the calls that wait.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use pool_core::{CreateContext, CreateReason, Manager, SharedManager};
use tokio::sync::Notify;

use crate::address::Address;
use crate::address_book::{AddressBook, Dial};
use crate::connection::{self, Connection, DialConfig, Dialled};
use crate::error::ConnectError;
use crate::stats::Totals;

/// Makes the connections of a [`ChannelPool`](crate::ChannelPool).
///
/// Each creation dials the address that is not in back-off and has the fewest connections. A failure
/// concerns its address alone while another one is left; it is fatal, and fails the calls that wait, when
/// every address has failed.
#[derive(Debug)]
pub struct ConnectionManager {
    book: Arc<AddressBook>,
    config: DialConfig,
    totals: Arc<Totals>,
    /// How often the pool has been rotated.
    generation: AtomicU64,
    /// Dialled by a rotation, for the next creation to take.
    spare: Mutex<Option<Dialled>>,
    /// Told when the spare is taken.
    taken: Notify,
    /// Held by the rotation that goes on.
    turn: tokio::sync::Mutex<()>,
}

impl ConnectionManager {
    pub(crate) fn new(book: Arc<AddressBook>, config: DialConfig, totals: Arc<Totals>) -> Self {
        Self {
            book,
            config,
            totals,
            generation: AtomicU64::new(0),
            spare: Mutex::new(None),
            taken: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    fn spare(&self) -> MutexGuard<'_, Option<Dialled>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Waits for the rotation that goes on.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Begins a generation: what is dialled from now on is of it.
    pub(crate) fn next_generation(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn has_spare(&self) -> bool {
        self.spare().is_some()
    }

    /// Connects to an address once more, for the next creation to take.
    pub(crate) async fn dial_spare(&self, address: &Address) -> Result<(), ConnectError> {
        let dial = self.book.dial_again(address)?;
        let dialled = self.dial(dial).await?;
        *self.spare() = Some(dialled);
        Ok(())
    }

    /// Closes the spare, if nobody took it.
    pub(crate) fn drop_spare(&self) {
        let spare = self.spare().take();
        drop(spare);
    }

    /// Waits until the spare is taken.
    pub(crate) async fn spare_taken(&self) {
        loop {
            let taken = self.taken.notified();
            if !self.has_spare() {
                return;
            }
            taken.await;
        }
    }

    async fn dial(&self, dial: Dial) -> Result<Dialled, ConnectError> {
        let generation = self.generation();
        let mut dialled = pin!(connection::dial(dial, &self.config, generation, &self.totals));
        // Nobody waits for it any more when the pool is closed.
        let mut closed = pin!(self.book.closed());
        poll_fn(|cx| {
            if closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(ConnectError::abandoned(&self.book)));
            }
            dialled.as_mut().poll(cx)
        })
        .await
    }
}

impl Manager for ConnectionManager {
    type Resource = Connection;
    type Error = ConnectError;

    async fn create(&self, cx: &CreateContext) -> Result<Connection, ConnectError> {
        let spare = self.spare().take();
        let dialled = match spare {
            Some(spare) => {
                self.taken.notify_waiters();
                spare
            }
            None => loop {
                let sure = cx.reason() == CreateReason::Demand;
                let dialled = self.dial(self.book.dial(sure)?).await?;
                // One that was begun before a rotation may have the old certificates.
                if dialled.generation() == self.generation() {
                    break dialled;
                }
            },
        };
        Ok(dialled.start(&self.config, cx.handle(), &self.totals))
    }

    fn is_fatal(&self, _: &ConnectError) -> bool {
        self.book.is_down()
    }

    fn retry_in(&self, _: &ConnectError) -> Option<Duration> {
        Some(self.book.retry_in())
    }
}

impl SharedManager for ConnectionManager {}
