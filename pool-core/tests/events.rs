//! Every end has a reason, and is told and counted once.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use harness::{Events, Side, millis, pass, rest, secs};
use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{
    Builder, CheckPolicy, EndReason, Event, Exclusive, GetOptions, Group, GroupChange, GroupId,
    ResourceId, ResourceLease, Shared,
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

/// How often each creation was told to begin, and to end.
fn creations(events: &Events) -> Vec<(usize, usize)> {
    let mut creations: HashMap<ResourceId, (usize, usize)> = HashMap::new();
    for event in events.0.lock().unwrap().iter() {
        match event {
            Event::CreateStarted { id, .. } => creations.entry(*id).or_default().0 += 1,
            Event::Created { id, .. } | Event::CreateFailed { id, .. } => {
                creations.entry(*id).or_default().1 += 1;
            }
            _ => {}
        }
    }
    creations.into_values().collect()
}

#[tokio::test(start_paused = true)]
async fn a_creation_for_a_group_that_is_retired_meanwhile_ends_for_observers_and_is_not_counted() {
    let group = GroupId(1);
    let (manager, events) = (ScriptedManager::new(), Arc::new(Events::default()));
    let pool = quiet::<Shared>(&manager).observer(events.clone()).build().unwrap();
    let set = || pool.update_groups([GroupChange::Set(Group::new(group).min(1))]);
    let retire = || pool.update_groups([GroupChange::Retire(group)]);
    manager.always(Hook::Create, Step::Slow(secs(1)).then(Step::Fail));
    set();
    pass(millis(500)).await;
    retire();
    pass(secs(1)).await;
    assert_eq!(creations(&events), [(1, 1)]);
    let last = events.0.lock().unwrap().pop();
    let Some(Event::CreateFailed { elapsed, retry_in, error, .. }) = last else {
        panic!("{last:?}")
    };
    assert_eq!((elapsed.as_millis(), retry_in), (1000, Duration::ZERO));
    assert!(error.contains("scripted failure of create"), "{error}");
    assert_eq!((pool.counters().create_failed, pool.last_error().is_none()), (0, true));

    // So does a successor, which does not count either.
    events.0.lock().unwrap().clear();
    manager.heal();
    set();
    let old = pool.get_owned().await.unwrap();
    manager.always(Hook::Create, Step::Slow(secs(1)).then(Step::Fail));
    let replace = tokio::spawn({
        let (pool, id) = (pool.clone(), old.id());
        async move { pool.replace(id, secs(5)).await }
    });
    pass(millis(500)).await;
    retire();
    assert!(replace.await.unwrap().is_err());
    assert_eq!(creations(&events), [(1, 1); 2]);
    assert_eq!((pool.counters().created, pool.counters().create_failed), (1, 0));
}

#[test]
fn creations_that_end_with_their_runtime_or_their_pool_end_for_observers() {
    let (manager, events) = (ScriptedManager::new(), Arc::new(Events::default()));
    manager.always(Hook::Create, Step::Never);
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build().unwrap()
    };
    let pool = quiet::<Exclusive>(&manager).min_size(1).observer(events.clone()).build().unwrap();
    runtime().block_on(async {
        assert!(pool.get_with(GetOptions::new().timeout(secs(1))).await.is_err());
        assert_eq!(creations(&events), [(1, 0)]);
    });
    // The runtime is gone.
    assert_eq!(creations(&events), [(1, 1)]);
    assert_eq!(pool.counters().create_failed, 0);
    events.0.lock().unwrap().clear();
    runtime().block_on(async {
        assert!(pool.get_with(GetOptions::new().timeout(secs(1))).await.is_err());
        assert_eq!(creations(&events), [(1, 0)]);
        drop(pool);
        assert_eq!(creations(&events), [(1, 1)]);
        rest().await;
    });
    assert_eq!((creations(&events), manager.counts().creating), (vec![(1, 1)], 0));
}
