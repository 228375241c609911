//! SETTINGS that come late, change, and say more than a limit.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
mod kinds;

use std::collections::HashSet;
use std::time::Duration;

use common::{all_slots_free, soon, until};
use kinds::{Kind, ask, no_more};
use pool_tonic::{ChannelPool, ConnectivityState};
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::{Answer, Do};
use pool_tonic_testing::raw::{Heard, Raw, setting};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

type Call = JoinHandle<Result<Vec<Answer>, Status>>;

/// The pool's own cap, where the peer's limit is higher.
const OWN_CAP: usize = 1000;

async fn peer_and_pool() -> (Peer, ChannelPool) {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri())
        .max_connections(1)
        .max_streams_per_connection(OWN_CAP)
        .build()
        .unwrap();
    (peer, pool)
}

fn unary(pool: &ChannelPool) -> Call {
    Kind::Unary.spawn(pool, ask(Do::Echo, "hello"))
}

/// A server that holds its calls, counts them and has limits.
struct Holding {
    raw: Raw,
    limit: usize,
    open: HashSet<u32>,
    /// Whole requests that are not answered, by age.
    ripe: Vec<u32>,
}

impl Holding {
    fn new(raw: Raw, limit: usize) -> Self {
        Self { raw, limit, open: HashSet::new(), ripe: Vec::new() }
    }

    fn note(&mut self, heard: &Heard, limit: usize) {
        match heard {
            Heard::Open(stream) => {
                self.open.insert(*stream);
                assert!(self.open.len() <= limit, "{} in flight, {limit} allowed", self.open.len());
            }
            Heard::End(stream) => self.ripe.push(*stream),
            Heard::Data(..) => {}
            Heard::Reset(..) | Heard::Goaway | Heard::Closed => panic!("{heard:?}"),
        }
    }

    /// Changes the limit, and waits until the client knows. Until then the old one holds.
    async fn change(&mut self, limit: u32) {
        self.raw.limit(limit).await.unwrap();
        soon(self.raw.settled()).await;
        let new = usize::try_from(limit).unwrap();
        for heard in self.raw.kept() {
            self.note(&heard, self.limit.max(new));
        }
        self.limit = new;
    }

    /// Waits until so many calls are in flight, each with its whole request.
    async fn fill(&mut self, calls: usize) {
        while self.ripe.len() < calls {
            let heard = soon(self.raw.hear()).await;
            self.note(&heard, self.limit);
        }
        assert_eq!((self.ripe.len(), self.open.len()), (calls, calls));
    }

    /// Answers the oldest calls.
    async fn answer(&mut self, calls: usize) {
        for stream in self.ripe.drain(..calls) {
            // Before the answer: the next call may come as soon as it is out.
            self.open.remove(&stream);
            self.raw.answer(stream).await.unwrap();
        }
    }
}

#[tokio::test]
async fn calls_in_flight_stay_within_a_limit_that_changes() {
    const CALLS: usize = 100;
    let (peer, pool) = peer_and_pool().await;
    let calls: Vec<Call> = (0..CALLS).map(|_| unary(&pool)).collect();
    let mut server = Holding::new(soon(peer.accept_raw(5)).await.unwrap(), 5);
    let mut left = CALLS;
    server.fill(5).await;
    for limit in [9, 2, 7, 0, 1, 30, 3, 20] {
        server.change(u32::try_from(limit).unwrap()).await;
        // Lowered below what is in flight: those go on, and nothing comes until enough have ended.
        let in_flight = server.ripe.len();
        server.fill(in_flight.max(limit)).await;
        let in_flight = server.ripe.len();
        // What is not in flight waits in the pool, where it is counted, and not in HTTP/2.
        until(|| pool.status().streams == in_flight).await;
        assert_eq!(pool.status().waiting, left - in_flight);
        let ended = in_flight.saturating_sub(limit) + limit / 2;
        server.answer(ended).await;
        left -= ended;
        server.fill(limit.min(left)).await;
        until(|| pool.status().streams == limit.min(left)).await;
        assert_eq!(pool.status().waiting, left - limit.min(left));
    }
    server.change(u32::MAX).await;
    server.fill(left).await;
    server.answer(left).await;
    for call in calls {
        soon(call).await.unwrap().unwrap();
    }
    all_slots_free(&pool).await;
    let counters = pool.counters();
    assert_eq!(counters.calls_ended.get(Code::Ok), CALLS as u64);
    assert_eq!((counters.connections_opened, counters.transparent_retries), (1, 0));
}

