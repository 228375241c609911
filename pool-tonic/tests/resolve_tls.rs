//! Endpoints give where to connect to; the pool's URI gives all else.

#![cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/tls.rs"]
mod tls;

use std::net::SocketAddr;

use common::{ask, client, soon};
use pool_tonic::resolve::{self, Endpoint, Fed};
use pool_tonic_testing::peer::{self, Peer};
use pool_tonic_testing::proto::Do;
use tls::{Ca, TlsServer, server_config};
use tokio_rustls::TlsAcceptor;
use tonic::Code;

const H2: &[&str] = &["h2"];
const URI: &str = "https://orders.prod:50051";

fn at(addr: SocketAddr) -> Fed {
    let (feed, fed) = resolve::feed();
    feed.set([Endpoint::from(addr)].into_iter().collect());
    fed
}

#[tokio::test]
async fn the_certificate_has_to_bear_the_name_that_was_resolved() {
    let ca = Ca::new();
    let server = TlsServer::start(server_config(&ca.issue("orders.prod"), None, H2)).await;
    let pool = ca.pool(URI).resolver(at(server.addr())).build().unwrap();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();

    let server = TlsServer::start(server_config(&ca.issue("127.0.0.1"), None, H2)).await;
    let pool = ca.pool(URI).resolver(at(server.addr())).build().unwrap();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("not valid for name"), "{status}");
    assert!(status.message().contains(&server.addr().to_string()), "{status}");
}

#[tokio::test]
async fn requests_carry_the_name_that_was_resolved_or_the_origin() {
    for origin in [None, Some("https://shop.example")] {
        let ca = Ca::new();
        let peer = Peer::listen().await.unwrap();
        let mut pool = ca.pool(URI).resolver(at(peer.addr()));
        if let Some(origin) = origin {
            pool = pool.origin(origin.parse().unwrap());
        }
        let pool = pool.build().unwrap();
        let call = tokio::spawn({
            let mut client = client(&pool);
            async move { client.unary(ask(Do::Echo)).await }
        });
        let acceptor = TlsAcceptor::from(server_config(&ca.issue("orders.prod"), None, H2));
        let stream = soon(peer.accept_tcp()).await.unwrap();
        let stream = soon(acceptor.accept(stream)).await.unwrap();
        let mut connection = soon(h2::server::handshake(stream)).await.unwrap();
        let (request, respond) = soon(connection.accept()).await.unwrap().unwrap();
        assert_eq!(request.uri().scheme_str(), Some("https"));
        let expected = if origin.is_some() { "shop.example" } else { "orders.prod:50051" };
        assert_eq!(request.uri().authority().unwrap().as_str(), expected);
        peer::answer(respond);
        let served =
            tokio::spawn(async move { while let Some(Ok(_)) = connection.accept().await {} });
        soon(call).await.unwrap().unwrap();
        drop(pool);
        soon(served).await.unwrap();
    }
}
