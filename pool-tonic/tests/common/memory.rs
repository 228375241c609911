//! A network in memory, so that a paused clock stands still while bytes are on their way.

// Each test binary uses its part of it.
#![allow(dead_code, unreachable_pub)]

use std::future::Future;
use std::io;
use std::time::Duration;

use pool_tonic::{ChannelPool, ChannelPoolBuilder};
use pool_tonic_testing::raw::{Heard, Raw};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower::service_fn;

/// The server's end of a connection, as frames.
pub type Peer = Raw<DuplexStream>;

/// Where connections arrive.
pub struct Network(mpsc::UnboundedReceiver<DuplexStream>);

/// A pool whose connections go through memory, and where they arrive.
pub fn in_memory() -> (ChannelPoolBuilder, Network) {
    in_memory_with(1 << 20, Duration::ZERO)
}

/// The same; each connection takes a while to be there, and holds so many bytes that nobody has read.
pub fn in_memory_with(bytes: usize, takes: Duration) -> (ChannelPoolBuilder, Network) {
    let (send, receive) = mpsc::unbounded_channel();
    let connector = service_fn(move |_: http::Uri| {
        let send = send.clone();
        async move {
            // No time is more than none to a timer.
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            let (near, far) = tokio::io::duplex(bytes);
            let arrived = send.send(far);
            arrived.map(|()| near).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))
        }
    });
    (ChannelPool::builder("http://memory").connector(connector), Network(receive))
}

impl Network {
    /// The next connection, without a word said on it.
    pub async fn arrival(&mut self) -> DuplexStream {
        eventually(self.0.recv()).await.expect("the pool is there")
    }

    /// The next connection, greeted with this limit of streams.
    pub async fn accept(&mut self, max_streams: u32) -> Peer {
        Raw::greet(self.arrival().await, max_streams).await.expect("the client speaks HTTP/2")
    }

    /// Nobody has connected since the last one was accepted.
    pub fn is_quiet(&mut self) -> bool {
        self.0.try_recv().is_err()
    }

    /// Accepts every connection from now on, and answers every call on it.
    pub fn serve(mut self, max_streams: u32) -> JoinHandle<()> {
        tokio::spawn(async move {
            while let Some(stream) = self.0.recv().await {
                tokio::spawn(async move {
                    let peer = Raw::greet(stream, max_streams).await;
                    answer_all(peer.expect("the client speaks HTTP/2")).await;
                });
            }
        })
    }
}

/// Answers every call on a connection, until it is closed.
pub async fn answer_all(mut peer: Peer) {
    loop {
        match peer.hear().await {
            Heard::End(stream) => peer.answer(stream).await.expect("the client reads"),
            Heard::Closed => return,
            _ => {}
        }
    }
}

/// Waits for what is to come, for a day of the paused clock.
pub async fn eventually<F: Future>(future: F) -> F::Output {
    let day = Duration::from_secs(24 * 60 * 60);
    timeout(day, future).await.expect("it should have happened by now")
}

/// Lets the clock run on, and everything that is due happen.
pub async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
