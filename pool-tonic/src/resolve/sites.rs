//! From endpoints to what the choice is made of: their addresses checked, those given twice left out. Pure.

use std::collections::HashSet;
use std::num::NonZero;
use std::sync::Arc;

use super::{Endpoint, Endpoints, ResolveError, ResolveTarget};
use crate::address::Address;
use crate::balance::{Nearness, Site};

/// Where this client is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locality {
    pub(crate) zone: Option<String>,
    pub(crate) region: Option<String>,
}

impl Locality {
    fn nearness(&self, endpoint: &Endpoint) -> Nearness {
        if self.zone.is_some() && self.zone == endpoint.zone {
            Nearness::Zone
        } else if self.region.is_some() && self.region == endpoint.region {
            Nearness::Region
        } else {
            Nearness::Elsewhere
        }
    }
}

/// `origin` is the target's own address.
pub(super) fn sites(
    endpoints: &Endpoints,
    target: &ResolveTarget,
    origin: &Address,
    locality: &Locality,
) -> Result<Vec<Site>, ResolveError> {
    let mut seen = HashSet::with_capacity(endpoints.len());
    let mut sites = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let port = endpoint.port.unwrap_or(target.port());
        let Some(address) = origin.endpoint(&endpoint.host, port) else {
            return Err(ResolveError::new(format!("{:?} is no host", endpoint.host)));
        };
        let address = Arc::new(address);
        if seen.insert(Arc::clone(&address)) {
            let weight = NonZero::new(endpoint.weight).unwrap_or(NonZero::<u32>::MIN);
            sites.push(Site { address, weight, nearness: locality.nearness(endpoint) });
        }
    }
    Ok(sites)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(endpoints: impl IntoIterator<Item = Endpoint>) -> Result<Vec<Site>, ResolveError> {
        let origin = Address::parse("http://orders.prod:50051").unwrap();
        let target = ResolveTarget::new("orders.prod", 50051, false);
        let locality = Locality { zone: Some("a".to_owned()), region: Some("eu".to_owned()) };
        sites(&endpoints.into_iter().collect(), &target, &origin, &locality)
    }

    #[test]
    fn those_given_twice_are_one_however_they_are_written() {
        let twice = ["10.0.0.1", "10.0.0.1:50051", "FD00::1", "[fd00:0::1]:50051", "10.0.0.1:7"];
        let sites = of(twice.map(|text| text.parse().unwrap())).unwrap();
        let names: Vec<_> = sites.iter().map(|site| site.address.name()).collect();
        assert_eq!(names, ["10.0.0.1:50051", "[fd00::1]:50051", "10.0.0.1:7"]);
        assert_eq!(sites[1].address.uri(None).to_string(), "http://orders.prod:50051/");
    }

    #[test]
    fn nearness_is_by_zone_and_then_by_region() {
        let at = |zone: &str, region: &str| {
            let sites = of([Endpoint::new("h").zone(zone).region(region)]).unwrap();
            sites[0].nearness
        };
        assert_eq!(at("a", "eu"), Nearness::Zone);
        assert_eq!(at("b", "eu"), Nearness::Region);
        assert_eq!(at("b", "us"), Nearness::Elsewhere);
        assert_eq!(of([Endpoint::new("h")]).unwrap()[0].nearness, Nearness::Elsewhere);
    }

    #[test]
    fn a_weight_of_0_is_1() {
        let weight = |weight| of([Endpoint::new("h").weight(weight)]).unwrap()[0].weight.get();
        assert_eq!((weight(0), weight(7)), (1, 7));
    }

    #[test]
    fn what_is_no_host_makes_the_set_an_error() {
        for host in ["", "a b", "a/b", "me@a", "a:1", "fe80::1%eth0"] {
            let error = of([Endpoint::new("ok"), Endpoint::new(host)]).unwrap_err();
            assert!(error.to_string().contains("is no host"), "{host}: {error}");
        }
    }
}
