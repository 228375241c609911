//! Numbers of a pool and of its manager, by name.

use pool_core::test_util::Counts;
use pool_core::{Counters, EndReason, Status};

macro_rules! named {
    ($of:expr, $name:expr, $($field:ident)+) => {
        match $name {
            $(stringify!($field) => Some($of.$field.to_string()),)+
            _ => None,
        }
    };
}

pub fn status(of: &Status, name: &str) -> Option<String> {
    named!(of, name, max_size min_size size idle lent in_use creating waiting checking draining
        closing places generation paused closed)
}

pub fn counters(of: &Counters, name: &str) -> Option<String> {
    if let Some(reason) = name.strip_prefix("ended.") {
        let reason = EndReason::ALL.into_iter().find(|known| known.as_str() == reason)?;
        return Some(of.ended.get(reason).to_string());
    }
    named!(of, name, gets_ok gets_timeout gets_cancelled gets_closed gets_error gets_rejected gets_shed
        gets_paused waits waits_ok created create_failed)
}

pub fn counts(of: &Counts, name: &str) -> Option<String> {
    named!(of, name, live most_live creating most_creating most_at_once attempts created checks
        recycles detached destroyed dropped)
}
