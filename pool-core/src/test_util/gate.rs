//! A gate: what a step waits at until the test opens it.

use std::sync::Arc;

use tokio::sync::watch;

/// Holds up every [`Step::Wait`](super::Step::Wait) that was given a clone of it, until it is opened.
///
/// # Examples
///
/// A caller gives up while its resource is being created, and the creation goes on:
///
/// ```
/// use pool_core::Pool;
/// use pool_core::test_util::{Gate, Hook, ScriptedManager, Step};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (manager, gate) = (ScriptedManager::new(), Gate::new());
/// manager.script(Hook::Create, [Step::Wait(gate.clone())]);
/// let pool = Pool::builder(manager.clone()).build()?;
/// tokio::select! {
///     _ = pool.get() => unreachable!("the gate is closed"),
///     () = gate.reached() => {}
/// }
/// gate.open();
/// manager.until(|counts| counts.created == 1).await;
/// assert_eq!(pool.get().await?.number(), 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Gate {
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    open: bool,
    waiting: usize,
}

impl Gate {
    /// A gate that is closed.
    pub fn new() -> Self {
        Self { state: Arc::new(watch::Sender::new(State::default())) }
    }

    /// Lets everything pass that waits, and everything that comes from now on.
    pub fn open(&self) {
        self.state.send_modify(|state| state.open = true);
    }

    /// Holds up what comes from now on.
    pub fn close(&self) {
        self.state.send_modify(|state| state.open = false);
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.state.borrow().open
    }

    /// How many steps wait at it.
    pub fn waiting(&self) -> usize {
        self.state.borrow().waiting
    }

    /// Returns when a step waits at the gate.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when this is dropped.
    pub async fn reached(&self) {
        self.wait_for(|state| state.waiting > 0).await;
    }

    pub(super) async fn pass(&self) {
        self.state.send_modify(|state| state.waiting += 1);
        let _waiting = Waiting(self);
        self.wait_for(|state| state.open).await;
    }

    async fn wait_for(&self, condition: impl Fn(&State) -> bool) {
        let mut states = self.state.subscribe();
        // The sender is there, since `self` holds it.
        drop(states.wait_for(condition).await);
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts a step for as long as it waits, however that ends.
struct Waiting<'a>(&'a Gate);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.waiting -= 1);
    }
}
