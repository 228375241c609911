//! The series of a gRPC pool.
#![cfg(feature = "tonic")]

use std::net::SocketAddr;
use std::time::Duration;

use pool_core::GetOptions;
use pool_metrics::Registry;
use pool_tonic::ChannelPool;
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::proto::echo_client::EchoClient;
use pool_tonic_testing::proto::{Ask, Do};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{Instant, timeout};

/// A generous bound: reached only when the behaviour is broken.
const SOON: Duration = Duration::from_secs(20);

/// An HTTP/2 server that accepts connections and answers no call.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("a bound one has an address");
    tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut connection = h2::server::Builder::new()
                    .max_concurrent_streams(7)
                    .handshake::<_, bytes::Bytes>(stream)
                    .await?;
                while connection.accept().await.transpose()?.is_some() {}
                Ok::<_, h2::Error>(())
            });
        }
    });
    address
}

fn value(scrape: &str, series: &str) -> u64 {
    let line = scrape.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{scrape}")).parse().expect("a whole number")
}

#[test]
fn all_series_are_there_from_the_beginning() {
    let registry = Registry::new();
    let pool = ChannelPool::builder("http://127.0.0.1:1").max_connections(3).build().unwrap();
    registry.register("p", &pool).unwrap();
    let scrape = registry.render();
    assert_eq!(value(&scrape, "grpc_pool_state{pool=\"p\",state=\"idle\"}"), 1);
    assert_eq!(value(&scrape, "grpc_pool_endpoints{pool=\"p\",state=\"idle\"}"), 1);
    assert_eq!(value(&scrape, "grpc_pool_channels_max{pool=\"p\"}"), 3);
    assert_eq!(value(&scrape, "pool_connections_max{pool=\"p\"}"), 3);
    let version = env!("CARGO_PKG_VERSION");
    let info =
        format!("pool_info{{pool=\"p\",version=\"{version}\",manager=\"ConnectionManager\"}}");
    assert_eq!(value(&scrape, &info), 1);
    let zeros = [
        "grpc_pool_state{pool=\"p\",state=\"transient_failure\"}",
        "grpc_pool_channels{pool=\"p\",state=\"connecting\"}",
        "grpc_pool_channels{pool=\"p\",state=\"ready\"}",
        "grpc_pool_channels{pool=\"p\",state=\"draining\"}",
        "grpc_pool_streams{pool=\"p\"}",
        "grpc_pool_stream_capacity{pool=\"p\"}",
        "grpc_pool_queued_calls{pool=\"p\"}",
        "grpc_pool_picks_total{pool=\"p\",result=\"ready\"}",
        "grpc_pool_picks_total{pool=\"p\",result=\"queued\"}",
        "grpc_pool_picks_total{pool=\"p\",result=\"failed\"}",
        "grpc_pool_calls_started_total{pool=\"p\"}",
        "grpc_pool_calls_ended_total{pool=\"p\",code=\"OK\"}",
        "grpc_pool_calls_ended_total{pool=\"p\",code=\"UNAUTHENTICATED\"}",
        "grpc_pool_transparent_retries_total{pool=\"p\"}",
        "grpc_pool_streams_refused_total{pool=\"p\"}",
        "grpc_pool_goaways_total{pool=\"p\"}",
        "grpc_pool_connections_lost_total{pool=\"p\"}",
        "grpc_pool_resolutions_total{pool=\"p\",result=\"empty\"}",
        "grpc_pool_resolver_updates_total{pool=\"p\",op=\"remove\"}",
        "grpc_pool_endpoints_ejected{pool=\"p\"}",
        "grpc_pool_endpoint_weight_max{pool=\"p\"}",
        "grpc_pool_streams_per_channel_max{pool=\"p\"}",
        "grpc_pool_streams_per_channel_min{pool=\"p\"}",
        "grpc_pool_dedicated_channels{pool=\"p\",state=\"used\"}",
        "grpc_pool_dedicated_streams{pool=\"p\"}",
        "grpc_pool_dedicated_queued_calls{pool=\"p\"}",
        "grpc_client_tls_handshakes_total{pool=\"p\",result=\"certificate\"}",
        "grpc_client_tls_handshakes_total{pool=\"p\",result=\"timeout\"}",
        "grpc_subchannel_disconnections_total{pool=\"p\",disconnect_error=\"GOAWAY NO_ERROR\"}",
        "grpc_subchannel_disconnections_total{pool=\"p\",disconnect_error=\"unknown\"}",
        "grpc_subchannel_open_connections{pool=\"p\"}",
        "grpc_subchannel_connection_attempts_succeeded_total{pool=\"p\"}",
        "grpc_subchannel_connection_attempts_failed_total{pool=\"p\"}",
    ];
    for series in zeros {
        assert_eq!(value(&scrape, series), 0, "{series}");
    }
}

