//! How a pool plugs in.

use std::fmt;

use crate::readiness::Standing;
use crate::sample::Sample;
#[cfg(feature = "page")]
use crate::view::View;

/// Something that can be registered: a pool, or a user's own type around one.
///
/// # Examples
///
/// A type of one's own, with a number beside those of its pool's:
///
/// ```
/// use pool_metrics::{Family, Probe, Registry, Sample, Source};
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
///
/// static SHIPPED: Family = Family::counter("orders_shipped_total", "Orders shipped.");
///
/// struct Orders {
///     shipped: Arc<AtomicU64>,
/// }
///
/// impl Source for Orders {
///     fn probe(&self) -> Probe {
///         let shipped = Arc::downgrade(&self.shipped);
///         Probe::new(move || {
///             let shipped = shipped.upgrade()?;
///             let mut sample = Sample::new();
///             sample.set(&SHIPPED, shipped.load(Ordering::Relaxed));
///             Some(sample)
///         })
///     }
/// }
///
/// let orders = Orders { shipped: Arc::new(AtomicU64::new(7)) };
/// let registry = Registry::new();
/// registry.register("orders", &orders)?;
/// assert!(registry.render().contains("orders_shipped_total{pool=\"orders\"} 7"));
/// # Ok::<(), pool_metrics::RegisterError>(())
/// ```
pub trait Source {
    /// What the registry keeps: it reads the pool's numbers, and does not keep the pool alive.
    fn probe(&self) -> Probe;
}

/// Both under one name, for as long as the first is there: a pool, and what is counted beside it.
impl<A: Source + ?Sized, B: Source + ?Sized> Source for (&A, &B) {
    fn probe(&self) -> Probe {
        self.0.probe().with(self.1.probe())
    }
}

/// Reads the numbers of a pool for as long as the pool is alive.
///
/// Called at every scrape, from any thread, never under a lock of this crate. It should take
/// microseconds, and not panic: a panic ends the scrape that asked.
pub struct Probe {
    read: Read<Sample>,
    standing: Option<Read<Standing>>,
    revive: Option<Box<dyn Fn() + Send + Sync>>,
    #[cfg(feature = "page")]
    view: Option<Read<View>>,
}

type Read<T> = Box<dyn Fn() -> Option<T> + Send + Sync>;

impl Probe {
    /// A probe that asks `read`, which answers `None` once the pool is gone.
    ///
    /// `read` is to hold a weak reference, so that being registered does not keep a pool alive.
    pub fn new(read: impl Fn() -> Option<Sample> + Send + Sync + 'static) -> Self {
        Self {
            read: Box::new(read),
            standing: None,
            revive: None,
            #[cfg(feature = "page")]
            view: None,
        }
    }

    /// Says also how the pool stands, `None` once it is gone: without this it is always as ready as it has to be.
    #[must_use]
    pub fn standing(self, read: impl Fn() -> Option<Standing> + Send + Sync + 'static) -> Self {
        Self { standing: Some(Box::new(read)), ..self }
    }

    /// Has the pool find out whether it can create anything, after a failure that nobody gets behind.
    pub(crate) fn reviving(self, revive: impl Fn() + Send + Sync + 'static) -> Self {
        Self { revive: Some(Box::new(revive)), ..self }
    }

    /// Says also what the page shows of it.
    #[cfg(feature = "page")]
    pub(crate) fn view(self, read: impl Fn() -> Option<View> + Send + Sync + 'static) -> Self {
        Self { view: Some(Box::new(read)), ..self }
    }

    /// Adds the numbers of `other`, while it is there.
    fn with(self, other: Self) -> Self {
        let read = self.read;
        let both = move || {
            let mut sample = read()?;
            if let Some(other) = other.sample() {
                sample.extend(other);
            }
            Some(sample)
        };
        Self { read: Box::new(both), ..self }
    }

    /// How the pool stands now; `None` if it is gone, or does not say.
    pub(crate) fn stands(&self) -> Option<Standing> {
        self.standing.as_ref()?()
    }

    /// The pool has nothing that can be used, and is to have.
    pub(crate) fn revive(&self) {
        if let Some(revive) = &self.revive {
            revive();
        }
    }

    /// What the page shows of it; `None` if it is gone.
    #[cfg(feature = "page")]
    pub(crate) fn look(&self) -> Option<View> {
        let sample = self.sample()?;
        match &self.view {
            Some(view) => Some(view()?.with_waits(&sample)),
            None => Some(View::of_numbers(&sample)),
        }
    }

    /// The numbers now; `None` if the pool is gone.
    pub fn sample(&self) -> Option<Sample> {
        (self.read)()
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").finish_non_exhaustive()
    }
}
