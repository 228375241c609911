//! What follows when an attempt has failed. Rare, so all of it runs in a box of its own.

use std::fmt::Display;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use h2::RecvStream;
use pool_core::ResourceId;
use tokio::time::sleep;
use tonic::{Code, Status};

use super::deadline::{Deadline, Passed, Timer, timer, within};
use super::pump::PumpHandle;
use super::request::Payload;
use super::retry::{PREVIOUS_ATTEMPTS, Pushback, Verdict};
use super::slot::{Held, Source};
use super::{Answer, Call, Failed, Wish, outcome, status};

/// Longest pause between two attempts of a call that was not processed, before jitter.
const MAX_PAUSE: Duration = Duration::from_millis(128);

impl Call {
    /// What follows from an error of the stream before the answer has begun.
    /// `writes` is what the connection's were before the request was given to it.
    pub(super) async fn failed(&mut self, error: h2::Error, mut held: Held, writes: u64) -> Failed {
        let not_sent = if status::is_connections(&error) {
            held.slot.lease().has_kept(writes)
        } else {
            // Above the last stream nothing is processed, whatever h2 still writes of it.
            error.is_go_away() && held.slot.lease().writes() == writes
        };
        let not_processed = status::never_processed(&error);
        let own_failure = if not_sent || not_processed || self.retry.is_some() {
            self.take_back(&mut held).await.err()
        } else {
            held.pump.as_ref().and_then(PumpHandle::failure)
        };
        let lease = held.slot.lease();
        if let Some(failure) = own_failure {
            lease.attempt_void(failure.code());
            return Failed::Final(failure);
        }
        let refused = status::is_refused(&error);
        let status = status::broken(error, lease, self.deadline.as_ref());
        if refused || !(not_sent || not_processed) {
            lease.attempt_ended(status.code());
        } else {
            lease.attempt_void(status.code());
        }
        if not_processed && refused {
            lease.refused();
        }
        self.avoid(held.slot.lease().id(), not_processed && refused);
        if not_sent && self.payload.rewind() {
            Failed::NotSent
        } else if not_processed {
            Failed::NotProcessed { refused, status }
        } else {
            Failed::Broken(status)
        }
    }

    /// If it is sent again, then over another connection than this one: it was refused, or its key's endpoint, which is
    /// preferred and no more, has had its chance.
    fn avoid(&mut self, id: Option<ResourceId>, refused: bool) {
        let may_choose = match self.wish {
            Wish::At(affinity) => !affinity.hard,
            Wish::Any | Wish::Other(_) => refused,
        };
        if let Some(id) = id.filter(|_| may_choose) {
            self.wish = Wish::Other(id);
        }
    }

    /// Stops sending, and takes the body back. Fails with the body's own error, behind which nothing of it is to be sent.
    async fn take_back(&mut self, held: &mut Held) -> Result<(), Status> {
        if let Some(pump) = held.pump.take()
            && let Some(stream) = pump.take_back().await?
        {
            self.payload = Payload::Stream(stream);
        }
        Ok(())
    }

    /// Makes the call ready for another attempt, or ends it, with an answer or a status.
    pub(super) async fn again(&mut self, failed: Failed) -> Result<Option<Answer>, Status> {
        match failed {
            Failed::Final(status) => Err(status),
            Failed::NotSent => match &self.source {
                Source::Exclusive(exclusive) => Err(status::gone(exclusive.served_by())),
                Source::Shared | Source::Dedicated => {
                    self.attempt_failed(&"it was not sent");
                    Ok(None)
                }
            },
            Failed::NotProcessed { refused, status } => {
                if self.retries >= self.shared.calls().max_transparent_retries {
                    return self.retry(status).await;
                }
                if !self.payload.rewind() {
                    return Err(status);
                }
                self.attempt_failed(&status.message());
                self.retries += 1;
                self.shared.totals().transparent_retries.fetch_add(1, Ordering::Relaxed);
                self.pause(refused).await.map(|()| None)
            }
            Failed::Broken(status) => self.retry(status).await,
            Failed::Answered(answer) => self.reconsider(*answer).await,
        }
    }

    fn attempt_failed(&self, why: &dyn Display) {
        if let Some(outcome) = &self.outcome {
            outcome.span.attempt_failed(why);
        }
    }

    /// Waits before another attempt. Not at all after the first GOAWAY, since another connection is
    /// there or being made; otherwise twice as long each time, so that a server that refuses gets room.
    async fn pause(&mut self, refused: bool) -> Result<(), Status> {
        if self.retries == 1 && !refused {
            return Ok(());
        }
        let nominal = Duration::from_millis(1 << self.retries.min(7)).min(MAX_PAUSE);
        let pause = nominal.mul_f64(0.5 + 0.5 * fastrand::f64());
        let Some(pause) = timer(|| sleep(pause)) else { return Ok(()) };
        match self.rest(pause).await? {
            Ok(()) => Ok(()),
            Err(Passed) => {
                Err(self.passed(&format_args!("{} to take the call", self.shared.book())))
            }
        }
    }

