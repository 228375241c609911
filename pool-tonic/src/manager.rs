//! The [`Manager`] of connections: it dials the endpoint that the pool below asks for.
//!
//! How connectivity becomes the health of the pool below: a READY connection is a resource to lend, with as
//! many places as its peer, by what it last announced, and the pool's own cap allow streams. A GOAWAY drains it: it is
//! lent no more, and a successor is made at once while its calls finish. A lost connection is broken, and goes. When the pool
//! is down (`TRANSIENT_FAILURE`), a failed creation is fatal: it fails the calls that wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pool_core::{CreateContext, GroupId, Manager, ResourceId, SharedManager};

use crate::address_book::{AddressBook, Dial, Side};
use crate::balance::{Ejector, Groups, Spread, Weigher};
use crate::connection::{self, Connection, DialConfig};
use crate::error::ConnectError;
use crate::resolve::Resolver;
use crate::stats::Totals;

/// Who decides about the addresses, where they are not few and fixed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// Present where those are ejected that answer worse than the others.
    pub(crate) ejector: Option<Arc<Ejector>>,
    /// Present where they are weighed by what calls tell of them.
    pub(crate) weigher: Option<Arc<Weigher>>,
    /// Present where not all endpoints are used, or they change.
    pub(crate) spread: Option<Arc<Spread>>,
    /// Present where they come from one.
    pub(crate) resolver: Option<Arc<Resolver>>,
    /// Present where there are several, or may be.
    pub(crate) groups: Option<Arc<Groups>>,
}

/// Makes the connections of a [`ChannelPool`](crate::ChannelPool).
///
/// Each endpoint is a group of the pool, unless there is only one. A failure concerns its endpoint alone while another
/// one is left; it is fatal, and fails the calls that wait, when every one has failed.
#[derive(Debug)]
pub struct ConnectionManager {
    book: Arc<AddressBook>,
    config: DialConfig,
    totals: Arc<Totals>,
    choice: Choice,
    /// How often the pool has been rotated.
    generation: AtomicU64,
    /// Held by the rotation that goes on.
    turn: tokio::sync::Mutex<()>,
}

impl ConnectionManager {
    pub(crate) fn new(
        book: Arc<AddressBook>,
        config: DialConfig,
        totals: Arc<Totals>,
        choice: Choice,
    ) -> Self {
        Self {
            book,
            config,
            totals,
            choice,
            generation: AtomicU64::new(0),
            turn: tokio::sync::Mutex::new(()),
        }
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

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.config.connect_timeout
    }

    /// An attempt has failed or succeeded: are others to be used?
    fn choose_again(&self) {
        if let (Some(spread), Some(groups)) = (&self.choice.spread, &self.choice.groups)
            && spread.look_again(|changes| groups.note(changes)).is_some()
        {
            groups.tell();
            self.book.settle();
        }
    }

    /// Are there several endpoints, or may there be?
    pub(crate) fn has_several(&self) -> bool {
        self.choice.groups.is_some()
    }

    /// Where the addresses come from, if they are not fixed.
    pub(crate) fn resolver(&self) -> Option<&Arc<Resolver>> {
        self.choice.resolver.as_ref()
    }

    /// Begins an attempt at the address that the new connection is to have.
    fn begin(&self, cx: &CreateContext) -> Result<Dial, ConnectError> {
        match cx.group() {
            Some(GroupId(key)) => self.book.dial_in(key, self.config.side),
            None => self.book.dial(self.config.side),
        }
    }
}

impl Manager for ConnectionManager {
    type Resource = Connection;
    type Error = ConnectError;

    async fn create(&self, cx: &CreateContext) -> Result<Connection, ConnectError> {
        if let Some(groups) = &self.choice.groups
            && self.config.side == Side::Shared
        {
            groups.begin_use();
        }
        // Nobody waits for it any more when the pool is closed.
        let connected = self.book.watch().until_closed(self.connect(cx)).await;
        connected.unwrap_or_else(|| Err(ConnectError::abandoned(&self.book)))
    }

    fn is_fatal(&self, _: &ConnectError) -> bool {
        self.book.is_down(self.config.side)
    }

    fn retry_in(&self, _: &ConnectError, cx: &CreateContext) -> Option<Duration> {
        Some(self.book.retry_in(cx.group().map(|GroupId(key)| key), self.config.side))
    }

    /// `TRANSIENT_FAILURE` is left by connecting only, and those that go by it may not call before it is left. Of several
    /// endpoints each has a minimum of its own then, also where only dedicated calls were made so far.
    fn keeps_trying(&self) -> bool {
        if self.config.side != Side::Shared || !self.book.is_down(Side::Shared) {
            return false;
        }
        if let Some(groups) = &self.choice.groups {
            groups.begin_use();
        }
        !self.has_several()
    }
}

impl ConnectionManager {
    async fn connect(&self, cx: &CreateContext) -> Result<Connection, ConnectError> {
        if let Some(resolver) = self.resolver() {
            resolver.first_set(self.config.connect_timeout).await?;
        }
        if cx.group().is_none() && self.choice.groups.is_some() {
            // It was begun before there were any. Those that there are have creations of their own by now.
            return Err(ConnectError::abandoned(&self.book));
        }
        let dialled = loop {
            let (dial, generation) = (self.begin(cx)?, self.generation());
            let dialled = connection::dial(dial, &self.config, generation, &self.totals);
            let dialled = match dialled.await {
                Ok(dialled) => dialled,
                Err(error) => {
                    // Before the pool asks whether there is anything left to hope for.
                    self.choose_again();
                    return Err(error);
                }
            };
            // One that was begun before a rotation may have the old certificates.
            if dialled.generation() == self.generation() && dialled.is_wanted() {
                break dialled;
            }
        };
        if let Some(ejector) = &self.choice.ejector {
            ejector.begin(&self.book);
        }
        if let Some(weigher) = &self.choice.weigher {
            weigher.begin(&self.book);
        }
        let connection = dialled.start(&self.config, cx.handle(), &self.totals);
        self.choose_again();
        Ok(connection)
    }
}

impl SharedManager for ConnectionManager {
    fn set_aside(&self, id: ResourceId, aside: bool) {
        if let Some(control) = self.book.register().control(self.config.side, id) {
            control.set_aside(aside);
        }
    }
}
