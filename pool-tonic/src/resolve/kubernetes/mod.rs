//! Endpoints from Kubernetes: feature `kubernetes`.
//!
//! # Implementation details
//!
//! [`Watch`] keeps a copy of the service's `EndpointSlice`s up to date: it lists them and then watches for changes, from
//! the version of the list on. Each time the copy may have changed, [`Slices::endpoints`] makes one set of it, and
//! [`Kubernetes`] tells the pool if it is another one than before.
//!
//! The watcher of the `kube-runtime` crate is not used: it goes on to watch from the same version for ever where the
//! server answers a watch with the status 410 instead of with an event.
//!
//! # Invariants
//!
//! - A set is made of a whole copy: of a list that was read to its end, and all changes since up to one moment.
//! - While there is no new list the old copy stays, whatever is refused.
//! - Each failure is told once, and what was known before it is told again behind it, so that the pool knows it is over.
//! - Everything that is asked again waits for its back-off, whoever asks.

mod error;
mod pace;
mod port;
mod slices;
mod watch;

use std::fmt;

use kube::Client;

use self::slices::Choice;
use self::watch::Watch;
use super::{Endpoints, Resolve, ResolveError, ResolveMode, ResolveTarget};
use crate::transport::tls;

pub use self::port::PodPort;

/// The environment variable that says which zone the program runs in.
const ZONE: &str = "POD_ZONE";

/// The ready pods of a service of Kubernetes, as its `EndpointSlice`s tell of them, within moments of each change.
///
/// Used are endpoints that are ready and do not terminate: a pod that is to end gets no more calls before it stops
/// to listen. The set comes with the pods' own ports and with their zones. A pod of a dual-stack service is one endpoint,
/// of IPv4 unless [`prefer_ipv6`](Self::prefer_ipv6) is said. It works for every kind of service that selects pods,
/// headless or not.
///
/// While the API server cannot be reached the pool keeps the set that it has. Where the history that is
/// asked for is gone (410), the slices are listed again, and what has changed meanwhile is one change.
///
/// # What it needs
///
/// A service account that may `list` and `watch` the resource `endpointslices` of the API group
/// `discovery.k8s.io` in the service's namespace: a `Role` and a `RoleBinding`. `examples/kubernetes` has them, as
/// part of whole manifests.
///
/// Rust 1.89, which is the `kube` crate's; and in the program's `Cargo.toml` a version of Kubernetes for the `k8s-openapi`
/// crate, which `kube` builds upon and which a library must not choose (without it, that crate's build script says so):
///
/// ```toml
/// pool-tonic = { version = "0.1", features = ["kubernetes", "tls-ring"] }
/// k8s-openapi = { version = "0.29", features = ["latest"] }
/// ```
///
/// The cryptography that it speaks to the API server with is the process's default
/// ([`CryptoProvider::install_default`](tokio_rustls::rustls::crypto::CryptoProvider::install_default)). If there is none,
/// that of the feature `tls-aws-lc` or `tls-ring` becomes it.
///
/// # Examples
///
/// ```
/// use pool_tonic::ChannelPool;
/// use pool_tonic::resolve::Kubernetes;
///
/// let pods = Kubernetes::service("orders").namespace("prod").port("grpc");
/// let pool = ChannelPool::builder("http://orders.prod").resolver(pods).build()?;
/// # Ok::<(), pool_tonic::ConfigError>(())
/// ```
#[must_use = "it is asked by the pool that it is given to"]
pub struct Kubernetes {
    service: String,
    namespace: Option<String>,
    port: Option<PodPort>,
    zone: Option<String>,
    prefer_ipv6: bool,
    client: Option<Client>,
    /// From the first question on.
    watch: Option<Watch>,
    /// What was answered last, unless that was an error.
    told: Option<Endpoints>,
}

impl Kubernetes {
    /// The pods of this service, by the name of the `Service`.
    pub fn service(name: impl Into<String>) -> Self {
        Self {
            service: name.into(),
            namespace: None,
            port: None,
            zone: None,
            prefer_ipv6: false,
            client: None,
            watch: None,
            told: None,
        }
    }

