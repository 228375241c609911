//! A model of a Kubernetes Service with a cluster address: one address, behind which kube-proxy leads each new
//! connection to a pod at random. Many pools of several connections each, whose connections have an age, follow
//! pods that are added; those without an age never do.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{ask, client};
use fastrand::Rng;
use pool_tonic::ChannelPool;
use pool_tonic_testing::proto::Do;
use pool_tonic_testing::raw::{Heard, Raw};
use tokio::io::DuplexStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tower::service_fn;

const SECOND: Duration = Duration::from_secs(1);

/// Clients, and the connections of each.
const POOLS: usize = 50;
const EACH: usize = 4;
const CONNECTIONS: usize = POOLS * EACH;

/// Pods at first, and when there are more.
const FEW: usize = 3;
const MORE: usize = 6;

/// The maximum age, of which up to a tenth is drawn for each connection.
const AGE: Duration = Duration::from_secs(300);
const JITTER: Duration = Duration::from_secs(30);

/// A connection takes a while to be made, and a call to be answered: some are under way at any moment.
const CONNECT: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Pod {
    connections: AtomicUsize,
    calls: AtomicUsize,
}

/// The one address.
struct Service {
    pods: [Pod; MORE],
    /// How many of them new connections are led to.
    listed: AtomicUsize,
    draws: Mutex<Rng>,
    /// When each connection was asked for.
    dials: Mutex<Vec<Instant>>,
}

/// The connections of one client as the pods see them.
#[derive(Default)]
struct Book {
    open: AtomicUsize,
    /// How many were open when the last one was closed, at least.
    fewest: Mutex<Option<usize>>,
}

impl Service {
    fn new() -> Arc<Self> {
        // Nothing else draws on this thread but the pools: their ages and their choices.
        fastrand::seed(1);
        Arc::new(Self {
            pods: Default::default(),
            listed: AtomicUsize::new(FEW),
            draws: Mutex::new(Rng::with_seed(1)),
            dials: Mutex::default(),
        })
    }

    async fn connect(self: Arc<Self>, book: Arc<Book>) -> io::Result<DuplexStream> {
        self.dials.lock().unwrap().push(Instant::now());
        sleep(CONNECT).await;
        let pod = self.draws.lock().unwrap().usize(..self.listed.load(Ordering::Relaxed));
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move { self.pods[pod].serve(far, &book).await });
        Ok(near)
    }

    fn connections(&self) -> [usize; MORE] {
        self.pods.each_ref().map(|pod| pod.connections.load(Ordering::Relaxed))
    }

    /// How many calls each pod has got since this was asked last.
    fn take_calls(&self) -> [usize; MORE] {
        self.pods.each_ref().map(|pod| pod.calls.swap(0, Ordering::Relaxed))
    }

    /// The most connections that were asked for in one second from a moment on.
    fn busiest_second(&self, from: Instant) -> usize {
        let mut seconds = BTreeMap::new();
        for dial in self.dials.lock().unwrap().iter().filter(|dial| **dial >= from) {
            *seconds.entry((*dial - from).as_secs()).or_default() += 1;
        }
        seconds.into_values().max().unwrap_or(0)
    }
}

impl Pod {
    async fn serve(&self, stream: DuplexStream, book: &Book) {
        let mut peer = Raw::greet(stream, 100).await.unwrap();
        self.connections.fetch_add(1, Ordering::Relaxed);
        book.open.fetch_add(1, Ordering::Relaxed);
        loop {
            match peer.hear().await {
                Heard::End(stream) => {
                    sleep(ANSWER).await;
                    self.calls.fetch_add(1, Ordering::Relaxed);
                    peer.answer(stream).await.unwrap();
                }
                Heard::Closed => break,
                _ => {}
            }
        }
        self.connections.fetch_sub(1, Ordering::Relaxed);
        let left = book.open.fetch_sub(1, Ordering::Relaxed) - 1;
        let mut fewest = book.fewest.lock().unwrap();
        *fewest = Some(fewest.map_or(left, |fewest| fewest.min(left)));
    }
}

/// Clients of the service, each of which has all of its connections, and makes a call every so often.
struct Clients {
    pools: Vec<(ChannelPool, Arc<Book>)>,
    callers: JoinSet<()>,
}

