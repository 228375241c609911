//! The registry: which pools are shown, under which names.
//!
//! Invariants: one entry a name; an entry does not keep its pool alive; a probe is neither called nor
//! dropped under the lock (it is a user's code), which is why entries are shared and numbered: whoever
//! found one dead removes that one, and not its successor of the same name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::time::Instant;

use crate::readiness::{PoolReport, Readiness, Report};
use crate::render::{self, Scrape};
use crate::sample::Sample;
use crate::source::{Probe, Source};
#[cfg(feature = "page")]
use crate::view::View;

/// Pools by name, whose numbers are read whenever somebody asks.
///
/// A clone is the same registry. A pool that is dropped disappears by itself, and its name is free
/// again.
///
/// The functions of the crate's root use one registry for the whole process,
/// [`Registry::global`]; a registry of one's own serves for tests, or for pools that are not to be
/// seen beside the others.
///
/// # Examples
///
/// ```
/// use pool_metrics::Registry;
///
/// let registry = Registry::new();
/// assert_eq!(registry.render(), "");
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    entries: Arc<Mutex<Entries>>,
}

#[derive(Default)]
struct Entries {
    by_name: BTreeMap<Arc<str>, Arc<Entry>>,
    next: u64,
    appended: Vec<Appended>,
}

/// What says the text of another recorder.
type Appended = Arc<dyn Fn() -> String + Send + Sync>;

struct Entry {
    /// Never used twice, so that a name's entries can be told apart.
    number: u64,
    probe: Probe,
    readiness: Readiness,
    has_been_warm: AtomicBool,
}

/// One pool's numbers, as collected.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) name: Arc<str>,
    /// Another number under the same name is another pool.
    pub(crate) number: u64,
    pub(crate) sample: Sample,
}

/// Why a pool was not registered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// An empty label value is the same as none in Prometheus.
    #[error("a pool was to be registered without a name: give it one, it becomes the label `pool`")]
    NoName,
    /// A pool of that name lives.
    #[error(
        "a pool named `{name}` is registered and alive: \
         choose another name, or unregister that one first"
    )]
    NameTaken {
        /// The name.
        name: String,
    },
}

impl Registry {
    /// A registry without pools.
    pub fn new() -> Self {
        Self::default()
    }

