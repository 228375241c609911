//! A pool whose servers are the pods of a service of Kubernetes, against a scripted API server.
//! Needs Linux, where all of 127.0.0.0/8 is loopback without being set up.

#![cfg(feature = "kubernetes")]

#[path = "kubernetes/cluster.rs"]
mod cluster;
mod common;

use std::net::SocketAddr;

use cluster::{NAMESPACE, client, ready, slice, slice_with, terminating};
use common::{call, soon};
use pool_tonic::resolve::Kubernetes;
use pool_tonic::{ChannelPool, ChannelPoolBuilder};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::kubernetes::{Api, ApiServer, Verb};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::{Code, Status};

/// The pod of this number, on an address of its own.
async fn pod(number: u8) -> EchoServer {
    let addr = SocketAddr::from(([127, 0, 0, number], 0));
    EchoServer::start_with(addr, |server| server).await.expect("all of 127.0.0.0/8 is loopback")
}

/// The pod in a slice of its own: each of them has another port of this name.
fn show(api: &Api, pod: &EchoServer, state: fn(&str) -> Value) {
    let host = pod.addr().ip().to_string();
    let ports = json!([
        { "name": "metrics", "port": 9000, "protocol": "TCP" },
        { "name": "grpc", "port": pod.addr().port(), "protocol": "TCP" },
    ]);
    api.apply(slice_with(&format!("orders-{host}"), &[state(&host)], &ports));
}

fn builder(api: &ApiServer) -> ChannelPoolBuilder {
    let pods = Kubernetes::service("orders").port("grpc").client(client(api));
    ChannelPool::builder("http://orders.prod").resolver(pods)
}

/// Calls without an end, several at a time. Whatever fails ends its caller.
fn callers(pool: &ChannelPool) -> JoinSet<Status> {
    let one = |pool: ChannelPool| async move {
        loop {
            if let Err(status) = call(&pool).await {
                return status;
            }
        }
    };
    (0..8).map(|_| one(pool.clone())).collect()
}

/// Waits until the pod gets calls, more than it has had.
async fn is_called(pod: &EchoServer) {
    let before = pod.books().now().calls;
    soon(pod.books().until(|now| now.calls >= before + 20)).await;
}

/// Waits until the pool knows so many pods.
async fn knows(pool: &ChannelPool, pods: usize) {
    common::until(|| pool.addresses().len() == pods).await;
}

#[tokio::test]
async fn calls_go_to_all_pods_and_none_fails_as_pods_come_and_go() {
    let api = ApiServer::start().await.unwrap();
    let (first, second, third) = (pod(2).await, pod(3).await, pod(4).await);
    for pod in [&first, &second, &third] {
        show(&api, pod, ready);
    }
    let pool = builder(&api).min_connections(3).max_connections(6).build().unwrap();
    let mut calls = callers(&pool);
    for pod in [&first, &second, &third] {
        is_called(pod).await;
    }

    // As a rollout does it: a new one is ready, an old one is told to end and closes its connections.
    let fourth = pod(5).await;
    show(&api, &fourth, ready);
    show(&api, &first, terminating);
    is_called(&fourth).await;
    common::until(|| pool.addresses().iter().all(|it| !it.address.starts_with("127.0.0.2:"))).await;
    first.stop().await;
    api.delete(NAMESPACE, "orders-127.0.0.2");

    // The API server goes, too, and its watches with it: the pods stay in use.
    api.refuse(Verb::Watch, 503);
    api.cut_watches();
    for pod in [&second, &third, &fourth] {
        is_called(pod).await;
    }
    assert_eq!(pool.addresses().len(), 3);
    let failed = calls.try_join_next();
    assert!(failed.is_none(), "no call fails: {failed:?}");
    calls.shutdown().await;
}

#[tokio::test]
async fn without_permission_calls_fail_with_what_is_missing() {
    let api = ApiServer::start().await.unwrap();
    let pod = pod(2).await;
    show(&api, &pod, ready);
    api.refuse(Verb::List, 403);
    let pool = builder(&api).build().unwrap();
    let status = soon(call(&pool)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let said = "the service account needs a Role with the verbs list and watch";
    assert!(status.message().contains(said), "{status}");
    assert!(pool.resolver_status().unwrap().last_error.is_some());
}

#[tokio::test]
async fn calls_wait_while_the_api_server_is_slow_and_keep_the_last_pods_when_there_are_none() {
    let api = ApiServer::start().await.unwrap();
    let pod = pod(2).await;
    show(&api, &pod, ready);
    api.hold(true);
    let pool = builder(&api).build().unwrap();
    let first = tokio::spawn({
        let pool = pool.clone();
        async move { call(&pool).await }
    });
    api.until_asked(Verb::List, 1).await;
    assert_eq!((pool.status().waiting, pool.addresses().len()), (1, 0));
    api.hold(false);
    soon(first).await.unwrap().unwrap();
    knows(&pool, 1).await;

    // Scaled to none, which may be a mistake: who is still there is still called.
    api.until_asked(Verb::Watch, 1).await;
    api.apply(slice("orders-127.0.0.2", &[]));
    common::until(|| pool.resolver_status().is_some_and(|status| status.last_error.is_some()))
        .await;
    soon(call(&pool)).await.unwrap();
    assert_eq!(pool.addresses().len(), 1);
}