impl Clients {
    /// They all begin in the same moment.
    async fn start(service: &Arc<Service>, age: Option<Duration>, every: Duration) -> Self {
        let pools = std::iter::repeat_with(|| {
            let (service, book) = (Arc::clone(service), Arc::<Book>::default());
            let own = Arc::clone(&book);
            let connector =
                service_fn(move |_: http::Uri| Arc::clone(&service).connect(Arc::clone(&book)));
            let pool = ChannelPool::builder("http://orders")
                .connector(connector)
                .connections_per_endpoint(EACH)
                .max_connection_age(age)
                .build();
            (pool.unwrap(), own)
        });
        let pools: Vec<_> = pools.take(POOLS).collect();
        let first: JoinSet<_> = pools.iter().map(|(pool, _)| first_call(pool.clone())).collect();
        first.join_all().await;
        let mut callers = JoinSet::new();
        for (pool, _) in &pools {
            let (mut client, offset) = (client(pool), every.mul_f64(fastrand::f64()));
            callers.spawn(async move {
                sleep(offset).await;
                loop {
                    client.unary(ask(Do::Echo)).await.unwrap();
                    sleep(every).await;
                }
            });
        }
        Self { pools, callers }
    }

    /// No call has failed, none but the first has waited for a connection, and no connection went before its
    /// successor was there.
    fn noticed_nothing(&mut self) {
        // A caller ends only by a call that fails.
        assert!(self.callers.try_join_next().is_none());
        for (pool, book) in &self.pools {
            let ended = pool.counters().calls_ended;
            assert_eq!(ended.get(tonic::Code::Ok), ended.total());
            assert_eq!(pool.connections().counters().waits, 1);
            assert!(book.fewest.lock().unwrap().is_none_or(|fewest| fewest >= EACH));
            assert!(pool.status().ready >= EACH);
        }
    }
}

/// The call that makes a pool connect, until all of its connections are there.
async fn first_call(pool: ChannelPool) {
    common::call(&pool).await.unwrap();
    while pool.status().ready < EACH {
        sleep(CONNECT).await;
    }
}

/// Five deviations above and below what `draws` with this chance come to.
fn bounds(draws: usize, chance: f64) -> (f64, f64) {
    let draws = draws as f64;
    let (mean, deviation) = (draws * chance, (draws * chance * (1.0 - chance)).sqrt());
    (mean - 5.0 * deviation, mean + 5.0 * deviation)
}

/// Each of these has its share of them all: what comes of a draw for each connection.
fn shared(among: &[usize]) {
    let (least, most) = bounds(CONNECTIONS, 1.0 / among.len() as f64);
    let all: usize = among.iter().sum();
    for count in among {
        let of_connections = *count as f64 / all as f64 * CONNECTIONS as f64;
        assert!((least..=most).contains(&of_connections), "{among:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_added_have_their_share_within_one_age_and_no_call_notices() {
    let service = Service::new();
    let begun = Instant::now();
    let mut clients = Clients::start(&service, Some(AGE), 10 * SECOND).await;
    let made = Instant::now();
    shared(&service.connections()[..FEW]);

    let added = begun + AGE / 2;
    sleep_until(added).await;
    service.listed.store(MORE, Ordering::Relaxed);
    assert_eq!(service.connections()[FEW..], [0; MORE - FEW]);
    assert_eq!(service.dials.lock().unwrap().len(), CONNECTIONS, "none was due so far");
    shared(&service.take_calls()[..FEW]);

    // By then all of the connections from before are gone.
    sleep_until(added + AGE).await;
    assert!(service.dials.lock().unwrap().len() >= 2 * CONNECTIONS);
    let connections = service.connections();
    println!("connections: {connections:?}");
    shared(&connections);
    service.take_calls();
    sleep_until(added + 2 * AGE).await;
    let calls = service.take_calls();
    println!("calls: {calls:?}");
    shared(&calls);

    // Though all were made in one moment, their successors are spread over the time that is drawn from.
    let busiest = service.busiest_second(made);
    let (_, most) = bounds(CONNECTIONS, SECOND.div_duration_f64(JITTER));
    println!("most in a second: {busiest} of {CONNECTIONS}");
    assert!(busiest as f64 <= most, "{busiest}");
    clients.noticed_nothing();
}

#[tokio::test(start_paused = true)]
async fn without_a_maximum_age_pods_that_are_added_have_nothing_for_ever() {
    let service = Service::new();
    let mut clients = Clients::start(&service, None, 3600 * SECOND).await;
    service.listed.store(MORE, Ordering::Relaxed);
    sleep(24 * 3600 * SECOND).await;
    let (connections, calls) = (service.connections(), service.take_calls());
    shared(&connections[..FEW]);
    assert_eq!(connections[FEW..], [0; MORE - FEW]);
    assert_eq!(calls[FEW..], [0; MORE - FEW]);
    assert!(calls.iter().sum::<usize>() > POOLS * 20, "{calls:?}");
    clients.noticed_nothing();
}
