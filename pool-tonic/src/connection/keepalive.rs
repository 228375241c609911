//! Keepalive of one connection, as grpc-go's client does it (gRFC A8).
//!
//! ```text
//!         a look finds nothing read        nothing read for `time`, with calls
//!   busy -------------------------> quiet ------------------------------> pinged ---> silent: the end
//!    ^ ^                            |   |                                  |  ^    nothing read by
//!    | |        something read      |   | the same without calls           |  |    time + timeout
//!    | +----------------------------+   +--> dormant --- a call begins ----|--+
//!    |                                                                     |
//!    +-------------------- something read ---------------------------------+
//! ```
//!
//! Reads set a flag. While busy, nothing looks at it but the timer, every *tick*: a sixteenth of `time` or
//! `timeout`, whichever is shorter. What a look finds was read since the look before, so the time of the last
//! read is known up to a tick, and errs on both sides as it should: a ping goes out never before `time` has
//! passed since, for servers count those that come too often, and a connection ends never later than
//! `time + timeout` after it. When not busy, every poll of the driver looks at the flag, and the timer sleeps
//! until something is overdue. So the clock is read when the timer fires and when a silence ends.
//!
//! Pure: time, reads and calls come in.

use std::time::Duration;

use tokio::time::Instant;

/// Settings of keepalive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeepaliveConfig {
    pub(crate) time: Duration,
    pub(crate) timeout: Duration,
    pub(crate) without_calls: bool,
}

impl KeepaliveConfig {
    fn tick(&self) -> Duration {
        (self.time.min(self.timeout) / 16).max(Duration::from_millis(1))
    }
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Busy(LastRead),
    Quiet(LastRead),
    Dormant,
    /// Something is to be read by `until`.
    Pinged {
        until: Instant,
    },
}

/// The last byte came after `after` and not after `by`.
#[derive(Clone, Copy, Debug)]
struct LastRead {
    after: Instant,
    by: Instant,
}

/// What follows from a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Look again then.
    Look(Instant),
    /// Send a ping, and look again then.
    Ping(Instant),
    /// Nothing, until a call begins.
    Sleep,
    /// The connection is dead.
    Silent,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Keepalive {
    config: KeepaliveConfig,
    phase: Phase,
    looked: Instant,
}

impl Keepalive {
    /// Of a connection that has just been read from, with the time of its first look.
    pub(super) fn new(config: KeepaliveConfig, now: Instant) -> (Self, Instant) {
        let last = LastRead { after: now, by: now };
        (Self { config, phase: Phase::Busy(last), looked: now }, now + config.tick())
    }

