//! Endpoints from tower's discovery.

#![cfg(feature = "discover")]
#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/fleet.rs"]
mod fleet;
#[path = "common/resolving.rs"]
mod resolving;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use common::call;
use fleet::{Fleet, used};
use pool_tonic::ChannelPool;
use pool_tonic::resolve::{Endpoint, FromDiscover};
use resolving::comes;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::sleep;
use tokio_stream::Stream;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tower::discover::Change;

type Found = Result<Change<u32, Endpoint>, io::Error>;

fn pool(fleet: &Fleet) -> (ChannelPool, UnboundedSender<Found>) {
    let (changes, found) = unbounded_channel();
    let found = FromDiscover::new(UnboundedReceiverStream::new(found));
    let pool = ChannelPool::builder("http://orders.prod:50051").resolver(found);
    (fleet.connect(pool).build().unwrap(), changes)
}

fn insert(key: u32, server: usize) -> Change<u32, Endpoint> {
    Change::Insert(key, Endpoint::new(format!("server-{server}")))
}

#[tokio::test(start_paused = true)]
async fn what_is_found_is_used_and_what_is_gone_is_not() {
    let fleet = Fleet::new(4);
    let (pool, changes) = pool(&fleet);
    changes.send(Ok(insert(1, 0))).unwrap();
    changes.send(Ok(insert(2, 1))).unwrap();
    call(&pool).await.unwrap();
    assert_eq!(used(&pool), [0, 1].into());
    assert_eq!(pool.counters().resolutions, 1, "what is there is one set");

    changes.send(Ok(Change::Remove(1))).unwrap();
    comes(|| used(&pool) == [1].into()).await;
    // The same key, another server.
    changes.send(Ok(insert(2, 3))).unwrap();
    comes(|| used(&pool) == [3].into()).await;
    call(&pool).await.unwrap();

    changes.send(Ok(Change::Remove(2))).unwrap();
    comes(|| pool.counters().resolve_empty == 1).await;
    assert_eq!(used(&pool), [3].into(), "none is no set");

    changes.send(Err(io::Error::other("the registry is gone"))).unwrap();
    comes(|| pool.counters().resolve_failures == 1).await;
    let error = pool.resolver_status().unwrap().last_error.unwrap();
    assert_eq!(error.to_string(), "its discovery failed: the registry is gone");
    changes.send(Ok(insert(7, 2))).unwrap();
    comes(|| used(&pool) == [2].into()).await;

    drop(changes);
    sleep(Duration::from_secs(1000)).await;
    call(&pool).await.unwrap();
    assert_eq!(used(&pool), [2].into());
    assert_eq!(pool.counters().resolve_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_found_before_an_error_is_used_and_the_error_passes() {
    let fleet = Fleet::new(2);
    let (pool, changes) = pool(&fleet);
    changes.send(Ok(insert(1, 1))).unwrap();
    changes.send(Err(io::Error::other("the registry is gone"))).unwrap();
    call(&pool).await.unwrap_err();
    comes(|| used(&pool) == [1].into()).await;
    call(&pool).await.unwrap();
    let status = pool.resolver_status().unwrap();
    assert!(status.last_error.is_none(), "{status:?}");
    assert_eq!(pool.counters().resolve_failures, 1);
}

/// One change, and then the end, behind which it panics, as some do.
struct Strict(u32);

impl Stream for Strict {
    type Item = Found;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Found>> {
        self.0 += 1;
        match self.0 {
            1 => Poll::Ready(Some(Ok(insert(1, 0)))),
            2 => Poll::Ready(None),
            _ => panic!("it was polled behind its end"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_has_ended_is_polled_no_more() {
    let fleet = Fleet::new(1);
    let found = FromDiscover::new(Strict(0));
    let pool = ChannelPool::builder("http://orders.prod:50051").resolver(found);
    let pool = fleet.connect(pool).build().unwrap();
    call(&pool).await.unwrap();
    sleep(Duration::from_secs(1000)).await;
    assert_eq!(pool.counters().resolve_failures, 0);
    assert_eq!(used(&pool), [0].into());
}

#[tokio::test(start_paused = true)]
async fn one_that_ends_before_it_found_anything_is_an_error() {
    let (pool, changes) = pool(&Fleet::new(1));
    drop(changes);
    let status = call(&pool).await.unwrap_err();
    assert!(status.message().contains("its discovery ended before"), "{status}");
}
