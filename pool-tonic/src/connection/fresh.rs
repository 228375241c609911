//! A connection that has shaken hands, up to the moment when it is lent: what its server is asked first,
//! and the start of its driver.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use h2::client;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Handle, RuntimeFlavor};
use tonic::Status;

use super::Connection;
use super::control::Hold;
use super::dial::{Starting, Upkeep};
use super::driver::{Driver, Gathering};
use super::health::{Health, HealthWatch};
use super::places::Places;
use super::pulse::Pulse;
use super::wire::{Outbox, Traffic, Wire};
use crate::error::ConnectError;
use crate::options::ServedBy;
use crate::transport::Attempt;

/// A connection whose server has sent its settings.
pub(super) struct Fresh<I> {
    pub(super) sender: client::SendRequest<Bytes>,
    pub(super) connection: client::Connection<Wire<I>, Bytes>,
    pub(super) outbox: Outbox<I>,
    pub(super) traffic: Traffic,
    pub(super) health: Option<HealthWatch>,
}

impl<I> Fresh<I>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    /// Makes the calls that have to succeed before the connection is lent: the priming call, and the
    /// question whether the server is healthy, which goes on.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the calls are too.
    pub(super) async fn prepare(
        &mut self,
        attempt: &Attempt<'_>,
        upkeep: &Upkeep,
    ) -> Result<(), ConnectError> {
        let address = attempt.address();
        if let Some(priming) = &upkeep.priming {
            let phase = "the answer to the priming call was awaited";
            let primed = priming.call(self.sender.clone(), address);
            let primed = attempt.within(phase, self.drive(primed)).await?;
            primed.map_err(|status| ConnectError::priming(address, status))?;
        }
        if let Some(service) = &upkeep.health_service {
            let mut health = HealthWatch::new(self.sender.clone(), address, service);
            if !health.follow(self.sender.current_max_send_streams()) {
                self.health = Some(health);
                return Ok(());
            }
            let phase = "the server was asked whether it is healthy";
            let first = attempt.within(phase, self.drive(health.first())).await?;
            match first.map_err(|status| ConnectError::health_check(address, status))? {
                Health::Unsupported => {}
                Health::Serving => self.health = Some(health),
                unhealthy => return Err(ConnectError::unhealthy(address, unhealthy)),
            }
        }
        Ok(())
    }

    /// Drives the connection until `call`, which is made on it, is over.
    async fn drive<T>(
        &mut self,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let mut call = pin!(call);
        poll_fn(|cx| {
            if let Poll::Ready(result) = call.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if self.outbox.poll(&mut self.connection, cx).is_pending() {
                return Poll::Pending;
            }
            // The call learns of the end, too, and may have been answered before.
            match call.as_mut().poll(cx) {
                Poll::Pending => Poll::Ready(Err(Status::unavailable("the connection ended"))),
                answered @ Poll::Ready(_) => answered,
            }
        })
        .await
    }

    /// Gives the connection to a task of its own.
    pub(super) fn start(self, starting: Starting<'_>) -> Connection
    where
        I: Send + 'static,
    {
        let Self { sender, mut connection, outbox, traffic, health } = self;
        let Starting { mut live, control, handle, config, totals, generation } = starting;
        let monitor = live.monitor();
        let places = Arc::new(Places::new(handle, config.max_streams, monitor.clone()));
        if let Some(monitor) = &monitor {
            let weak = Arc::downgrade(&places);
            monitor.add(weak);
        }
        let address = live.address().clone();
        let pulse = config.upkeep.keepalive.and_then(|mut keepalive| {
            keepalive.time = live.keepalive_time(keepalive.time);
            Some(Pulse::new(keepalive, traffic.clone(), connection.ping_pong()?))
        });
        let mut driver = Driver {
            connection,
            outbox,
            probe: Some(sender.clone()),
            control: Arc::clone(&control),
            close_timeout: None,
            pulse,
            recovery: None,
            is_gone: false,
            complained: false,
            health,
            gathering: match Handle::current().runtime_flavor() {
                RuntimeFlavor::CurrentThread => Gathering::Never,
                _ => Gathering::Due,
            },
            rung: false,
            // No peer can announce this, so the first look publishes.
            peer_limit: usize::MAX - 1,
            places: Arc::clone(&places),
            live,
            disconnected: None,
            totals: Arc::clone(totals),
        };
        // Before the resource is lent.
        driver.observe_limit();
        tokio::spawn(driver);
        Connection {
            sender,
            served_by: ServedBy::new(&address),
            address,
            generation,
            places,
            monitor,
            totals: Arc::clone(totals),
            traffic,
            last_stream: config.upkeep.last_stream,
            hold: Hold(control),
        }
    }
}
