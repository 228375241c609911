//! Calls fail at once when no connection of theirs is there and none can be made, whatever others are up that take
//! no calls of theirs.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/memory.rs"]
mod memory;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{ask, client, until};
use memory::{answer_all, eventually, pass};
use pool_tonic::{ChannelPool, ChannelPoolBuilder, ConnectivityState, WaitForReady};
use pool_tonic_testing::proto::{Ask, Do};
use pool_tonic_testing::raw::{Heard, Raw};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::{Code, Request, Status};
use tower::service_fn;

const REFUSED: &str = "no more connections today";

/// A server that can be told to take no new connections, and to cut those that it has. The first call on each is
/// answered when it is told to.
#[derive(Clone)]
struct Door {
    shut: Arc<AtomicBool>,
    answers: watch::Sender<bool>,
    cut: watch::Sender<bool>,
}

impl Door {
    fn open() -> Self {
        let shut = Arc::default();
        Self { shut, answers: watch::Sender::new(false), cut: watch::Sender::new(false) }
    }

    /// A pool whose attempts take a while to fail.
    fn builder(&self, failing_takes: Duration) -> ChannelPoolBuilder {
        let door = self.clone();
        let connector = service_fn(move |_: http::Uri| {
            let door = door.clone();
            async move {
                if door.shut.load(Ordering::SeqCst) {
                    tokio::time::sleep(failing_takes).await;
                    return Err(io::Error::other(REFUSED));
                }
                let (near, far) = duplex(1 << 20);
                tokio::spawn(door.serve(far));
                Ok(near)
            }
        });
        ChannelPool::builder("http://memory").connector(connector).keepalive_time(None)
    }

    async fn serve(self, stream: DuplexStream) {
        let mut raw = Raw::greet(stream, 100).await.unwrap();
        let (mut answers, mut cut) = (self.answers.subscribe(), self.cut.subscribe());
        let mut held = None;
        loop {
            tokio::select! {
                () = async { drop(cut.wait_for(|cut| *cut).await) } => return,
                () = async { drop(answers.wait_for(|answers| *answers).await) }, if held.is_some() => {
                    raw.answer(held.take().unwrap()).await.unwrap();
                }
                heard = raw.hear() => match heard {
                    Heard::End(1) if !self.answers() => held = Some(1),
                    Heard::End(stream) => raw.answer(stream).await.unwrap(),
                    Heard::Closed => return,
                    _ => {}
                }
            }
        }
    }

    fn answers(&self) -> bool {
        *self.answers.borrow()
    }

    fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
    }

    fn answer(&self) {
        self.answers.send_replace(true);
    }
}

fn request(dedicated: bool) -> Request<Ask> {
    if dedicated { common::dedicated(ask(Do::Echo)) } else { Request::new(ask(Do::Echo)) }
}

fn begin(pool: &ChannelPool, dedicated: bool) -> JoinHandle<Result<(), Status>> {
    let mut client = client(pool);
    tokio::spawn(async move { client.unary(request(dedicated)).await.map(drop) })
}

/// A call that is answered when the server is told to.
async fn held(pool: &ChannelPool, dedicated: bool) -> JoinHandle<Result<(), Status>> {
    let call = begin(pool, dedicated);
    until(|| pool.status().streams + pool.status().dedicated.in_use == 1).await;
    call
}

/// A call fails, within this time.
async fn fails(call: JoinHandle<Result<(), Status>>, within: Duration) {
    let began = Instant::now();
    let status = eventually(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains(REFUSED), "{status}");
    assert!(began.elapsed() <= within, "{:?}: {status}", began.elapsed());
}

