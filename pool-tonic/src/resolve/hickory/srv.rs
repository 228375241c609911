//! Services (RFC 2782).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::task::JoinSet;

use super::lookup::{self, Answer, Client, Families, Found, shorter};
use crate::resolve::{Endpoint, Endpoints, Resolve, ResolveError, ResolveTarget};

/// Hosts whose addresses are asked for at a time, where they do not come along with the services.
const HOSTS_AT_A_TIME: usize = 16;

/// The services that DNS has under a name, with their ports and weights. From [`Dns::srv`](super::Dns::srv).
///
/// Those of the lowest priority are used; others only while DNS has no address for any of those. The addresses of their
/// hosts are taken from the same answer, or asked for. TTLs are followed as by
/// [`HickoryDns`](super::HickoryDns).
#[derive(Debug)]
pub struct DnsSrv {
    name: String,
    client: Client,
    /// Of each host that was there.
    families: HashMap<Name, Families>,
}

impl DnsSrv {
    pub(super) fn new(name: String, client: Client) -> Self {
        Self { name, client, families: HashMap::new() }
    }

    async fn services(&mut self, resolver: &TokioResolver) -> Result<Endpoints, ResolveError> {
        let name = &self.name;
        let lookup = match Answer::of(resolver.lookup(name.as_str(), RecordType::SRV).await) {
            Answer::Records(lookup) => lookup,
            Answer::Empty => return Ok(Endpoints::default()),
            Answer::NxDomain => {
                return Err(ResolveError::new(format!("{name} does not exist (NXDOMAIN)")));
            }
            Answer::Failed(error) => return Err(error),
        };
        let mut ttl = lookup::ttl(&lookup);
        let mut hosts = along(&lookup);
        let mut families = HashMap::new();
        let mut endpoints = Vec::new();
        for (_, services) in by_priority(&lookup) {
            let asked = services.iter().map(|service| &service.target);
            let asked: Vec<_> = asked.filter(|host| !hosts.contains_key(*host)).cloned().collect();
            for (host, found, kinds) in ask(resolver, asked, &self.families).await? {
                families.insert(host.clone(), kinds);
                hosts.insert(host, found);
            }
            for service in services {
                let Some(found) = hosts.get(&service.target) else { continue };
                ttl = shorter(ttl, found.ttl);
                endpoints.extend(found.ips.iter().map(|ip| {
                    Endpoint::from(*ip).port(service.port).weight(service.weight.into())
                }));
            }
            if !endpoints.is_empty() {
                break;
            }
        }
        self.families = families;
        let endpoints: Endpoints = endpoints.into_iter().collect();
        Ok(match ttl {
            Some(ttl) => endpoints.ttl(ttl),
            None => endpoints,
        })
    }
}

impl Resolve for DnsSrv {
    async fn resolve(&mut self, _: &ResolveTarget) -> Result<Endpoints, ResolveError> {
        let resolver = self.client.take()?;
        let endpoints = self.services(&resolver).await?;
        self.client.keep(resolver);
        Ok(endpoints)
    }
}

/// The services, lowest priority first. One whose host is the root is none.
fn by_priority(lookup: &Lookup) -> BTreeMap<u16, Vec<&SRV>> {
    let mut groups = BTreeMap::<u16, Vec<&SRV>>::new();
    for record in lookup.answers() {
        if let RData::SRV(service) = &record.data
            && !service.target.is_root()
        {
            groups.entry(service.priority).or_default().push(service);
        }
    }
    groups
}

/// The addresses that came along.
fn along(lookup: &Lookup) -> HashMap<Name, Found> {
    let mut hosts = HashMap::<Name, Found>::new();
    for record in lookup.additionals() {
        let Some(ip): Option<IpAddr> = record.data.ip_addr() else { continue };
        let found = hosts.entry(record.name.clone()).or_default();
        found.ips.push(ip);
        found.ttl = shorter(found.ttl, Some(Duration::from_secs(record.ttl.into())));
    }
    hosts
}

/// The addresses of these hosts. One that does not exist has none.
async fn ask(
    resolver: &TokioResolver,
    hosts: Vec<Name>,
    families: &HashMap<Name, Families>,
) -> Result<Vec<(Name, Found, Families)>, ResolveError> {
    let mut left = hosts.into_iter();
    let mut asked = JoinSet::new();
    let mut answers = Vec::new();
    loop {
        while asked.len() < HOSTS_AT_A_TIME
            && let Some(host) = left.next()
        {
            let resolver = resolver.clone();
            let mut families = families.get(&host).copied().unwrap_or_default();
            asked.spawn(async move {
                let found = lookup::host(&resolver, &host.to_string(), &mut families).await?;
                Ok((host, found.unwrap_or_default(), families))
            });
        }
        match asked.join_next().await {
            None => return Ok(answers),
            Some(answer) => answers.push(answer.unwrap_or_else(|error| {
                Err(ResolveError::new("DNS was not asked").with_source(error))
            })?),
        }
    }
}
