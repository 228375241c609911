//! Connectivity states.

use std::fmt;

/// How a pool, or one of its addresses, is connected: the states of gRPC's
/// `doc/connectivity-semantics-and-api.md`.
///
/// For a pool `TransientFailure` is sticky: attempts that go on do not show, only a connection that is READY
/// ends it. For one address it ends with the back-off: the address is `Idle` again until the next attempt,
/// during which it shows `TransientFailure` until that has succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectivityState {
    /// No connection, and no attempt: the next call starts one. It may be an address that failed and is out
    /// of its back-off.
    Idle,
    /// The first attempt runs. Calls wait for it.
    Connecting,
    /// There is at least one connection whose server has sent its settings.
    Ready,
    /// A pool: the last attempt failed, and no address is left to hope for. Calls fail at once, until a
    /// back-off is over. An address: its last attempt failed, and it is in back-off or being tried again.
    TransientFailure,
    /// The pool is closed.
    Shutdown,
}

impl ConnectivityState {
    /// Every state, in the order of gRPC's document.
    pub const ALL: [Self; 5] =
        [Self::Idle, Self::Connecting, Self::Ready, Self::TransientFailure, Self::Shutdown];

    /// The state as gRPC writes it, for logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "IDLE",
            Self::Connecting => "CONNECTING",
            Self::Ready => "READY",
            Self::TransientFailure => "TRANSIENT_FAILURE",
            Self::Shutdown => "SHUTDOWN",
        }
    }
}

impl fmt::Display for ConnectivityState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
