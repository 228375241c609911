//! Through an HTTP proxy, by the connector of the example.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "../examples/http_proxy/connector.rs"]
mod connector;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use common::{ask, client, soon};
use connector::HttpProxy;
use pool_tonic::ChannelPool;
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::proto::Do;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

/// What the proxy was asked for.
type Asked = Arc<Mutex<Vec<String>>>;

/// A proxy that refuses whom `status` is not 200.
async fn proxy(status: &'static str) -> (SocketAddr, Asked) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let asked = Asked::default();
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut request = String::new();
                stream.read_line(&mut request).await.unwrap();
                log.lock().unwrap().push(request.trim_end().to_owned());
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    stream.read_line(&mut line).await.unwrap();
                }
                let answer = format!("HTTP/1.1 {status}\r\nX-Proxy: yes\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                if status.starts_with("200") {
                    let target = request.split(' ').nth(1).unwrap();
                    let mut server = TcpStream::connect(target).await.unwrap();
                    // Ends with an error where a side is cut.
                    let _ = copy_bidirectional(&mut stream, &mut server).await;
                }
            });
        }
    });
    (addr, asked)
}

#[tokio::test]
async fn calls_go_through_a_proxy() {
    let server = EchoServer::start().await.unwrap();
    let (addr, asked) = proxy("200 Connection established").await;
    let pool = ChannelPool::builder(server.uri())
        .connector(HttpProxy::new(addr.to_string()))
        .build()
        .unwrap();
    for _ in 0..10 {
        soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    }
    let expected = format!("CONNECT {} HTTP/1.1", server.addr());
    assert_eq!(asked.lock().unwrap().first(), Some(&expected));
}

#[tokio::test]
async fn a_proxys_refusal_is_the_calls_error() {
    let (addr, _) = proxy("403 Forbidden").await;
    let pool = ChannelPool::builder("http://orders.example:50051")
        .connector(HttpProxy::new(addr.to_string()))
        .build()
        .unwrap();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("orders.example:50051"), "{status}");
    assert!(status.message().contains("403 Forbidden"), "{status}");
}
