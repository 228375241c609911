//! TLS and mTLS: what works, and one clear error for each thing that does not.

#![cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/tls.rs"]
mod tls;

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use common::{ask, client, soon};
use pool_tonic::{ChannelPool, ConfigError, ConnectivityState, Pem, TlsConfig, TlsOutcome};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::peer::{self, Peer};
use pool_tonic_testing::proto::Do;
use tls::{Ca, TlsServer, der, server_config, server_config_of, silent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, rustls};
use tonic::Code;
use tower::service_fn;

const HOST: &str = "127.0.0.1";
const H2: &[&str] = &["h2"];

/// A call fails with this, and the pool says so, too.
async fn fails(pool: &ChannelPool, address: impl ToString, expected: &str) {
    let status = soon(client(pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let last = pool.last_error().unwrap();
    for text in [status.message(), &last.to_string()] {
        assert!(text.contains(expected), "{expected:?} in {text:?}");
        assert!(text.contains(&address.to_string()), "{text:?} names the address");
    }
    assert_eq!(last.address(), address.to_string());
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
}

#[tokio::test]
async fn calls_run_over_tls() {
    let ca = Ca::new();
    let server = TlsServer::start(server_config(&ca.issue(HOST), None, H2)).await;
    let pool = ca.pool(server.uri()).build().unwrap();
    for _ in 0..20 {
        soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    }
    let mut answers = soon(client(&pool).server_stream(ask(Do::Echo))).await.unwrap().into_inner();
    while soon(answers.message()).await.unwrap().is_some() {}
    assert_eq!(server.clients()[0], None);
}

#[tokio::test]
async fn requests_over_tls_have_the_scheme_https() {
    let ca = Ca::new();
    let peer = Peer::listen().await.unwrap();
    let pool = ca.pool(format!("https://{}", peer.addr())).build().unwrap();
    let call = tokio::spawn({
        let mut client = client(&pool);
        async move { client.unary(ask(Do::Echo)).await }
    });
    let acceptor = TlsAcceptor::from(server_config(&ca.issue(HOST), None, H2));
    let stream = soon(acceptor.accept(soon(peer.accept_tcp()).await.unwrap())).await.unwrap();
    let mut connection = soon(h2::server::handshake(stream)).await.unwrap();
    let (request, respond) = soon(connection.accept()).await.unwrap().unwrap();
    assert_eq!(request.uri().scheme_str(), Some("https"));
    assert_eq!(request.uri().authority().unwrap().as_str(), peer.addr().to_string());
    peer::answer(respond);
    let served = tokio::spawn(async move { while let Some(Ok(_)) = connection.accept().await {} });
    soon(call).await.unwrap().unwrap();
    drop(pool);
    soon(served).await.unwrap();
}

#[tokio::test]
async fn the_client_presents_its_certificate() {
    let (ca, clients) = (Ca::new(), Ca::new());
    let server = TlsServer::start(server_config(&ca.issue(HOST), Some(&clients), H2)).await;
    let own = clients.issue("client");
    let tls = ca.trusted().identity(Pem::bytes(&own.certificate), Pem::bytes(&own.key));
    let pool = ChannelPool::builder(server.uri()).tls_config(tls).build().unwrap();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    assert_eq!(server.clients()[0], Some(der(&own.certificate)));
}

#[tokio::test]
async fn a_certificate_may_bear_another_name_if_that_is_said() {
    let ca = Ca::new();
    let server = TlsServer::start(server_config(&ca.issue("orders.example"), None, H2)).await;
    let tls = ca.trusted().domain_name("orders.example");
    let pool = ChannelPool::builder(server.uri()).tls_config(tls).build().unwrap();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
}

#[tokio::test]
async fn a_whole_configuration_of_rustls_is_used_with_h2() {
    let ca = Ca::new();
    let server = TlsServer::start(server_config(&ca.issue(HOST), None, H2)).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der(&ca.pem())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = TlsConfig::from_rustls(config);
    let pool = ChannelPool::builder(server.uri()).tls_config(tls).build().unwrap();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
}

#[tokio::test]
async fn tls_runs_over_a_connector() {
    let ca = Ca::new();
    let server = TlsServer::start(server_config(&ca.issue("orders.example"), None, H2)).await;
    let addr = server.addr();
    let connector = service_fn(move |_: http::Uri| TcpStream::connect(addr));
    let pool = ca.pool("https://orders.example").connector(connector).build().unwrap();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn tls_runs_over_a_unix_socket() {
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let acceptor = TlsAcceptor::from(server_config(&ca.issue("localhost"), None, H2));
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = acceptor.accept(stream).await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (_request, respond) = connection.accept().await.unwrap().unwrap();
        peer::answer(respond);
        while let Some(Ok(_)) = connection.accept().await {}
    });
    let pool = ca.pool(format!("unix://{}", path.display())).build().unwrap();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    drop(pool);
    soon(served).await.unwrap();
}

#[tokio::test]
async fn a_server_signed_by_somebody_else_is_refused() {
    let server = TlsServer::start(server_config(&Ca::new().issue(HOST), None, H2)).await;
    let pool = Ca::new().pool(server.uri()).build().unwrap();
    fails(&pool, server.addr(), "invalid peer certificate: UnknownIssuer").await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let ca = Ca::new();
    let server = TlsServer::start(server_config(&ca.issue_expired(HOST), None, H2)).await;
    let pool = ca.pool(server.uri()).build().unwrap();
    fails(&pool, server.addr(), "certificate expired").await;
}

#[tokio::test]
async fn a_certificate_with_another_name_is_refused() {
    let ca = Ca::new();
    let server = TlsServer::start(server_config(&ca.issue("other.example"), None, H2)).await;
    let pool = ca.pool(server.uri()).build().unwrap();
    fails(&pool, server.addr(), "certificate not valid for name").await;
}

#[tokio::test]
async fn a_server_that_does_not_choose_h2_is_refused() {
    let ca = Ca::new();
    // The first says nothing, the second declines the handshake.
    for alpn in [&[][..], &["http/1.1"]] {
        let server = TlsServer::start(server_config(&ca.issue(HOST), None, alpn)).await;
        let pool = ca.pool(server.uri()).build().unwrap();
        fails(&pool, server.addr(), "does not speak HTTP/2 over TLS: it did not choose h2").await;
    }
}

#[tokio::test]
async fn a_client_certificate_that_is_missing_or_wrong_is_hinted_at() {
    let (ca, clients) = (Ca::new(), Ca::new());
    let server = TlsServer::start(server_config(&ca.issue(HOST), Some(&clients), H2)).await;
    let pool = ca.pool(server.uri()).build().unwrap();
    // The server's alert, or the end of the connection if that is noticed before.
    fails(&pool, server.addr(), "ertificate").await;

    let stranger = Ca::new().issue("client");
    let tls = ca.trusted().identity(Pem::bytes(stranger.certificate), Pem::bytes(stranger.key));
    let pool = ChannelPool::builder(server.uri()).tls_config(tls).build().unwrap();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains(&server.addr().to_string()), "{status}");
    assert_eq!(server.clients(), []);
}

