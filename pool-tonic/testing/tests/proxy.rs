//! What the proxy does to bytes and to connections, so that tests may rely on it.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

use std::io;
use std::time::Duration;

use pool_tonic_testing::proxy::{Cut, Flow, Mode, Proxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

async fn proxy() -> (TcpListener, Proxy) {
    let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let proxy = Proxy::start(server.local_addr().unwrap()).await.unwrap();
    (server, proxy)
}

async fn connect(server: &TcpListener, proxy: &Proxy) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(proxy.addr()).await.unwrap();
    let (server, _) = server.accept().await.unwrap();
    (client, server)
}

async fn read(from: &mut TcpStream, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    from.read_exact(&mut bytes).await.map(|_| bytes)
}

#[tokio::test]
async fn it_passes_what_comes_and_the_ends_and_counts() {
    let (server, proxy) = proxy().await;
    let (mut one, mut other) = connect(&server, &proxy).await;
    one.write_all(b"hello").await.unwrap();
    assert_eq!(read(&mut other, 5).await.unwrap(), b"hello");
    other.write_all(b"bye").await.unwrap();
    assert_eq!(read(&mut one, 3).await.unwrap(), b"bye");
    let traffic = proxy.traffic();
    assert_eq!((traffic.open, traffic.made, traffic.up, traffic.down), (1, 1, 5, 3));
    one.shutdown().await.unwrap();
    assert_eq!(other.read(&mut [0]).await.unwrap(), 0);
    // Half of it goes on.
    other.write_all(b"late").await.unwrap();
    assert_eq!(read(&mut one, 4).await.unwrap(), b"late");
    drop(other);
    assert_eq!(one.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(proxy.until(|traffic| traffic.open == 0).await.made, 1);
}

#[tokio::test]
async fn what_is_stalled_goes_on_later_and_what_is_swallowed_never_does() {
    let (server, proxy) = proxy().await;
    let (mut one, mut other) = connect(&server, &proxy).await;
    proxy.set(Mode { up: Flow::Stall, down: Flow::Pass });
    one.write_all(b"stalled").await.unwrap();
    other.write_all(b"down").await.unwrap();
    assert_eq!(read(&mut one, 4).await.unwrap(), b"down");
    assert_eq!(proxy.traffic().up, 0);
    proxy.set(Mode::PASS);
    assert_eq!(read(&mut other, 7).await.unwrap(), b"stalled");

    let link = &proxy.links()[0];
    link.set(Mode { up: Flow::Swallow, down: Flow::Pass });
    one.write_all(b"lost").await.unwrap();
    proxy.until(|traffic| traffic.up == 11).await;
    link.set(Mode::PASS);
    one.write_all(b"lost too").await.unwrap();
    proxy.until(|traffic| traffic.up == 19).await;
    // The other direction has no hole.
    other.write_all(b"down").await.unwrap();
    assert_eq!(read(&mut one, 4).await.unwrap(), b"down");
    drop(one);
    assert_eq!(other.read(&mut [0]).await.unwrap(), 0, "nothing of it came");
    proxy.until(|traffic| traffic.open == 0).await;
}

#[tokio::test]
async fn a_black_hole_takes_new_connections_and_does_not_ask_the_server() {
    let (server, proxy) = proxy().await;
    proxy.set(Mode::BLACK_HOLE);
    let mut swallowed = TcpStream::connect(proxy.addr()).await.unwrap();
    swallowed.write_all(b"lost").await.unwrap();
    proxy.until(|traffic| traffic.up == 4).await;
    proxy.set(Mode::PASS);
    swallowed.write_all(b"lost too").await.unwrap();
    proxy.until(|traffic| traffic.up == 12).await;
    // The first one that the server sees.
    let (mut one, mut other) = connect(&server, &proxy).await;
    one.write_all(b"hello").await.unwrap();
    assert_eq!(read(&mut other, 5).await.unwrap(), b"hello");
    let traffic = proxy.traffic();
    assert_eq!((traffic.made, traffic.open, traffic.down), (2, 2, 0));
    drop(swallowed);
    proxy.until(|traffic| traffic.open == 1).await;
}

#[tokio::test]
async fn cuts_are_seen_on_both_sides_as_what_they_are() {
    for cut in [Cut::Fin, Cut::Rst] {
        let (server, proxy) = proxy().await;
        // In whatever state.
        for mode in [Mode::PASS, Mode::STALL, Mode::BLACK_HOLE] {
            proxy.set(Mode::PASS);
            let (mut one, mut other) = connect(&server, &proxy).await;
            proxy.set(mode);
            proxy.cut(cut);
            for side in [&mut one, &mut other] {
                let read = side.read(&mut [0]).await;
                match cut {
                    Cut::Fin => assert_eq!(read.unwrap(), 0),
                    Cut::Rst => {
                        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
                    }
                }
            }
            drop((one, other));
            proxy.until(|traffic| traffic.open == 0).await;
        }
    }
}

#[tokio::test]
async fn a_delay_holds_back_what_comes() {
    let (server, proxy) = proxy().await;
    let (mut one, mut other) = connect(&server, &proxy).await;
    let delay = Duration::from_millis(50);
    proxy.set(Mode { up: Flow::Delay(delay), down: Flow::Pass });
    let start = Instant::now();
    one.write_all(b"late").await.unwrap();
    assert_eq!(read(&mut other, 4).await.unwrap(), b"late");
    assert!(start.elapsed() >= delay);
}
