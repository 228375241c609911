//! The endpoint before peers that are slow, or mean ill. What is to happen at once is asked in `src/endpoint/tests.rs`, with
//! a clock that stands still.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use pool_metrics::{Family, Probe, Registry, Sample, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

/// A generous bound: reached only when the behaviour is broken. A thousand that are waited for in turn, 64 at a time, would
/// take four times as long.
const SOON: Duration = Duration::from_secs(20);

async fn scrape(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// A scrape is answered, whoever else is connected.
async fn is_served(address: SocketAddr) {
    let answer = timeout(SOON, scrape(address)).await.expect("is served").expect("answers");
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
async fn garbage_is_refused_and_closed() {
    let endpoint = Registry::new().serve("127.0.0.1:0").await.unwrap();
    for garbage in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xff\r\n\r\n"[..], &[0; 4096]] {
        let mut stream = TcpStream::connect(endpoint.local_addr()).await.unwrap();
        let _ = stream.write_all(garbage).await;
        let answer = timeout(SOON, rest(&mut stream)).await.expect("is closed");
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
    let answer = timeout(SOON, rest(&mut stream)).await.expect("is closed");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    is_served(endpoint.local_addr()).await;
}

#[tokio::test]
async fn a_body_is_not_waited_for() {
    let endpoint = Registry::new().serve("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(endpoint.local_addr()).await.unwrap();
    let head = b"POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let answer = timeout(SOON, rest(&mut stream)).await.expect("is answered");
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
