//! A pool that is only its numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use pool_metrics::{Family, Labelled, Probe, Sample, Source};

pub(crate) static SERVED: Family = Family::counter("fake_served_total", "Served by \\ a \"fake\".");
pub(crate) static OPEN: Labelled = Family::gauge("fake_open", "Open, by state.").by("state");

#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Numbers>);

#[derive(Default)]
struct Numbers {
    served: AtomicU64,
    open: AtomicU64,
}

impl Fake {
    pub(crate) fn new(served: u64, open: u64) -> Self {
        let fake = Self::default();
        fake.set(served, open);
        fake
    }

    pub(crate) fn set(&self, served: u64, open: u64) {
        self.0.served.store(served, Ordering::SeqCst);
        self.0.open.store(open, Ordering::SeqCst);
    }

    fn weak(&self) -> Weak<Numbers> {
        Arc::downgrade(&self.0)
    }
}

impl Source for Fake {
    fn probe(&self) -> Probe {
        let weak = self.weak();
        Probe::new(move || {
            let numbers = weak.upgrade()?;
            let mut sample = Sample::new();
            sample.set(&SERVED, numbers.served.load(Ordering::SeqCst));
            sample.set_by(&OPEN, "busy", numbers.open.load(Ordering::SeqCst));
            sample.set_by(&OPEN, "idle", 0);
            Some(sample)
        })
    }
}
