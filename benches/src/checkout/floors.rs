//! The floors: what is left of a pool when all that it does for its users is taken away, and what they would write by hand.

use std::sync::{Arc, Mutex};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::System;

/// What sharing costs by hand: a reference to the one resource, and no bound at all.
#[derive(Debug)]
pub struct Shared(Arc<u64>);

impl System for Shared {
    type Lease<'a> = Arc<u64>;
    const NAME: &'static str = "floor: Arc::clone";
    const WAITS: bool = false;

    fn new(_: usize) -> Self {
        Self(Arc::new(1))
    }

    async fn get(&self) -> Arc<u64> {
        Arc::clone(&self.0)
    }
}

/// What sharing within a bound costs by hand: tokio's semaphore, and a reference to the one resource.
#[derive(Debug)]
pub struct SharedPermits {
    permits: Semaphore,
    resource: Arc<u64>,
}

impl System for SharedPermits {
    type Lease<'a> = (SemaphorePermit<'a>, Arc<u64>);
    const NAME: &'static str = "Semaphore and Arc";

    fn new(size: usize) -> Self {
        Self { permits: Semaphore::new(size), resource: Arc::new(1) }
    }

    async fn get(&self) -> (SemaphorePermit<'_>, Arc<u64>) {
        let permit = self.permits.acquire().await.expect("never closed");
        (permit, Arc::clone(&self.resource))
    }
}

/// A floor: a vector under a mutex, popped and pushed. It cannot wait.
#[derive(Debug)]
pub struct Stack(Mutex<Vec<u64>>);

/// An element of a [`Stack`], pushed back when dropped.
#[derive(Debug)]
pub struct Popped<'a> {
    stack: &'a Stack,
    value: u64,
}

impl Drop for Popped<'_> {
    fn drop(&mut self) {
        if let Ok(mut stack) = self.stack.0.lock() {
            stack.push(self.value);
        }
    }
}

impl System for Stack {
    type Lease<'a> = Popped<'a>;
    const NAME: &'static str = "floor: Mutex<Vec>";
    const WAITS: bool = false;

    fn new(size: usize) -> Self {
        Self(Mutex::new(vec![1; size]))
    }

    async fn get(&self) -> Popped<'_> {
        let value = self.0.lock().expect("no holder panics").pop();
        Popped { stack: self, value: value.expect("never more tasks than elements") }
    }
}

/// A floor: tokio's semaphore alone, which is fair and hands over, and holds no resource.
#[derive(Debug)]
pub struct Permits(Semaphore);

impl System for Permits {
    type Lease<'a> = SemaphorePermit<'a>;
    const NAME: &'static str = "floor: Semaphore";

    fn new(size: usize) -> Self {
        Self(Semaphore::new(size))
    }

    async fn get(&self) -> SemaphorePermit<'_> {
        self.0.acquire().await.expect("never closed")
    }
}
