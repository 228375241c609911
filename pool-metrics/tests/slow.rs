//! The endpoint before peers that are slow, or mean ill.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use pool_metrics::{Family, Probe, Registry, Sample, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

/// A generous bound: reached only when the behaviour is broken.
const SOON: Duration = Duration::from_secs(20);

/// Far less than the ten seconds after which a connection is over by itself.
const AT_ONCE: Duration = Duration::from_secs(3);

async fn scrape(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// A scrape is answered, whoever else is connected.
async fn is_served(address: SocketAddr) {
    let answer = timeout(AT_ONCE, scrape(address)).await.expect("is served").expect("answers");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

async fn silent(address: SocketAddr, number: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..number {
        streams.push(TcpStream::connect(address).await.expect("is accepted"));
    }
    streams
}

/// Reads until the end, however that comes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_thousand_that_say_nothing_keep_no_scrape_waiting() {
    let endpoint = Registry::new().serve("127.0.0.1:0").await.unwrap();
    let silent = silent(endpoint.local_addr(), 1_000).await;
    is_served(endpoint.local_addr()).await;
    drop(silent);
}

#[tokio::test]
async fn the_oldest_that_says_nothing_makes_way() {
    let endpoint = Registry::new().serve("127.0.0.1:0").await.unwrap();
    let mut silent = silent(endpoint.local_addr(), 64).await;
    is_served(endpoint.local_addr()).await;
    let ended = timeout(AT_ONCE, rest(&mut silent[0])).await.expect("has been closed");
    assert_eq!(ended, "");
    // The second one is still there, and may ask.
    silent[1].write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let answer = timeout(AT_ONCE, rest(&mut silent[1])).await.expect("is answered");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_thousand_that_begin_a_request_keep_no_scrape_waiting() {
    let endpoint = Registry::new().serve("127.0.0.1:0").await.unwrap();
    let mut slow = silent(endpoint.local_addr(), 1_000).await;
    for stream in &mut slow {
        // Those that had to make way are gone.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nx: ").await;
    }
    is_served(endpoint.local_addr()).await;
    drop(slow);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_end_is_given_five_seconds() {
    let endpoint = Registry::new().serve("127.0.0.1:0").await.unwrap();
    let mut slow = TcpStream::connect(endpoint.local_addr()).await.unwrap();
    let begun = Instant::now();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nx: ").await.unwrap();
    rest(&mut slow).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn a_half_open_connection_is_answered_or_closed() {
    let endpoint = Registry::new().serve("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(endpoint.local_addr()).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    timeout(AT_ONCE, rest(&mut stream)).await.expect("is closed");
    is_served(endpoint.local_addr()).await;
}

#[tokio::test]
async fn garbage_is_refused_and_closed() {
    let endpoint = Registry::new().serve("127.0.0.1:0").await.unwrap();
    for garbage in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xff\r\n\r\n"[..], &[0; 4096]] {
        let mut stream = TcpStream::connect(endpoint.local_addr()).await.unwrap();
        let _ = stream.write_all(garbage).await;
        let answer = timeout(AT_ONCE, rest(&mut stream)).await.expect("is closed");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    is_served(endpoint.local_addr()).await;
}

#[tokio::test]
async fn a_head_of_a_megabyte_is_refused() {
    let endpoint = Registry::new().serve("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(endpoint.local_addr()).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nx: ").await.unwrap();
    // It is closed before all of this has been read.
    let _ = stream.write_all(&vec![b'a'; 1024 * 1024]).await;
    let _ = stream.write_all(b"\r\n\r\n").await;
    let answer = timeout(AT_ONCE, rest(&mut stream)).await.expect("is closed");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    is_served(endpoint.local_addr()).await;
}

#[tokio::test]
async fn a_body_is_not_waited_for() {
    let endpoint = Registry::new().serve("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(endpoint.local_addr()).await.unwrap();
    let head = b"POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let answer = timeout(AT_ONCE, rest(&mut stream)).await.expect("is answered");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

static LARGE: Family = Family::gauge("large", "One of many.");

/// So many pools that an answer does not fit into the system's buffers.
struct Large;

impl Source for Large {
    fn probe(&self) -> Probe {
        Probe::new(|| {
            let mut sample = Sample::new();
            sample.set(&LARGE, 1);
            Some(sample)
        })
    }
}

fn large() -> Registry {
    let registry = Registry::new();
    for number in 0..20_000 {
        let name = format!("{number:0>400}");
        registry.register(name, &Large).unwrap();
    }
    registry
}

/// Asks and does not read.
async fn deaf(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // The answer has begun.
    stream.readable().await.unwrap();
    stream
}

#[tokio::test]
async fn as_many_as_may_be_that_do_not_read_keep_no_probe_waiting() {
    let endpoint = large().serve("127.0.0.1:0").await.unwrap();
    let address = endpoint.local_addr();
    let mut deaf_ones = Vec::new();
    for _ in 0..64 {
        deaf_ones.push(deaf(address).await);
    }
    let asked = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        rest(&mut stream).await
    };
    let answer = timeout(SOON, asked).await.expect("is served");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_read_is_closed_after_ten_seconds() {
    let endpoint = large().serve("127.0.0.1:0").await.unwrap();
    let begun = Instant::now();
    let mut stream = deaf(endpoint.local_addr()).await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    let answer = rest(&mut stream).await;
    let whole = 20_000 * 400;
    assert!(answer.len() < whole, "all of {whole} bytes came after {:?}", begun.elapsed());
}
