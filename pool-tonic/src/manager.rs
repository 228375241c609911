//! The [`Manager`] of connections: it picks the address and dials it.
//!
//! How connectivity becomes the health of the pool below: a READY connection is a resource to lend, with as
//! many places as its peer, by what it last announced, and the pool's own cap allow streams. A GOAWAY drains it: it is lent no more, and a
//! successor is made at once while its calls finish. A lost connection is broken, and goes. When the pool
//! is down (`TRANSIENT_FAILURE`), a failed creation is fatal: it fails the calls that wait.

use std::sync::Arc;
use std::time::Duration;

use pool_core::{CreateContext, CreateReason, Manager, SharedManager};

use crate::address_book::AddressBook;
use crate::connection::{self, Connection, DialConfig};
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
}

impl ConnectionManager {
    pub(crate) fn new(book: Arc<AddressBook>, config: DialConfig, totals: Arc<Totals>) -> Self {
        Self { book, config, totals }
    }
}

impl Manager for ConnectionManager {
    type Resource = Connection;
    type Error = ConnectError;

    async fn create(&self, cx: &CreateContext) -> Result<Connection, ConnectError> {
        let sure = cx.reason() == CreateReason::Demand;
        let dial = self.book.dial(sure)?;
        connection::dial(dial, &self.config, cx.handle(), &self.totals).await
    }

    fn is_fatal(&self, _: &ConnectError) -> bool {
        self.book.is_down()
    }

    fn retry_in(&self, _: &ConnectError) -> Option<Duration> {
        Some(self.book.retry_in())
    }
}

impl SharedManager for ConnectionManager {}