async fn fail_at_once(pool: &ChannelPool, dedicated: bool) {
    for _ in 0..3 {
        fails(begin(pool, dedicated), Duration::ZERO).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dedicated_connection_keeps_no_shared_call_waiting() {
    let door = Door::open();
    let pool = door.builder(Duration::ZERO).build().unwrap();
    let held = held(&pool, true).await;
    assert_eq!(pool.state(), ConnectivityState::Ready, "what is in use is up");
    door.shut();
    fail_at_once(&pool, false).await;
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
    door.answer();
    eventually(held).await.unwrap().unwrap();
    eventually(begin(&pool, true)).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shared_connection_keeps_no_dedicated_call_waiting() {
    let door = Door::open();
    let pool = door.builder(Duration::ZERO).build().unwrap();
    let held = held(&pool, false).await;
    door.shut();
    fail_at_once(&pool, true).await;
    assert_eq!(pool.state(), ConnectivityState::Ready);
    eventually(begin(&pool, false)).await.unwrap().unwrap();
    door.answer();
    eventually(held).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_for_its_age_keeps_no_call_waiting() {
    let door = Door::open();
    let age = Duration::from_secs(60);
    let pool = door.builder(Duration::ZERO).max_connection_age(age).build().unwrap();
    let held = held(&pool, false).await;
    door.shut();
    // Its successor cannot be made before it goes, nor later.
    while pool.state() == ConnectivityState::Ready {
        pass(1).await;
    }
    let [connection] = &pool.connection_list()[..] else { panic!("one is there") };
    assert_eq!((connection.draining, connection.streams), (true, 1));
    assert_eq!(pool.addresses()[0].draining, 1);
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
    fail_at_once(&pool, false).await;
    door.answer();
    eventually(held).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_loss_of_the_last_connection_fails_calls_when_its_address_is_failing() {
    let door = Door::open();
    // A second one is wanted for speed.
    let pool = door.builder(Duration::ZERO).target_streams_per_connection(1).target_connections(2);
    let pool = pool.build().unwrap();
    let held = held(&pool, false).await;
    door.shut();
    let second = begin(&pool, false);
    while pool.counters().connections_failed < 4 {
        pass(1).await;
    }
    eventually(second).await.unwrap().unwrap();
    assert_eq!(pool.state(), ConnectivityState::Ready);
    door.cut.send_replace(true);
    let status = eventually(held).await.unwrap().unwrap_err();
    assert!(status.message().contains("was lost"), "{status}");
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
    fail_at_once(&pool, false).await;
}

#[tokio::test(start_paused = true)]
async fn calls_of_both_kinds_fail_when_the_last_attempt_of_either_does() {
    let door = Door::open();
    door.shut();
    // Less than any back-off, so that none is followed by another one while the calls wait.
    let takes = Duration::from_millis(500);
    let pool = door.builder(takes).build().unwrap();
    let calls: Vec<_> = (0..200).map(|n| begin(&pool, n % 2 == 0)).collect();
    // The attempts of one pool fail while others are under way, and its calls go on hoping for those.
    for call in calls {
        fails(call, takes).await;
    }
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
    fail_at_once(&pool, false).await;
    // Attempts that went on side by side are one failure, and the first back-off is of a second.
    let left = pool.addresses()[0].retry_in.unwrap();
    assert!(left <= Duration::from_millis(1200), "{left:?}");
}

/// Attempts of the two pools overlap without end, and each fails only when another one is under way.
#[tokio::test(start_paused = true)]
async fn attempts_that_overlap_without_end_keep_no_call_waiting() {
    let door = Door::open();
    door.shut();
    let takes = Duration::from_secs(10);
    let pool = door.builder(takes).wait_timeout(Duration::from_secs(100)).build().unwrap();
    let shared = begin(&pool, false);
    pass(5).await;
    let dedicated = begin(&pool, true);
    // The first one begun fails while the second goes on, which does when the third, of the first pool, goes on.
    fails(dedicated, takes).await;
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
    assert_eq!(pool.addresses()[0].connecting, 1);
    for dedicated in [false, true] {
        fail_at_once(&pool, dedicated).await;
    }
    fails(shared, takes / 2).await;
    // Nobody waits, and nobody asks: the next call does, and fails when its own attempt has.
    for dedicated in [false, true] {
        fails(begin(&pool, dedicated), takes).await;
    }
}

/// An attempt to connect, which ends as the test says.
struct Attempt(oneshot::Sender<io::Result<DuplexStream>>);

impl Attempt {
    fn fail(self) {
        let _ = self.0.send(Err(io::Error::other(REFUSED)));
    }

    /// Its server answers every call.
    fn connect(self) {
        let (near, far) = duplex(1 << 20);
        let _ = self.0.send(Ok(near));
        tokio::spawn(async move { answer_all(Raw::greet(far, 100).await.unwrap()).await });
    }
}

type Attempts = mpsc::UnboundedReceiver<Attempt>;

/// A pool of endpoints, and the attempts that it makes.
fn by_hand<const N: usize>(endpoints: [&'static str; N]) -> (ChannelPoolBuilder, Attempts) {
    let (send, receive) = mpsc::unbounded_channel();
    let connector = service_fn(move |_: http::Uri| {
        let send = send.clone();
        async move {
            let (end, ended) = oneshot::channel();
            let _ = send.send(Attempt(end));
            ended.await.unwrap_or_else(|_| Err(io::ErrorKind::ConnectionAborted.into()))
        }
    });
    let pool = ChannelPool::endpoints(endpoints).connector(connector).keepalive_time(None);
    let long = Duration::from_secs(1000);
    (pool.connect_timeout(long).wait_timeout(3 * long), receive)
}

async fn next(attempts: &mut Attempts) -> Attempt {
    eventually(attempts.recv()).await.unwrap()
}

/// Every attempt succeeds from now on, after a while.
fn connect_all(mut attempts: Attempts, takes: Duration) {
    tokio::spawn(async move {
        while let Some(attempt) = attempts.recv().await {
            tokio::time::sleep(takes).await;
            attempt.connect();
        }
    });
}

/// A call that waits through failures.
fn begin_patient(pool: &ChannelPool, dedicated: bool) -> JoinHandle<Result<(), Status>> {
    let (mut client, mut request) = (client(pool), request(dedicated));
    request.extensions_mut().insert(WaitForReady(true));
    tokio::spawn(async move { client.unary(request).await.map(drop) })
}

/// The server was down for one call, and is back for a burst that comes while the next attempt goes on.
#[tokio::test(start_paused = true)]
async fn a_burst_loses_no_call_long_after_a_failure_or_after_a_reset_of_the_back_off() {
    for (silence, resets) in [(3600, false), (0, true)] {
        for dedicated in [false, true] {
            let (builder, mut attempts) = by_hand(["http://a"]);
            let pool = builder.build().unwrap();
            let first = begin(&pool, false);
            next(&mut attempts).await.fail();
            fails(first, Duration::ZERO).await;
            connect_all(attempts, Duration::from_millis(5));
            pass(silence).await;
            if resets {
                pool.reset_backoff();
            }
            let mut calls = Vec::new();
            for _ in 0..20 {
                calls.push(begin(&pool, dedicated));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for call in calls {
                eventually(call).await.unwrap().unwrap();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn shared_calls_go_on_at_once_when_a_dedicated_connection_shows_that_the_server_is_back() {
    let (builder, mut attempts) = by_hand(["http://a"]);
    let pool = builder.build().unwrap();
    let shared = begin_patient(&pool, false);
    for _ in 0..9 {
        next(&mut attempts).await.fail();
    }
    let of_shared = next(&mut attempts).await;
    let dedicated = begin_patient(&pool, true);
    let of_dedicated = next(&mut attempts).await;
    of_shared.fail();
    until(|| pool.addresses()[0].connecting == 1).await;
    let began = Instant::now();
    of_dedicated.connect();
    connect_all(attempts, Duration::ZERO);
    eventually(dedicated).await.unwrap().unwrap();
    eventually(shared).await.unwrap().unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_dedicated_call_goes_on_at_once_when_a_shared_connection_shows_that_the_server_is_back() {
    let (builder, mut attempts) = by_hand(["http://a", "http://b"]);
    let pool = builder.build().unwrap();
    let (shared, dedicated) = (begin_patient(&pool, false), begin_patient(&pool, true));
    let until = Instant::now() + Duration::from_secs(20);
    while let Ok(attempt) = tokio::time::timeout_at(until, attempts.recv()).await {
        attempt.unwrap().fail();
    }
    connect_all(attempts, Duration::ZERO);
    eventually(shared).await.unwrap().unwrap();
    let ready = Instant::now();
    eventually(dedicated).await.unwrap().unwrap();
    assert_eq!(ready.elapsed(), Duration::ZERO);
}
