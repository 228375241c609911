//! A TCP proxy on loopback for what a network does: it passes, delays, stalls, swallows and cuts, for all
//! connections or for one, at any time.
//!
//! ```text
//! client --- up ---> proxy --- up ---> server
//!        <-- down --       <-- down --
//! ```

mod link;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub use link::Link;
use link::Orders;

/// What becomes of the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// They go on.
    #[default]
    Pass,
    /// Each chunk read goes on after this time, and the next one is read then.
    Delay(Duration),
    /// They are not read, nor is their end: sooner or later their sender cannot send any more.
    Stall,
    /// They are read and lost. Since a stream with a hole in it is of no use, this direction of the
    /// connection swallows until it is cut, whatever it is told later.
    Swallow,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// From the client to the server.
    pub up: Flow,
    /// From the server to the client.
    pub down: Flow,
}

impl Mode {
    /// As if there were no proxy.
    pub const PASS: Self = Self::both(Flow::Pass);
    /// Nothing moves.
    pub const STALL: Self = Self::both(Flow::Stall);
    /// Everything is lost, and nobody is told. A new connection is accepted, and the server not asked. The
    /// connection ends when the client closes it.
    pub const BLACK_HOLE: Self = Self::both(Flow::Swallow);

    /// The same in both directions.
    pub const fn both(flow: Flow) -> Self {
        Self { up: flow, down: flow }
    }
}

/// How a connection is cut, on both of its sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// In good order: both sides read the end. The connection is open until both have closed theirs.
    Fin,
    /// Both sides read a reset.
    Rst,
}

/// What a proxy has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections that are open.
    pub open: usize,
    /// Connections ever accepted.
    pub made: usize,
    /// Bytes read from clients.
    pub up: usize,
    /// Bytes read from the server.
    pub down: usize,
}

/// What a proxy and its connections share.
#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    traffic: watch::Sender<Traffic>,
    links: Mutex<Links>,
}

#[derive(Debug, Default)]
struct Links {
    /// Of new connections.
    mode: Mode,
    /// In the order in which they were accepted, also those that have ended.
    all: Vec<Link>,
}

impl Shared {
    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A proxy. Dropped, it is gone with its connections.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts one before a server, on a port of the system's choice. It passes.
    ///
    /// # Errors
    ///
    /// If it cannot listen.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let traffic = watch::Sender::new(Traffic::default());
        let shared = Arc::new(Shared { server, traffic, links: Mutex::default() });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { addr, shared, accepting })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URI.
    pub fn uri(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it has seen.
    pub fn traffic(&self) -> Traffic {
        *self.shared.traffic.borrow()
    }

    /// Waits until it has seen what is wanted, and returns it.
    ///
    /// # Panics
    ///
    /// Never, since the proxy is here.
    pub async fn until(&self, wanted: impl FnMut(&Traffic) -> bool) -> Traffic {
        let mut watch = self.shared.traffic.subscribe();
        *watch.wait_for(wanted).await.expect("the sender lives in self")
    }

    /// From now on all connections, and new ones, are treated so.
    pub fn set(&self, mode: Mode) {
        let mut links = self.shared.links();
        links.mode = mode;
        for link in &links.all {
            link.set(mode);
        }
    }

    /// Cuts all connections. New ones are accepted as before.
    pub fn cut(&self, cut: Cut) {
        for link in &self.shared.links().all {
            link.cut(cut);
        }
    }

    /// Every connection that was ever accepted, in that order.
    pub fn links(&self) -> Vec<Link> {
        self.shared.links().all.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Its connections are tasks that end with it.
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut running = JoinSet::new();
    // A listener on loopback fails only when the process may open no more files.
    while let Ok((client, _)) = listener.accept().await {
        let orders = {
            let mut links = shared.links();
            let (sender, orders) = watch::channel(Orders { mode: links.mode, cut: None });
            links.all.push(Link::new(sender));
            orders
        };
        shared.traffic.send_modify(|traffic| {
            traffic.made += 1;
            traffic.open += 1;
        });
        running.spawn(link::run(client, Arc::clone(&shared), orders));
        while running.try_join_next().is_some() {}
    }
}
