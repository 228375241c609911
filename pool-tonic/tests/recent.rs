//! The latest events of endpoints, and the latest states of the pool, are kept without an observer.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pool_tonic::resolve::{Endpoint, Endpoints, Resolve, ResolveError, ResolveTarget, feed};
use pool_tonic::{ChannelPool, ConnectivityState, EndpointEvent, EndpointObserver};
use tokio::net::TcpSocket;
use tokio::time::timeout;

/// A generous bound: reached only when the behaviour is broken.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_failed_connection_shows_in_the_states_of_the_pool() {
    // It does not listen, and nobody else can have its port.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let unused = socket.local_addr().unwrap();
    let pool = ChannelPool::builder(format!("http://{unused}")).build().unwrap();
    assert_eq!(pool.recent_states(), []);
    let get = timeout(SOON, pool.connections().get()).await.expect("fails at once");
    assert!(get.is_err());
    let states: Vec<_> = pool.recent_states().iter().map(|recent| recent.event).collect();
    assert_eq!(states, [ConnectivityState::Connecting, ConnectivityState::TransientFailure]);
}

#[tokio::test]
async fn what_a_resolver_gave_shows_in_the_events_of_endpoints() {
    let (feed, fed) = feed();
    let pool = ChannelPool::builder("http://orders.prod").resolver(fed).build().unwrap();
    feed.set(
        ["127.0.0.1:1".parse().unwrap()]
            .into_iter()
            .map(|addr: std::net::SocketAddr| Endpoint::from(addr))
            .collect(),
    );
    // Nobody is there, but the answer has come by then.
    let get = timeout(SOON, pool.connections().get()).await.expect("fails at once");
    assert!(get.is_err());
    let events = pool.recent_endpoint_events();
    let resolved = EndpointEvent::Resolved { endpoints: 1, used: 1, added: 1, removed: 0 };
    assert_eq!(events[0].event, resolved);
    let text = "the resolver gave 1 endpoints, of which 1 are used: 1 new, 0 no more";
    assert_eq!(events[0].event.to_string(), text);
}

/// Says at great length that it knows nobody.
struct Verbose;

impl Resolve for Verbose {
    async fn resolve(&mut self, _: &ResolveTarget) -> Result<Endpoints, ResolveError> {
        Err(ResolveError::new(format!("x{}", "ü".repeat(1_000_000))))
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<EndpointEvent>>);

impl EndpointObserver for Told {
    fn event(&self, event: &EndpointEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

#[tokio::test]
async fn a_long_text_of_a_resolver_is_told_whole_and_kept_in_part() {
    let told = Arc::new(Told::default());
    let pool = ChannelPool::builder("http://orders.prod")
        .resolver(Verbose)
        .endpoint_observer(told.clone())
        .build()
        .unwrap();
    let get = timeout(SOON, pool.connections().get()).await.expect("fails at once");
    assert!(get.is_err());
    let error = format!("x{}", "ü".repeat(1_000_000));
    assert_eq!(told.0.lock().unwrap()[0], EndpointEvent::ResolveFailed { error });
    // Between letters.
    let error = format!("x{}…", "ü".repeat(255));
    let kept = pool.recent_endpoint_events().remove(0).event;
    assert_eq!(kept, EndpointEvent::ResolveFailed { error });
}
