//! The latest events of a pool are kept, whether or not it has an observer.
#![allow(clippy::unwrap_used, reason = "tests")]

use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{CheckPolicy, EndReason, Event, Lease, Pool, RecentEvents};
use tokio::time::{Duration, Instant, sleep};

fn pool(manager: &ScriptedManager) -> Pool<ScriptedManager> {
    Pool::builder(manager.clone()).max_size(1).check(CheckPolicy::Never).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_happened_is_told_in_order_with_its_time() {
    let pool = pool(&ScriptedManager::new());
    assert_eq!(pool.recent_events(), []);
    let begin = Instant::now();
    let lease = pool.get().await.unwrap();
    let id = lease.id();
    sleep(Duration::from_secs(3)).await;
    Lease::discard(lease);
    let recent = pool.recent_events();
    let numbers: Vec<_> = recent.iter().map(|recent| recent.number).collect();
    assert_eq!(numbers, (0..recent.len() as u64).collect::<Vec<_>>());
    let names: Vec<_> = recent.iter().map(|recent| recent.event.as_str()).collect();
    assert_eq!(names, ["resized", "create_started", "created", "ended"]);
    let last = recent.last().unwrap();
    assert_eq!(last.event, Event::Ended { id, reason: EndReason::Discarded });
    assert_eq!(last.at - begin, Duration::from_secs(3));
    assert_eq!(last.event.to_string(), "resource 0 ended: its holder said that it is no good");
}

#[tokio::test]
async fn of_many_events_the_latest_are_kept() {
    let pool = pool(&ScriptedManager::new());
    for _ in 0..100 {
        Lease::discard(pool.get().await.unwrap());
    }
    let recent = pool.recent_events();
    assert_eq!(recent.len(), 128);
    assert_eq!(recent.last().unwrap().number, 399);
    assert_eq!(recent[0].number, 400 - 128);
}

#[tokio::test(start_paused = true)]
async fn a_failed_creation_is_told_with_its_reason() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, [Step::Fail]);
    let pool = pool(&manager);
    drop(pool.get().await.unwrap());
    let recent = pool.recent_events();
    let failed = recent.iter().find(|recent| recent.event.as_str() == "create_failed").unwrap();
    let text = failed.event.to_string();
    assert!(text.contains("could not be created") && text.contains("next attempt"), "{text}");
}

#[tokio::test]
async fn a_long_text_is_cut_between_letters() {
    let pool = pool(&ScriptedManager::new());
    let lease = pool.get().await.unwrap();
    lease.handle().broken("ü".repeat(1_000_000));
    lease.handle().broken(format!("x{}", "ü".repeat(1_000_000)));
    let texts: Vec<_> = pool
        .recent_events()
        .into_iter()
        .filter_map(|recent| match recent.event {
            Event::Reported { text, .. } => Some(text),
            _ => None,
        })
        .collect();
    assert_eq!(texts, [format!("{}…", "ü".repeat(256)), format!("x{}…", "ü".repeat(255))]);
}

#[test]
fn what_is_added_from_many_threads_is_there_once() {
    let events = RecentEvents::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let events = &events;
            scope.spawn(move || (0..25).for_each(|n| events.add(thread * 25 + n)));
        }
    });
    let list = events.list();
    let mut seen: Vec<_> = list.iter().map(|recent| recent.event).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    assert!(list.windows(2).all(|pair| pair[0].number + 1 == pair[1].number));
}
