//! Whether a process is ready, by what its pools have to be.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{Pause, Pool};
use pool_metrics::{Readiness, Registry};
use support::{Fake, ask};

fn registered(pool: &Pool<ScriptedManager>, readiness: Readiness) -> Registry {
    let registry = Registry::new();
    registry.register_with("p", pool, readiness).unwrap();
    registry
}

/// A pool that cannot create anything.
async fn failing() -> Pool<ScriptedManager> {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, vec![Step::Fail; 1_000]);
    let pool = Pool::builder(manager).build().unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(1), pool.get()).await.is_err());
    pool
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_down_makes_nobody_unready_who_did_not_ask_for_that() {
    let pool = failing().await;
    assert!(registered(&pool, Readiness::Open).readiness().is_ready());
    assert!(registered(&pool, Readiness::Ignored).readiness().is_ready());
    let report = registered(&pool, Readiness::Connected).readiness();
    assert!(!report.is_ready());
    let text = report.to_string();
    assert!(text.starts_with("not ready\n[-] p: connected: 0 connections can be used; "), "{text}");
}

/// Nobody gets from the pool of a process that is not ready.
#[tokio::test(start_paused = true)]
async fn a_pool_that_keeps_nothing_is_ready_again_when_its_peer_is() {
    for rule in [Readiness::Connected, Readiness::Warm] {
        let manager = ScriptedManager::new();
        manager.script(Hook::Create, vec![Step::Fail; 5]);
        let pool = Pool::builder(manager.clone()).build().unwrap();
        let registry = registered(&pool, rule);
        assert!(tokio::time::timeout(Duration::from_millis(1), pool.get()).await.is_err());
        let mut probes = 0;
        while !registry.readiness().is_ready() {
            probes += 1;
            assert!(probes < 100, "{rule:?}: {:?}", pool.last_error());
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert!(probes > 1, "it was not ready before");
        assert_eq!((pool.status().idle, manager.counts().created), (1, 1));
    }
}

#[tokio::test]
async fn a_closed_pool_makes_the_process_unready() {
    let pool = Pool::builder(ScriptedManager::new()).build().unwrap();
    let registry = registered(&pool, Readiness::Open);
    assert_eq!(registry.readiness().to_string(), "ready\n[+] p: open\n");
    pool.close();
    assert_eq!(registry.readiness().to_string(), "not ready\n[-] p: open: it is closed\n");
    assert!(registered(&pool, Readiness::Ignored).readiness().is_ready());
}

#[tokio::test]
async fn a_paused_pool_lends_nothing() {
    let pool = Pool::builder(ScriptedManager::new()).build().unwrap();
    pool.pause(Pause::Queue);
    assert!(registered(&pool, Readiness::Open).readiness().is_ready());
    assert!(!registered(&pool, Readiness::Connected).readiness().is_ready());
}

#[tokio::test]
async fn a_pool_that_is_to_be_warm_is_so_once() {
    let pool = Pool::builder(ScriptedManager::new()).min_size(2).build().unwrap();
    let registry = registered(&pool, Readiness::Warm);
    let text = registry.readiness().to_string();
    assert!(text.contains("0 connections can be used, and at least 2 are to be kept"), "{text}");
    pool.warm_up(Duration::from_secs(20)).await.unwrap();
    assert!(registry.readiness().is_ready());
    pool.retain(|_, _| false);
    assert!(registry.readiness().is_ready());
}

#[tokio::test]
async fn idle_connections_that_are_kept_are_waited_for_too() {
    let pool = Pool::builder(ScriptedManager::new()).min_idle(2).build().unwrap();
    let registry = registered(&pool, Readiness::Warm);
    let text = registry.readiness().to_string();
    assert!(text.contains("0 connections can be used, and at least 2 are to be kept"), "{text}");
    pool.warm_up(Duration::from_secs(20)).await.unwrap();
    assert!(registry.readiness().is_ready());
}

#[cfg(feature = "tonic")]
#[test]
fn connections_for_one_call_at_a_time_do_not_make_up_for_shared_ones() {
    use pool_tonic::ChannelPool;
    use pool_tonic_testing::EchoServer;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(EchoServer::start()).unwrap();
    // Built outside of the runtime, its shared connections are not made before somebody asks for one.
    let pool = ChannelPool::builder(server.uri()).min_connections(2).build().unwrap();
    let registry = Registry::new();
    registry.register_with("p", &pool, Readiness::Warm).unwrap();
    runtime.block_on(async {
        let _own = (pool.exclusive().await.unwrap(), pool.exclusive().await.unwrap());
        let text = registry.readiness().to_string();
        assert!(
            text.contains("0 connections can be used, and at least 2 are to be kept"),
            "{text}"
        );
        pool.warm_up(Duration::from_secs(20)).await.unwrap();
        assert!(registry.readiness().is_ready());
    });
}

#[tokio::test]
async fn the_answers_say_which_pool_and_why() {
    let registry = Registry::new();
    let pool = Pool::builder(ScriptedManager::new()).build().unwrap();
    registry.register("orders\n[+] forged", &pool).unwrap();
    registry.register("of its own", &Fake::new(1, 1)).unwrap();
    let endpoint = registry.serve("127.0.0.1:0").await.unwrap();
    let (head, body) = ask(endpoint.local_addr(), "GET", "/readyz").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(body, "ready\n[+] orders [+] forged: open\n");
    pool.close();
    let (head, body) = ask(endpoint.local_addr(), "GET", "/readyz").await;
    assert!(head.starts_with("http/1.1 503 "), "{head}");
    assert_eq!(body, "not ready\n[-] orders [+] forged: open: it is closed\n");
    // Alive it is all the same.
    let (head, body) = ask(endpoint.local_addr(), "GET", "/healthz").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(body, "alive\n1 pools have answered\n");
}
