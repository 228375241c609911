//! A manager for tests: [`ScriptedManager`] does what the test's script says, and keeps its own books.
//!
//! What a program does when its pool runs dry, when a peer accepts and says nothing, when a resource
//! breaks in a holder's hands: all that takes a manager that can be told to fail, to hang or to be slow,
//! at the right moment. This one can. Each [`Hook`] of it has a queue of [`Step`]s, one for each call, and a
//! standing step for when the queue is empty; both may be changed at any time, through any clone. A
//! [`Gate`] holds a step up until the test opens it. And it counts for itself what was created and what
//! is alive, so that a test need not take the pool's word for it.
//!
//! On a paused clock (`#[tokio::test(start_paused = true)]`) an hour's timeout takes no time at all.
//!
//! # Examples
//!
//! ```
//! use pool_core::test_util::{Hook, ScriptedManager, Step};
//! use pool_core::{Error, GetOptions, Pool};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = ScriptedManager::new();
//! let pool = Pool::builder(manager.clone()).max_size(1).build()?;
//!
//! // The first attempt fails, the second hangs until the create timeout, the third is slow.
//! let slow = Step::Slow(Duration::from_secs(2));
//! manager.script(Hook::Create, [Step::Fail, Step::Never, slow]);
//! let resource = pool.get().await?;
//! assert_eq!(manager.counts().attempts, 3);
//!
//! // It breaks in its holder's hands: the next one gets another.
//! resource.mark_broken();
//! drop(resource);
//! assert_eq!(pool.get().await?.number(), 1);
//! assert_eq!(manager.counts().live, 1);
//!
//! // From now on, nothing works.
//! manager.always(Hook::Create, Step::Fail);
//! manager.always(Hook::Recycle, Step::Fail);
//! let second = GetOptions::new().timeout(Duration::from_secs(1));
//! assert!(matches!(pool.get_with(second).await, Err(Error::Timeout(_))));
//! # Ok(()) }
//! ```

mod books;
mod gate;
mod manager;
mod resource;
mod step;

pub use self::books::Counts;
pub use self::gate::Gate;
pub use self::manager::ScriptedManager;
pub use self::resource::{ScriptedError, ScriptedResource};
pub use self::step::{Hook, Step};