#[tokio::test]
async fn limits_beyond_31_bits_are_limits_like_others() {
    for limit in [(1 << 31) - 1, 1 << 31, (1 << 31) + 1, u32::MAX] {
        let (peer, pool) = peer_and_pool().await;
        let call = unary(&pool);
        let mut raw = soon(peer.accept_raw(limit)).await.unwrap();
        let (stream, _) = soon(raw.request()).await;
        assert_eq!(pool.status().capacity, OWN_CAP, "{limit}");
        raw.answer(stream).await.unwrap();
        soon(call).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn settings_that_name_no_limit_leave_the_pools_own() {
    let (peer, pool) = peer_and_pool().await;
    let call = unary(&pool);
    let mut raw = Raw::mute(soon(peer.accept_tcp()).await.unwrap()).await.unwrap();
    raw.settings(&[]).await.unwrap();
    let (stream, _) = soon(raw.request()).await;
    assert_eq!(pool.status().capacity, OWN_CAP);
    raw.limit(7).await.unwrap();
    until(|| pool.status().capacity == 7).await;
    // Others change something else, whether they are known or not.
    raw.settings(&[(setting::MAX_FRAME_SIZE, 1 << 20), (0xfff0, 3)]).await.unwrap();
    soon(raw.settled()).await;
    assert_eq!(pool.status().capacity, 7);
    // Of one that is named twice the last word counts.
    let limit = setting::MAX_CONCURRENT_STREAMS;
    raw.settings(&[(limit, 3), (limit, 4)]).await.unwrap();
    until(|| pool.status().capacity == 4).await;
    raw.answer(stream).await.unwrap();
    soon(call).await.unwrap().unwrap();
}

#[tokio::test]
async fn nothing_is_sent_before_late_settings_and_then_no_more_than_they_allow() {
    let (peer, pool) = peer_and_pool().await;
    let calls: Vec<Call> = (0..5).map(|_| unary(&pool)).collect();
    let mut raw = Raw::mute(soon(peer.accept_tcp()).await.unwrap()).await.unwrap();
    until(|| pool.status().waiting == 5).await;
    assert_eq!(pool.state(), ConnectivityState::Connecting);
    raw.ping([7; 8]).await.unwrap();
    soon(raw.ponged()).await.unwrap();
    assert_eq!(raw.kept(), [], "nothing is known of its limit");
    assert_eq!(pool.state(), ConnectivityState::Connecting);
    raw.limit(2).await.unwrap();
    let mut server = Holding::new(raw, 2);
    server.fill(2).await;
    assert_eq!(pool.status().waiting, 3);
    for left in [3, 1] {
        server.answer(2).await;
        server.fill(2.min(left)).await;
    }
    server.answer(1).await;
    for call in calls {
        soon(call).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_request_waits_for_the_window_that_settings_open() {
    let (peer, pool) = peer_and_pool().await;
    let call = unary(&pool);
    let mut raw = Raw::mute(soon(peer.accept_tcp()).await.unwrap()).await.unwrap();
    raw.settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]).await.unwrap();
    let stream = soon(raw.opened()).await;
    raw.ping([7; 8]).await.unwrap();
    soon(raw.ponged()).await.unwrap();
    assert_eq!(raw.kept(), [], "there is no room for data");
    raw.settings(&[(setting::INITIAL_WINDOW_SIZE, 4)]).await.unwrap();
    assert!(matches!(soon(raw.hear()).await, Heard::Data(_, data) if data.len() == 4));
    raw.window_update(stream, 1 << 10).await.unwrap();
    assert_eq!(soon(raw.request()).await.0, stream);
    raw.answer(stream).await.unwrap();
    soon(call).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_window_that_never_opens_is_bounded_by_the_deadline() {
    let (peer, pool) = peer_and_pool().await;
    let timeout = Some(Duration::from_millis(100));
    let call =
        tokio::spawn(Kind::Unary.begin(pool.channel(), ask(Do::Echo, "hello"), no_more(), timeout));
    let mut raw = Raw::mute(soon(peer.accept_tcp()).await.unwrap()).await.unwrap();
    raw.settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]).await.unwrap();
    let stream = soon(raw.opened()).await;
    let status = soon(call).await.unwrap().err().unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(status.message().contains(&peer.addr().to_string()), "{status}");
    all_slots_free(&pool).await;
    assert_eq!(soon(raw.reset_of(stream)).await, pool_tonic_testing::raw::code::CANCEL);
}
