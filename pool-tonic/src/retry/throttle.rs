//! The budget of a pool for retries (gRFC A6, "Throttling retry attempts and hedged RPCs").
//!
//! Tokens start full. A failure that a policy would retry takes one, a call that succeeds gives back a
//! share of one, and calls are sent again only while more than half are left. Counted in thousandths, as
//! fine as the specification lets the share be.

use std::sync::atomic::{AtomicU32, Ordering};

const ONE: u32 = 1000;

/// The largest number of tokens (gRFC A6).
const MOST_TOKENS: u32 = 1000;

#[derive(Debug)]
pub(crate) struct Throttle {
    tokens: AtomicU32,
    full: u32,
    share: u32,
}

impl Throttle {
    /// What is wrong with a setting: the field, and the rule.
    pub(crate) fn flaw(max_tokens: u32, token_ratio: f64) -> Option<(&'static str, &'static str)> {
        if !(1..=MOST_TOKENS).contains(&max_tokens) {
            return Some(("max_tokens", "has to be from 1 to 1000"));
        }
        if !(token_ratio >= 1.0 / f64::from(ONE) && token_ratio <= f64::from(MOST_TOKENS)) {
            return Some(("token_ratio", "has to be a number from 0.001 to 1000"));
        }
        None
    }

    pub(crate) fn new(max_tokens: u32, token_ratio: f64) -> Self {
        let full = max_tokens.saturating_mul(ONE);
        // What is finer than a thousandth is cut off, as the specification says.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let share = (token_ratio * f64::from(ONE)) as u32;
        Self { tokens: AtomicU32::new(full), full, share }
    }

    /// A call has succeeded.
    pub(crate) fn succeeded(&self) {
        // Full nearly always, and then there is nothing to write.
        if self.tokens.load(Ordering::Relaxed) < self.full {
            self.change(|tokens| tokens.saturating_add(self.share).min(self.full));
        }
    }

    /// A call has failed that would be sent again. May it be?
    pub(crate) fn failed(&self) -> bool {
        self.change(|tokens| tokens.saturating_sub(ONE)) > self.full / 2
    }

    fn change(&self, change: impl Fn(u32) -> u32) -> u32 {
        let changed = |tokens| Some(change(tokens));
        let before = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
        change(before.unwrap_or_else(|before| before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_stop_at_half_and_come_back_with_what_succeeds() {
        let throttle = Throttle::new(4, 0.5);
        assert!(throttle.failed(), "3 of 4 are left");
        assert!(!throttle.failed(), "2 are half");
        assert!(!throttle.failed());
        throttle.succeeded();
        throttle.succeeded();
        throttle.succeeded();
        throttle.succeeded();
        assert!(!throttle.failed(), "3 less 1 are half");
        for _ in 0..100 {
            throttle.succeeded();
        }
        assert!(throttle.failed(), "no more than 4 are saved up");
        for _ in 0..100 {
            throttle.failed();
        }
        for _ in 0..7 {
            throttle.succeeded();
        }
        assert!(throttle.failed(), "no debt is below nothing");
    }

    #[test]
    fn what_the_specification_does_not_allow_is_named() {
        assert_eq!(Throttle::flaw(1, 0.001), None);
        assert_eq!(Throttle::flaw(1000, 1000.0), None);
        for (tokens, ratio, field) in [
            (0, 0.1, "max_tokens"),
            (1001, 0.1, "max_tokens"),
            (10, 0.0, "token_ratio"),
            (10, 0.0009, "token_ratio"),
            (10, -1.0, "token_ratio"),
            (10, f64::NAN, "token_ratio"),
            (10, f64::INFINITY, "token_ratio"),
        ] {
            assert_eq!(Throttle::flaw(tokens, ratio).map(|(field, _)| field), Some(field));
        }
    }
}
