//! `rotate`: every connection is replaced, and no call notices.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/memory.rs"]
mod memory;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
#[path = "common/tls.rs"]
mod tls;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use common::{all_slots_free, ask, client, soon, until};
use memory::{eventually, in_memory, in_memory_with};
use pool_core::{Event, Observer};
use pool_tonic::ChannelPool;
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::echo_client::EchoClient;
use pool_tonic_testing::proto::{Answer, Do};
use pool_tonic_testing::raw::Raw;
use tokio::task::JoinHandle;
use tokio::time::Instant;

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

/// How many connections take calls, at every event of the pool and at every dial.
#[derive(Clone, Default)]
struct Ready {
    pool: Arc<OnceLock<ChannelPool>>,
    seen: Arc<Mutex<Vec<usize>>>,
}

impl Ready {
    fn look(&self) {
        if let Some(pool) = self.pool.get() {
            let listed = pool.connections().list();
            let listed = listed.iter().filter(|it| it.draining.is_none() && it.places > 0).count();
            self.seen.lock().unwrap().push(listed.min(pool.status().ready));
        }
    }
}

impl Observer for Ready {
    fn event(&self, _event: &Event) {
        self.look();
    }
}

#[tokio::test]
async fn at_no_moment_there_are_fewer_ready_connections_than_at_the_start() {
    for min_connections in [0, 3] {
        let server = EchoServer::start().await.unwrap();
        let ready = Ready::default();
        let (addr, dials) = (server.addr(), ready.clone());
        let connector = tower::service_fn(move |_: http::Uri| {
            dials.look();
            tokio::net::TcpStream::connect(addr)
        });
        let pool = ChannelPool::builder(server.uri())
            .connector(connector)
            .observer(Arc::new(ready.clone()))
            .min_connections(min_connections)
            .max_connections(3)
            .max_streams_per_connection(2)
            .build()
            .unwrap();
        // All three are needed, and full.
        let held: Vec<_> = (0..6).map(|_| waiting(&pool)).collect();
        until(|| pool.status().streams == 6).await;
        assert_eq!(pool.status().ready, 3);
        ready.pool.set(pool.clone()).ok().unwrap();
        // And some calls wait for room all the while.
        let load = Load::start(&pool, 4);
        assert_eq!(soon(pool.rotate()).await.unwrap(), 3);
        load.more(20).await;
        load.stop().await;
        assert_eq!((pool.status().ready, pool.status().draining), (3, 3));
        let seen = std::mem::take(&mut *ready.seen.lock().unwrap());
        assert!(seen.len() > 6 && seen.iter().all(|&ready| ready >= 3), "{seen:?}");
        server.open_gate();
        for call in held {
            soon(call).await.unwrap().unwrap();
        }
        pool.close_now();
    }
}

fn waiting(pool: &ChannelPool) -> JoinHandle<Result<tonic::Response<Answer>, tonic::Status>> {
    let mut client = client(pool);
    tokio::spawn(async move { client.unary(ask(Do::Wait)).await })
}

#[tokio::test(start_paused = true)]
async fn a_rotation_waits_a_while_for_room_and_leaves_what_it_cannot_replace() {
    let (pool, mut network) = in_memory();
    let pool = pool.max_connections(1).max_draining_connections(1).keepalive_time(None);
    let pool = pool.build().unwrap();
    let call = waiting(&pool);
    let mut first = network.accept(100).await;
    let (stream, _) = eventually(first.request()).await;
    let rotation = tokio::spawn({
        let pool = pool.clone();
        async move { pool.rotate().await }
    });
    let mut second = network.accept(100).await;
    assert_eq!(eventually(rotation).await.unwrap().unwrap(), 1);
    // The first one still finishes its call.
    let error = eventually(pool.rotate()).await.unwrap_err();
    assert!(error.to_string().contains("max_draining_connections"), "{error}");
    assert!(network.is_quiet());
    let other = waiting(&pool);
    let (other_stream, _) = eventually(second.request()).await;
    second.answer(other_stream).await.unwrap();
    eventually(other).await.unwrap().unwrap();
    let rotation = tokio::spawn({
        let pool = pool.clone();
        async move { pool.rotate().await }
    });
    first.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
    let _third = network.accept(100).await;
    assert_eq!(eventually(rotation).await.unwrap().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_without_streams_takes_over_from_none() {
    let (pool, mut network) = in_memory();
    let pool = pool.max_connections(1).keepalive_time(None).build().unwrap();
    let call = waiting(&pool);
    let mut first = network.accept(100).await;
    let (stream, _) = eventually(first.request()).await;
    first.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
    let rotation = tokio::spawn({
        let pool = pool.clone();
        async move { pool.rotate().await }
    });
    let _mute = network.accept(0).await;
    let error = eventually(rotation).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("took no calls"), "{error}");
    let call = waiting(&pool);
    let (stream, _) = eventually(first.request()).await;
    first.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
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
    let mut old = soon(Raw::greet(stream, 100)).await.unwrap();
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
    // Nothing is known against the address: another connection may be made at once.
    let exclusive = tokio::spawn({
        let pool = pool.clone();
        async move { pool.exclusive().await }
    });
    let _second = soon(peer.accept_raw(100)).await.unwrap();
    soon(exclusive).await.unwrap().unwrap();
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

/// A creation that a rotation overtakes makes another attempt, which has the whole connect timeout again.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_a_rotation_overtakes_costs_no_call_and_no_back_off() {
    const ATTEMPT: Duration = Duration::from_secs(15);
    let (pool, network) = in_memory_with(1 << 20, ATTEMPT);
    let pool = pool.wait_timeout(Duration::from_secs(100)).build().unwrap();
    network.serve(100);
    let began = Instant::now();
    let mut client = client(&pool);
    let call = tokio::spawn(async move { client.unary(ask(Do::Echo)).await });
    until(|| pool.status().connecting == 1).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    eventually(pool.rotate()).await.unwrap();
    eventually(call).await.unwrap().unwrap();
    assert_eq!(began.elapsed().as_secs(), 30, "two attempts");
    assert_eq!(pool.counters().connections_failed, 0);
    assert_eq!(pool.counters().connections_opened, 1);
}
