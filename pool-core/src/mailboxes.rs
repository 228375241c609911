//! Where places are handed over: a mailbox per waiter, that is emptied without the pool's lock.
//!
//! The table grows in chunks that never move, each twice as long as the one before.

use std::array;
use std::sync::OnceLock;

use crate::sync::Exchange;

/// How many there are at least, once there is one.
pub(crate) const FIRST: usize = 32;
const CHUNKS: usize = 26;

/// The most mailboxes that there may be.
pub(crate) const MAX: usize = FIRST * ((1 << CHUNKS) - 1);

pub(crate) struct Mailboxes<T> {
    chunks: [OnceLock<Box<[Exchange<T>]>>; CHUNKS],
}

impl<T> Mailboxes<T> {
    pub(crate) fn new() -> Self {
        Self { chunks: array::from_fn(|_| OnceLock::new()) }
    }

    /// Sees to it that there is a mailbox of this number, below [`MAX`].
    pub(crate) fn make(&self, number: usize) {
        let (chunk, _) = position(number);
        self.chunks[chunk].get_or_init(|| (0..FIRST << chunk).map(|_| Exchange::new()).collect());
    }

    /// Under the lock of the state, and once for each waiter.
    #[inline]
    pub(crate) fn put(&self, number: usize, value: T) {
        if let Some(mailbox) = self.of(number) {
            mailbox.fill(value);
        }
    }

    #[inline]
    pub(crate) fn take(&self, number: usize) -> Option<T> {
        self.of(number)?.take()
    }

    #[inline]
    fn of(&self, number: usize) -> Option<&Exchange<T>> {
        let (chunk, at) = position(number);
        self.chunks.get(chunk)?.get()?.get(at)
    }
}

/// The chunk of a number, and its position in there.
#[inline]
fn position(number: usize) -> (usize, usize) {
    let chunk = (number / FIRST + 1).ilog2() as usize;
    (chunk, number - FIRST * ((1 << chunk) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_mailbox_of_its_own() {
        let mailboxes = Mailboxes::new();
        for number in 0..1000 {
            mailboxes.make(number);
            mailboxes.put(number, Box::new(number));
        }
        for number in (0..1000).rev() {
            assert_eq!(mailboxes.take(number), Some(Box::new(number)));
            assert_eq!(mailboxes.take(number), None);
        }
        assert_eq!(position(MAX - 1), (CHUNKS - 1, (FIRST << (CHUNKS - 1)) - 1));
    }
}
