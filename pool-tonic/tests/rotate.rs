//! `rotate`: every connection is replaced, and no call notices.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
#[path = "common/tls.rs"]
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::{all_slots_free, ask, client, soon, until};
use pool_tonic::ChannelPool;
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::Do;
use pool_tonic_testing::proto::echo_client::EchoClient;
use tokio::task::JoinHandle;

/// Calls one after the other on several tasks, none of which may fail.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(pool: &ChannelPool, tasks: usize) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..tasks).map(|_| {
            let (mut client, stop, done) = (client(pool), Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    client.unary(ask(Do::Echo)).await.unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let tasks = tasks.collect();
        Self { stop, done, tasks }
    }

    /// Waits until so many more calls are done.
    async fn more(&self, calls: usize) {
        let target = self.done.load(Ordering::Relaxed) + calls;
        until(|| self.done.load(Ordering::Relaxed) >= target).await;
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            soon(task).await.unwrap();
        }
    }
}

#[tokio::test]
async fn every_connection_is_replaced_before_it_goes() {
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).min_connections(3).max_connections(3);
    let pool = pool.build().unwrap();
    until(|| pool.status().ready == 3).await;
    let load = Load::start(&pool, 8);
    let mut slow = client(&pool);
    let slow = tokio::spawn(async move { slow.unary(ask(Do::Wait)).await });
    load.more(50).await;
    for round in 1..=3 {
        assert_eq!(soon(pool.rotate()).await.unwrap(), 3);
        load.more(50).await;
        assert_eq!(pool.counters().connections_opened, 3 + 3 * round);
        assert_eq!(pool.counters().connections_failed, 0);
    }
    server.open_gate();
    soon(slow).await.unwrap().unwrap();
    load.stop().await;
    until(|| pool.status().ready == 3 && pool.status().draining == 0).await;
    assert_eq!(pool.addresses()[0].ready, 3);
}

#[tokio::test]
async fn a_pool_without_load_keeps_one_connection_and_an_empty_one_none() {
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).build().unwrap();
    assert_eq!(soon(pool.rotate()).await.unwrap(), 0);
    assert_eq!(pool.counters().connections_opened, 0);
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    all_slots_free(&pool).await;
    assert_eq!(soon(pool.rotate()).await.unwrap(), 1);
    assert_eq!(pool.status().ready, 1);
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    assert_eq!(pool.counters().connections_opened, 2);
}

#[tokio::test]
async fn a_connection_whose_successor_cannot_be_made_stays() {
    let server = EchoServer::start().await.unwrap();
    let refuse = Arc::new(AtomicBool::new(false));
    let (addr, refused) = (server.addr(), Arc::clone(&refuse));
    let connector = tower::service_fn(move |_: http::Uri| {
        let refused = refused.load(Ordering::SeqCst);
        async move {
            if refused {
                return Err(std::io::Error::other("not now"));
            }
            tokio::net::TcpStream::connect(addr).await
        }
    });
    let pool = ChannelPool::builder(server.uri()).connector(connector).min_connections(2);
    let pool = pool.build().unwrap();
    until(|| pool.status().ready == 2).await;
    let load = Load::start(&pool, 4);
    refuse.store(true, Ordering::SeqCst);
    let error = soon(pool.rotate()).await.unwrap_err();
    assert!(error.to_string().contains("not now"), "{error}");
    load.more(50).await;
    assert_eq!(pool.status().ready, 2);
    assert_eq!(pool.counters().connections_opened, 2);
    load.stop().await;
}

#[tokio::test]
async fn a_connection_that_was_being_made_is_made_anew() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let mut client = client(&pool);
    let call = tokio::spawn(async move { client.unary(ask(Do::Echo)).await });
    let stream = soon(peer.accept_tcp()).await.unwrap();
    assert_eq!(soon(pool.rotate()).await.unwrap(), 0);
    let mut old = soon(pool_tonic_testing::raw::Raw::greet(stream, 100)).await.unwrap();
    let mut new = soon(peer.accept_raw(100)).await.unwrap();
    let (stream, _) = soon(new.request()).await;
    new.answer(stream).await.unwrap();
    soon(call).await.unwrap().unwrap();
    while soon(old.hear()).await != pool_tonic_testing::raw::Heard::Closed {}
    assert_eq!(pool.counters().connections_opened, 1);
    assert_eq!(pool.counters().connections_failed, 0);
}

