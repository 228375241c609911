//! The endpoint over a real socket.

mod support;

use std::io;
use std::time::Duration;

use pool_metrics::Registry;
use support::{Fake, ask, numbers, scrape};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A generous bound: reached only when the behaviour is broken.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_scrape_is_the_text_format_with_its_version() {
    let registry = Registry::new();
    let fake = Fake::new(3, 1);
    registry.register("p", &fake).unwrap();
    let endpoint = registry.serve("127.0.0.1:0").await.unwrap();
    let (head, body) = ask(endpoint.local_addr(), "GET", "/metrics").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert_eq!(numbers(&body), scrape(&registry));
    assert!(body.contains("fake_served_total{pool=\"p\"} 3\n"), "{body}");
}

#[tokio::test]
async fn head_is_the_same_without_the_text() {
    let registry = Registry::new();
    let fake = Fake::new(3, 1);
    registry.register("p", &fake).unwrap();
    let endpoint = registry.serve("127.0.0.1:0").await.unwrap();
    let (head, body) = ask(endpoint.local_addr(), "HEAD", "/metrics").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.expect("a length").parse().unwrap();
    assert!(length > scrape(&registry).len(), "{head}");
    assert_eq!(body, "");
}

#[tokio::test]
async fn nothing_else_is_answered() {
    let endpoint = Registry::new().serve("127.0.0.1:0").await.unwrap();
    let (head, _) = ask(endpoint.local_addr(), "POST", "/metrics").await;
    assert!(head.starts_with("http/1.1 405 "), "{head}");
    assert!(head.contains("allow: get,head"), "{head}");
    let (head, _) = ask(endpoint.local_addr(), "GET", "/elsewhere").await;
    assert!(head.starts_with("http/1.1 404 "), "{head}");
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let registry = Registry::new();
    let endpoint = registry.serve("127.0.0.1:0").await.unwrap();
    let address = endpoint.local_addr();
    let error = registry.serve(address).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn without_a_runtime_there_is_an_error() {
    let serve = std::pin::pin!(async { Registry::new().serve("127.0.0.1:0").await });
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(served) = serve.poll(&mut context) else { panic!("waits") };
    assert!(served.unwrap_err().to_string().contains("tokio runtime"));
}

#[tokio::test]
async fn after_shutdown_nothing_listens() {
    let endpoint = Registry::new().serve("127.0.0.1:0").await.unwrap();
    let address = endpoint.local_addr();
    timeout(SOON, endpoint.shutdown()).await.expect("ends");
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_dropped_endpoint_stops() {
    let endpoint = Registry::new().serve("127.0.0.1:0").await.unwrap();
    let address = endpoint.local_addr();
    drop(endpoint);
    // Its task has yet to hear of it.
    let refused = async {
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        while !TcpStream::connect(address).await.is_err_and(refused) {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, refused).await.expect("nothing listens");
}

#[tokio::test(start_paused = true)]
async fn one_that_says_nothing_is_closed_after_five_seconds() {
    let endpoint = Registry::new().serve("127.0.0.1:0").await.unwrap();
    let mut silent = TcpStream::connect(endpoint.local_addr()).await.unwrap();
    let start = tokio::time::Instant::now();
    let read = silent.read(&mut [0]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    assert!(start.elapsed() >= Duration::from_secs(5), "{:?}", start.elapsed());
    drop(endpoint);
}

#[tokio::test]
async fn an_answer_is_compressed_for_those_who_accept_that() {
    let registry = Registry::new();
    let fake = Fake::new(3, 1);
    registry.register("p", &fake).unwrap();
    let endpoint = registry.serve("127.0.0.1:0").await.unwrap();
    let compressed = async |accepted: &str| {
        let mut stream = TcpStream::connect(endpoint.local_addr()).await.unwrap();
        let head = format!("GET /metrics HTTP/1.0\r\naccept-encoding: {accepted}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(SOON, stream.read_to_end(&mut answer)).await.expect("answers").unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        (head.contains("content-encoding: gzip"), answer.split_off(end + 4))
    };
    let (is_gzip, body) = compressed("br;q=1.0, gzip;q=0.8").await;
    assert!(is_gzip);
    let text = io::read_to_string(flate2::read::GzDecoder::new(&body[..])).unwrap();
    assert_eq!(numbers(&text), scrape(&registry));
    let (is_gzip, body) = compressed("gzip;q=0").await;
    assert!(!is_gzip);
    assert_eq!(numbers(&String::from_utf8(body).unwrap()), scrape(&registry));
}

#[tokio::test]
async fn the_format_is_the_one_that_is_preferred() {
    let registry = Registry::new();
    let fake = Fake::new(3, 1);
    registry.register("p", &fake).unwrap();
    let endpoint = registry.serve("127.0.0.1:0").await.unwrap();
    // What Prometheus 3 sends, without its protobuf.
    let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
        application/openmetrics-text;version=0.0.1;q=0.4,\
        text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    for (accepted, is_open) in [
        (prometheus, true),
        ("application/openmetrics-text", true),
        ("application/openmetrics-text; version=\"1.0.0\", text/plain;q=0.9", true),
        ("application/openmetrics-text;q=0.3, text/plain;q=0.9", false),
        ("application/openmetrics-text;q=0.3, */*", false),
        ("application/openmetrics-text;version=9.0.0", false),
        ("application/openmetrics-text;q=0", false),
        ("application/openmetrics-text;q=much", false),
        ("text/html, */*;q=0.8", false),
        ("*/*", false),
        ("", false),
        (";;;,,,q=;=\"", false),
    ] {
        let mut stream = TcpStream::connect(endpoint.local_addr()).await.unwrap();
        let head = format!("GET /metrics HTTP/1.0\r\naccept: {accepted}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(SOON, stream.read_to_string(&mut answer)).await.expect("answers").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let (kind, text) = if is_open {
            (pool_metrics::OPENMETRICS_CONTENT_TYPE, registry.render_openmetrics())
        } else {
            (pool_metrics::CONTENT_TYPE, registry.render())
        };
        assert!(head.contains(&format!("content-type: {kind}\r\n")), "{accepted}: {head}");
        assert_eq!(numbers(body), numbers(&text), "{accepted}");
        assert_eq!(body.ends_with("\n# EOF\n"), is_open, "{accepted}");
    }
}

#[tokio::test]
async fn the_text_of_another_recorder_is_on_the_same_endpoint() {
    let registry = Registry::new();
    let fake = Fake::new(3, 1);
    registry.register("p", &fake).unwrap();
    registry.append(|| "# TYPE orders_total counter\norders_total 7".to_owned());
    let endpoint = registry.serve("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(endpoint.local_addr()).await.unwrap();
    let head = "GET /metrics HTTP/1.0\r\naccept: application/openmetrics-text\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.expect("answers").unwrap();
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("fake_served_total{pool=\"p\"} 3\n"), "{answer}");
    assert!(answer.ends_with("orders_total 7\n"), "{answer}");
}
