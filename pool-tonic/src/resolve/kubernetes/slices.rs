//! `EndpointSlice`s, and the set of endpoints that they make. Pure.
//!
//! Only what is used of them is read, so neither the generated types nor their version matter. What may be absent may
//! also be null.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Deserialize;

use super::PodPort;
use crate::resolve::{Endpoint, Endpoints, ResolveError};

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Slice {
    pub(super) metadata: Metadata,
    /// `IPv4`, `IPv6` or `FQDN`.
    #[serde(default)]
    address_type: String,
    endpoints: Option<Vec<SliceEndpoint>>,
    ports: Option<Vec<SlicePort>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: String,
    #[serde(default)]
    pub(super) resource_version: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SliceEndpoint {
    /// No meaning is defined for those behind the first.
    addresses: Vec<String>,
    conditions: Option<Conditions>,
    target_ref: Option<TargetRef>,
    zone: Option<String>,
    hints: Option<Hints>,
}

#[derive(Clone, Debug, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    terminating: Option<bool>,
}

/// The pod, for the most part. Two endpoints with the same one are the same.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash)]
struct TargetRef {
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hints {
    for_zones: Option<Vec<ForZone>>,
}

#[derive(Clone, Debug, Deserialize)]
struct ForZone {
    name: String,
}

#[derive(Clone, Debug, Deserialize)]
struct SlicePort {
    name: Option<String>,
    /// None means all.
    port: Option<u16>,
    protocol: Option<String>,
}

impl SliceEndpoint {
    /// An endpoint that serves and terminates is ready for those alone that have no other. It drains, and the pool keeps
    /// a set that it has if there is nothing in the next.
    fn is_usable(&self) -> bool {
        let conditions = self.conditions.as_ref();
        conditions.is_none_or(|conditions| {
            conditions.ready != Some(false) && conditions.terminating != Some(true)
        })
    }

    fn zones_hinted(&self) -> &[ForZone] {
        self.hints.as_ref().and_then(|hints| hints.for_zones.as_deref()).unwrap_or_default()
    }

    fn is_for(&self, zone: &str) -> bool {
        self.zones_hinted().iter().any(|hint| hint.name == zone)
    }
}

impl SlicePort {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}

/// What is to be made of the slices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    pub(super) port: Option<&'a PodPort>,
    /// Of the pool's URI.
    pub(super) default_port: u16,
    /// The zone of this program.
    pub(super) zone: Option<&'a str>,
    pub(super) prefer_ipv6: bool,
}

impl Choice<'_> {
    fn port_of(&self, slice: &Slice) -> Option<u16> {
        let Some(ports) = slice.ports.as_deref().filter(|ports| !ports.is_empty()) else {
            // Without a list every port is as good as another; a name is not to be found.
            return match self.port {
                None => Some(self.default_port),
                Some(PodPort::Number(number)) => Some(*number),
                Some(PodPort::Name(_)) => None,
            };
        };
        let mut tcp = ports
            .iter()
            .filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
        let has_number = |port: &SlicePort, number| port.port.is_none_or(|listed| listed == number);
        match self.port {
            Some(PodPort::Name(name)) => tcp
                .find(|port| port.name() == name)
                .map(|port| port.port.unwrap_or(self.default_port)),
            Some(PodPort::Number(number)) => {
                tcp.any(|port| has_number(port, *number)).then_some(*number)
            }
            None => {
                if tcp.clone().any(|port| has_number(port, self.default_port)) {
                    return Some(self.default_port);
                }
                let only = tcp.next()?;
                tcp.next().is_none().then_some(only.port).flatten()
            }
        }
    }
}

/// No slice with endpoints has the port.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoPort {
    wanted: Option<PodPort>,
    /// Those that there are.
    listed: BTreeSet<String>,
}

impl NoPort {
    pub(super) fn error(&self, service: &str) -> ResolveError {
        let listed = self.listed.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let what = match &self.wanted {
            Some(PodPort::Name(name)) => format!("{service} has no port that is called {name:?}"),
            Some(PodPort::Number(number)) => format!("the pods of {service} have no port {number}"),
            None => format!("{service} has several ports: say which, with Kubernetes::port"),
        };
        ResolveError::new(format!("{what}; it has {listed}")).permanent()
    }
}

/// The slices of one service, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Slices(BTreeMap<String, Slice>);

impl Slices {
    /// A new slice, or an old one anew.
    pub(super) fn apply(&mut self, slice: Slice) {
        self.0.insert(slice.metadata.name.clone(), slice);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The set, in an order that depends on nothing but its members.
    pub(super) fn endpoints(&self, choice: &Choice<'_>) -> Result<Endpoints, NoPort> {
        let mut found = Vec::new();
        let mut listed = BTreeSet::new();
        for slice in self.0.values() {
            let endpoints = slice.endpoints.iter().flatten();
            let usable = endpoints.filter(|one| one.is_usable() && !one.addresses.is_empty());
            match choice.port_of(slice) {
                Some(port) => found.extend(usable.map(|one| (slice, one, port))),
                None if usable.count() > 0 => listed.extend(slice.ports.iter().flatten().map(name)),
                None => {}
            }
        }
        if found.is_empty() && !listed.is_empty() {
            return Err(NoPort { wanted: choice.port.cloned(), listed });
        }

        let preferred = if choice.prefer_ipv6 { "IPv6" } else { "IPv4" };
        let reached: HashSet<_> = found
            .iter()
            .filter(|(slice, ..)| slice.address_type == preferred)
            .filter_map(|(_, one, _)| one.target_ref.as_ref())
            .collect();
        found.retain(|(slice, one, _)| {
            let is_twice = one.target_ref.as_ref().is_some_and(|target| reached.contains(target));
            slice.address_type == preferred || !is_twice
        });

        if let Some(zone) = choice.zone
            && found.iter().all(|(_, one, _)| !one.zones_hinted().is_empty())
            && found.iter().any(|(_, one, _)| one.is_for(zone))
        {
            found.retain(|(_, one, _)| one.is_for(zone));
        }

        let mut set = BTreeMap::new();
        for (_, one, port) in found {
            let zone = set.entry((&one.addresses[0], port)).or_insert(one.zone.as_ref());
            *zone = zone.or(one.zone.as_ref());
        }
        let endpoints = set.into_iter().map(|((host, port), zone)| {
            let endpoint = Endpoint::new(host).port(port);
            match zone {
                Some(zone) => endpoint.zone(zone),
                None => endpoint,
            }
        });
        Ok(endpoints.collect())
    }
}

impl FromIterator<Slice> for Slices {
    fn from_iter<I: IntoIterator<Item = Slice>>(slices: I) -> Self {
        Self(slices.into_iter().map(|slice| (slice.metadata.name.clone(), slice)).collect())
    }
}

/// A port, for a message.
fn name(port: &SlicePort) -> String {
    let number = port.port.map_or_else(|| "any".to_owned(), |number| number.to_string());
    match port.name() {
        "" => number,
        name => format!("{name} ({number})"),
    }
}

#[cfg(test)]
#[path = "slices_tests.rs"]
mod tests;
