//! Events in words.

use std::fmt;

use crate::observer::{EndReason, Event, Resize, Sizing};

/// How much of a text is kept of an event, in bytes.
const KEPT_TEXT: usize = 512;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateStarted { id, reason } => {
                write!(f, "resource {id} is being created, for {}", reason.as_str())
            }
            Self::Created { id, elapsed } => {
                write!(f, "resource {id} was created in {elapsed:.1?}")
            }
            Self::CreateFailed { id, elapsed, error, retry_in } => {
                write!(f, "resource {id} could not be created, after {elapsed:.1?}: {error}")?;
                if retry_in.is_zero() {
                    return Ok(());
                }
                write!(f, "; the next attempt is in {retry_in:.1?} at the earliest")
            }
            Self::Reported { id, reason, text } => {
                let what = match reason {
                    EndReason::Broken => "broken",
                    _ => "to be used up",
                };
                write!(f, "resource {id} is {what}, by its manager: {text}")
            }
            Self::Ended { id, reason } => write!(f, "resource {id} ended: {}", words(*reason)),
            Self::Draining { id, reason } => {
                write!(f, "resource {id} has no new holders: {}", words(*reason))
            }
            Self::Resized { id, change, sizing } => {
                let what = match change {
                    Resize::Create(_) => "decided to create",
                    Resize::Drain(_) => "decided to use up",
                    Resize::End(_) => "decided to end",
                    Resize::Reclaim => "decided to take back",
                };
                write!(f, "{what} resource {id}, by the rule {}: {sizing}", change.rule())
            }
            Self::Leaked { id, held_for, taken_at } => {
                write!(f, "resource {id} has been held for {held_for:.1?}, taken at {taken_at}")
            }
            Self::LeakReturned { id, held_for, taken_at } => {
                write!(f, "resource {id} is back after {held_for:.1?}, taken at {taken_at}")
            }
            Self::Paused => f.write_str("the pool was paused: it lends and creates nothing"),
            Self::Resumed => f.write_str("the pool was resumed"),
            Self::Reset { generation } => {
                write!(
                    f,
                    "the pool was reset: what is of an older generation than {generation} goes"
                )
            }
            Self::Closed => f.write_str("the pool was closed"),
        }
    }
}

impl fmt::Display for Sizing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, max_size, idle, creating, leases, places, wanted, .. } = self;
        write!(
            f,
            "{size} of at most {max_size}, {idle} idle, {creating} being created, \
             {leases} leases of {places} places out, {wanted} wanted"
        )
    }
}

/// The reason as what was the matter.
fn words(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Idle => "nobody wanted it for the idle timeout",
        EndReason::Lifetime => "it reached its maximum lifetime",
        EndReason::Uses => "it was lent as often as it may be",
        EndReason::Stale => "it was of an older generation than the pool",
        EndReason::Broken => "it is broken",
        EndReason::CheckFailed => "it did not pass its check, or could not be recycled",
        EndReason::Excess => "there were more than the pool needs or may have",
        EndReason::Drained => "its manager asked for it to be used up",
        EndReason::Detached => "its holder took it out of the pool",
        EndReason::Discarded => "its holder said that it is no good",
        EndReason::Removed => "it was taken out of the pool",
        EndReason::Closed => "the pool was closed",
    }
}

impl Event {
    /// What happened in lower case, as a label.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::CreateStarted { .. } => "create_started",
            Self::Created { .. } => "created",
            Self::CreateFailed { .. } => "create_failed",
            Self::Reported { .. } => "reported",
            Self::Ended { .. } => "ended",
            Self::Draining { .. } => "draining",
            Self::Resized { .. } => "resized",
            Self::Leaked { .. } => "leaked",
            Self::LeakReturned { .. } => "leak_returned",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Reset { .. } => "reset",
            Self::Closed => "closed",
        }
    }

    /// As it is kept: a text of any length would be memory without a limit.
    pub(crate) fn cut_short(mut self) -> Self {
        match &mut self {
            Self::CreateFailed { error, .. } => cut(error),
            Self::Reported { text, .. } if text.len() > KEPT_TEXT => cut(text.to_mut()),
            _ => {}
        }
        self
    }
}

fn cut(text: &mut String) {
    if text.len() > KEPT_TEXT {
        let end = (0..=KEPT_TEXT).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text.shrink_to_fit();
}
