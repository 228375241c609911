//! Settings of how calls are spread over several endpoints.

use std::collections::HashSet;
use std::num::NonZero;
use std::sync::Arc;

use super::{ChannelPoolBuilder, FAR};
use crate::address::Address;
use crate::address_book::AddressBook;
use crate::balance::{
    Change, EndpointObserver, Groups, Nearness, Observed, OutlierDetection, Site, Spread,
};
use crate::error::ConfigError;
use crate::manager::Choice;

/// Settings of how calls are spread over several endpoints.
#[derive(Debug)]
pub(super) struct Endpointing {
    outliers: Option<OutlierDetection>,
    pub(super) observer: Observed,
    max_endpoints: usize,
    subset: Subset,
    /// Connections to each, at least.
    each: usize,
}

impl Default for Endpointing {
    fn default() -> Self {
        Self {
            outliers: None,
            observer: Observed::default(),
            max_endpoints: 100,
            subset: Subset::Random,
            each: 1,
        }
    }
}

/// Which endpoints are used where there are more than
/// [`max_endpoints`](ChannelPoolBuilder::max_endpoints).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subset {
    /// Others for each pool.
    #[default]
    Random,
    /// The same ones for the same number, also after a restart.
    Seeded(u64),
}

impl Endpointing {
    /// For at most so many addresses. One alone is compared with nobody.
    pub(super) fn build(&self, addresses: usize) -> Result<Option<OutlierDetection>, ConfigError> {
        if self.max_endpoints == 0 {
            return Err(ConfigError::Zero { setting: "max_endpoints" });
        }
        if self.each == 0 {
            return Err(ConfigError::Zero { setting: "connections_per_endpoint" });
        }
        if let Some(outliers) = &self.outliers
            && outliers.interval.is_zero()
        {
            return Err(ConfigError::ZeroTime { setting: "outlier_detection's interval" });
        }
        let bounded = |outliers: OutlierDetection| OutlierDetection {
            interval: outliers.interval.min(FAR),
            base_ejection_time: outliers.base_ejection_time.min(FAR),
            max_ejection_time: outliers.max_ejection_time.min(FAR),
            ..outliers
        };
        Ok(self.outliers.clone().filter(|_| addresses > 1).map(bounded))
    }

    /// Lists in the book those of the addresses that are used: all, if there are not too many. Else there is what
    /// chooses among them.
    pub(super) fn choose(
        &self,
        book: &Arc<AddressBook>,
        mut addresses: Vec<Address>,
        weighs: bool,
    ) -> Choice {
        let mut seen = HashSet::new();
        addresses.retain(|address| seen.insert(address.clone()));
        let addresses = addresses.into_iter().map(Arc::new);
        let (given, weight) = (addresses.len(), NonZero::<u32>::MIN);
        if given == 1 && self.each == 1 {
            book.relist(addresses, &[]);
            return Choice::default();
        }
        let groups = self.groups(weighs);
        // In the order in which they were given, as they are shown.
        if given <= self.max_endpoints {
            let keys = book.relist(addresses, &[]);
            groups.note(keys.into_iter().map(|key| Change::Use(key, weight)).collect());
            return Choice { groups: Some(groups), ..Choice::default() };
        }
        let spread = self.spread(book);
        let site = |address| Site { address, weight, nearness: Nearness::Elsewhere };
        spread.set(addresses.map(site).collect(), |changes| groups.note(changes));
        Choice { spread: Some(spread), groups: Some(groups), ..Choice::default() }
    }

    /// The groups of the pools below, of endpoints that are weighed or not.
    pub(super) fn groups(&self, weighs: bool) -> Arc<Groups> {
        Arc::new(Groups::new(self.each, weighs))
    }

    /// What chooses among the addresses that a resolver will give.
    pub(super) fn spread(&self, book: &Arc<AddressBook>) -> Arc<Spread> {
        Arc::new(Spread::new(Arc::clone(book), self.max_endpoints, self.seed()))
    }

    fn seed(&self) -> u64 {
        match self.subset {
            Subset::Random => fastrand::u64(..),
            Subset::Seeded(seed) => seed,
        }
    }
}

impl ChannelPoolBuilder {
    /// Uses no more than this many endpoints at a time. Default 100.
    ///
    /// Where there are more, a [`subset`](Self::subset) of them is used: each of many clients another one, so that
    /// every server has its share of them (gRFC A68). While all endpoints of the subset fail, others are used beside
    /// them, at most eight times as many.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tonic::ChannelPool;
    ///
    /// let servers = (0..1000).map(|n| format!("http://server-{n}:50051"));
    /// let pool = ChannelPool::endpoints(servers).max_endpoints(20).build()?;
    /// assert_eq!(pool.addresses().len(), 20);
    /// # Ok::<(), pool_tonic::ConfigError>(())
    /// ```
    pub fn max_endpoints(mut self, endpoints: usize) -> Self {
        self.endpointing.max_endpoints = endpoints;
        self
    }

    /// How many connections each endpoint has at least, once the pool is in use. Default 1.
    ///
    /// They are made before calls need them, and kept without calls; together they may be more than
    /// [`max_connections`](Self::max_connections), which bounds what is made for load. Several connections to one
    /// endpoint are for a virtual address that stands for many servers, such as the `ClusterIP` of a Kubernetes service:
    /// each connection is led to one of them. With a [`max_connection_age`](Self::max_connection_age) they are led
    /// anew from time to time, so that servers that come have their share within one age.
    ///
    /// A pool of one fixed endpoint connects by its calls, unless this is more than 1.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tonic::ChannelPool;
    /// use std::time::Duration;
    ///
    /// let pool = ChannelPool::builder("http://orders.prod.svc.cluster.local:50051")
    ///     .connections_per_endpoint(4)
    ///     .max_connection_age(Duration::from_secs(5 * 60))
    ///     .build()?;
    /// # Ok::<(), pool_tonic::ConfigError>(())
    /// ```
    pub fn connections_per_endpoint(mut self, connections: usize) -> Self {
        self.endpointing.each = connections;
        self
    }

    /// Which endpoints are used where there are more than [`max_endpoints`](Self::max_endpoints). Default: others for
    /// each pool.
    pub fn subset(mut self, subset: Subset) -> Self {
        self.endpointing.subset = subset;
        self
    }

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
        self.endpointing.observer.observer = Some(observer);
        self
    }
}
