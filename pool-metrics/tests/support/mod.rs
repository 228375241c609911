//! A pool that is only its numbers, and a client that asks once.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use pool_metrics::{Family, Labelled, Probe, Registry, Sample, Source};

pub(crate) static SERVED: Family = Family::counter("fake_served_total", "Served by \\ a \"fake\".");
pub(crate) static OPEN: Labelled = Family::gauge("fake_open", "Open, by state.").by("state");

#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Numbers>);

#[derive(Default)]
struct Numbers {
    served: AtomicU64,
    open: AtomicU64,
}

impl Fake {
    pub(crate) fn new(served: u64, open: u64) -> Self {
        let fake = Self::default();
        fake.set(served, open);
        fake
    }

    pub(crate) fn set(&self, served: u64, open: u64) {
        self.0.served.store(served, Ordering::SeqCst);
        self.0.open.store(open, Ordering::SeqCst);
    }

    fn weak(&self) -> Weak<Numbers> {
        Arc::downgrade(&self.0)
    }
}

impl Source for Fake {
    fn probe(&self) -> Probe {
        let weak = self.weak();
        Probe::new(move || {
            let numbers = weak.upgrade()?;
            let mut sample = Sample::new();
            sample.set(&SERVED, numbers.served.load(Ordering::SeqCst));
            sample.set_by(&OPEN, "busy", numbers.open.load(Ordering::SeqCst));
            sample.set_by(&OPEN, "idle", 0);
            Some(sample)
        })
    }
}

/// A generous bound: reached only when the behaviour is broken.
const SOON: Duration = Duration::from_secs(20);

/// The head in lower case, and the body.
pub(crate) async fn ask(address: SocketAddr, method: &str, path: &str) -> (String, String) {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = timeout(SOON, asked).await.expect("answers and closes").expect("answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_lowercase(), body.to_owned())
}

/// A scrape without how long it took, which nobody knows beforehand.
pub(crate) fn scrape(registry: &Registry) -> String {
    numbers(&registry.render())
}

/// The same of a text.
pub(crate) fn numbers(text: &str) -> String {
    let (numbers, own) = text
        .split_once("# HELP pool_scrape_duration_seconds ")
        .expect("a scrape of a pool says how long it took");
    let took = own.lines().find_map(|line| line.strip_prefix("pool_scrape_duration_seconds "));
    let took: f64 = took.expect("it has no label").parse().expect("it is a number");
    assert!(took < 10.0, "{took}");
    numbers.to_owned()
}
