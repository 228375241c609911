//! Settings of which endpoint a call goes to.

use std::sync::Arc;

use pool_core::Pick;
use tokio::sync::Notify;

use super::ChannelPoolBuilder;
use crate::balance::{Balance, ErrorPenalty, Groups, Measures, PeakEwma, Weigher};
use crate::error::ConfigError;

/// Settings of which endpoint a call goes to.
#[derive(Debug)]
pub(super) struct Balancing {
    balance: Balance,
    penalty: Option<ErrorPenalty>,
}

impl Default for Balancing {
    fn default() -> Self {
        Self { balance: Balance::default(), penalty: Some(ErrorPenalty::default()) }
    }
}

impl Balancing {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (setting, decay) in [
            ("peak_ewma's decay", self.latency().map(|average| average.decay)),
            ("error_penalty's decay", self.penalty.map(|penalty| penalty.decay)),
        ] {
            if decay.is_some_and(|decay| decay.is_zero()) {
                return Err(ConfigError::ZeroTime { setting });
            }
        }
        Ok(())
    }

    pub(super) fn pick(&self) -> Pick {
        match self.balance {
            Balance::PowerOfTwo | Balance::PeakEwma(_) => Pick::PowerOfTwo,
            Balance::LeastOutstanding => Pick::LeastLoaded,
            Balance::RoundRobin => Pick::RoundRobin,
        }
    }

    fn latency(&self) -> Option<PeakEwma> {
        match self.balance {
            Balance::PeakEwma(average) => Some(average),
            _ => None,
        }
    }

    /// Are endpoints weighed by what calls tell of them?
    pub(super) fn weighs(&self) -> bool {
        self.latency().is_some() || self.penalty.is_some()
    }

    /// What is to be known of each endpoint.
    pub(super) fn measures(&self, bell: &Arc<Notify>) -> Measures {
        let stirred = self.weighs().then(|| Arc::clone(bell));
        Measures { latency: self.latency(), stirred }
    }

    /// What weighs them.
    pub(super) fn weigher(&self, groups: &Arc<Groups>, bell: Arc<Notify>) -> Option<Arc<Weigher>> {
        let weigher = || Weigher::new(self.latency(), self.penalty, Arc::clone(groups), bell);
        self.weighs().then(|| Arc::new(weigher()))
    }
}

impl ChannelPoolBuilder {
    /// Which endpoint the next call goes to. Default [`Balance::PowerOfTwo`].
    ///
    /// Without effect on a pool of one address.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tonic::{Balance, ChannelPool};
    ///
    /// let pool = ChannelPool::endpoints(["http://a:50051", "http://b:50051"])
    ///     .balance(Balance::RoundRobin)
    ///     .build()?;
    /// # Ok::<(), pool_tonic::ConfigError>(())
    /// ```
    pub fn balance(mut self, balance: Balance) -> Self {
        self.balancing.balance = balance;
        self
    }

    /// What errors cost an endpoint when calls are spread; `None` for nothing. Default: [one](ErrorPenalty) that leaves an
    /// endpoint all of whose calls fail one call for eleven of the others'.
    ///
    /// Without effect on a pool of one address.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tonic::{ChannelPool, ErrorPenalty};
    ///
    /// let mut penalty = ErrorPenalty::default();
    /// penalty.factor = 100.0;
    /// let pool = ChannelPool::endpoints(["http://a:50051", "http://b:50051"])
    ///     .error_penalty(penalty)
    ///     .build()?;
    /// # Ok::<(), pool_tonic::ConfigError>(())
    /// ```
    pub fn error_penalty(mut self, penalty: impl Into<Option<ErrorPenalty>>) -> Self {
        self.balancing.penalty = penalty.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{Balance, ChannelPool, ErrorPenalty, PeakEwma};

    #[test]
    fn nothing_fades_in_no_time() {
        let ok = || ChannelPool::endpoints(["http://a", "http://b"]);
        let balance = Balance::PeakEwma(PeakEwma { decay: Duration::ZERO });
        let error = ok().balance(balance).build().unwrap_err().to_string();
        assert!(error.contains("peak_ewma's decay is zero"), "{error}");
        let penalty = ErrorPenalty { decay: Duration::ZERO, ..ErrorPenalty::default() };
        let error = ok().error_penalty(penalty).build().unwrap_err().to_string();
        assert!(error.contains("error_penalty's decay is zero"), "{error}");
        assert!(ok().error_penalty(None).build().is_ok());
    }
}