    /// Lets a pause between two attempts pass, unless the deadline does so first. Fails when the pool is closed:
    /// it has no slot for another attempt then, but for the holder of a connection.
    async fn rest(&mut self, mut pause: Timer) -> Result<Result<(), Passed>, Status> {
        let book = self.shared.book();
        let may_go_on = matches!(self.source, Source::Exclusive(_));
        let mut closed = pin!(book.closed());
        let rested = pin!(poll_fn(|cx| {
            if !may_go_on && closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(status::closed(book)));
            }
            pause.as_mut().poll(cx).map(Ok)
        }));
        match within(self.timer.as_mut(), rested).await {
            Ok(rested) => rested.map(Ok),
            Err(passed) => Ok(Err(passed)),
        }
    }

    /// An attempt failed without an answer.
    async fn retry(&mut self, status: Status) -> Result<Option<Answer>, Status> {
        match self.judge(status.code(), Pushback::None) {
            Some(delay) if self.payload.rewind() => {
                self.back_off(delay, &status).await.map(|()| None)
            }
            _ => Err(status),
        }
    }

    /// There is an answer: is it the caller's?
    async fn reconsider(
        &mut self,
        answer: (http::Response<RecvStream>, Held),
    ) -> Result<Option<Answer>, Status> {
        let (response, mut held) = answer;
        held.answered();
        let foreign = status::from_http(&response, held.slot.lease().served_by());
        // Of an HTTP error the body says no more than the headers.
        let has_ended = response.body().is_end_stream() || outcome::is_failure(response.headers());
        if foreign.is_some() || has_ended {
            let said = foreign.clone().or_else(|| Status::from_header_map(response.headers()));
            let said = said.unwrap_or_else(|| Status::unknown("no status"));
            let pushback = Pushback::from_headers(response.headers());
            if said.code() != Code::Ok
                && let Some(delay) = self.judge(said.code(), pushback)
            {
                if let Err(failure) = self.take_back(&mut held).await {
                    held.slot.lease().attempt_void(failure.code());
                    return Err(failure);
                }
                if self.payload.rewind() {
                    self.avoid(held.slot.lease().id(), false);
                    held.slot.lease().attempt_ended(said.code());
                    drop((response, held));
                    return self.back_off(delay, &said).await.map(|()| None);
                }
            }
        }
        if let Some(status) = foreign {
            held.slot.lease().attempt_ended(status.code());
            drop(response);
            return Err(status);
        }
        Ok(Some(self.respond(response, held)))
    }

    /// Says after which time the call may be sent again, if its policy lets it.
    fn judge(&mut self, code: Code, pushback: Pushback) -> Option<Duration> {
        let retry = self.retry.as_mut()?;
        if self.deadline.as_ref().is_some_and(|deadline| deadline.left().is_none()) {
            return None;
        }
        let config = self.shared.calls();
        let pushback = match pushback {
            // Nothing else would bound the wait.
            Pushback::After(delay) if self.deadline.is_none() && delay > config.wait_timeout => {
                Pushback::Never
            }
            pushback => pushback,
        };
        let totals = self.shared.totals();
        match retry.judge(code, pushback, totals.throttle.as_ref(), fastrand::f64()) {
            Verdict::Again(delay) => Some(delay),
            Verdict::Throttled => {
                totals.retries_throttled.fetch_add(1, Ordering::Relaxed);
                None
            }
            Verdict::Failed => None,
        }
    }

    /// Waits before an attempt that the policy allows.
    async fn back_off(&mut self, delay: Duration, failure: &Status) -> Result<(), Status> {
        let Some(pause) = timer(|| sleep(delay)) else { return Err(failure.clone()) };
        self.attempt_failed(&failure.message());
        if let Some(retry) = &self.retry {
            self.head.set(PREVIOUS_ATTEMPTS, retry.previous().into());
        }
        if self.timer.is_none() {
            self.timer = self.deadline.as_ref().and_then(Deadline::timer);
        }
        if let Err(Passed) = self.rest(pause).await? {
            let (code, message) = (failure.code(), failure.message());
            return Err(self.passed(&format_args!(
                "the next attempt, after one that failed with {code:?} ({message})"
            )));
        }
        self.shared.totals().retries.fetch_add(1, Ordering::Relaxed);
        if let Some(attempts) = &mut self.attempts {
            attempts.retry();
        }
        Ok(())
    }
}
