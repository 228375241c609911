//! The task that drives one connection and tells the pool what happens to it.
//!
//! # States
//!
//! ```text
//!   open ---- GOAWAY, h2 gives up, ids used up ------> draining --+
//!     |                                                  |        | connection ended
//!     +-- connection dropped by the pool, or closed --> closing --+----------------> ended
//!     |   by a server that does not read the rest      (bounded)                       ^
//!     +---------- connection ended, or cut --------------------------------------------+
//! ```
//!
//! # Events
//!
//! Read by h2, and looked for after each poll of it: a changed stream limit is published as places; an
//! error of the probe, a handle kept only for that, means that no stream can be opened any more, and the
//! pool is told to drain. Both happen in the very poll that read the frame. The probe fails after a GOAWAY
//! of the peer, and of h2 itself when it gives the connection up (the peer broke the protocol, or made
//! it reset too many streams): either way its successor is made while what can finish finishes.
//!
//! Everything else rings the [bell](super::control::Bell), and a poll without a ring costs one look at a flag: the pool has
//! dropped the connection, or [cuts](Control::cut) it, or lends it no more, or again; a stream was refused, or none was for a while; its stream ids are nearly used up; the timer of
//! keepalive, or of closing, has ended; a ping was answered; the server said how its health is. Only while
//! nothing is read does each poll look whether that has ended ([`Pulse::listens`]).
//!
//! # Gathering
//!
//! A worker of tokio's multi-threaded runtime runs what was woken last first, so the driver of a shared connection
//! would run, and write, after each call that sends something. So it lets all go first that can go, once, and
//! writes what they have sent by then at one go: less than half of the processor time per call where many are on
//! their way. A runtime of one thread runs them in that order anyway. With a single call there is nobody to wait for.
//!
//! # Invariants
//!
//! 1. While open, and only then, the driver holds handles beside the resource's own (the probe, and that
//!    of the health's stream): h2 keeps a connection open for as long as there is one.
//! 2. The address counts the connection until it is closing or has ended, whatever ends the task: what the
//!    pool has let go of is not READY. The [register](crate::register) knows it until its socket is closed.
//! 3. A cut is written down before the calls learn of it, so that they can say why.
//! 4. One poll of h2 per wake (and one more where its [wire](super::wire) has to tell it something), no clock but for a
//!    timer that fired or a silence that ended.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, client};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep, sleep_until};

use super::control::{Control, CutBy};
use super::health::HealthWatch;
use super::places::Places;
use super::pulse::{Pulse, Silent};
use super::wire::{Outbox, Wire};
use crate::address_book::Live;
use crate::disconnect::DisconnectError;
use crate::stats::Totals;

/// How long a connection that the pool has dropped may take for its last frames, when the peer does not
/// read them.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What servers give as the reason of a GOAWAY when keepalive asks too often (gRFC A8).
const TOO_MANY_PINGS: &str = "too_many_pings";

/// Whether the calls go first; see *Gathering* in the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathering {
    /// What was woken first runs first here.
    Never,
    /// The others go first, the next time.
    Due,
    /// They have gone first.
    Done,
}

/// See the module.
pub(super) struct Driver<I> {
    /// First, with its outbox, so that the socket is closed when the register forgets the connection.
    pub(super) connection: client::Connection<Wire<I>, Bytes>,
    pub(super) outbox: Outbox<I>,
    /// Present while open.
    pub(super) probe: Option<client::SendRequest<Bytes>>,
    pub(super) control: Arc<Control>,
    /// Present while closing.
    pub(super) close_timeout: Option<Pin<Box<Sleep>>>,
    pub(super) pulse: Option<Pulse>,
    /// Present while the server has refused streams of late.
    pub(super) recovery: Option<Pin<Box<Sleep>>>,
    /// Present while open, where the server is asked.
    pub(super) health: Option<HealthWatch>,
    /// The bell was rung, and keepalive has not looked since.
    pub(super) rung: bool,
    pub(super) gathering: Gathering,
    pub(super) peer_limit: usize,
    pub(super) places: Arc<Places>,
    /// The server has closed its side.
    pub(super) is_gone: bool,
    /// The server has complained of too many pings.
    pub(super) complained: bool,
    pub(super) live: Live,
    /// Why it takes calls no more, once it does and was counted.
    pub(super) disconnected: Option<DisconnectError>,
    pub(super) totals: Arc<Totals>,
}

