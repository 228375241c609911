//! The end of a [`ChannelPool`].

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::pool::ChannelPool;
use crate::stats::CloseReport;

/// How long connections that are cut may take to be gone.
const CUT_TIMEOUT: Duration = Duration::from_secs(5);

impl ChannelPool {
    /// Closes the pool in good order: calls that wait and new ones fail with `UNAVAILABLE`, running ones have
    /// until `grace` to finish, and so have the holders of [exclusive](Self::exclusive) connections, who may go on making
    /// calls until then, and each of whom counts as a call. A call that its server refuses meanwhile is not sent again.
    /// Then they are cut: calls end with `UNAVAILABLE`, and their servers see the connection end, by which they cancel
    /// what still runs. Returns when no socket and no timer is left; the pool's tasks have ended then, or are about to;
    /// who still keeps an exclusive connection, or an answer that he has not read to its end, keeps one that sleeps.
    /// Where nobody drives the runtime that the connections live in, it returns five seconds after the grace, and
    /// [says](CloseReport::connections_left) how many are left.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with a clock.
    ///
    /// # Cancel safety
    ///
    /// The pool stays closed, and running calls go on.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), pool_tonic::ConfigError> {
    /// use pool_tonic::ChannelPool;
    /// use std::time::Duration;
    ///
    /// let pool = ChannelPool::builder("http://orders:50051").build()?;
    /// let report = pool.close(Duration::from_secs(10)).await;
    /// assert_eq!(report.calls_cut, 0);
    /// # Ok(()) }
    /// ```
    pub async fn close(&self, grace: Duration) -> CloseReport {
        let started = Instant::now();
        self.refuse_calls();
        let left = || grace.saturating_sub(started.elapsed());
        let shared = self.shared.pool().drain(grace).await;
        let dedicated = self.shared.dedicated().drain(left()).await;
        let register = self.shared.book().register();
        // Those that say goodbye may do so for as long as the calls might have run.
        let calls_cut = if timeout(left(), register.empty()).await.is_ok() {
            0
        } else {
            register.cut();
            // At once, but where nobody drives the runtime that the connections live in.
            let _ = timeout(CUT_TIMEOUT, register.empty()).await;
            shared.leases + dedicated.leases
        };
        let connections_left = register.len();
        CloseReport { calls_cut, connections_left, waited: started.elapsed() }
    }

    /// Closes the pool at once: calls that wait, new and running ones fail with `UNAVAILABLE`.
    pub fn close_now(&self) {
        self.refuse_calls();
        self.shared.book().register().cut();
    }

    fn refuse_calls(&self) {
        self.shared.pool().close();
        self.shared.dedicated().close();
        self.shared.book().shutdown();
    }
}