#[tokio::test]
async fn a_server_without_tls_is_told_apart() {
    let server = EchoServer::start().await.unwrap();
    let pool = Ca::new().pool(format!("https://{}", server.addr())).build().unwrap();
    fails(&pool, server.addr(), "is it a server without TLS? then write http://").await;
}

#[tokio::test]
async fn a_server_with_tls_is_told_apart() {
    let server = TlsServer::start(server_config(&Ca::new().issue(HOST), None, H2)).await;
    let pool = ChannelPool::builder(format!("http://{}", server.addr())).build().unwrap();
    fails(&pool, server.addr(), "is it a server with TLS? then write https://").await;
}

#[tokio::test]
async fn a_tls_handshake_that_hangs_is_bounded_by_the_connect_timeout() {
    let peer = Peer::listen().await.unwrap();
    let pool = Ca::new()
        .pool(format!("https://{}", peer.addr()))
        .connect_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let expected = "the connect timeout of 100ms passed while the TLS handshake was under way";
    fails(&pool, peer.addr(), expected).await;
}

#[tokio::test]
async fn silence_after_the_tls_handshake_is_bounded_by_the_connect_timeout() {
    let ca = Ca::new();
    let (addr, server) = silent(server_config(&ca.issue(HOST), None, H2)).await;
    let pool = ca
        .pool(format!("https://{addr}"))
        // The handshake has to fit into it, on a machine that does other things, too.
        .connect_timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    let expected = "the connect timeout of 2s passed while its HTTP/2 settings were awaited";
    fails(&pool, addr, expected).await;
    server.abort();
}

