//! Callers that make one call after the other, until they are told to stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use pool_tonic::code_name;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Body as HttpBody, StdError};

use crate::Outcome;
use crate::calls::{Terms, call};

/// The most calls of one load: servers that answer at once would have their ledgers grow without a use.
pub(crate) const MOST_CALLS: usize = 20_000;

/// A call without a deadline that takes longer than this hangs. Keepalive takes 11 s to find out that nobody is there.
pub(crate) const HANGS_AFTER: Duration = Duration::from_secs(15);

/// What a caller waits for after a failure. Without it, one that is refused at once calls in a loop.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);

/// The code of a call that hung.
pub(crate) const HANG: &str = "HANG";

/// A call that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) id: usize,
    pub(crate) began: Instant,
    pub(crate) took: Duration,
    /// The code's name, or [`HANG`].
    pub(crate) code: String,
    pub(crate) message: String,
    /// A server has begun it. Known when the ledgers are read.
    pub(crate) begun: bool,
}

/// What came of a load.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) made: usize,
    /// Failed ones, by their codes' names.
    pub(crate) failed: BTreeMap<String, usize>,
    /// The failed ones one by one; not known of a client in another process.
    pub(crate) failures: Vec<Failure>,
    /// The longest that a call took; likewise.
    pub(crate) longest: Duration,
}

/// A load that runs.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    callers: JoinSet<Calls>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    next: AtomicUsize,
    in_flight: AtomicUsize,
    /// No further call begins.
    held: watch::Sender<bool>,
}

impl Load {
    pub(crate) fn start<T>(channel: &T, callers: usize, terms: Terms) -> Self
    where
        T: GrpcService<Body> + Clone + Send + 'static,
        T::Future: Send,
        T::Error: Into<StdError>,
        T::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
        <T::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
    {
        let shared = Arc::new(Shared::default());
        let callers = (0..callers)
            .map(|_| caller(Arc::clone(&shared), channel.clone(), terms))
            .collect::<JoinSet<_>>();
        Self { shared, callers }
    }

    /// Calls that run now.
    pub(crate) fn in_flight(&self) -> usize {
        self.shared.in_flight.load(SeqCst)
    }

    /// Begins no further call.
    pub(crate) fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Goes on.
    pub(crate) fn go_on(&self) {
        self.shared.held.send_replace(false);
    }

    /// Lets the calls that run finish.
    pub(crate) async fn stop(mut self) -> Outcome<Calls> {
        self.shared.stop.store(true, SeqCst);
        let mut all = Calls::default();
        while let Some(calls) = self.callers.join_next().await {
            let calls = calls?;
            all.made += calls.made;
            all.longest = all.longest.max(calls.longest);
            for failure in calls.failures {
                *all.failed.entry(failure.code.clone()).or_default() += 1;
                all.failures.push(failure);
            }
        }
        Ok(all)
    }
}

async fn caller<T>(shared: Arc<Shared>, channel: T, terms: Terms) -> Calls
where
    T: GrpcService<Body> + Clone + Send + 'static,
    T::Future: Send,
    T::Error: Into<StdError>,
    T::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <T::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
{
    let mut calls = Calls::default();
    let mut held = shared.held.subscribe();
    while !shared.stop.load(SeqCst) {
        // Its sender is here.
        let _ = held.wait_for(|held| !held).await;
        let id = shared.next.fetch_add(1, SeqCst);
        if id >= MOST_CALLS {
            break;
        }
        shared.in_flight.fetch_add(1, SeqCst);
        let began = Instant::now();
        let result = timeout(HANGS_AFTER, call(channel.clone(), id, terms)).await;
        let took = began.elapsed();
        shared.in_flight.fetch_sub(1, SeqCst);
        calls.made += 1;
        calls.longest = calls.longest.max(took);
        let (code, message) = match result {
            Ok(Ok(())) => continue,
            Ok(Err(status)) => (code_name(status.code()).to_owned(), status.message().to_owned()),
            Err(_) => (HANG.to_owned(), String::new()),
        };
        calls.failures.push(Failure { id, began, took, code, message, begun: false });
        sleep(PAUSE_AFTER_FAILURE).await;
    }
    calls
}