#[tokio::test]
async fn a_connection_shows_with_the_streams_that_it_can_carry() {
    let registry = Registry::new();
    let pool = ChannelPool::builder(format!("http://{}", server().await)).build().unwrap();
    registry.register("p", &pool).unwrap();
    pool.wait_ready(Instant::now() + SOON).await.unwrap();
    let scrape = registry.render();
    assert_eq!(value(&scrape, "grpc_pool_state{pool=\"p\",state=\"ready\"}"), 1);
    assert_eq!(value(&scrape, "grpc_pool_state{pool=\"p\",state=\"idle\"}"), 0);
    assert_eq!(value(&scrape, "grpc_pool_endpoints{pool=\"p\",state=\"ready\"}"), 1);
    assert_eq!(value(&scrape, "grpc_pool_channels{pool=\"p\",state=\"ready\"}"), 1);
    let connects = "grpc_pool_connect_time_seconds_count{pool=\"p\",outcome=\"ok\"}";
    assert_eq!(value(&scrape, connects), 1);
    assert_eq!(value(&scrape, "grpc_pool_queue_time_seconds_count{pool=\"p\"}"), 1);
    assert_eq!(value(&scrape, "grpc_pool_stream_capacity{pool=\"p\"}"), 7);
    let succeeded = "grpc_subchannel_connection_attempts_succeeded_total{pool=\"p\"}";
    assert_eq!(value(&scrape, succeeded), 1);
    assert_eq!(value(&scrape, "pool_connections_created_total{pool=\"p\"}"), 1);
}

/// Picks that were ready, queued and failed, which are what is said of gets.
fn picks(registry: &Registry) -> [u64; 3] {
    let scrape = registry.render();
    let [ready, queued, failed] = ["ready", "queued", "failed"]
        .map(|it| value(&scrape, &format!("grpc_pool_picks_total{{pool=\"p\",result=\"{it}\"}}")));
    let of_gets = scrape.lines().filter_map(|line| {
        let (outcome, number) =
            line.strip_prefix("pool_acquires_total{pool=\"p\",outcome=\"")?.split_once("\"} ")?;
        Some((outcome, number.parse::<u64>().expect("a whole number")))
    });
    let (ok, others): (Vec<_>, Vec<_>) = of_gets.partition(|(outcome, _)| *outcome == "ok");
    let sum = |gets: Vec<(&str, u64)>| gets.into_iter().map(|(_, number)| number).sum::<u64>();
    assert_eq!((ready + queued, failed), (sum(ok), sum(others)));
    assert!(queued <= value(&scrape, "pool_acquire_waits_total{pool=\"p\"}"));
    [ready, queued, failed]
}

#[tokio::test]
async fn a_call_finds_a_stream_at_once_or_after_a_wait() {
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).max_connections(1).build().unwrap();
    let registry = Registry::new();
    registry.register("p", &pool).unwrap();
    let mut client = EchoClient::new(pool.channel());
    let ask = || Ask { text: "hello".to_owned(), r#do: Do::Echo.into(), answers: 1 };
    timeout(SOON, client.unary(ask())).await.expect("it answers").unwrap();
    assert_eq!(picks(&registry), [0, 1, 0], "the first waits for its connection");
    for _ in 0..3 {
        timeout(SOON, client.unary(ask())).await.expect("it answers").unwrap();
    }
    assert_eq!(picks(&registry), [3, 1, 0]);
}

#[tokio::test]
async fn a_pick_that_fails_has_waited_or_not() {
    let registry = Registry::new();
    let uri = format!("http://{}", server().await);
    let pool = ChannelPool::builder(uri).max_connections(1).build().unwrap();
    registry.register("p", &pool).unwrap();
    let streams = pool.connections();
    let mut held = vec![timeout(SOON, streams.get()).await.expect("it is there soon").unwrap()];
    held.extend((0..6).map(|_| streams.try_get().expect("the server takes seven")));
    assert_eq!(picks(&registry), [6, 1, 0]);

    let short = GetOptions::new().timeout(Duration::from_millis(10));
    assert!(streams.get_with(short).await.is_err());
    assert_eq!(picks(&registry), [6, 1, 1], "its time was over");
    assert!(timeout(Duration::from_millis(10), streams.get()).await.is_err());
    assert_eq!(picks(&registry), [6, 1, 2], "it was given up");

    let (next, ()) = tokio::join!(streams.get(), async { drop(held.pop()) });
    assert_eq!(picks(&registry), [6, 2, 2], "it waited for the one that came back");
    timeout(SOON, pool.close(Duration::ZERO)).await.expect("nothing is in its way");
    assert!(streams.get().await.is_err());
    assert_eq!(picks(&registry), [6, 2, 3], "the pool was closed");
    drop((next, held));
}

