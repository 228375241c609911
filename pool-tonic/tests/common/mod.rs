//! What the tests share.

// Each test binary uses its part of it.
#![allow(dead_code, unreachable_pub)]

pub mod acts;

use std::future::Future;
use std::time::Duration;

use pool_tonic::{ChannelPool, Dedicated, PooledChannel};
use pool_tonic_testing::proto::echo_client::EchoClient;
use pool_tonic_testing::proto::{Ask, Do};
use tokio::net::TcpSocket;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tonic::{Request, Status};

/// A test that hangs fails after this.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what is to come, but not for ever.
pub async fn soon<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it should have happened by now")
}

/// Lets the other tasks run until something is so.
pub async fn until(mut is_so: impl FnMut() -> bool) {
    soon(async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until no call holds a slot.
pub async fn all_slots_free(pool: &ChannelPool) {
    until(|| pool.status().streams == 0).await;
}

pub fn client(pool: &ChannelPool) -> EchoClient<PooledChannel> {
    EchoClient::new(pool.channel())
}

pub fn ask(r#do: Do) -> Ask {
    Ask { text: "hello".to_owned(), r#do: r#do.into(), answers: 3 }
}

/// A URI on loopback where nobody listens, for as long as the socket is kept: it holds the port, and never
/// listens.
pub fn dead_uri() -> (String, TcpSocket) {
    let socket = TcpSocket::new_v4().expect("there may be a socket more");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("loopback has a free port");
    let addr = socket.local_addr().expect("it is bound");
    (format!("http://{addr}"), socket)
}

/// A call that takes nothing but its time.
pub async fn call(pool: &ChannelPool) -> Result<(), Status> {
    client(pool).unary(ask(Do::Echo)).await.map(drop)
}

/// A call on a connection of its own.
pub fn dedicated(ask: Ask) -> Request<Ask> {
    let mut request = Request::new(ask);
    request.extensions_mut().insert(Dedicated);
    request
}

/// Tasks of this runtime that have not ended.
pub fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}