#[tokio::test]
async fn a_file_that_is_missing_or_broken_fails_the_attempt_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let peer = Peer::listen().await.unwrap();
    let tls = TlsConfig::new().ca_certificate(Pem::file(&path));
    let pool =
        || ChannelPool::builder(format!("https://{}", peer.addr())).tls_config(tls.clone()).build();
    let cannot_read = format!("cannot read {}", path.display());
    fails(&pool().unwrap(), peer.addr(), &cannot_read).await;
    std::fs::write(&path, "nothing of the kind").unwrap();
    let unusable = format!("{} cannot be used as root certificate", path.display());
    fails(&pool().unwrap(), peer.addr(), &unusable).await;
}

/// Pipes stand for files that are replaced between one read and the next.
#[cfg(unix)]
#[tokio::test]
async fn files_that_are_being_replaced_are_read_once_more() {
    let (servers, clients) = (Ca::new(), Ca::new());
    let server = TlsServer::start(server_config(&servers.issue(HOST), Some(&clients), H2)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (certificate, key) = (file("tls.crt"), file("tls.key"));
    for pipe in [&certificate, &key] {
        let made = std::process::Command::new("mkfifo").arg(pipe).status().unwrap();
        assert!(made.success());
    }
    let (old, new) = (clients.issue("old"), clients.issue("new"));
    let presented = der(&new.certificate);
    let identity = (Pem::file(&certificate), Pem::file(&key));
    // Each waits until it is opened to be read: the new key is there when the old certificate was read.
    std::thread::spawn(move || {
        std::fs::write(&certificate, &old.certificate).unwrap();
        std::fs::write(&key, &new.key).unwrap();
        std::fs::write(&certificate, &new.certificate).unwrap();
        std::fs::write(&key, &new.key).unwrap();
    });
    let tls = servers.trusted().identity(identity.0, identity.1);
    let pool = ChannelPool::builder(server.uri()).tls_config(tls).build().unwrap();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    assert_eq!(pool.counters().connections_failed, 0);
    assert_eq!(server.clients(), [Some(presented)]);
}

#[tokio::test]
async fn a_key_of_another_certificate_is_named_with_it_and_may_be_put_right() {
    let (servers, clients) = (Ca::new(), Ca::new());
    let server = TlsServer::start(server_config(&servers.issue(HOST), Some(&clients), H2)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (old, new) = (clients.issue("old"), clients.issue("new"));
    std::fs::write(file("tls.crt"), &old.certificate).unwrap();
    std::fs::write(file("tls.key"), &new.key).unwrap();
    let tls = servers.trusted().identity(Pem::file(file("tls.crt")), Pem::file(file("tls.key")));
    let pool = ChannelPool::builder(server.uri()).tls_config(tls).build().unwrap();
    fails(&pool, server.addr(), "tls.key cannot be used as key of the client certificate").await;
    fails(&pool, server.addr(), "tls.crt: it is that of another one").await;
    std::fs::write(file("tls.crt"), &new.certificate).unwrap();
    pool.reset_backoff();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
}

#[test]
fn what_cannot_work_is_refused_when_the_pool_is_built() {
    let ca = Ca::new();
    let own = ca.issue("client");
    let build = |uri: &str, tls| ChannelPool::builder(uri).tls_config(tls).build();
    let error = |uri: &str, tls: TlsConfig| build(uri, tls).unwrap_err();
    let secure = "https://orders";

    build(secure, ca.trusted()).unwrap();
    let unused = error("http://orders", ca.trusted());
    assert!(matches!(unused, ConfigError::TlsUnused { .. }), "{unused}");
    let name = error(secure, ca.trusted().domain_name("no name"));
    assert!(matches!(name, ConfigError::ServerName { .. }), "{name}");
    let pem = error(secure, TlsConfig::new().ca_certificate(Pem::bytes("")));
    assert!(pem.to_string().contains("PEM in memory cannot be used as root certificate"), "{pem}");
    let identity =
        ca.trusted().identity(Pem::bytes(&own.certificate), Pem::bytes(&ca.issue("other").key));
    let key = error(secure, identity);
    assert!(key.to_string().contains("key of the client certificate"), "{key}");
    let shown =
        format!("{:?}", ca.trusted().identity(Pem::bytes(&own.certificate), Pem::bytes(&own.key)));
    assert!(!shown.contains("BEGIN"), "{shown}");
}

#[cfg(feature = "tls-webpki-roots")]
#[tokio::test]
async fn public_roots_do_not_trust_a_private_server_and_private_ones_can_be_added() {
    let ca = Ca::new();
    let server = TlsServer::start(server_config(&ca.issue(HOST), None, H2)).await;
    let public = TlsConfig::new().with_webpki_roots();
    let pool = ChannelPool::builder(server.uri()).tls_config(public).build().unwrap();
    fails(&pool, server.addr(), "UnknownIssuer").await;
    let both = ca.trusted().with_webpki_roots();
    let pool = ChannelPool::builder(server.uri()).tls_config(both).build().unwrap();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
}

/// A server that answers what a client says first with this, and closes.
async fn answers_with(answer: &'static str) -> String {
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 16 * 1024]).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    format!("https://{addr}")
}

