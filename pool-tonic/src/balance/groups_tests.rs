//! What the pools below are told, when and how often.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pool_core::{EndReason, Event, Observer};
use pool_tonic_testing::raw::{Heard, Raw};
use tokio::time::Instant;
use tower::service_fn;

use super::*;
use crate::ChannelPool;

/// The only address of a pool of one endpoint.
const LISTED: Key = 0;

fn used(key: Key, weight: u32) -> Change {
    Change::Use(key, NonZero::new(weight).unwrap())
}

/// Groups that no pool has heard of, and a channel pool without any, whose pools below are to hear of them.
fn groups(min: usize, observer: Option<Arc<Told>>) -> (Arc<Groups>, ChannelPool) {
    let connector = service_fn(|_: http::Uri| async {
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let mut peer = Raw::greet(far, 100).await.unwrap();
            while !matches!(peer.hear().await, Heard::Closed) {}
        });
        Ok::<_, io::Error>(near)
    });
    let mut builder = ChannelPool::builder("http://memory").connector(connector);
    if let Some(observer) = observer {
        builder = builder.observer(observer);
    }
    (Arc::new(Groups::new(min, false)), builder.build().unwrap())
}

fn pools(pool: &ChannelPool) -> Pools {
    [pool.connections().downgrade(), pool.dedicated_connections().downgrade()]
}

/// Number, weight and minimum of each group of the two pools.
fn seen(pool: &ChannelPool) -> [Vec<(Key, u32, usize)>; 2] {
    [pool.connections(), pool.dedicated_connections()].map(|pool| {
        let groups = pool.groups().into_iter().filter(|group| !group.retired);
        groups.map(|group| (group.id.0, group.weight.get(), group.min)).collect()
    })
}

#[tokio::test(start_paused = true)]
async fn what_was_noted_before_the_pools_were_there_is_told_when_they_are() {
    let (groups, pool) = groups(2, None);
    groups.note(vec![used(1, 1), used(2, 5)]);
    groups.tell();
    assert_eq!(seen(&pool), [vec![], vec![]]);
    groups.attach(pools(&pool));
    let both = vec![(1, 1, 0), (2, 5, 0)];
    assert_eq!(seen(&pool), [both.clone(), both]);
}

#[tokio::test(start_paused = true)]
async fn the_shared_pool_keeps_minimums_from_the_first_use_on() {
    let (groups, pool) = groups(2, None);
    groups.attach(pools(&pool));
    groups.note(vec![used(1, 1), used(2, 1)]);
    groups.tell();
    // What was noted and not told is told beside it, and those that were retired are not set anew.
    groups.note(vec![Change::Retire(2), used(3, 4)]);
    groups.begin_use();
    assert_eq!(seen(&pool), [vec![(1, 1, 2), (3, 4, 2)], vec![(1, 1, 0), (3, 4, 0)]]);
    // What comes later has one from its beginning.
    groups.note(vec![used(4, 1)]);
    groups.tell();
    assert_eq!(seen(&pool)[0].last(), Some(&(4, 1, 2)));
}

#[tokio::test(start_paused = true)]
async fn of_several_changes_of_a_group_the_last_is_what_holds() {
    let (groups, pool) = groups(0, None);
    groups.attach(pools(&pool));
    groups.note(vec![used(1, 1), used(1, 7), used(2, 1), Change::Retire(2), used(3, 1)]);
    groups.note(vec![Change::Retire(3), used(3, 2), Change::Retire(4)]);
    groups.tell();
    let both = vec![(1, 7, 0), (3, 2, 0)];
    assert_eq!(seen(&pool), [both.clone(), both]);
    // A retirement comes after the set that it was told of.
    groups.note(vec![Change::Retire(1), Change::Retire(3)]);
    groups.tell();
    assert_eq!(seen(&pool), [vec![], vec![]]);
    groups.note(vec![used(1, 3)]);
    groups.tell();
    assert_eq!(seen(&pool), [vec![(1, 3, 0)], vec![(1, 3, 0)]]);
}

/// Notes and tells more when a connection ends, which is while somebody tells.
#[derive(Default)]
struct Told {
    what: OnceLock<(Arc<Groups>, ChannelPool)>,
    /// What the pools had when it had told.
    seen: OnceLock<[Vec<(Key, u32, usize)>; 2]>,
}

impl Observer for Told {
    fn event(&self, event: &Event) {
        let Event::Ended { reason: EndReason::Removed, .. } = event else { return };
        let (groups, pool) = self.what.get().unwrap();
        groups.note(vec![used(7, 1)]);
        groups.tell();
        self.seen.set(seen(pool)).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_noted_while_somebody_tells_is_told_by_that_one_and_nothing_twice() {
    let observer = Arc::new(Told::default());
    let (groups, pool) = groups(1, Some(Arc::clone(&observer)));
    groups.attach(pools(&pool));
    groups.note(vec![used(LISTED, 1)]);
    groups.tell();
    groups.begin_use();
    pool.wait_ready(Instant::now() + Duration::from_secs(1)).await.unwrap();
    assert!(observer.what.set((Arc::clone(&groups), pool.clone())).is_ok());

    groups.note(vec![Change::Retire(LISTED)]);
    groups.tell();
    // The dedicated pool had not heard of the first change when the second was noted: its order stays.
    assert_eq!(observer.seen.get().unwrap(), &[vec![], vec![(LISTED, 1, 0)]]);
    assert_eq!(seen(&pool), [vec![(7, 1, 1)], vec![(7, 1, 0)]]);
    assert!(groups.lock().changed.is_empty() && !groups.lock().tells);
}

#[tokio::test(start_paused = true)]
async fn shares_of_weights_are_told_where_they_change_by_much() {
    let (_, pool) = groups(0, None);
    let groups = Groups::new(0, true);
    groups.attach(pools(&pool));
    groups.note(vec![used(1, 1), used(2, 3)]);
    groups.tell();
    let weights = || seen(&pool)[0].iter().map(|(_, weight, _)| *weight).collect::<Vec<_>>();
    assert_eq!(weights(), [1024, 3072]);
    let weigh = |key, share| groups.weigh(vec![(key, NonZero::new(share).unwrap())]);
    weigh(2, 512);
    assert_eq!(weights(), [1024, 1536]);
    // Too little to matter, until it is all.
    weigh(2, 530);
    assert_eq!(weights(), [1024, 1536]);
    weigh(2, 1000);
    weigh(2, 1024);
    assert_eq!(weights(), [1024, 3072]);
    // Another weight keeps the share, and who is listed anew has none.
    weigh(1, 256);
    groups.note(vec![used(1, 2)]);
    groups.tell();
    assert_eq!(weights(), [512, 3072]);
    groups.note(vec![Change::Retire(1)]);
    groups.tell();
    weigh(1, 100);
    groups.note(vec![used(1, 1)]);
    groups.tell();
    assert_eq!(weights(), [1024, 3072]);
}
