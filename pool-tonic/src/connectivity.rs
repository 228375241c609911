//! Connectivity states, and how those of several addresses make one.

use std::fmt;

/// How a pool, or one of its addresses, is connected: the states of gRPC's
/// `doc/connectivity-semantics-and-api.md`.
///
/// `TransientFailure` is sticky: attempts that go on do not show, only a connection that is READY ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectivityState {
    /// No connection, and no attempt: the next call starts one.
    Idle,
    /// The first attempt runs. Calls wait for it.
    Connecting,
    /// There is at least one connection whose server has sent its settings.
    Ready,
    /// The last attempt failed. Calls fail at once, until the back-off is over.
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

    /// One state for several addresses, by the rule of gRPC's round robin: the first of READY,
    /// CONNECTING, IDLE that any of them is in, `TRANSIENT_FAILURE` if all failed.
    pub(crate) fn aggregate(states: impl Iterator<Item = Self>) -> Self {
        let rank = |state: &Self| match state {
            Self::Ready => 0,
            Self::Connecting => 1,
            Self::Idle => 2,
            Self::TransientFailure => 3,
            Self::Shutdown => 4,
        };
        states.min_by_key(rank).unwrap_or(Self::Shutdown)
    }
}

impl fmt::Display for ConnectivityState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::ConnectivityState::{self, Connecting, Idle, Ready, TransientFailure};

    #[test]
    fn one_ready_address_is_enough_and_only_all_failed_ones_fail() {
        let of =
            |states: &[ConnectivityState]| ConnectivityState::aggregate(states.iter().copied());
        assert_eq!(of(&[TransientFailure, Ready, Connecting]), Ready);
        assert_eq!(of(&[TransientFailure, Idle, Connecting]), Connecting);
        assert_eq!(of(&[TransientFailure, Idle]), Idle);
        assert_eq!(of(&[TransientFailure, TransientFailure]), TransientFailure);
    }
}
