//! A get under way, which the test polls by hand.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use pool_core::{Error, Kind, ResourceLease};
use tokio::time::Instant;

use super::ledger::{Agent, Refused};

pub type Lease<M, K> = ResourceLease<'static, M, K>;
pub type Got<M, K> = Result<Vec<Lease<M, K>>, Error<Refused>>;

/// Notes when it was woken first.
#[derive(Default)]
pub struct Alarm(Mutex<Option<Instant>>);

impl Alarm {
    pub fn rang(&self) -> Option<Instant> {
        *self.0.lock().unwrap()
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.lock().unwrap().get_or_insert_with(Instant::now);
    }
}

/// A get that waits, or does not know yet that it has waited long enough.
pub struct Get<M: Agent, K: Kind<M>> {
    pub number: u64,
    pub wants: usize,
    pub started: Instant,
    pub future: Pin<Box<dyn Future<Output = Got<M, K>>>>,
    pub alarm: Arc<Alarm>,
}

impl<M: Agent, K: Kind<M>> Get<M, K> {
    /// With a new waker each time.
    pub fn poll(&mut self) -> Poll<Got<M, K>> {
        self.alarm = Arc::default();
        let waker = Waker::from(Arc::clone(&self.alarm));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}