#[tokio::test]
async fn a_rotation_that_is_given_up_leaves_nothing_behind() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).min_connections(1).build().unwrap();
    let _first = soon(peer.accept_raw(100)).await.unwrap();
    until(|| pool.status().ready == 1).await;
    let rotation = tokio::spawn({
        let pool = pool.clone();
        async move { pool.rotate().await }
    });
    let _mute = soon(peer.accept_tcp()).await.unwrap();
    rotation.abort();
    assert!(soon(rotation).await.unwrap_err().is_cancelled());
    assert_eq!(pool.status().ready, 1);
    until(|| pool.addresses()[0].connecting == 0).await;
    pool.close_now();
    assert_eq!(soon(pool.rotate()).await.unwrap(), 0);
}

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_replaced_are_read_by_new_connections_while_calls_run() {
    use pool_tonic::{Pem, TlsConfig};
    use tls::{Ca, TlsServer, der, server_config};

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let write = |ca: &Ca, own: &tls::Issued| {
        std::fs::write(file("ca.crt"), ca.pem()).unwrap();
        std::fs::write(file("tls.crt"), &own.certificate).unwrap();
        std::fs::write(file("tls.key"), &own.key).unwrap();
    };
    let clients = Ca::new();
    let (old_ca, old) = (Ca::new(), clients.issue("old"));
    write(&old_ca, &old);
    let config = |ca: &Ca| server_config(&ca.issue("127.0.0.1"), Some(&clients), &["h2"]);
    let server = TlsServer::start(config(&old_ca)).await;
    let tls = TlsConfig::new()
        .ca_certificate(Pem::file(file("ca.crt")))
        .identity(Pem::file(file("tls.crt")), Pem::file(file("tls.key")));
    let pool = ChannelPool::builder(server.uri())
        .tls_config(tls)
        .min_connections(2)
        .max_connections(2)
        .build()
        .unwrap();
    until(|| pool.status().ready == 2).await;
    let load = Load::start(&pool, 8);
    let mut slow = client(&pool);
    let slow = tokio::spawn(async move { slow.unary(ask(Do::Wait)).await });
    load.more(100).await;

    let (new_ca, new) = (Ca::new(), clients.issue("new"));
    write(&new_ca, &new);
    server.set(config(&new_ca));
    assert_eq!(soon(pool.rotate()).await.unwrap(), 2);
    load.more(100).await;

    // Half of a renewal: what is there goes on.
    std::fs::write(file("tls.key"), &old.key).unwrap();
    let error = soon(pool.rotate()).await.unwrap_err();
    assert!(error.to_string().contains("tls.key cannot be used"), "{error}");
    load.more(100).await;
    server.echo.open_gate();
    soon(slow).await.unwrap().unwrap();
    load.stop().await;
    let presented: Vec<_> = server.clients().into_iter().flatten().collect();
    let (old, new) = (der(&old.certificate), der(&new.certificate));
    assert_eq!(presented, [old.clone(), old, new.clone(), new]);
}

#[tokio::test]
async fn a_connection_of_ones_own_is_replaced_when_it_comes_back() {
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).build().unwrap();
    let mine = soon(pool.exclusive()).await.unwrap();
    let mut own = EchoClient::new(mine.clone());
    soon(own.unary(ask(Do::Echo))).await.unwrap();
    assert_eq!(soon(pool.rotate()).await.unwrap(), 1);
    soon(own.unary(ask(Do::Echo))).await.unwrap();
    assert_eq!(server.books().now().connections, 1, "it is the same one");
    drop((mine, own));
    let next = soon(pool.exclusive()).await.unwrap();
    soon(EchoClient::new(next).unary(ask(Do::Echo))).await.unwrap();
    assert_eq!(server.books().now().connections, 2);
}