impl<I> Driver<I> {
    /// It takes calls no more, and this is why; the first reason holds.
    fn disconnected(&mut self, error: DisconnectError) {
        if self.disconnected.is_none() {
            self.disconnected = Some(error);
            self.totals.disconnections.count(error);
        }
    }
}

impl<I> Driver<I>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn observe_limit(&mut self) {
        if let Some(probe) = &self.probe {
            let limit = probe.current_max_send_streams();
            if limit != self.peer_limit {
                self.peer_limit = limit;
                let watched = self.health.as_mut().is_some_and(|health| health.follow(limit));
                self.places.peer_limit(limit, watched);
                if self.health.is_some() {
                    // It is to be looked at.
                    self.control.ring();
                }
            }
        }
    }

    /// open -> draining, if the connection takes no more streams.
    fn observe_goaway(&mut self, cx: &mut Context<'_>) {
        let Some(probe) = &mut self.probe else { return };
        let Poll::Ready(Err(error)) = probe.poll_ready(cx) else {
            return;
        };
        // An I/O error is no farewell but the end, which `ended` reports unless our last frames are in its way. Then it is
        // h2's own for a server that has closed its side: an error of the socket ends the very poll that meets it.
        if error.is_io() {
            self.let_go();
            self.is_gone = true;
            return;
        }
        self.disconnected(DisconnectError::of(&error));
        let reason = error.to_string();
        if error.is_go_away() && error.is_remote() {
            self.totals.goaways.fetch_add(1, Ordering::Relaxed);
            self.note_complaint(&error);
        }
        self.drain(reason);
    }

    /// Counts a complaint of too many pings, once: both the probe and the end of the connection say it.
    fn note_complaint(&mut self, error: &h2::Error) {
        let is_calming = error.is_go_away()
            && error.is_remote()
            && error.reason() == Some(Reason::ENHANCE_YOUR_CALM);
        if is_calming && !self.complained && error.to_string().contains(TOO_MANY_PINGS) {
            self.complained = true;
            self.live.too_many_pings();
        }
    }

    /// It is open no more: h2 may end it.
    fn let_go(&mut self) {
        self.probe = None;
        self.health = None;
    }

    /// open -> draining.
    fn drain(&mut self, reason: String) {
        self.let_go();
        self.live.drain(reason.clone());
        self.places.handle().drain(reason);
    }

    /// -> ended.
    fn ended(&mut self, result: Result<(), h2::Error>, cx: &mut Context<'_>) {
        // Of several GOAWAYs this is the last one, and the probe was gone by then, perhaps.
        if let Err(error) = &result {
            self.note_complaint(error);
        }
        if self.close_timeout.is_some() {
            return;
        }
        // A GOAWAY may have been read by the same poll as the end.
        self.observe_goaway(cx);
        self.disconnected(
            result.as_ref().map_or_else(DisconnectError::of, |()| DisconnectError::Unknown),
        );
        self.lost(match result {
            Ok(()) => "the server closed the connection".to_owned(),
            Err(error) => error.to_string(),
        });
    }

    /// It ended, and the pool had not let go of it.
    fn lost(&mut self, reason: String) {
        if !self.live.is_draining() {
            self.totals.connections_lost.fetch_add(1, Ordering::Relaxed);
            self.live.lost(reason.clone());
        }
        self.live.leave();
        self.places.handle().broken(reason);
    }

    /// -> closing.
    fn close_in_time(&mut self) {
        self.close_timeout = Some(Box::pin(sleep(CLOSE_TIMEOUT)));
        // The timer is to be looked at.
        self.control.ring();
    }

    /// Does what the bell was rung for.
    fn attend(&mut self, task: &Waker) -> ControlFlow<()> {
        let bell = Waker::from(Arc::clone(self.control.bell(task)));
        let mut cx = Context::from_waker(&bell);
        if self.control.is_to_be_cut() {
            self.control.set_cut_by(CutBy::Close);
            self.disconnected(DisconnectError::SubchannelShutdown);
            self.live.leave();
            self.places.handle().broken("the pool was closed");
            return ControlFlow::Break(());
        }
        if self.control.is_dropped() && self.close_timeout.is_none() {
            self.let_go();
            self.disconnected(DisconnectError::SubchannelShutdown);
            self.live.leave();
            self.close_in_time();
        }
        self.live.set_aside(self.control.is_aside());
        if let Some(timeout) = &mut self.close_timeout
            && timeout.as_mut().poll(&mut cx).is_ready()
        {
            return ControlFlow::Break(());
        }
        if self.control.is_used_up() && self.probe.is_some() {
            self.disconnected(DisconnectError::SubchannelShutdown);
            self.drain(
                "its stream ids, or calls that it may cancel, are nearly used up".to_owned(),
            );
        }
        if let Some(health) = &mut self.health {
            health.poll(&mut cx);
            let said = health.said();
            self.places.set_watched(health.is_asking());
            if self.places.set_serving(!said.refuses()) {
                self.live.set_health(said);
            }
        }
        while let Some(at) = self.places.recover() {
            let timer = self.recovery.get_or_insert_with(|| Box::pin(sleep_until(at)));
            timer.as_mut().reset(at);
            if timer.as_mut().poll(&mut cx).is_pending() {
                return ControlFlow::Continue(());
            }
        }
        self.recovery = None;
        ControlFlow::Continue(())
    }

    /// Does what keepalive's timer or a pong rang for. After h2 was polled: a process that was stopped for long
    /// finds the timer at its end and what came meanwhile unread.
    fn attend_pulse(&mut self, task: &Waker) -> ControlFlow<()> {
        let Some(pulse) = &mut self.pulse else { return ControlFlow::Continue(()) };
        let bell = Waker::from(Arc::clone(self.control.bell(task)));
        let attended = pulse.attend(&mut Context::from_waker(&bell), || self.control.has_calls());
        if let Err(Silent) = attended {
            let by = CutBy::Keepalive(pulse.timeout());
            self.control.set_cut_by(by);
            self.disconnected(DisconnectError::ConnectionTimedOut);
            self.totals.keepalive_timeouts.fetch_add(1, Ordering::Relaxed);
            if self.close_timeout.is_none() {
                self.lost(by.to_string());
            }
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Looks whether a silence has ended.
    fn listen(&mut self, task: &Waker) {
        let has_calls = || self.control.has_calls();
        if let Some(pulse) = &mut self.pulse
            && pulse.listens()
            && pulse.listen(has_calls)
        {
            // The timer was set anew, and has to know whom to wake.
            let bell = Waker::from(Arc::clone(self.control.bell(task)));
            let attended = pulse.attend(&mut Context::from_waker(&bell), has_calls);
            debug_assert!(attended.is_ok(), "bug: a timer that was just set has ended");
        }
    }
}

/// A task that is dropped, since its runtime ends, leaves a connection that nobody drives.
impl<I> Drop for Driver<I> {
    fn drop(&mut self) {
        self.disconnected(DisconnectError::SubchannelShutdown);
        if self.live.is_counted() {
            self.places.handle().broken("the runtime that drove it ended");
        }
    }
}

impl<I> Future for Driver<I>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.control.bell(cx.waker()).was_rung() {
            this.rung = true;
            if this.attend(cx.waker()).is_break() {
                return Poll::Ready(());
            }
        }
        match this.gathering {
            Gathering::Due if this.control.is_shared() => {
                this.gathering = Gathering::Done;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Gathering::Done => this.gathering = Gathering::Due,
            Gathering::Due | Gathering::Never => {}
        }
        if let Poll::Ready(result) = this.outbox.poll(&mut this.connection, cx) {
            this.ended(result, cx);
            return Poll::Ready(());
        }
        if !this.control.has_calls() {
            this.outbox.shrink();
        }
        this.observe_limit();
        this.observe_goaway(cx);
        if this.is_gone && this.close_timeout.is_none() {
            this.disconnected(DisconnectError::Unknown);
            this.lost("the server closed the connection".to_owned());
            this.close_in_time();
        }
        if std::mem::take(&mut this.rung) && this.attend_pulse(cx.waker()).is_break() {
            return Poll::Ready(());
        }
        this.listen(cx.waker());
        Poll::Pending
    }
}
