//! What stands for the rest where the feature is off.

#![expect(clippy::unused_self, reason = "the signatures are those of the real ones")]

use std::error::Error as StdError;

use crate::core::Core;
use crate::error::Error;
use crate::kind::Kind;
use crate::manager::Manager;
use crate::observer::Event;
use crate::state::{BirthOrder, Unserved};

#[inline]
pub(crate) fn event<M: Manager, K: Kind<M>>(_: &Core<M, K>, _: &Event) {}

pub(crate) struct WaitSpan;

impl WaitSpan {
    pub(crate) const NONE: Self = Self;

    #[inline]
    pub(crate) fn begin<M: Manager, K: Kind<M>>(_: &Core<M, K>) -> Self {
        Self
    }

    #[inline]
    pub(crate) fn served(&mut self) {}

    #[inline]
    pub(crate) fn over<T, E: StdError>(&mut self, _: &Result<T, Error<E>>) {}

    #[inline]
    pub(crate) fn left(&mut self, _: Unserved) {}
}

#[derive(Clone)]
pub(crate) struct CreateSpan;

impl CreateSpan {
    #[inline]
    pub(crate) fn begin<M: Manager, K: Kind<M>>(_: &Core<M, K>, _: &BirthOrder) -> Self {
        Self
    }

    #[inline]
    pub(crate) fn around<F: Future>(self, creation: F) -> F {
        creation
    }

    #[inline]
    pub(crate) fn created(&self) {}

    #[inline]
    pub(crate) fn failed(&self, _: &str) {}
}