/// Counts one handshake, which ended so.
async fn ends_in(pool: &ChannelPool, outcome: TlsOutcome) {
    let got = soon(client(pool).unary(ask(Do::Echo))).await;
    let handshakes = pool.counters().tls_handshakes;
    let seen: Vec<_> = handshakes.iter().filter(|(_, number)| *number > 0).collect();
    assert_eq!(seen, [(outcome, 1)], "{got:?}");
}

#[tokio::test]
async fn handshakes_are_counted_by_how_they_end() {
    let (ca, other) = (Ca::new(), Ca::new());
    let server = TlsServer::start(server_config(&ca.issue(HOST), None, H2)).await;
    let one = |ca: &Ca, uri: String| ca.pool(uri).max_connections(1);
    ends_in(&one(&ca, server.uri()).build().unwrap(), TlsOutcome::Ok).await;
    ends_in(&one(&other, server.uri()).build().unwrap(), TlsOutcome::Certificate).await;
    server.set(server_config(&ca.issue_expired(HOST), None, H2));
    ends_in(&one(&ca, server.uri()).build().unwrap(), TlsOutcome::Certificate).await;

    // One that refuses what is offered, and one that leaves it aside.
    server.set(server_config(&ca.issue(HOST), None, &["http/1.1"]));
    ends_in(&one(&ca, server.uri()).build().unwrap(), TlsOutcome::Alpn).await;
    server.set(server_config(&ca.issue(HOST), None, &[]));
    ends_in(&one(&ca, server.uri()).build().unwrap(), TlsOutcome::Alpn).await;

    // No version in common.
    server.set(server_config_of(&ca.issue(HOST), None, H2, &[&rustls::version::TLS13]));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let old = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let old = ChannelPool::builder(server.uri()).tls_config(TlsConfig::from_rustls(old));
    ends_in(&old.max_connections(1).build().unwrap(), TlsOutcome::Alert).await;

    let uri = answers_with("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    ends_in(&one(&ca, uri).build().unwrap(), TlsOutcome::Protocol).await;
    let uri = answers_with("").await;
    ends_in(&one(&ca, uri).build().unwrap(), TlsOutcome::Io).await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_not_answered_takes_too_long() {
    let mute = service_fn(|_: http::Uri| async {
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let _open = far;
            pending::<()>().await;
        });
        Ok::<_, io::Error>(near)
    });
    let pool = Ca::new().pool("https://mute").connector(mute).max_connections(1);
    let pool = pool.connect_timeout(Duration::from_millis(200)).build().unwrap();
    ends_in(&pool, TlsOutcome::Timeout).await;
}
