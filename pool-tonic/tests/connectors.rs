//! Connecting by other ways than a plain address: connectors, Unix sockets, options of TCP and HTTP/2.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;

use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use common::{ask, client, soon};
use http::Uri;
use pool_tonic::{ChannelPool, ChannelPoolBuilder};
use pool_tonic_testing::proto::Do;
use pool_tonic_testing::{Accepted, EchoServer, peer};
use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;
use tower::{Service, service_fn};

/// The end of the network in memory at which connections are made.
#[derive(Clone)]
struct Memory(mpsc::UnboundedSender<DuplexStream>);

impl Memory {
    fn connect(&self) -> io::Result<DuplexStream> {
        let (ours, theirs) = duplex(1 << 16);
        self.0.send(theirs).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(ours)
    }
}

/// An echo server in memory.
fn in_memory() -> (Memory, EchoServer) {
    let (connections, accepted) = mpsc::unbounded_channel();
    let mut port = 0;
    let incoming = UnboundedReceiverStream::new(accepted).map(move |stream| {
        port += 1;
        Ok(Accepted::new(stream, SocketAddr::from(([0, 0, 0, 0], port))))
    });
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    (Memory(connections), EchoServer::serve(nowhere, incoming, |server| server))
}

#[tokio::test]
async fn calls_run_over_streams_in_memory() {
    let (memory, server) = in_memory();
    let connector = service_fn(move |uri: Uri| {
        assert_eq!(uri.to_string(), "http://orders:50051/");
        let connected = memory.connect();
        async move { connected }
    });
    let pool = ChannelPool::builder("http://orders:50051").connector(connector).build().unwrap();
    for _ in 0..20 {
        soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    }
    let mut answers = soon(client(&pool).server_stream(ask(Do::Echo))).await.unwrap().into_inner();
    while soon(answers.message()).await.unwrap().is_some() {}
    assert_eq!(server.books().now().calls, 21);
}

/// Fails to become ready the first time, and to connect the second.
#[derive(Clone)]
struct Reluctant {
    memory: Memory,
    attempts: Arc<AtomicUsize>,
    failed: bool,
}

