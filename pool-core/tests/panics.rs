//! A panic for a caller's mistake says where the mistake is: at the caller's line.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use pool_core::test_util::{Hook, ScriptedManager, Step};

thread_local! {
    /// Where this thread is about to panic, if it is: the line, 0 for one of another file.
    static LINE: Cell<Option<u32>> = const { Cell::new(None) };
}

/// The line of this file that a panic of `call` points at.
fn panics_at<T>(call: impl FnOnce() -> T) -> u32 {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = take_hook();
        set_hook(Box::new(move |info| {
            if LINE.get().is_none() {
                return print(info);
            }
            let here = info.location().filter(|at| at.file() == file!());
            LINE.set(here.map(Location::line));
        }));
    });
    LINE.set(Some(0));
    let outcome = catch_unwind(AssertUnwindSafe(|| drop(call())));
    let line = LINE.take();
    assert!(outcome.is_err(), "it does not panic");
    line.unwrap_or(0)
}

#[test]
fn a_standing_step_that_a_hook_cannot_do() {
    let manager = ScriptedManager::new();
    let line = line!() + 1;
    let at = panics_at(|| manager.always(Hook::IsBroken, Step::Never));
    assert_eq!(at, line);
}

#[test]
fn the_handle_of_a_resource_that_is_not_there() {
    let manager = ScriptedManager::new();
    let line = line!() + 1;
    let at = panics_at(|| manager.handle(0));
    assert_eq!(at, line);
}

#[test]
fn a_next_step_that_a_hook_cannot_do() {
    let manager = ScriptedManager::new();
    let line = line!() + 1;
    let at = panics_at(|| manager.script(Hook::IsBroken, [Step::Ok, Step::Never]));
    assert_eq!(at, line);
}