    /// The registry of the process, which the functions of the crate's root use.
    pub fn global() -> &'static Self {
        static GLOBAL: LazyLock<Registry> = LazyLock::new(Registry::new);
        &GLOBAL
    }

    /// Shows `source` under `name`, as [`register_with`](Self::register_with) does. The process is ready while the pool is
    /// [open](Readiness::Open).
    ///
    /// # Errors
    ///
    /// [`RegisterError::NameTaken`] if a pool of that name is alive (`source` itself, perhaps), and
    /// [`RegisterError::NoName`] if the name is empty.
    pub fn register(
        &self,
        name: impl Into<String>,
        source: &(impl Source + ?Sized),
    ) -> Result<(), RegisterError> {
        self.register_with(name, source, Readiness::default())
    }

    /// Shows `source` under `name`, which becomes the label `pool` of its series.
    ///
    /// The registry does not keep the pool alive. When the pool is gone, so are its series, and the
    /// name is free. `readiness` says what it has to be for the process to be ready, at `/readyz`.
    ///
    /// # Errors
    ///
    /// [`RegisterError::NameTaken`] if a pool of that name is alive (`source` itself, perhaps), and
    /// [`RegisterError::NoName`] if the name is empty.
    pub fn register_with(
        &self,
        name: impl Into<String>,
        source: &(impl Source + ?Sized),
        readiness: Readiness,
    ) -> Result<(), RegisterError> {
        let name = name.into();
        if name.is_empty() {
            return Err(RegisterError::NoName);
        }
        let key: Arc<str> = name.as_str().into();
        let mut probe = source.probe();
        loop {
            let holder = match self.lock().insert(&key, probe, readiness) {
                Ok(()) => return Ok(()),
                Err((holder, refused)) => {
                    probe = refused;
                    holder
                }
            };
            if holder.probe.sample().is_some() {
                return Err(RegisterError::NameTaken { name });
            }
            let dead = self.lock().remove(&key, holder.number);
            drop(dead);
        }
    }

    /// Shows the pool of that name no more. Says whether there was one.
    ///
    /// A pool that is dropped needs no such call.
    pub fn unregister(&self, name: &str) -> bool {
        let removed = self.lock().by_name.remove(name);
        removed.is_some_and(|entry| entry.probe.sample().is_some())
    }

    /// The numbers of all pools now, as Prometheus' text format 0.0.4.
    ///
    /// Each pool is asked once. A pool's own numbers are of one moment; a gRPC pool's connections and endpoints are looked at
    /// right behind. What is [appended](Self::append) comes last.
    pub fn render(&self) -> String {
        let mut text = render::text(self.scrape());
        let appended = self.lock().appended.clone();
        for other in appended {
            text.push_str(&other());
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
        }
        text
    }

    /// Puts the text of another recorder behind the pools' numbers, so that one endpoint shows both: `text` is asked at each
    /// scrape, from any thread and under no lock, and answers in Prometheus' text format.
    ///
    /// Its families are to have names of their own: nothing looks for those that both have. Once there is such a text,
    /// [`router`](Self::router) answers in that format alone, since it knows the other recorder in no other.
    ///
    /// # Examples
    ///
    /// ```
    /// # struct Handle;
    /// # impl Handle { fn render(&self) -> String { "orders_total 7\n".to_owned() } }
    /// # let handle = Handle;
    /// use pool_metrics::Registry;
    ///
    /// let registry = Registry::new();
    /// // `handle` is that of metrics-exporter-prometheus' recorder, say.
    /// registry.append(move || handle.render());
    /// assert_eq!(registry.render(), "orders_total 7\n");
    /// ```
    pub fn append(&self, text: impl Fn() -> String + Send + Sync + 'static) {
        self.lock().appended.push(Arc::new(text));
    }

    /// Whether OpenMetrics can say all that there is.
    pub(crate) fn has_openmetrics(&self) -> bool {
        self.lock().appended.is_empty()
    }

    /// The numbers of all pools now as OpenMetrics' text format 1.0.0, of the content type
    /// `application/openmetrics-text; version=1.0.0; charset=utf-8`; without what is [appended](Self::append).
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_metrics::Registry;
    ///
    /// let registry = Registry::new();
    /// assert_eq!(registry.render_openmetrics(), "# EOF\n");
    /// ```
    pub fn render_openmetrics(&self) -> String {
        render::openmetrics(self.scrape())
    }

    /// The pools' numbers, and how long it took to collect them.
    fn scrape(&self) -> Scrape {
        let began = Instant::now();
        let pools = self.collect();
        Scrape { pools, took: began.elapsed() }
    }

    /// Asks every pool, by name in order, and forgets those that are gone.
    pub(crate) fn collect(&self) -> Vec<Collected> {
        let entries = self.entries();
        let mut collected = Vec::with_capacity(entries.len());
        for (name, entry) in entries {
            let number = entry.number;
            if let Some(sample) = entry.probe.sample() {
                collected.push(Collected { name, number, sample });
            } else {
                let dead = self.lock().remove(&name, number);
                drop(dead);
            }
        }
        collected
    }

    /// Whether the process is ready, by what its pools [have to be](Readiness) for that.
    ///
    /// A pool that is gone is not among them. One that has to be [warm](Readiness::Warm) has been so once this
    /// has found it so.
    pub fn readiness(&self) -> Report {
        let report = |(name, entry): (Arc<str>, Arc<Entry>)| entry.report(&name);
        Report { pools: self.entries().into_iter().filter_map(report).collect() }
    }

    /// What the page shows of each pool that is there, with its number.
    #[cfg(feature = "page")]
    pub(crate) fn views(&self) -> Vec<(Arc<str>, u64, View, Option<PoolReport>)> {
        let view = |(name, entry): (Arc<str>, Arc<Entry>)| {
            let view = entry.probe.look()?;
            let report = entry.report(&name);
            Some((name, entry.number, view, report))
        };
        self.entries().into_iter().filter_map(view).collect()
    }

    fn entries(&self) -> Vec<(Arc<str>, Arc<Entry>)> {
        let entries = self.lock();
        entries.by_name.iter().map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }

    // Nothing panics under the lock, and the map would be whole if something did.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// `None` if the pool is gone, or does not say how it stands.
    fn report(&self, name: &str) -> Option<PoolReport> {
        let standing = self.probe.stands()?;
        let was_warm = if standing.is_warm() {
            self.has_been_warm.store(true, Ordering::Relaxed);
            true
        } else {
            self.has_been_warm.load(Ordering::Relaxed)
        };
        let missing = self.readiness.missing(&standing, was_warm);
        // Traffic that would have it try again is kept away until it has.
        if missing.is_some() && standing.usable == 0 && standing.failing.is_some() {
            self.probe.revive();
        }
        Some(PoolReport { name: name.to_owned(), rule: self.readiness, missing })
    }
}

impl Entries {
    /// Gives the name to the probe, or the probe back with the one that has the name.
    fn insert(
        &mut self,
        name: &Arc<str>,
        probe: Probe,
        readiness: Readiness,
    ) -> Result<(), (Arc<Entry>, Probe)> {
        if let Some(holder) = self.by_name.get(name) {
            return Err((holder.clone(), probe));
        }
        let number = self.next;
        self.next += 1;
        self.by_name.insert(
            name.clone(),
            Arc::new(Entry { number, probe, readiness, has_been_warm: AtomicBool::new(false) }),
        );
        Ok(())
    }

    /// Takes the entry out if it is still that one. To be dropped outside the lock.
    fn remove(&mut self, name: &Arc<str>, number: u64) -> Option<Arc<Entry>> {
        if self.by_name.get(name)?.number != number {
            return None;
        }
        self.by_name.remove(name)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.lock().by_name.keys().cloned().collect();
        f.debug_struct("Registry").field("names", &names).finish()
    }
}
