//! What happens in a cluster, in short words.

// Each test binary uses its part of it.
#![allow(dead_code, unreachable_pub)]

use http::Request;
use kube::{Client, Config};
use pool_tonic::resolve::{Endpoints, Kubernetes, Resolve as _, ResolveError, ResolveTarget};
use pool_tonic_testing::kubernetes::{Api, ApiServer};
use serde_json::{Value, json};
use tower::service_fn;

use crate::common::soon;

pub const NAMESPACE: &str = "prod";

/// The port of the pods.
pub const PORT: u16 = 50051;

/// A slice of the service `orders`.
pub fn slice(name: &str, endpoints: &[Value]) -> Value {
    slice_with(name, endpoints, &json!([{ "name": "grpc", "port": PORT, "protocol": "TCP" }]))
}

pub fn slice_with(name: &str, endpoints: &[Value], ports: &Value) -> Value {
    json!({
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": { "kubernetes.io/service-name": "orders" },
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    })
}

pub fn ready(host: &str) -> Value {
    json!({ "addresses": [host], "conditions": { "ready": true, "serving": true, "terminating": false } })
}

pub fn unready(host: &str) -> Value {
    json!({ "addresses": [host], "conditions": { "ready": false, "serving": false, "terminating": false } })
}

pub fn terminating(host: &str) -> Value {
    json!({ "addresses": [host], "conditions": { "ready": false, "serving": true, "terminating": true } })
}

/// A client of the server on loopback.
pub fn client(server: &ApiServer) -> Client {
    // Only its first call for the process has an effect.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let mut config = Config::new(server.uri().parse().expect("it is a URI"));
    NAMESPACE.clone_into(&mut config.default_namespace);
    Client::try_from(config).expect("nothing is missing in the configuration")
}

/// A client that needs no socket.
pub fn in_memory(api: &Api) -> Client {
    let api = api.clone();
    let answer = service_fn(move |request: Request<kube::client::Body>| {
        let api = api.clone();
        async move { Ok::<_, std::io::Error>(api.answer(request).await) }
    });
    Client::new(answer, NAMESPACE)
}

/// Asks a resolver, as a pool to `http://orders` does.
pub struct Asker(Kubernetes);

impl Asker {
    pub fn new(client: Client) -> Self {
        Self(Kubernetes::service("orders").client(client))
    }

    /// One that has been told of a pod, 10.0.0.1, which is in the slice `orders-1`.
    pub async fn of_one_pod(api: &Api, client: Client) -> Self {
        api.apply(slice("orders-1", &[ready("10.0.0.1")]));
        let mut asker = Self::new(client);
        assert_eq!(asker.set().await, at_port(&["10.0.0.1"]));
        asker
    }

    pub fn with(self, set: impl FnOnce(Kubernetes) -> Kubernetes) -> Self {
        Self(set(self.0))
    }

    pub async fn ask(&mut self) -> Result<Endpoints, ResolveError> {
        self.0.resolve(&ResolveTarget::new("orders", 80, false)).await
    }

    /// The next set.
    pub async fn set(&mut self) -> Vec<String> {
        let set = soon(self.ask()).await.expect("nothing fails");
        set.iter().map(ToString::to_string).collect()
    }

    pub async fn error(&mut self) -> ResolveError {
        soon(self.ask()).await.expect_err("it is refused")
    }
}

/// As `set` shows them.
pub fn at_port(hosts: &[&str]) -> Vec<String> {
    hosts.iter().map(|host| format!("{host}:{PORT}")).collect()
}
