//! How TLS handshakes end.

use std::sync::atomic::{AtomicU64, Ordering};

/// How a TLS handshake of a pool's ended, as far as its own side can tell. The words are this project's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsOutcome {
    /// Well, with HTTP/2 agreed on. A server of TLS 1.3 looks at the client's certificate only after that: if it refuses
    /// it, the attempt to connect fails all the same.
    Ok,
    /// The server's certificate is not trusted, out of date, or another one's.
    Certificate,
    /// The server did not choose HTTP/2.
    Alpn,
    /// The server refused: by an alert, which may be about the client's certificate or the versions that it offers.
    Alert,
    /// What came is no TLS, or none that the two sides have in common.
    Protocol,
    /// The connection broke, or the server closed it.
    Io,
    /// It took longer than the attempt to connect may.
    Timeout,
}

impl TlsOutcome {
    /// Every one of them.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::Certificate,
        Self::Alpn,
        Self::Alert,
        Self::Protocol,
        Self::Io,
        Self::Timeout,
    ];

    /// It in lower case, as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Certificate => "certificate",
            Self::Alpn => "alpn",
            Self::Alert => "alert",
            Self::Protocol => "protocol",
            Self::Io => "io",
            Self::Timeout => "timeout",
        }
    }
}

/// A number of TLS handshakes for each [`TlsOutcome`]. Attempts that were given up meanwhile are in none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsHandshakes([u64; TlsOutcome::ALL.len()]);

impl TlsHandshakes {
    /// The number for one outcome.
    pub fn get(&self, outcome: TlsOutcome) -> u64 {
        self.0[outcome as usize]
    }

    /// Every outcome with its number, also those at 0.
    pub fn iter(&self) -> impl Iterator<Item = (TlsOutcome, u64)> + '_ {
        TlsOutcome::ALL.into_iter().zip(self.0)
    }

    /// The sum over all outcomes.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Those at work.
#[derive(Debug, Default)]
pub(crate) struct HandshakeTotals([AtomicU64; TlsOutcome::ALL.len()]);

impl HandshakeTotals {
    #[cfg(feature = "tls")]
    pub(crate) fn count(&self, outcome: TlsOutcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> TlsHandshakes {
        TlsHandshakes(std::array::from_fn(|outcome| self.0[outcome].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_number_and_its_name() {
        let totals = HandshakeTotals::default();
        totals.0[TlsOutcome::Alpn as usize].store(2, Ordering::Relaxed);
        totals.0[TlsOutcome::Timeout as usize].store(1, Ordering::Relaxed);
        let seen = totals.snapshot();
        assert!(seen.iter().all(|(outcome, number)| number == seen.get(outcome)));
        assert_eq!((seen.get(TlsOutcome::Alpn), seen.total()), (2, 3));
        let names: std::collections::HashSet<_> =
            TlsOutcome::ALL.into_iter().map(TlsOutcome::as_str).collect();
        assert_eq!(names.len(), TlsOutcome::ALL.len());
    }
}
