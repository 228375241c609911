//! What a pool is built with, beside its manager.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::{Limits, Times};
use crate::group::Pick;
use crate::hooks::Hooks;
use crate::manager::Manager;
use crate::observer::Observer;

pub(crate) struct Settings<M: Manager> {
    pub(crate) limits: Limits,
    pub(crate) times: Times,
    pub(crate) pick: Pick,
    pub(crate) hooks: Hooks<M>,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) runtime: Option<Handle>,
}
