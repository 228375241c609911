//! The endpoint on a network in memory and a paused clock, which stands still while bytes are on their way: what is said to
//! be at once takes no time at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::*;

/// The system is out of file descriptors.
struct Exhausted(Arc<AtomicUsize>);

impl Listen for Exhausted {
    type Io = DuplexStream;

    async fn accept(&self) -> io::Result<DuplexStream> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(io::Error::other("too many open files"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_system_that_gives_no_connections_is_asked_once_a_second() {
    let asked = Arc::new(AtomicUsize::new(0));
    let (stop, stopped) = watch::channel(());
    let task = tokio::spawn(accept(Exhausted(asked.clone()), Router::new(), stopped));
    sleep(Duration::from_millis(9_500)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 10);
    drop(stop);
    task.await.expect("ends at once");
}

/// What arrives.
struct Arrivals(Mutex<mpsc::UnboundedReceiver<DuplexStream>>);

impl Listen for Arrivals {
    type Io = DuplexStream;

    async fn accept(&self) -> io::Result<DuplexStream> {
        let arrived = self.0.lock().await.recv().await;
        arrived.ok_or_else(|| io::Error::other("nobody can connect any more"))
    }
}

/// Where to connect to, closed once nothing listens.
struct Network(mpsc::UnboundedSender<DuplexStream>);

impl Network {
    /// An endpoint, and how to connect to it.
    fn serve() -> (Endpoint, Self) {
        let (send, receive) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(());
        let arrivals = Arrivals(Mutex::new(receive));
        let task = tokio::spawn(accept(arrivals, Registry::new().router(), stopped));
        (Endpoint { address: DEFAULT_ADDRESS, stop, task }, Self(send))
    }

    /// A connection that holds so many bytes that nobody has read.
    fn connect(&self, holds: usize) -> DuplexStream {
        let (near, far) = duplex(holds);
        self.0.send(far).expect("somebody listens");
        near
    }

    /// One that has been accepted and says nothing.
    async fn silent(&self) -> DuplexStream {
        let silent = self.connect(4096);
        // So have those before it.
        self.is_served().await;
        silent
    }

    async fn is_served(&self) {
        let mut stream = self.connect(4096);
        ask(&mut stream).await;
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

async fn ask(stream: &mut DuplexStream) {
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request).await.expect("is read");
}

async fn rest(stream: &mut DuplexStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("ends");
    answer
}

#[tokio::test(start_paused = true)]
async fn one_that_has_not_asked_does_not_hold_up_the_end() {
    let begun = Instant::now();
    let (endpoint, network) = Network::serve();
    let mut silent = network.silent().await;
    endpoint.shutdown().await;
    assert!(network.0.is_closed(), "nothing listens");
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_endpoint_closes_what_it_has() {
    let begun = Instant::now();
    let (endpoint, network) = Network::serve();
    let mut silent = network.silent().await;
    drop(endpoint);
    network.0.closed().await;
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn one_that_asks_by_half_and_goes_is_closed() {
    let begun = Instant::now();
    let (_endpoint, network) = Network::serve();
    let mut stream = network.connect(4096);
    stream.write_all(b"GET /metrics HTTP/1.1\r\n").await.expect("is read");
    stream.shutdown().await.expect("is open");
    rest(&mut stream).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_that_says_nothing_makes_way() {
    let begun = Instant::now();
    let (_endpoint, network) = Network::serve();
    let mut silent: Vec<_> = (0..64).map(|_| network.connect(4096)).collect();
    network.is_served().await;
    assert_eq!(rest(&mut silent[0]).await, "");
    // The second one is still there, and may ask.
    ask(&mut silent[1]).await;
    assert!(rest(&mut silent[1]).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn of_as_many_as_may_be_that_do_not_read_the_oldest_makes_way() {
    let begun = Instant::now();
    let (_endpoint, network) = Network::serve();
    let mut deaf = Vec::new();
    for _ in 0..64 {
        // Less than the head of an answer.
        let mut stream = network.connect(64);
        ask(&mut stream).await;
        // The answer has begun.
        stream.read_exact(&mut [0]).await.expect("is answered");
        deaf.push(stream);
    }
    network.is_served().await;
    // What it had been sent by then is all.
    assert!(!rest(&mut deaf[0]).await.contains("alive"));
    assert!(rest(&mut deaf[1]).await.contains("alive"));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
