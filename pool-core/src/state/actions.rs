//! What follows from a decision, and is done after unlocking.

use std::error::Error as StdError;
use std::sync::Arc;
use std::task::Waker;

use super::store::Ended;
use crate::error::CreateError;
use crate::manager::ResourceId;
use crate::observer::Event;

/// Why a waiter got no place.
#[derive(Debug)]
pub(crate) enum Failure<E: StdError + 'static> {
    Timeout,
    Closed,
    Paused,
    Shed,
    /// It wants more places than the maximum size is now.
    TooMany(usize),
    /// The group that it wants a place of is there no more.
    NoGroup,
    /// A creation that it waited for has failed.
    Create(Arc<CreateError<E>>),
}

/// The error of the last creation.
#[derive(Debug)]
pub(crate) struct LastError<E: StdError + 'static> {
    pub(crate) error: Arc<CreateError<E>>,
    pub(crate) fatal: bool,
}

/// What is to be done after unlocking.
#[derive(Debug)]
pub(crate) struct Actions<R, E: StdError + 'static> {
    pub(crate) wake: Vec<Waker>,
    /// To be destroyed by the one who unlocks, since there is no maintenance to do it.
    pub(crate) ended: Vec<Ended<R>>,
    pub(crate) events: Vec<Event>,
    /// Resources with holders that are lent no more, or again: their manager is to be told.
    pub(crate) turned: Vec<ResourceId>,
    pub(crate) notify: bool,
    /// Nothing is left, or has come: the manager is to be asked whether it [keeps trying](crate::Manager::keeps_trying).
    pub(crate) bare: bool,
    /// The pool has been closed, or else something that is waited for may have come.
    pub(crate) closed: bool,
    /// To be dropped: an error is a user's, and so is its destructor.
    pub(crate) error: Option<LastError<E>>,
}

impl<R, E: StdError + 'static> Default for Actions<R, E> {
    fn default() -> Self {
        Self {
            wake: Vec::new(),
            ended: Vec::new(),
            events: Vec::new(),
            turned: Vec::new(),
            notify: false,
            bare: false,
            closed: false,
            error: None,
        }
    }
}

impl<R, E: StdError + 'static> Actions<R, E> {
    pub(crate) fn is_empty(&self) -> bool {
        self.wake.is_empty()
            && self.ended.is_empty()
            && self.events.is_empty()
            && self.turned.is_empty()
            && !self.notify
            && !self.bare
            && !self.closed
            && self.error.is_none()
    }
}
