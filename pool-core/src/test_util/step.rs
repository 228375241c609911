//! What a script is made of: hooks and steps.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use super::gate::Gate;
use super::resource::ScriptedError;

/// A method of a manager that a script may speak about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hook {
    /// [`Manager::create`](crate::Manager::create).
    Create,
    /// [`Manager::check`](crate::Manager::check) in a [`Pool`](crate::Pool), and
    /// [`SharedManager::check_shared`](crate::SharedManager::check_shared) in a
    /// [`SharedPool`](crate::SharedPool).
    Check,
    /// [`Manager::recycle`](crate::Manager::recycle).
    Recycle,
    /// [`Manager::is_broken`](crate::Manager::is_broken): [`Step::Ok`] is what the resource has been
    /// marked as, [`Step::Fail`] is yes.
    IsBroken,
    /// [`Manager::is_fatal`](crate::Manager::is_fatal): [`Step::Ok`] is whether the step was
    /// [`Step::Fatal`] that the error is from, [`Step::Fatal`] is yes.
    IsFatal,
    /// [`Manager::retry_in`](crate::Manager::retry_in): [`Step::Ok`] is what
    /// [`set_retry_in`](super::ScriptedManager::set_retry_in) says.
    RetryIn,
    /// [`Manager::detached`](crate::Manager::detached).
    Detached,
    /// [`Manager::destroy`](crate::Manager::destroy).
    Destroy,
}

impl Hook {
    /// Every hook, in the order of the enum.
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::Check,
        Self::Recycle,
        Self::IsBroken,
        Self::IsFatal,
        Self::RetryIn,
        Self::Detached,
        Self::Destroy,
    ];

    /// The method's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Check => "check",
            Self::Recycle => "recycle",
            Self::IsBroken => "is_broken",
            Self::IsFatal => "is_fatal",
            Self::RetryIn => "retry_in",
            Self::Detached => "detached",
            Self::Destroy => "destroy",
        }
    }

    /// Whether this hook can do that: a synchronous one cannot be slow, and one that returns no result
    /// cannot fail.
    pub fn can(self, step: &Step) -> bool {
        match step {
            Step::Ok | Step::Panic => true,
            Step::Fail => {
                matches!(self, Self::Create | Self::Check | Self::Recycle | Self::IsBroken)
            }
            Step::Fatal => matches!(self, Self::Create | Self::IsFatal),
            Step::Slow(_) | Step::Never | Step::Wait(_) => {
                matches!(self, Self::Create | Self::Check | Self::Recycle | Self::Destroy)
            }
            Step::InTurn(steps) => steps.iter().all(|step| self.can(step)),
        }
    }
}

/// What a hook does when it is called.
///
/// # Examples
///
/// ```
/// use pool_core::test_util::{Hook, Step};
/// use std::time::Duration;
///
/// let refused_late = Step::Slow(Duration::from_secs(3)).then(Step::Fail);
/// assert!(Hook::Create.can(&refused_late));
/// assert!(!Hook::IsBroken.can(&refused_late)); // is not asynchronous
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Step {
    /// Does what it should.
    Ok,
    /// Returns an error; of [`Hook::IsBroken`]: says yes.
    Fail,
    /// Returns an error that is fatal; of [`Hook::IsFatal`]: says yes.
    Fatal,
    /// Panics, with a message that begins with "scripted panic".
    Panic,
    /// Does not return.
    Never,
    /// Takes this long, by tokio's clock, then does what it should.
    Slow(Duration),
    /// Waits until the test opens the gate, then does what it should.
    Wait(Gate),
    /// One after the other, up to the first that does not do what it should.
    InTurn(Vec<Step>),
}

impl Step {
    /// This one, then the next.
    pub fn then(self, next: Self) -> Self {
        match self {
            Self::InTurn(mut steps) => {
                steps.push(next);
                Self::InTurn(steps)
            }
            first => Self::InTurn(vec![first, next]),
        }
    }

    /// Plays the step where it may take time.
    pub(super) async fn play(self, hook: Hook) -> Result<(), ScriptedError> {
        let mut steps = VecDeque::from([self]);
        while let Some(step) = steps.pop_front() {
            match step {
                Self::Slow(delay) => tokio::time::sleep(delay).await,
                Self::Never => pending().await,
                Self::Wait(gate) => gate.pass().await,
                step => step.play_now(hook, &mut steps)?,
            }
        }
        Ok(())
    }

    /// Plays the step where it may not.
    pub(super) fn play_sync(self, hook: Hook) -> Result<(), ScriptedError> {
        let mut steps = VecDeque::from([self]);
        while let Some(step) = steps.pop_front() {
            step.play_now(hook, &mut steps)?;
        }
        Ok(())
    }

    fn play_now(self, hook: Hook, rest: &mut VecDeque<Self>) -> Result<(), ScriptedError> {
        match self {
            Self::Fail => Err(ScriptedError::new(hook)),
            Self::Fatal => Err(ScriptedError::fatal(hook)),
            Self::Panic => panic!("scripted panic of {}", hook.as_str()),
            Self::InTurn(steps) => {
                for step in steps.into_iter().rev() {
                    rest.push_front(step);
                }
                Ok(())
            }
            Self::Ok | Self::Slow(_) | Self::Never | Self::Wait(_) => Ok(()),
        }
    }
}
