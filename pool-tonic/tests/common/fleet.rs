//! Several servers in memory, each of which can be told to fail or to be gone, and counts its calls. They give no window
//! back: a connection takes some thousand small requests, and then stands.

// Each test binary uses its part of it.
#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pool_tonic::{ChannelPool, ChannelPoolBuilder, EndpointEvent, EndpointObserver};
use pool_tonic_testing::raw::{Heard, Raw};
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tower::service_fn;

/// One of the servers.
#[derive(Debug)]
pub struct Member {
    fails: AtomicBool,
    delay: Mutex<Duration>,
    gone: watch::Sender<bool>,
    cut: watch::Sender<()>,
    calls: AtomicUsize,
    dials: AtomicUsize,
    connections: AtomicUsize,
}

impl Member {
    /// Its calls fail with UNAVAILABLE from now on, or do not.
    pub fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// It answers so much later from now on.
    pub fn delay(&self, delay: Duration) {
        *self.delay.lock().expect("nobody panics with it") = delay;
    }

    /// Its connections end, and no new one is taken; or it is back.
    pub fn set_gone(&self, gone: bool) {
        self.gone.send_replace(gone);
    }

    /// Its connections end; new ones are taken.
    pub fn cut(&self) {
        self.cut.send_replace(());
    }

    /// How many calls it has got since this was asked last.
    pub fn take_calls(&self) -> usize {
        self.calls.swap(0, Ordering::SeqCst)
    }

    pub fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    async fn serve(&self, stream: DuplexStream) {
        let Ok(mut peer) = Raw::greet(stream, 100).await else { return };
        self.connections.fetch_add(1, Ordering::SeqCst);
        let (mut gone, mut cut) = (self.gone.subscribe(), self.cut.subscribe());
        let mut asked = VecDeque::new();
        loop {
            let due = asked.front().map(|(due, _)| *due);
            tokio::select! {
                () = async { drop(gone.wait_for(|gone| *gone).await) } => break,
                _ = cut.changed() => break,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let Some((_, stream)) = asked.pop_front() else { continue };
                    // It fails only when the client is gone, which the next word says.
                    let _ = if self.fails.load(Ordering::SeqCst) {
                        peer.trailers_only(stream, "14").await
                    } else {
                        peer.answer(stream).await
                    };
                }
                heard = peer.hear() => match heard {
                    Heard::End(stream) => {
                        self.calls.fetch_add(1, Ordering::SeqCst);
                        let delay = *self.delay.lock().expect("nobody panics with it");
                        asked.push_back((Instant::now() + delay, stream));
                    }
                    Heard::Closed => break,
                    _ => {}
                }
            }
        }
        self.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Servers called `server-0`, `server-1`, ...
#[derive(Clone, Debug)]
pub struct Fleet(Vec<Arc<Member>>);

impl Fleet {
    pub fn new(size: usize) -> Self {
        let member = |_| Member {
            fails: AtomicBool::new(false),
            delay: Mutex::default(),
            gone: watch::Sender::new(false),
            cut: watch::Sender::new(()),
            calls: AtomicUsize::new(0),
            dials: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        };
        Self((0..size).map(member).map(Arc::new).collect())
    }

    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.0.iter().map(|member| &**member)
    }

    pub fn member(&self, index: usize) -> &Member {
        &self.0[index]
    }

    /// The server of an address as the pool names it.
    pub fn index_of(address: &str) -> usize {
        let name = address.split(':').next().and_then(|host| host.strip_prefix("server-"));
        name.and_then(|index| index.parse().ok()).expect("it is one of the fleet's")
    }

    pub fn uris(&self) -> Vec<String> {
        (0..self.0.len()).map(|index| format!("http://server-{index}")).collect()
    }

    /// A pool of all of them, that does nothing by the passing of time but what a test sets.
    pub fn pool(&self) -> ChannelPoolBuilder {
        self.connect(ChannelPool::endpoints(self.uris()))
    }

    /// Lets a pool connect to them.
    pub fn connect(&self, pool: ChannelPoolBuilder) -> ChannelPoolBuilder {
        let fleet = self.clone();
        let connector = service_fn(move |uri: http::Uri| {
            let member = Arc::clone(&fleet.0[Self::index_of(uri.host().unwrap_or_default())]);
            async move {
                member.dials.fetch_add(1, Ordering::SeqCst);
                if *member.gone.borrow() {
                    return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
                }
                let (near, far) = tokio::io::duplex(1 << 20);
                tokio::spawn(async move { member.serve(far).await });
                Ok(near)
            }
        });
        pool.connector(connector)
            .keepalive_time(None)
            .idle_timeout(None::<Duration>)
            .max_connection_age(None::<Duration>)
    }
}

/// Those of the fleet that a pool uses.
pub fn used(pool: &ChannelPool) -> BTreeSet<usize> {
    pool.addresses().iter().map(|status| Fleet::index_of(&status.address)).collect()
}

/// Keeps what it is told.
#[derive(Default)]
pub struct Events(pub Mutex<Vec<EndpointEvent>>);

impl EndpointObserver for Events {
    fn event(&self, event: &EndpointEvent) {
        self.0.lock().expect("nobody panics with it").push(event.clone());
    }
}

impl Events {
    /// What it was told since this was asked last.
    pub fn take(&self) -> Vec<EndpointEvent> {
        std::mem::take(&mut self.0.lock().expect("nobody panics with it"))
    }
}
