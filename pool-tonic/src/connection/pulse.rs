//! What a driver does for keepalive: [`Keepalive`] decides, this has the timer and the ping.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep_until};

use super::keepalive::{Keepalive, KeepaliveConfig, Next};
use super::wire::Traffic;

/// The keepalive of a connection that is driven.
pub(super) struct Pulse {
    keepalive: Keepalive,
    traffic: Traffic,
    ping: PingPong,
    timer: Pin<Box<Sleep>>,
}

/// The connection is dead: nothing came within the timeout of a ping.
#[derive(Debug)]
pub(super) struct Silent;

impl Pulse {
    pub(super) fn new(config: KeepaliveConfig, traffic: Traffic, ping: PingPong) -> Self {
        let (keepalive, first) = Keepalive::new(config, Instant::now());
        Self { keepalive, traffic, ping, timer: Box::pin(sleep_until(first)) }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.keepalive.timeout()
    }

    /// The bell was rung: by the timer, by the answer to the ping, or by something else. `bell` is its
    /// context.
    pub(super) fn attend(
        &mut self,
        bell: &mut Context<'_>,
        has_calls: impl Fn() -> bool,
    ) -> Result<(), Silent> {
        // An error is the end of the connection, which says so itself.
        if let Ok(Some(_)) = self.pong(bell) {
            let next = self.keepalive.heard(Instant::now());
            self.follow(next)?;
        }
        while !self.keepalive.is_dormant() && self.timer.as_mut().poll(bell).is_ready() {
            let next = self.keepalive.look(Instant::now(), self.traffic.take_read(), &has_calls);
            self.follow(next)?;
        }
        Ok(())
    }

    /// Is every poll of the driver to look, since a silence may have ended?
    pub(super) fn listens(&self) -> bool {
        !self.keepalive.is_busy()
    }

    /// The connection was polled during a silence. Says whether the timer or the ping are to be
    /// [attended](Self::attend) to.
    pub(super) fn listen(&mut self, has_calls: impl Fn() -> bool) -> bool {
        let read = self.traffic.take_read();
        let next = if self.keepalive.is_dormant() {
            match (has_calls(), read) {
                (false, _) => return false,
                (true, true) => self.keepalive.heard(Instant::now()),
                (true, false) => self.keepalive.called(Instant::now()),
            }
        } else if read {
            self.keepalive.heard(Instant::now())
        } else {
            return false;
        };
        // It has just been heard or called, so it is not silent.
        self.follow(next).is_ok()
    }

    fn pong(&mut self, bell: &mut Context<'_>) -> Result<Option<h2::Pong>, h2::Error> {
        match self.ping.poll_pong(bell) {
            std::task::Poll::Ready(answered) => answered.map(Some),
            std::task::Poll::Pending => Ok(None),
        }
    }

    fn follow(&mut self, next: Next) -> Result<(), Silent> {
        match next {
            Next::Look(at) => self.timer.as_mut().reset(at),
            Next::Ping(at) => {
                // An error means that the last one is not answered yet, and then that answer will do.
                let _ = self.ping.send_ping(Ping::opaque());
                self.timer.as_mut().reset(at);
            }
            Next::Sleep => {}
            Next::Silent => return Err(Silent),
        }
        Ok(())
    }
}
