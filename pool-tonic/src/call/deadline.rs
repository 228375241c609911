//! The deadline of a call, from its `grpc-timeout` header: read, bounded by, and written anew.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::user::contain;

pub(crate) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Deadlines that lie further ahead are none: the clock could not hold them.
const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 100);

/// When a call has to be over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    /// The deadline of a call that begins now.
    ///
    /// A header that is not as the gRPC specification says makes none: it is sent as it is, and the
    /// server has its say.
    pub(crate) fn from_header(grpc_timeout: &HeaderValue) -> Option<Self> {
        let timeout = parse(grpc_timeout)?;
        (timeout < FAR).then(|| Self { at: Instant::now() + timeout, timeout })
    }

    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// What the caller asked for.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What is left, or `None` if it has passed.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// A timer that ends with it; see [`timer`].
    pub(crate) fn timer(&self) -> Option<Timer> {
        timer(|| sleep_until(self.at))
    }
}

pub(crate) type Timer = Pin<Box<Sleep>>;

/// A timer. `None` outside of a runtime, and in one that keeps no time: there is no way to ask but to try.
pub(crate) fn timer(sleep: impl FnOnce() -> Sleep) -> Option<Timer> {
    Handle::try_current().ok().and_then(|_| contain(|| Box::pin(sleep())))
}

/// The deadline passed first.
#[derive(Debug)]
pub(crate) struct Passed;

/// Runs `future` until `timer` ends; without a timer, to its end.
pub(crate) async fn within<F>(timer: Option<&mut Timer>, mut future: F) -> Result<F::Output, Passed>
where
    F: Future + Unpin,
{
    let mut timer = timer;
    poll_fn(|cx| {
        if let Poll::Ready(output) = Pin::new(&mut future).poll(cx) {
            return Poll::Ready(Ok(output));
        }
        match &mut timer {
            Some(timer) => timer.as_mut().poll(cx).map(|()| Err(Passed)),
            None => Poll::Pending,
        }
    })
    .await
}

/// At most 8 digits and a unit, as the specification says (`TimeoutValue TimeoutUnit`).
fn parse(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 60 * 60),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// In the finest unit that 8 digits allow, rounded down, but at least 1.
pub(crate) fn format(timeout: Duration) -> HeaderValue {
    const MAX: u128 = 99_999_999;
    let seconds = u128::from(timeout.as_secs());
    let (number, unit) = [
        (timeout.as_nanos(), 'n'),
        (timeout.as_micros(), 'u'),
        (timeout.as_millis(), 'm'),
        (seconds, 'S'),
        (seconds / 60, 'M'),
    ]
    .into_iter()
    .find(|(number, _)| *number <= MAX)
    .unwrap_or((seconds / 3600, 'H'));
    HeaderValue::try_from(format!("{}{unit}", number.clamp(1, MAX)))
        .expect("bug: digits and a letter are a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &'static str) -> Option<Duration> {
        parse(&HeaderValue::from_static(text))
    }

    #[test]
    fn every_unit_is_read() {
        assert_eq!(parsed("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parsed("3M"), Some(Duration::from_secs(180)));
        assert_eq!(parsed("42S"), Some(Duration::from_secs(42)));
        assert_eq!(parsed("13m"), Some(Duration::from_millis(13)));
        assert_eq!(parsed("2u"), Some(Duration::from_micros(2)));
        assert_eq!(parsed("82n"), Some(Duration::from_nanos(82)));
        assert_eq!(parsed("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
    }

    #[test]
    fn what_the_specification_does_not_allow_is_no_deadline() {
        for text in ["", "S", "1", "123456789n", "1x", "-1S", "+1S", " 1S", "1.5S", "1 S"] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
        // 11,000 years.
        let far = HeaderValue::from_static("99999999H");
        assert!(Deadline::from_header(&far).is_none());
    }

    #[test]
    fn what_is_left_is_written_as_finely_as_it_can_be_and_never_longer() {
        for (timeout, text) in [
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_millis(100), "100000u"),
            (Duration::from_secs(99), "99000000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::from_secs(100_000_000), "1666666M"),
            (Duration::from_secs(u64::MAX), "99999999H"),
            (Duration::ZERO, "1n"),
        ] {
            assert_eq!(format(timeout), text);
            let read = parse(&format(timeout)).unwrap();
            assert!(read <= timeout.max(Duration::from_nanos(1)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_future_is_bounded_only_by_a_timer() {
        let deadline = Deadline::from_header(&HeaderValue::from_static("50m")).unwrap();
        let mut timer = deadline.timer().unwrap();
        assert!(within(None, std::future::ready(())).await.is_ok());
        let pending = std::future::pending::<()>();
        assert!(within(Some(&mut timer), pending).await.is_err());
        assert_eq!(deadline.left(), None);
    }
}
