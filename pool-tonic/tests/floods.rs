//! What a peer sends without end costs bounded memory, and no other connection.
//!
//! Counted by the allocator of this binary, over client and peer together, in the one thread that both run in.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;

use allocation_counter::measure;
use common::{ask, client, soon};
use pool_tonic::ChannelPool;
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::Do;
use pool_tonic_testing::raw::{Raw, block, flag, kind};
use tokio::runtime::Builder;

/// What a flood may make client and peer hold together. Nothing of it is kept.
const MOST_HELD: u64 = 1 << 20;

/// What is sent, unless the client ends the connection before.
const FLOOD: usize = 64 << 20;

/// A frame of a flood: kind, flags, on the call's stream or on the connection's, payload.
struct Flood {
    name: &'static str,
    /// Sent before, once.
    first: Option<(u8, u8)>,
    kind: u8,
    flags: u8,
    of_call: bool,
    payload: Vec<u8>,
}

fn floods() -> Vec<Flood> {
    let flood = |name, kind, flags, of_call, payload: &[u8]| Flood {
        name,
        first: None,
        kind,
        flags,
        of_call,
        payload: payload.to_vec(),
    };
    let header = block(false, &[("x-flood", &"x".repeat(8192))]);
    let header_block = Flood {
        first: Some((kind::HEADERS, 0)),
        ..flood("a header block without end", kind::CONTINUATION, 0, true, &header)
    };
    // `:status: 103`, by a literal whose name is that of entry 8.
    let early = [&[0x08, 3][..], b"103"].concat();
    vec![
        header_block,
        flood("answers that are only beginnings", kind::HEADERS, flag::END_HEADERS, true, &early),
        flood("pings", kind::PING, 0, false, &[7; 8]),
        flood("settings", kind::SETTINGS, 0, false, &[0, 3, 0, 0, 0, 100]),
        flood("data without data", kind::DATA, 0, true, &[]),
        flood("unknown frames", 0xf0, 0, false, &[7; 1 << 14]),
        flood("priorities", PRIORITY, 0, true, &[0, 0, 0, 0, 1]),
    ]
}

const PRIORITY: u8 = 0x2;

/// Sends a flood to a call that waits for its answer, and then one more answer, if there is anybody left.
async fn send(flood: &Flood) {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).max_connections(1).build().unwrap();
    let mut calling = client(&pool);
    let call = tokio::spawn(async move { calling.unary(ask(Do::Echo)).await });
    let mut raw = soon(peer.accept_raw(100)).await.unwrap();
    let (stream, _) = soon(raw.request()).await;
    if let Some((kind, flags)) = flood.first {
        raw.frame(kind, flags, stream, &block(true, &[])).await.unwrap();
    }
    let on = if flood.of_call { stream } else { 0 };
    soon(pour(&mut raw, flood, on)).await;
    drop(raw);
    soon(call).await.unwrap().unwrap_err();
    // The next one finds a server as if nothing had been.
    let mut calling = client(&pool);
    let call = tokio::spawn(async move { calling.unary(ask(Do::Echo)).await });
    let mut raw = soon(peer.accept_raw(100)).await.unwrap();
    let (stream, _) = soon(raw.request()).await;
    raw.answer(stream).await.unwrap();
    soon(call).await.unwrap().unwrap();
}

async fn pour(raw: &mut Raw, flood: &Flood, stream: u32) {
    let frame = flood.payload.len() + 9;
    // Small frames by number, since each costs the same.
    for _ in 0..(FLOOD / frame).min(20_000) {
        if raw.frame(flood.kind, flood.flags, stream, &flood.payload).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn floods_cost_bounded_memory_and_no_later_call() {
    for flood in floods() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let held = measure(|| runtime.block_on(send(&flood))).bytes_max;
        assert!(held < MOST_HELD, "{}: {} KiB", flood.name, held >> 10);
    }
}