    pub(super) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    /// Is every poll to look at the flag?
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Busy(_))
    }

    pub(super) fn is_dormant(&self) -> bool {
        matches!(self.phase, Phase::Dormant)
    }

    /// The timer's look. `read` says whether something was read since the one before.
    pub(super) fn look(
        &mut self,
        now: Instant,
        read: bool,
        has_calls: impl FnOnce() -> bool,
    ) -> Next {
        let before = std::mem::replace(&mut self.looked, now);
        if read {
            self.phase = Phase::Busy(LastRead { after: before, by: now });
            return Next::Look(now + self.config.tick());
        }
        match self.phase {
            Phase::Busy(last) | Phase::Quiet(last) if now < last.by + self.config.time => {
                self.phase = Phase::Quiet(last);
                Next::Look(last.by + self.config.time)
            }
            Phase::Busy(last) | Phase::Quiet(last) => {
                if self.config.without_calls || has_calls() {
                    let until = last.after + self.config.time + self.config.timeout;
                    // A look that comes late, after the process was stopped, gives the ping its whole time.
                    let is_late = now > last.by + self.config.time + self.config.tick();
                    self.ping(if is_late { now + self.config.timeout } else { until })
                } else {
                    self.phase = Phase::Dormant;
                    Next::Sleep
                }
            }
            Phase::Dormant => Next::Sleep,
            Phase::Pinged { until } if now < until => Next::Look(until),
            Phase::Pinged { .. } => Next::Silent,
        }
    }

    /// A silence has ended just now.
    pub(super) fn heard(&mut self, now: Instant) -> Next {
        self.looked = now;
        self.phase = Phase::Busy(LastRead { after: now, by: now });
        Next::Look(now + self.config.tick())
    }

    /// A call begins on a connection that was dormant, and nothing was read. As in grpc-go: it does not
    /// wait for `time` again to learn that nobody is there.
    pub(super) fn called(&mut self, now: Instant) -> Next {
        self.looked = now;
        self.ping(now + self.config.timeout)
    }

    fn ping(&mut self, until: Instant) -> Next {
        self.phase = Phase::Pinged { until };
        Next::Ping(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: KeepaliveConfig = KeepaliveConfig {
        time: Duration::from_secs(60),
        timeout: Duration::from_secs(20),
        without_calls: false,
    };

    fn secs(secs: f64) -> Duration {
        Duration::from_secs_f64(secs)
    }

    /// One that has found nothing to read after `start`, but for its calls.
    fn quiet(config: KeepaliveConfig, start: Instant) -> Keepalive {
        let (mut keepalive, first) = Keepalive::new(config, start);
        assert!(keepalive.is_busy());
        assert_eq!(keepalive.look(first, false, || true), Next::Look(start + config.time));
        assert!(!keepalive.is_busy());
        keepalive
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_look_that_comes_late_the_ping_has_its_whole_timeout() {
        let start = Instant::now();
        let mut keepalive = quiet(CONFIG, start);
        let late = start + secs(600.0);
        let until = late + CONFIG.timeout;
        assert_eq!(keepalive.look(late, false, || true), Next::Ping(until));
        assert_eq!(keepalive.look(until, false, || true), Next::Silent);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_pinged_after_the_time_and_ends_with_the_timeout() {
        let start = Instant::now();
        let mut keepalive = quiet(CONFIG, start);
        let end = start + secs(80.0);
        assert_eq!(keepalive.look(start + secs(60.0), false, || true), Next::Ping(end));
        assert_eq!(keepalive.look(start + secs(70.0), false, || true), Next::Look(end));
        assert_eq!(keepalive.look(end, false, || true), Next::Silent);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_is_never_early_and_the_end_never_late_whenever_the_last_byte_came() {
        let start = Instant::now();
        for last in (0..300).map(|at| start + secs(f64::from(at) * 0.1)) {
            let (mut keepalive, mut at) = Keepalive::new(CONFIG, start);
            let (mut looked, mut pinged) = (start, None);
            // Bytes come all the time, up to the last one.
            let ended = loop {
                let read = looked < last;
                looked = at;
                match keepalive.look(at, read, || true) {
                    Next::Look(next) => at = next,
                    Next::Ping(next) => {
                        pinged = Some(at);
                        at = next;
                    }
                    Next::Silent => break at,
                    Next::Sleep => unreachable!("there are calls"),
                }
            };
            let pinged = pinged.unwrap();
            assert!(pinged - last >= CONFIG.time, "{:?}", pinged - last);
            assert!(ended - last <= CONFIG.time + CONFIG.timeout, "{:?}", ended - last);
            let patience = ended - pinged;
            assert!(patience + CONFIG.tick() >= CONFIG.timeout, "{patience:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_calls_it_is_dormant_until_one_begins() {
        let start = Instant::now();
        let mut keepalive = quiet(CONFIG, start);
        assert_eq!(keepalive.look(start + secs(60.0), false, || false), Next::Sleep);
        assert!(keepalive.is_dormant());
        let ping = Next::Ping(start + secs(120.0));
        assert_eq!(keepalive.called(start + secs(100.0)), ping);
        let looks = Next::Look(start + secs(101.0) + CONFIG.tick());
        assert_eq!(keepalive.heard(start + secs(101.0)), looks);
    }

    #[tokio::test(start_paused = true)]
    async fn without_calls_it_pings_when_told() {
        let start = Instant::now();
        let mut keepalive = quiet(KeepaliveConfig { without_calls: true, ..CONFIG }, start);
        let ping = Next::Ping(start + secs(80.0));
        assert_eq!(keepalive.look(start + secs(60.0), false, || false), ping);
    }

    #[tokio::test(start_paused = true)]
    async fn anything_that_is_read_is_an_answer() {
        let start = Instant::now();
        let mut keepalive = quiet(CONFIG, start);
        keepalive.look(start + secs(60.0), false, || true);
        let next = keepalive.look(start + secs(80.0), true, || true);
        assert_eq!(next, Next::Look(start + secs(80.0) + CONFIG.tick()));
        assert!(keepalive.is_busy());
    }
}
