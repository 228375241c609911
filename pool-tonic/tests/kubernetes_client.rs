//! The client of Kubernetes that is made where none is given: from the environment, which is a process's. So each
//! test runs itself again, in one of its own.

#![cfg(feature = "kubernetes")]
#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

#[path = "kubernetes/cluster.rs"]
mod cluster;
mod common;
#[path = "common/tls.rs"]
mod tls;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Output;

use cluster::{ready, slice};
use common::soon;
use pool_tonic::resolve::{Kubernetes, Resolve as _, ResolveTarget};
use pool_tonic_testing::kubernetes::Api;
use serde_json::json;
use tempfile::NamedTempFile;
use tls::{Ca, server_config};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;

/// Set for the process that is to ask.
const ASKS: &str = "THIS_PROCESS_ASKS";

/// Asks in this process, if it is for that, and says what the answer was.
async fn asks() -> bool {
    if std::env::var_os(ASKS).is_none() {
        return false;
    }
    let target = ResolveTarget::new("orders", 80, false);
    match Kubernetes::service("orders").resolve(&target).await {
        Ok(set) => println!("set of {}: {:?}", set.len(), set.iter().next()),
        Err(error) => println!("error: {error}"),
    }
    true
}

/// What a process says that runs this test, with these variables and nothing else of its environment that matters.
async fn said(test: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env(ASKS, "1").envs(variables.iter().copied());
    for inherited in ["HOME", "KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"] {
        if variables.iter().all(|(name, _)| *name != inherited) {
            command.env_remove(inherited);
        }
    }
    let Output { status, stdout, stderr } = soon(command.output()).await.unwrap();
    let (said, complained) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{said}{complained}");
    said.into_owned()
}

/// The API over TLS.
async fn serve(api: Api, ca: &Ca) -> SocketAddr {
    let config = server_config(&ca.issue("127.0.0.1"), None, &["http/1.1"]);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (api, tls) = (api.clone(), TlsAcceptor::from(config.clone()));
            tokio::spawn(async move {
                // The client says what failed.
                if let Ok(stream) = tls.accept(stream).await {
                    api.serve(stream).await;
                }
            });
        }
    });
    addr
}

fn file(content: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

/// With both features of cryptography on, rustls alone would not know which to use, and panic.
#[tokio::test]
async fn the_api_server_is_asked_over_tls_as_the_kubeconfig_says() {
    if asks().await {
        return;
    }
    let (api, ca) = (Api::default(), Ca::new());
    api.apply(slice("orders-1", &[ready("10.0.0.1")]));
    let addr = serve(api.clone(), &ca).await;
    let root = file(&ca.pem());
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "scripted", "cluster": {
            "server": format!("https://{addr}"),
            "certificate-authority": root.path(),
        }}],
        "users": [{ "name": "shop", "user": { "token": "secret" } }],
        "contexts": [{ "name": "test", "context": {
            "cluster": "scripted", "user": "shop", "namespace": "prod",
        }}],
        "current-context": "test",
    });
    let config = file(&config.to_string());
    let path = config.path().to_str().unwrap();
    let test = "the_api_server_is_asked_over_tls_as_the_kubeconfig_says";
    let said = said(test, &[("KUBECONFIG", path)]).await;
    if cfg!(any(feature = "tls-ring", feature = "tls-aws-lc")) {
        assert!(said.contains("set of 1: ") && said.contains("10.0.0.1"), "{said}");
        assert_eq!(api.asked()[0].path, "/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices");
    } else {
        let error = "error: no client of Kubernetes to find the endpoints of orders with: ";
        assert!(said.contains(error) && said.contains("tls-ring"), "{said}");
    }
}

#[tokio::test]
async fn outside_of_a_cluster_and_without_a_kubeconfig_there_is_an_error() {
    if asks().await {
        return;
    }
    let test = "outside_of_a_cluster_and_without_a_kubeconfig_there_is_an_error";
    let said = said(test, &[("KUBECONFIG", "/nowhere/config")]).await;
    let error = "error: no client of Kubernetes to find the endpoints of orders with: ";
    assert!(said.contains(error), "{said}");
}
