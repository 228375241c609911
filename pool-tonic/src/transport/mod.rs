//! How bytes get to a server and back, up to where HTTP/2 begins.
//!
//! - `tcp.rs`: a TCP connection and its socket options
//! - `unix.rs`: a Unix socket
//! - `connector.rs`: whatever a connector of the user's gives
//! - `tls/`: TLS over any of them
//!
//! Each kind of stream is a type of its own down to the task that drives the connection, so that no read
//! or write goes through a table of functions; only the act of connecting is boxed.

mod connector;
mod tcp;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(unix)]
mod unix;

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::address::Address;
use crate::error::ConnectError;
use crate::stats::Totals;

pub(crate) use connector::{Connect, Connector};
pub(crate) use tcp::{Tcp, TcpOptions};
#[cfg(unix)]
pub(crate) use unix::unix;

/// One attempt to connect: to where, and the one deadline over all that it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    address: &'a Address,
    timeout: Duration,
    /// That is a part of the whole time, since there are other addresses.
    is_part: bool,
    deadline: Instant,
    /// Where it is counted how parts of it end.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "only TLS handshakes are"))]
    totals: &'a Totals,
}

impl<'a> Attempt<'a> {
    /// Begins now.
    pub(crate) fn begin(address: &'a Address, timeout: Duration, totals: &'a Totals) -> Self {
        let now = Instant::now();
        // Beyond what the clock can say there is no difference.
        let deadline = now.checked_add(timeout).unwrap_or(now + MUCH_TIME);
        Self { address, timeout, is_part: false, deadline, totals }
    }

    pub(crate) fn address(&self) -> &'a Address {
        self.address
    }

    /// How much time there is for each, if so many parts are left that are to have the same.
    fn share(&self, parts: usize) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        left / u32::try_from(parts.max(1)).unwrap_or(u32::MAX)
    }

    /// What one that could be connected to may take, if so many others are left: all of the time if there is none, else an
    /// even share, or [`PART`] where that is more, up to half.
    fn part(self, others: usize) -> Self {
        if others == 0 {
            return self;
        }
        let time = self.share(others + 1).max(self.share(2).min(PART));
        Self { timeout: time, is_part: true, deadline: Instant::now() + time, ..self }
    }

    /// Waits for a phase of the attempt, of which the error says "while `phase`".
    pub(crate) async fn within<T>(
        &self,
        phase: &'static str,
        future: impl Future<Output = T>,
    ) -> Result<T, ConnectError> {
        timeout_at(self.deadline, future).await.map_err(|_| self.timed_out(phase))
    }

    fn timed_out(&self, phase: &'static str) -> ConnectError {
        ConnectError::timed_out(self.address, self.timeout, self.is_part, phase)
    }
}

/// What is enough for a server that is there.
const PART: Duration = Duration::from_secs(5);

/// Thirty years, as tokio's own timers have it.
const MUCH_TIME: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
