//! Calls fail at once when no connection of theirs is there and none can be made, whatever others are up that take
//! no calls of theirs.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{ask, client, soon, until};
use pool_tonic::{ChannelPool, ChannelPoolBuilder, ConnectivityState, Dedicated};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::proto::{Ask, Do};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::{Code, Request, Status};
use tower::service_fn;

const REFUSED: &str = "no more connections today";

/// A server that can be told to take no new connections.
struct Door {
    server: EchoServer,
    shut: Arc<AtomicBool>,
}

impl Door {
    async fn open() -> Self {
        Self { server: EchoServer::start().await.unwrap(), shut: Arc::default() }
    }

    fn builder(&self) -> ChannelPoolBuilder {
        let (addr, shut) = (self.server.addr(), Arc::clone(&self.shut));
        let connector = service_fn(move |_: http::Uri| {
            let shut = shut.load(Ordering::SeqCst);
            async move {
                if shut { Err(io::Error::other(REFUSED)) } else { TcpStream::connect(addr).await }
            }
        });
        ChannelPool::builder(self.server.uri()).connector(connector)
    }

    fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
    }
}

fn request(r#do: Do, dedicated: bool) -> Request<Ask> {
    let mut request = Request::new(ask(r#do));
    if dedicated {
        request.extensions_mut().insert(Dedicated);
    }
    request
}

/// A call that is answered when the server's gate is opened.
async fn held(pool: &ChannelPool, dedicated: bool) -> JoinHandle<Result<(), Status>> {
    let mut client = client(pool);
    let call =
        tokio::spawn(async move { client.unary(request(Do::Wait, dedicated)).await.map(drop) });
    until(|| pool.status().streams + pool.status().dedicated.in_use == 1).await;
    call
}

async fn fails_fast(pool: &ChannelPool, dedicated: bool) {
    for _ in 0..3 {
        let call = client(pool).unary(request(Do::Echo, dedicated)).await;
        let status = call.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains(REFUSED), "{status}");
    }
}

#[tokio::test]
async fn a_dedicated_connection_keeps_no_shared_call_waiting() {
    let door = Door::open().await;
    let pool = door.builder().build().unwrap();
    let held = held(&pool, true).await;
    assert_eq!(pool.state(), ConnectivityState::Ready, "what is in use is up");
    door.shut();
    soon(fails_fast(&pool, false)).await;
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
    door.server.open_gate();
    soon(held).await.unwrap().unwrap();
    soon(client(&pool).unary(request(Do::Echo, true))).await.unwrap();
}

#[tokio::test]
async fn a_shared_connection_keeps_no_dedicated_call_waiting() {
    let door = Door::open().await;
    let pool = door.builder().build().unwrap();
    let held = held(&pool, false).await;
    door.shut();
    soon(fails_fast(&pool, true)).await;
    assert_eq!(pool.state(), ConnectivityState::Ready);
    soon(client(&pool).unary(request(Do::Echo, false))).await.unwrap();
    door.server.open_gate();
    soon(held).await.unwrap().unwrap();
}

#[tokio::test]
async fn one_that_goes_for_its_age_keeps_no_call_waiting() {
    let door = Door::open().await;
    let age = Duration::from_millis(100);
    let pool = door.builder().max_connection_age(age).build().unwrap();
    let held = held(&pool, false).await;
    door.shut();
    until(|| pool.state() != ConnectivityState::Ready).await;
    let [connection] = &pool.connection_list()[..] else { panic!("one is there") };
    assert_eq!((connection.draining, connection.streams), (true, 1));
    assert_eq!(pool.addresses()[0].draining, 1);
    soon(fails_fast(&pool, false)).await;
    door.server.open_gate();
    soon(held).await.unwrap().unwrap();
}