impl Service<Uri> for Reluctant {
    type Response = DuplexStream;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<DuplexStream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        assert!(!self.failed, "a service that failed is not asked again");
        if self.attempts.fetch_add(1, Ordering::SeqCst) == 0 {
            self.failed = true;
            return Poll::Ready(Err(io::Error::other("not in the mood")));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        std::future::ready(match self.attempts.load(Ordering::SeqCst) {
            2 => Err(io::Error::other("still not")),
            _ => self.memory.connect(),
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_fails_is_asked_again_after_the_back_off() {
    let (memory, _server) = in_memory();
    let connector = Reluctant { memory, attempts: Arc::default(), failed: false };
    let attempts = Arc::clone(&connector.attempts);
    let pool = ChannelPool::builder("http://orders:50051").connector(connector).build().unwrap();
    let status = client(&pool).unary(ask(Do::Echo)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let expected = "cannot connect to orders:50051: its connector failed: not in the mood";
    assert!(status.message().contains(expected), "{status}");
    assert_eq!(pool.last_error().unwrap().to_string(), expected);
    pool.wait_ready(Instant::now() + Duration::from_secs(60)).await.unwrap();
    client(&pool).unary(ask(Do::Echo)).await.unwrap();
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_hangs_is_bounded_by_the_connect_timeout() {
    let connector = service_fn(|_: Uri| pending::<io::Result<DuplexStream>>());
    let pool = ChannelPool::builder("http://orders:50051").connector(connector).build().unwrap();
    let status = client(&pool).unary(ask(Do::Echo)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let expected = "cannot connect to orders:50051: the connect timeout of 20s passed while the connector was connecting";
    assert!(status.message().contains(expected), "{status}");
    assert_eq!(pool.last_error().unwrap().to_string(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_stream_on_which_nothing_comes_is_bounded_by_the_connect_timeout() {
    let (sender, mut kept) = mpsc::unbounded_channel();
    let memory = Memory(sender);
    let connector = service_fn(move |_: Uri| std::future::ready(memory.connect()));
    let pool = ChannelPool::builder("http://orders:50051").connector(connector).build().unwrap();
    let status = client(&pool).unary(ask(Do::Echo)).await.unwrap_err();
    assert!(status.message().contains("20s passed while its HTTP/2 settings"), "{status}");
    assert!(kept.recv().await.is_some());
}

/// Linux leaves a SYN unanswered when as many connections wait to be accepted as may.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_tcp_connection_that_is_not_answered_is_bounded_by_the_connect_timeout() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = socket.local_addr().unwrap();
    let _listener = socket.listen(1).unwrap();
    let _full = [TcpStream::connect(addr).await.unwrap(), TcpStream::connect(addr).await.unwrap()];
    let pool = ChannelPool::builder(format!("http://{addr}"))
        .connect_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let expected = format!(
        "cannot connect to {addr}: the connect timeout of 100ms passed while the TCP connection was being made"
    );
    assert!(status.message().contains(&expected), "{status}");
    assert_eq!(pool.last_error().unwrap().to_string(), expected);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_said_so() {
    // A label is too long (RFC 1035, section 2.3.4), so no resolver is asked.
    let host = "x".repeat(64);
    let pool = ChannelPool::builder(format!("http://{host}:1")).build().unwrap();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert!(status.message().contains(&format!("cannot resolve {host}:1")), "{status}");
}

/// It may resolve to `::1`, too, where nobody listens.
#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    let server = EchoServer::start().await.unwrap();
    let uri = format!("http://localhost:{}", server.addr().port());
    let pool = ChannelPool::builder(uri).build().unwrap();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn connections_come_from_the_local_address() {
    let peer = peer::Peer::listen().await.unwrap();
    let local: IpAddr = [127, 0, 0, 2].into();
    let pool = ChannelPool::builder(peer.uri()).local_address(local).build().unwrap();
    let call = tokio::spawn({
        let mut client = client(&pool);
        async move { client.unary(ask(Do::Echo)).await }
    });
    let stream = soon(peer.accept_tcp()).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap().ip(), local);
    call.abort();

    let other: IpAddr = "::1".parse().unwrap();
    let pool = ChannelPool::builder(peer.uri()).local_address(other).build().unwrap();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert!(status.message().contains("local_address"), "{status}");
}

#[cfg(unix)]
mod unix {
    use tokio::net::UnixListener;
    use tokio_stream::wrappers::UnixListenerStream;

    use super::*;

    #[tokio::test]
    async fn calls_run_over_a_unix_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.sock");
        let mut port = 0;
        let listener = UnixListener::bind(&path).unwrap();
        let incoming = UnixListenerStream::new(listener).map(move |stream| {
            port += 1;
            Ok(Accepted::new(stream?, SocketAddr::from(([0, 0, 0, 0], port))))
        });
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let server = EchoServer::serve(nowhere, incoming, |server| server);
        for form in ["unix:", "unix://"] {
            let pool = ChannelPool::builder(format!("{form}{}", path.display())).build().unwrap();
            for _ in 0..10 {
                soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
            }
        }
        assert_eq!(server.books().now().calls, 20);
    }

    #[tokio::test]
    async fn a_missing_socket_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let uri = format!("unix:{}", folder.path().join("missing.sock").display());
        let pool = ChannelPool::builder(&uri).build().unwrap();
        let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains(&uri), "{status}");
        assert!(pool.last_error().unwrap().to_string().contains(&uri));
    }

    #[test]
    fn a_connector_and_a_socket_do_not_go_together() {
        let connector = service_fn(|_: Uri| pending::<io::Result<DuplexStream>>());
        let error = ChannelPool::builder("unix:/a").connector(connector).build().unwrap_err();
        assert!(error.to_string().contains("connector"), "{error}");
    }
}

#[tokio::test]
async fn requests_carry_the_origin() {
    let peer = peer::Peer::listen().await.unwrap();
    let origin = Uri::from_static("https://shop.example:7");
    let pool = ChannelPool::builder(peer.uri()).origin(origin).build().unwrap();
    let call = tokio::spawn({
        let mut client = client(&pool);
        async move { client.unary(ask(Do::Echo)).await }
    });
    let mut connection = soon(peer.accept()).await;
    let (request, respond) = soon(peer::next(&mut connection)).await;
    assert_eq!(request.uri().scheme_str(), Some("https"));
    assert_eq!(request.uri().authority().unwrap(), "shop.example:7");
    peer::answer(respond);
    let served = tokio::spawn(async move { while let Some(Ok(_)) = connection.accept().await {} });
    soon(call).await.unwrap().unwrap();
    drop(pool);
    soon(served).await.unwrap();
}

#[tokio::test]
async fn the_server_is_told_the_settings() {
    let unset = |builder: ChannelPoolBuilder| builder;
    let defaults = [(0x4, 2 << 20), (0x5, 32 << 10), (0x6, 16 << 10)];
    assert_told(unset, defaults, 5 << 20).await;
    let set = |builder: ChannelPoolBuilder| {
        builder
            .initial_stream_window_size(70_000)
            .initial_connection_window_size(1 << 20)
            .max_frame_size(1 << 16)
            .http2_max_header_list_size(9_000)
    };
    assert_told(set, [(0x4, 70_000), (0x5, 1 << 16), (0x6, 9_000)], 1 << 20).await;
}

/// A server reads these settings, and that the connection has this window.
async fn assert_told(
    set: impl FnOnce(ChannelPoolBuilder) -> ChannelPoolBuilder,
    expected: [(u8, u32); 3],
    window: u32,
) {
    let peer = peer::Peer::listen().await.unwrap();
    let pool = set(ChannelPool::builder(peer.uri())).build().unwrap();
    let call = tokio::spawn({
        let mut client = client(&pool);
        async move { client.unary(ask(Do::Echo)).await }
    });
    let mut stream = soon(peer.accept_tcp()).await.unwrap();
    // After the preface, a SETTINGS frame, then a WINDOW_UPDATE of the connection (RFC 9113, 3.4, 6.5, 6.9).
    let mut head = [0; 24 + 9];
    soon(stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(head[27], 4, "the first frame is SETTINGS");
    let length = u32::from_be_bytes([0, head[24], head[25], head[26]]);
    let mut settings = vec![0; usize::try_from(length).unwrap()];
    soon(stream.read_exact(&mut settings)).await.unwrap();
    let settings: Vec<_> =
        settings.chunks(6).map(|s| (s[1], u32::from_be_bytes([s[2], s[3], s[4], s[5]]))).collect();
    for expected in expected {
        assert!(settings.contains(&expected), "{expected:?} in {settings:?}");
    }
    let mut update = [0; 13];
    soon(stream.read_exact(&mut update)).await.unwrap();
    assert_eq!(update[3], 8, "then comes WINDOW_UPDATE");
    let added = u32::from_be_bytes([update[9], update[10], update[11], update[12]]);
    assert_eq!(added, window - 65_535);
    call.abort();
}

#[tokio::test]
async fn an_answer_with_too_many_headers_fails_alone() {
    let peer = peer::Peer::listen().await.unwrap();
    let limits = [None, Some(64 << 10)];
    for limit in limits {
        let mut builder = ChannelPool::builder(peer.uri());
        if let Some(limit) = limit {
            builder = builder.http2_max_header_list_size(limit);
        }
        let pool = builder.build().unwrap();
        let calls = tokio::spawn({
            let mut client = client(&pool);
            async move { (client.unary(ask(Do::Echo)).await, client.unary(ask(Do::Echo)).await) }
        });
        let mut connection = soon(peer.accept()).await;
        let (_, mut respond) = soon(peer::next(&mut connection)).await;
        let mut response = http::Response::builder().header("content-type", "application/grpc");
        for index in 0..20 {
            response = response.header(format!("x-{index}"), "x".repeat(1000));
        }
        let response = response.header("grpc-status", "0").body(()).unwrap();
        respond.send_response(response, true).unwrap();
        let served = tokio::spawn(async move {
            let (_, respond) = peer::next(&mut connection).await;
            peer::answer(respond);
            while let Some(Ok(_)) = connection.accept().await {}
        });
        let (large, small) = soon(calls).await.unwrap();
        small.unwrap();
        // Without a message, which tonic finds out, the answer is none; but it has come.
        let expected = if limit.is_some() { "Missing response message" } else { "broken off" };
        assert!(large.unwrap_err().message().contains(expected));
        drop(pool);
        soon(served).await.unwrap();
    }
}

#[test]
fn what_is_out_of_range_is_refused_by_name() {
    let ok = || ChannelPool::builder("http://orders:50051");
    let second = Duration::from_secs(1);
    let built = |builder: ChannelPoolBuilder| builder.build().map(drop);
    for (built, setting) in [
        (built(ok().initial_stream_window_size(0)), "initial_stream_window_size"),
        (built(ok().initial_stream_window_size(1 << 31)), "initial_stream_window_size"),
        (built(ok().initial_connection_window_size(65_534)), "initial_connection_window_size"),
        (built(ok().initial_connection_window_size(u32::MAX)), "initial_connection_window_size"),
        (built(ok().max_frame_size(16_383)), "max_frame_size"),
        (built(ok().max_frame_size(1 << 24)), "max_frame_size"),
        (built(ok().http2_max_header_list_size(0)), "http2_max_header_list_size"),
        (built(ok().tcp_keepalive(second / 2)), "tcp_keepalive"),
        (built(ok().tcp_keepalive(second * 32_768)), "tcp_keepalive"),
        (built(ok().tcp_keepalive_interval(Duration::ZERO)), "tcp_keepalive_interval"),
        (built(ok().tcp_keepalive_retries(0)), "tcp_keepalive_retries"),
        (built(ok().tcp_keepalive_retries(128)), "tcp_keepalive_retries"),
        (built(ok().tcp_user_timeout(Duration::ZERO)), "tcp_user_timeout"),
        (built(ok().tcp_user_timeout(Duration::MAX)), "tcp_user_timeout"),
        (built(ok().origin(Uri::from_static("/path"))), "origin"),
    ] {
        let error = built.unwrap_err().to_string();
        assert!(error.contains(setting), "{setting}: {error}");
    }
    let widest = ok()
        .initial_stream_window_size((1 << 31) - 1)
        .initial_connection_window_size(None)
        .max_frame_size((1 << 24) - 1)
        .http2_max_header_list_size(u32::MAX)
        .tcp_keepalive(second)
        .tcp_user_timeout(None);
    widest.build().unwrap();
}
