//! Questions to DNS, and what their answers mean.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join;
use hickory_resolver::TokioResolver;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;

use super::DnsConfig;
use crate::resolve::ResolveError;

/// A resolver that lasts for as long as it answers.
pub(super) struct Client {
    config: DnsConfig,
    resolver: Option<TokioResolver>,
}

impl Client {
    pub(super) fn new(config: DnsConfig) -> Self {
        Self { config, resolver: None }
    }

    /// For one question. It is kept by [`keep`](Self::keep) alone: after a question that failed or was given up the
    /// next one has a new one, whose sockets are of the runtime and the network that there are then.
    pub(super) fn take(&mut self) -> Result<TokioResolver, ResolveError> {
        self.resolver.take().map_or_else(|| self.config.build(), Ok)
    }

    pub(super) fn keep(&mut self, resolver: TokioResolver) {
        self.resolver = Some(resolver);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Addresses, and for how long they are valid.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) ips: Vec<IpAddr>,
    pub(super) ttl: Option<Duration>,
}

/// Which kinds of addresses there were last: A, AAAA. One that was there has to be answered for. Of a set with both,
/// half would else be gone when one packet is lost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Families([bool; 2]);

/// The addresses of a host; none if it has none.
///
/// # Errors
///
/// It does not exist, or it is not known.
pub(super) async fn addresses(
    resolver: &TokioResolver,
    name: &str,
    families: &mut Families,
) -> Result<Found, ResolveError> {
    let found = host(resolver, name, families).await?;
    found.ok_or_else(|| ResolveError::new(format!("{name} does not exist (NXDOMAIN)")))
}

/// The same; `None` if it does not exist.
pub(super) async fn host(
    resolver: &TokioResolver,
    name: &str,
    families: &mut Families,
) -> Result<Option<Found>, ResolveError> {
    let v4 = resolver.lookup(name, RecordType::A);
    let v6 = resolver.lookup(name, RecordType::AAAA);
    let (v4, v6) = join(v4, v6).await;
    let (v4, v6) = (Answer::of(v4), Answer::of(v6));
    let (mut found, mut has, mut failures) = (Found::default(), [false; 2], Vec::new());
    let mut exists = false;
    for (index, answer) in [v4, v6].into_iter().enumerate() {
        match answer {
            Answer::Records(lookup) => {
                exists = true;
                found.ips.extend(ips(&lookup));
                found.ttl = shorter(found.ttl, ttl(&lookup));
                has[index] = lookup.answers().iter().any(|record| record.data.ip_addr().is_some());
            }
            Answer::Empty => exists = true,
            Answer::NxDomain => {}
            Answer::Failed(error) => failures.push((families.0[index], error)),
        }
    }
    let is_known = !found.ips.is_empty() && failures.iter().all(|(was_there, _)| !was_there);
    match failures.into_iter().next() {
        Some((_, error)) if !is_known => Err(error),
        _ => {
            families.0 = has;
            Ok(exists.then_some(found))
        }
    }
}

/// What an answer says.
pub(super) enum Answer {
    Records(Lookup),
    /// The name exists, without such a record.
    Empty,
    NxDomain,
    Failed(ResolveError),
}

impl Answer {
    pub(super) fn of(answer: Result<Lookup, NetError>) -> Self {
        match answer {
            Ok(lookup) if lookup.answers().is_empty() => Self::Empty,
            Ok(lookup) => Self::Records(lookup),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
                ResponseCode::NoError => Self::Empty,
                ResponseCode::NXDomain => Self::NxDomain,
                code => Self::Failed(ResolveError::new(format!("DNS answered {code}"))),
            },
            Err(error) => Self::Failed(ResolveError::new("DNS did not answer").with_source(error)),
        }
    }
}

pub(super) fn ips(lookup: &Lookup) -> impl Iterator<Item = IpAddr> {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr())
}

/// The shortest TTL of what it took to answer, aliases included.
pub(super) fn ttl(lookup: &Lookup) -> Option<Duration> {
    let ttl = lookup.answers().iter().map(|record| record.ttl).min()?;
    Some(Duration::from_secs(ttl.into()))
}

pub(super) fn shorter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    a.into_iter().chain(b).min()
}
