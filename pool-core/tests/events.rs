//! Every end has a reason, and is told and counted once.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::collections::HashMap;
use std::sync::Arc;

use harness::{Events, Side, pass, rest, secs};
use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{
    Builder, CheckPolicy, EndReason, Event, Exclusive, ResourceId, ResourceLease, Shared,
};

/// A pool that does nothing by itself but what a test sets.
fn quiet<K: Side>(manager: &ScriptedManager) -> Builder<ScriptedManager, K> {
    K::builder(manager.clone())
        .max_size(2)
        .check(CheckPolicy::Never)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// Ends one resource for this reason.
async fn end<K: Side>(
    reason: EndReason,
    manager: &ScriptedManager,
    builder: Builder<ScriptedManager, K>,
) {
    let builder = match reason {
        EndReason::Idle => builder.idle_timeout(secs(8)),
        EndReason::Lifetime => builder.max_lifetime(secs(10)),
        EndReason::Uses => builder.max_uses(1),
        EndReason::Excess => builder.max_idle(0).shrink_delay(secs(1)),
        EndReason::CheckFailed => builder.check(CheckPolicy::Always),
        _ => builder,
    };
    let pool = builder.build().unwrap();
    let mut lease = pool.get_owned().await.unwrap();
    let handle = lease.handle();
    match reason {
        EndReason::Broken => handle.broken("it said so"),
        EndReason::Drained => handle.drain("it said so"),
        EndReason::Discarded => return ResourceLease::discard(lease),
        EndReason::Detached => {
            // A resource that was replaced has left as well.
            let own = K::detach(lease).unwrap();
            lease = pool.get_owned().await.unwrap();
            drop(K::replace(&mut lease, own));
        }
        _ => {}
    }
    drop(lease);
    match reason {
        EndReason::Stale => drop(pool.reset()),
        EndReason::Removed => drop(pool.retain(|_, _| false).removed),
        EndReason::Closed => pool.close(),
        EndReason::CheckFailed => {
            manager.script(Hook::Check, [Step::Fail]);
            drop(pool.get().await.unwrap());
        }
        EndReason::Idle | EndReason::Lifetime | EndReason::Excess => pass(secs(12)).await,
        _ => {}
    }
    rest().await;
    let counters = pool.counters();
    let expected = if reason == EndReason::Detached { 2 } else { 1 };
    assert_eq!(counters.ended.get(reason), expected, "{reason:?}");
    assert_eq!(counters.ended.total(), expected, "{reason:?}");
}

async fn every_end<K: Side>() {
    for reason in EndReason::ALL {
        if K::SHARED && reason == EndReason::Detached {
            continue;
        }
        let manager = ScriptedManager::new();
        let events = Arc::new(Events::default());
        end::<K>(reason, &manager, quiet(&manager).observer(events.clone())).await;
        rest().await;
        let told = events.0.lock().unwrap().clone();
        let mut ends: HashMap<ResourceId, Vec<EndReason>> = HashMap::new();
        for event in &told {
            if let Event::Ended { id, reason } = event {
                ends.entry(*id).or_default().push(*reason);
            }
        }
        // Those that are left when the last handle goes are closed.
        let first = ends.remove(&manager.attempts()[0].id()).unwrap();
        assert_eq!(first, [reason], "{told:?}");
        assert!(ends.values().all(|reasons| reasons.len() == 1), "{told:?}");
        let reports = told
            .iter()
            .filter(|event| matches!(event, Event::Reported { text, .. } if text == "it said so"));
        let says = matches!(reason, EndReason::Broken | EndReason::Drained);
        assert_eq!(reports.count(), usize::from(says));
        let created = told.iter().filter(|event| matches!(event, Event::Created { .. })).count();
        let started = |event: &&Event| matches!(event, Event::CreateStarted { .. });
        assert_eq!(told.iter().filter(started).count(), manager.counts().attempts);
        let given = usize::from(reason == EndReason::Detached);
        assert_eq!(created, manager.counts().created + given);
    }
}

#[tokio::test(start_paused = true)]
async fn every_end_is_told_once_with_its_reason() {
    every_end::<Exclusive>().await;
    every_end::<Shared>().await;
}

#[tokio::test(start_paused = true)]
async fn what_happens_is_told_in_its_order() {
    let manager = ScriptedManager::new();
    let events = Arc::new(Events::default());
    manager.script(Hook::Create, [Step::Fail]);
    let pool = quiet::<Exclusive>(&manager).max_size(1).observer(events.clone()).build().unwrap();
    let lease = pool.get().await.unwrap();
    let id = lease.id();
    drop(lease);
    pool.pause(pool_core::Pause::Queue);
    pool.resume();
    pool.reset();
    pool.close();
    pool.close();
    rest().await;
    let told: Vec<_> = std::mem::take(&mut *events.0.lock().unwrap())
        .into_iter()
        .filter(|event| !matches!(event, Event::Resized { .. }))
        .map(|event| match event {
            Event::CreateStarted { .. } => "started",
            Event::CreateFailed { error, .. } => {
                assert_eq!(
                    error,
                    "the manager could not create a resource: scripted failure of create"
                );
                "failed"
            }
            Event::Created { .. } => "created",
            Event::Paused => "paused",
            Event::Resumed => "resumed",
            Event::Reset { generation: 1 } => "reset",
            Event::Ended { id: ended, reason: EndReason::Stale } if ended == id => "ended",
            Event::Closed => "closed",
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        "started", "failed", "started", "created", "paused", "resumed", "reset", "ended", "closed",
    ];
    assert_eq!(told, expected);
}