#[tokio::test]
async fn what_a_resolver_answers_is_counted() {
    let registry = Registry::new();
    let (feed, fed) = pool_tonic::resolve::feed();
    let pool = ChannelPool::builder("http://orders.prod").resolver(fed).build().unwrap();
    registry.register("p", &pool).unwrap();
    let addr = server().await;
    feed.set([pool_tonic::resolve::Endpoint::from(addr)].into_iter().collect());
    pool.wait_ready(Instant::now() + SOON).await.unwrap();
    let scrape = registry.render();
    assert_eq!(value(&scrape, "grpc_pool_resolutions_total{pool=\"p\",result=\"set\"}"), 1);
    assert_eq!(value(&scrape, "grpc_pool_resolutions_total{pool=\"p\",result=\"error\"}"), 0);
    let updates = |scrape: &str, op| {
        value(scrape, &format!("grpc_pool_resolver_updates_total{{pool=\"p\",op=\"{op}\"}}"))
    };
    assert_eq!((updates(&scrape, "add"), updates(&scrape, "remove")), (1, 0));

    let heavy = pool_tonic::resolve::Endpoint::from(server().await).weight(3);
    let light = pool_tonic::resolve::Endpoint::from(server().await);
    feed.set([heavy, light].into_iter().collect());
    let scrape = timeout(SOON, async {
        loop {
            let scrape = registry.render();
            if updates(&scrape, "add") == 3 {
                return scrape;
            }
            tokio::task::yield_now().await;
        }
    });
    let scrape = scrape.await.expect("the resolver is pushed");
    assert_eq!(updates(&scrape, "remove"), 1);
    let weight = |of| value(&scrape, &format!("grpc_pool_endpoint_weight_{of}{{pool=\"p\"}}"));
    assert_eq!(weight("max"), 3 * weight("min"));
}

#[tokio::test]
async fn a_connection_of_ones_own_shows_among_the_dedicated_ones_and_how_it_ended() {
    let registry = Registry::new();
    let pool = ChannelPool::builder(format!("http://{}", server().await)).build().unwrap();
    registry.register("p", &pool).unwrap();
    let own = timeout(SOON, pool.exclusive()).await.expect("it is there soon").unwrap();
    let scrape = registry.render();
    assert_eq!(value(&scrape, "grpc_pool_dedicated_channels{pool=\"p\",state=\"used\"}"), 1);
    assert_eq!(value(&scrape, "grpc_pool_dedicated_streams{pool=\"p\"}"), 1);
    assert_eq!(value(&scrape, "grpc_subchannel_open_connections{pool=\"p\"}"), 1);
    let connects = |of| {
        let name = format!("grpc_pool_{of}connect_time_seconds_count");
        value(&scrape, &format!("{name}{{pool=\"p\",outcome=\"ok\"}}"))
    };
    assert_eq!((connects("dedicated_"), connects("")), (1, 0));
    let queued =
        |of| value(&scrape, &format!("grpc_pool_{of}queue_time_seconds_count{{pool=\"p\"}}"));
    assert_eq!((queued("dedicated_"), queued("")), (1, 0));
    let ok = |of| value(&scrape, &format!("{of}acquires_total{{pool=\"p\",outcome=\"ok\"}}"));
    assert_eq!((ok("grpc_pool_dedicated_"), ok("pool_")), (1, 0));
    drop(own);
    timeout(SOON, pool.close(Duration::from_secs(1))).await.expect("nothing is in its way");
    let scrape = registry.render();
    let shutdown =
        "grpc_subchannel_disconnections_total{pool=\"p\",disconnect_error=\"subchannel shutdown\"}";
    assert_eq!(value(&scrape, shutdown), 1);
    assert_eq!(value(&scrape, "grpc_subchannel_open_connections{pool=\"p\"}"), 0);
}

#[test]
fn every_series_is_in_the_documentation() {
    let documentation = concat!(include_str!("../src/lib.rs"), include_str!("../src/grpc.md"));
    let registry = Registry::new();
    let pool = ChannelPool::builder("http://127.0.0.1:1").build().unwrap();
    registry.register("p", &pool).unwrap();
    let scrape = registry.render();
    let names = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let missing: Vec<_> =
        names.filter(|name| !documentation.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_shows_as_failed_attempts() {
    let registry = Registry::new();
    // It does not listen, and nobody else can have its port.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let unused = socket.local_addr().unwrap();
    let pool = ChannelPool::builder(format!("http://{unused}")).build().unwrap();
    registry.register("p", &pool).unwrap();
    let get = timeout(SOON, pool.connections().get()).await.expect("fails at once");
    assert!(get.is_err());
    let scrape = registry.render();
    assert_eq!(value(&scrape, "grpc_pool_state{pool=\"p\",state=\"transient_failure\"}"), 1);
    let failed = "grpc_subchannel_connection_attempts_failed_total{pool=\"p\"}";
    assert_eq!(value(&scrape, failed), 1);
    assert_eq!(value(&scrape, "pool_create_failures_total{pool=\"p\"}"), 1);
}

#[tokio::test]
async fn a_dropped_pool_is_gone_from_the_next_scrape() {
    let registry = Registry::new();
    let pool = ChannelPool::builder("http://127.0.0.1:1").build().unwrap();
    registry.register("p", &pool).unwrap();
    assert!(!registry.render().is_empty());
    drop(pool);
    assert_eq!(registry.render(), "");
}
