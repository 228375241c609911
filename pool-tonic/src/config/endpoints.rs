//! Settings of how calls are spread over several endpoints.

use std::sync::Arc;

use super::ChannelPoolBuilder;
use crate::balance::{EndpointObserver, Measures, Observed, OutlierDetection};
use crate::error::ConfigError;

/// Settings of how calls are spread over several endpoints.
#[derive(Debug, Default)]
pub(super) struct Endpointing {
    outliers: Option<OutlierDetection>,
    pub(super) observer: Observed,
}

impl Endpointing {
    /// For so many addresses. One alone is compared with nobody.
    pub(super) fn build(
        &self,
        addresses: usize,
    ) -> Result<(Option<Measures>, Option<OutlierDetection>), ConfigError> {
        let outliers = self.outliers.as_ref().filter(|_| addresses > 1);
        if let Some(outliers) = &self.outliers
            && outliers.interval.is_zero()
        {
            return Err(ConfigError::ZeroTime { setting: "outlier_detection's interval" });
        }
        let measures = outliers.map(|_| Measures { outcomes: true, ..Measures::default() });
        Ok((measures, outliers.cloned()))
    }
}

impl ChannelPoolBuilder {
    /// Takes calls away from endpoints that answer worse than the others, for a while
    /// ([gRFC A50](https://github.com/grpc/proposal/blob/master/A50-xds-outlier-detection.md)). Default: none is
    /// taken out for what it answers.
    ///
    /// Without effect on a pool of one address.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tonic::{ChannelPool, OutlierDetection};
    /// use std::time::Duration;
    ///
    /// let mut outliers = OutlierDetection::default();
    /// outliers.interval = Duration::from_secs(5);
    /// outliers.max_ejection_percent = 30;
    /// let pool = ChannelPool::endpoints(["http://a:50051", "http://b:50051", "http://c:50051"])
    ///     .outlier_detection(outliers)
    ///     .build()?;
    /// # Ok::<(), pool_tonic::ConfigError>(())
    /// ```
    pub fn outlier_detection(mut self, outliers: OutlierDetection) -> Self {
        self.endpointing.outliers = Some(outliers);
        self
    }

    /// Is told what becomes of endpoints.
    pub fn endpoint_observer(mut self, observer: Arc<dyn EndpointObserver>) -> Self {
        self.endpointing.observer = Observed(Some(observer));
        self
    }
}
