//! The page, and the JSON that it is made from.
#![cfg(feature = "page")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{Lease, Pool};
use pool_metrics::{Readiness, Registry};
use serde_json::Value;
use support::{Fake, ask};

async fn pools(registry: &Registry) -> Value {
    let endpoint = registry.serve("127.0.0.1:0").await.unwrap();
    let (head, body) = ask(endpoint.local_addr(), "GET", "/pools").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(head.contains("cache-control: no-store"), "{head}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn the_page_is_allowed_nothing_from_elsewhere() {
    let endpoint = Registry::new().serve("127.0.0.1:0").await.unwrap();
    let (head, body) = ask(endpoint.local_addr(), "GET", "/").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(head.contains("content-type: text/html; charset=utf-8"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'none'; connect-src 'self';"));
    assert!(!head.contains("unsafe"), "{head}");
    assert!(body.starts_with("<!doctype html>") && body.ends_with("</html>\n"));
}

#[tokio::test]
async fn a_pool_is_shown_with_its_numbers_and_its_latest_events() {
    let registry = Registry::new();
    let pool = Pool::builder(ScriptedManager::new()).max_size(3).build().unwrap();
    registry.register("</script>", &pool).unwrap();
    let lease = pool.get().await.unwrap();
    Lease::discard(pool.get().await.unwrap());
    let answer = pools(&registry).await;
    assert_eq!(answer["ready"], true);
    let shown = &answer["pools"][0];
    assert_eq!(shown["name"], "</script>");
    assert_eq!(shown["kind"], "exclusive");
    assert_eq!(shown["status"]["max_size"], 3);
    assert_eq!(shown["status"]["lent"], 1);
    assert_eq!(shown["counters"]["gets_ok"], 2);
    assert_eq!(shown["counters"]["ended"]["discarded"], 1);
    assert_eq!(shown["readiness"]["rule"], "open");
    let latest = &shown["events"][0];
    assert_eq!(latest["kind"], "ended");
    assert_eq!(latest["text"], "resource 1 ended: its holder said that it is no good");
    drop(lease);
}

#[tokio::test]
async fn why_nothing_can_be_created_is_shown_with_its_causes() {
    let registry = Registry::new();
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, vec![Step::Fail; 100]);
    let pool = Pool::builder(manager).build().unwrap();
    registry.register_with("p", &pool, Readiness::Connected).unwrap();
    let getting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(drop) }
    });
    let failed = async {
        while pool.last_error().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), failed).await.expect("it fails at once");
    let answer = pools(&registry).await;
    assert_eq!(answer["ready"], false);
    let shown = &answer["pools"][0];
    let error = shown["last_error"].as_str().unwrap();
    assert!(error.starts_with("the manager could not create a resource: "), "{error}");
    let missing = shown["readiness"]["missing"].as_str().unwrap();
    assert!(missing.contains(error), "{missing}");
    let events = shown["events"].as_array().unwrap();
    let failed = events.iter().find(|event| event["kind"] == "create_failed").unwrap();
    assert_eq!(failed["level"], "bad");
    getting.abort();
}

#[tokio::test]
async fn a_source_of_ones_own_is_shown_with_its_numbers() {
    let registry = Registry::new();
    registry.register("own", &Fake::new(3, 1)).unwrap();
    let fake = Fake::new(3, 1);
    registry.register("kept", &fake).unwrap();
    let answer = pools(&registry).await;
    let shown = answer["pools"].as_array().unwrap();
    // The other one is gone.
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0]["kind"], "other");
    assert_eq!(shown[0]["numbers"][0]["name"], "fake_served_total");
    assert_eq!(shown[0]["numbers"][0]["value"], 3);
}

#[cfg(feature = "tonic")]
#[tokio::test]
async fn a_grpc_pool_is_shown_with_its_endpoints_and_states() {
    use pool_tonic::ChannelPool;

    // It does not listen, and nobody else can have its port.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let unused = socket.local_addr().unwrap();
    let registry = Registry::new();
    let pool = ChannelPool::builder(format!("http://{unused}")).build().unwrap();
    registry.register_with("p", &pool, Readiness::Connected).unwrap();
    assert!(registry.readiness().is_ready(), "nobody has tried yet");
    assert!(pool.connections().get().await.is_err());
    let answer = pools(&registry).await;
    let shown = &answer["pools"][0];
    assert_eq!(shown["kind"], "grpc");
    assert_eq!(shown["state"], "transient_failure");
    assert_eq!(shown["endpoints"][0]["address"], unused.to_string());
    assert_eq!(shown["endpoints"][0]["state"], "transient_failure");
    assert!(shown["endpoints"][0]["retry_in_ms"].as_u64().unwrap() > 0);
    assert!(shown["last_error"].as_str().unwrap().contains("refused"));
    let states = shown["events"].as_array().unwrap();
    let states: Vec<_> = states.iter().filter(|event| event["from"] == "state").collect();
    assert_eq!(states[0]["text"], "the pool is TRANSIENT_FAILURE now");
    assert_eq!(answer["ready"], false);
}