    /// In this namespace. Default: the client's, which for a program in a pod is the pod's own.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// On the port of this name in the `Service`, or on this port of the pods.
    ///
    /// Default: the only one, or of several the one whose number is that of the pool's URI. A name may stand for another
    /// number in each pod. Ports of UDP and SCTP do not count.
    pub fn port(mut self, port: impl Into<PodPort>) -> Self {
        self.port = Some(port.into());
        self
    }

    /// The zone that this program runs in. Default: what the environment variable `POD_ZONE` says.
    ///
    /// With it, the hints of topology-aware routing are followed (`trafficDistribution: PreferSameZone` and the older
    /// ways to ask for it): only the endpoints are used that are meant for this zone. As in kube-proxy, all are used if one
    /// of them is without a hint, or none is meant for the zone.
    ///
    /// That is Kubernetes's choice, which knows how many pods each zone has. The pool's own
    /// [`zone`](crate::ChannelPoolBuilder::zone) keeps to the zone whatever is there.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Of a pod that has an address of each family, the one of IPv6 is used.
    pub fn prefer_ipv6(mut self) -> Self {
        self.prefer_ipv6 = true;
        self
    }

    /// With this client. Default: one by the kubeconfig, or where there is none by the pod's service account, made when
    /// the pool is first used.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tonic::resolve::Kubernetes;
    ///
    /// async fn as_deployer() -> Result<Kubernetes, kube::Error> {
    ///     let mut config = kube::Config::infer().await.map_err(kube::Error::InferConfig)?;
    ///     config.auth_info.impersonate = Some("system:serviceaccount:prod:deployer".to_owned());
    ///     Ok(Kubernetes::service("orders").client(kube::Client::try_from(config)?))
    /// }
    /// ```
    pub fn client(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
    }

    async fn begin(&mut self) -> Result<Watch, ResolveError> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => own_client(&self.service).await?,
        };
        if self.zone.is_none() {
            self.zone = std::env::var(ZONE).ok().filter(|zone| !zone.is_empty());
        }
        let namespace = self.namespace.as_deref().unwrap_or(client.default_namespace()).to_owned();
        Ok(Watch::new(client, &self.service, &namespace))
    }

    /// One step: a set, or `None` if it is the one that was told before.
    async fn step(&mut self, target: &ResolveTarget) -> Result<Option<Endpoints>, ResolveError> {
        if self.watch.is_none() {
            self.watch = Some(self.begin().await?);
        }
        let watch = self.watch.as_mut().expect("bug: it has just been begun");
        watch.next().await?;
        let choice = Choice {
            port: self.port.as_ref(),
            default_port: target.port(),
            zone: self.zone.as_deref(),
            prefer_ipv6: self.prefer_ipv6,
        };
        let set = watch.slices().endpoints(&choice).map_err(|no| no.error(&self.service))?;
        if self.told.as_ref() == Some(&set) {
            return Ok(None);
        }
        self.told = Some(set.clone());
        Ok(Some(set))
    }
}

impl Resolve for Kubernetes {
    fn mode(&self) -> ResolveMode {
        ResolveMode::Push
    }

    async fn resolve(&mut self, target: &ResolveTarget) -> Result<Endpoints, ResolveError> {
        loop {
            match self.step(target).await {
                Ok(Some(set)) => return Ok(set),
                Ok(None) => {}
                Err(error) => {
                    self.told = None;
                    return Err(error);
                }
            }
        }
    }
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubernetes")
            .field("service", &self.service)
            .field("namespace", &self.namespace)
            .field("port", &self.port)
            .field("zone", &self.zone)
            .field("told", &self.told)
            .finish_non_exhaustive()
    }
}

async fn own_client(service: &str) -> Result<Client, ResolveError> {
    let what = || format!("no client of Kubernetes to find the endpoints of {service} with");
    // Without a default, or features that leave but one choice, rustls would panic.
    tls::ensure_default_provider()
        .map_err(|error| ResolveError::new(what()).with_source(error).permanent())?;
    Client::try_default().await.map_err(|error| ResolveError::new(what()).with_source(error))
}
