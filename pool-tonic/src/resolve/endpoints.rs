//! What a resolver answers.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use super::ResolveError;

/// One server, as a resolver gives it.
///
/// # Examples
///
/// ```
/// use pool_tonic::resolve::Endpoint;
///
/// let pod = Endpoint::new("10.0.0.1").port(50051).zone("eu-1a");
/// assert_eq!(pod.to_string(), "10.0.0.1:50051");
/// let pod: Endpoint = "[fd00::1]:50051".parse()?;
/// assert_eq!((&*pod.host, pod.port), ("fd00::1", Some(50051)));
/// # Ok::<(), pool_tonic::resolve::ResolveError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Endpoint {
    /// An IP address without brackets, or a name that is resolved by the system when it is connected to.
    pub host: String,
    /// `None` for the port of the pool's URI.
    pub port: Option<u16>,
    /// How many calls it is to get, compared with the others. Default 1.
    pub weight: u32,
    /// The zone that it is in.
    pub zone: Option<String>,
    /// The region that its zone is in.
    pub region: Option<String>,
}

impl Endpoint {
    /// On this host, with the port of the pool's URI. Brackets around an IPv6 address are taken off.
    pub fn new(host: impl Into<String>) -> Self {
        let mut host = host.into();
        if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            host = inner.to_owned();
        }
        Self { host, port: None, weight: 1, zone: None, region: None }
    }

    /// With this port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// With this weight: one with twice as much gets about twice the calls. 0 counts as 1, and what is above 4,194,303 as
    /// that.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// In this zone.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// In this region.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }
}

impl From<IpAddr> for Endpoint {
    fn from(ip: IpAddr) -> Self {
        Self::new(ip.to_string())
    }
}

/// The flow and the scope of an IPv6 address are not kept.
impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        Self::from(addr.ip()).port(addr.port())
    }
}

/// `HOST` or `HOST:PORT`, an IPv6 address with a port in brackets.
impl FromStr for Endpoint {
    type Err = ResolveError;

    fn from_str(text: &str) -> Result<Self, ResolveError> {
        let bad = |why| ResolveError::new(format!("{text:?} is no endpoint: {why}"));
        if text.parse::<Ipv6Addr>().is_ok() {
            return Ok(Self::new(text));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let endpoint = Self::new(host);
        if endpoint.host.is_empty() {
            return Err(bad("it names no host"));
        }
        match port {
            None => Ok(endpoint),
            Some(port) => match port.parse() {
                Ok(port) => Ok(endpoint.port(port)),
                Err(_) => Err(bad("its port is not a number from 0 to 65535")),
            },
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host(f, &self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// As in a URI: IPv6 addresses in brackets.
pub(super) fn write_host(f: &mut fmt::Formatter<'_>, host: &str) -> fmt::Result {
    if host.contains(':') { write!(f, "[{host}]") } else { f.write_str(host) }
}

/// A whole set of endpoints, made from an iterator of them.
///
/// # Examples
///
/// ```
/// use pool_tonic::resolve::{Endpoint, Endpoints};
/// use std::net::Ipv4Addr;
/// use std::time::Duration;
///
/// let pods: Endpoints = [Endpoint::new("10.0.0.1"), Endpoint::new("10.0.0.2")].into_iter().collect();
/// let pods = pods.ttl(Duration::from_secs(5));
/// assert_eq!(pods.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    list: Vec<Endpoint>,
    ttl: Option<Duration>,
}

impl Endpoints {
    /// Valid for this long. If that is less than the interval at which the resolver is asked, it is asked
    /// again by then.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// For how long it is valid, if that was said.
    pub fn valid_for(&self) -> Option<Duration> {
        self.ttl
    }

    /// How many there are, those given twice counted twice.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Endpoint> {
        self.list.iter()
    }
}

impl<E: Into<Endpoint>> FromIterator<E> for Endpoints {
    fn from_iter<I: IntoIterator<Item = E>>(endpoints: I) -> Self {
        Self { list: endpoints.into_iter().map(Into::into).collect(), ttl: None }
    }
}

impl IntoIterator for Endpoints {
    type Item = Endpoint;
    type IntoIter = std::vec::IntoIter<Endpoint>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a> IntoIterator for &'a Endpoints {
    type Item = &'a Endpoint;
    type IntoIter = std::slice::Iter<'a, Endpoint>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_they_are_written() {
        for (text, host, port) in [
            ("orders", "orders", None),
            ("orders:7", "orders", Some(7)),
            ("10.0.0.1:50051", "10.0.0.1", Some(50051)),
            ("[fd00::1]:7", "fd00::1", Some(7)),
            ("[fd00::1]", "fd00::1", None),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((&*endpoint.host, endpoint.port), (host, port), "{text}");
            assert_eq!(endpoint.to_string(), text);
        }
        assert_eq!("fd00::1".parse::<Endpoint>().unwrap().host, "fd00::1");
        for text in ["", ":7", "orders:", "orders:99999", "orders:x"] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains("is no endpoint"), "{text}: {error}");
        }
    }

    #[test]
    fn an_address_of_either_family_is_an_endpoint() {
        let of = |text: &str| Endpoint::from(text.parse::<SocketAddr>().unwrap()).to_string();
        assert_eq!(of("10.0.0.1:7"), "10.0.0.1:7");
        assert_eq!(of("[::1]:7"), "[::1]:7");
    }
}
