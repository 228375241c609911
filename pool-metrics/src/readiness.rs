//! Whether a process is to be sent work, as its pools see it.

use std::error::Error;
use std::fmt;

/// How a pool stands, as far as its process's readiness goes.
///
/// A [`Probe`](crate::Probe) of one's own says it with [`standing`](crate::Probe::standing).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// It lends nothing any more.
    pub closed: bool,
    /// It lends nothing for now.
    pub paused: bool,
    /// Connections that can be used, in use or not.
    pub usable: usize,
    /// The fewest connections that it keeps, idle ones or not.
    pub min: usize,
    /// Why no connection can be had, as far as is known: the error of the last attempt, if none has succeeded since.
    pub failing: Option<String>,
}

/// What a pool has to be for its process to be ready: to be sent work by Kubernetes, by a load balancer.
///
/// Chosen [when it is registered](crate::Registry::register_with). None of it has to do with whether the process is
/// *alive*, which a restart would be the answer to: a peer that is down does not come back by that.
///
/// # Examples
///
/// ```
/// # use pool_core::{CreateContext, Manager};
/// # struct Buffers;
/// # impl Manager for Buffers {
/// #     type Resource = Vec<u8>;
/// #     type Error = std::convert::Infallible;
/// #     async fn create(&self, _cx: &CreateContext) -> Result<Vec<u8>, Self::Error> { Ok(Vec::new()) }
/// # }
/// use pool_core::Pool;
/// use pool_metrics::{Readiness, Registry};
///
/// let registry = Registry::new();
/// let cache = Pool::builder(Buffers).build()?;
/// // The process works without its cache, slowly.
/// registry.register_with("cache", &cache, Readiness::Ignored)?;
/// assert!(registry.readiness().is_ready());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Readiness {
    /// Nothing: the process can do without this pool.
    Ignored,
    /// Open. Not ready only once it is closed: the process shuts down, or has lost it. The default, since it does
    /// not take a whole service away when a peer that all its processes share is down for a moment.
    #[default]
    Open,
    /// Open, and warm once: with its minimum of connections, or if it keeps none, without a failed attempt. From
    /// then on as [`Open`](Self::Open). For a start that is to be sent no work before its connections are there. Asking has
    /// another attempt made as with [`Connected`](Self::Connected).
    Warm,
    /// Able to lend: open, not paused, and with a connection that can be used; without any, if it keeps none and the
    /// last attempt has not failed. For a process that can do nothing without this pool, where others can that
    /// reach another peer. Where the last attempt has failed, asking has the next one made, under the back-off: the
    /// calls that would are kept away.
    Connected,
}

impl Readiness {
    /// The rule in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::Open => "open",
            Self::Warm => "warm",
            Self::Connected => "connected",
        }
    }

    /// What is missing, of a pool that has or has not been warm before.
    pub(crate) fn missing(self, standing: &Standing, has_been_warm: bool) -> Option<String> {
        let missing = match self {
            Self::Ignored => None,
            Self::Open => standing.is_closed(),
            Self::Warm if has_been_warm => standing.is_closed(),
            Self::Warm => standing.is_closed().or_else(|| standing.is_cold()),
            Self::Connected => standing.is_closed().or_else(|| standing.is_unable()),
        };
        missing.map(|why| why.to_string())
    }
}

/// Why a pool is not what it has to be.
enum Why<'a> {
    Closed,
    Paused,
    /// It has so many connections and keeps so many at least; the last attempt failed like this.
    Missing(usize, usize, Option<&'a str>),
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("it is closed"),
            Self::Paused => f.write_str("it is paused"),
            Self::Missing(usable, min, failing) => {
                write!(f, "{usable} connections can be used")?;
                if usable < min {
                    write!(f, ", and at least {min} are to be kept")?;
                }
                match failing {
                    Some(error) => write!(f, "; the last attempt failed: {error}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Standing {
    /// Without a connection, and none to be kept.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn is_warm(&self) -> bool {
        self.is_cold().is_none()
    }

    fn is_closed(&self) -> Option<Why<'_>> {
        self.closed.then_some(Why::Closed)
    }

    fn is_cold(&self) -> Option<Why<'_>> {
        let fails = self.usable == 0 && self.failing.is_some();
        (self.usable < self.min || fails).then(|| self.why())
    }

    fn is_unable(&self) -> Option<Why<'_>> {
        if self.paused {
            return Some(Why::Paused);
        }
        let expected = self.min > 0 || self.failing.is_some();
        (self.usable == 0 && expected).then(|| self.why())
    }

    fn why(&self) -> Why<'_> {
        Why::Missing(self.usable, self.min, self.failing.as_deref())
    }
}

/// Whether a process is ready, with each of its pools.
///
/// Shown, it is a line for all and one for each pool, which says why if that pool is not ready:
///
/// ```text
/// not ready
/// [+] cache: ignored
/// [-] orders: connected: 0 connections can be used; the last attempt failed: connection refused
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub(crate) pools: Vec<PoolReport>,
}

/// A pool's part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolReport {
    /// Under which name it is registered.
    pub name: String,
    /// What it has to be.
    pub rule: Readiness,
    /// What is missing for that; `None` if nothing is.
    pub missing: Option<String>,
}

impl Report {
    /// Is every pool what it has to be? Also without any pool.
    pub fn is_ready(&self) -> bool {
        self.pools.iter().all(|pool| pool.missing.is_none())
    }

    /// Each pool, by name.
    pub fn pools(&self) -> &[PoolReport] {
        &self.pools
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_ready() { "ready\n" } else { "not ready\n" })?;
        for PoolReport { name, rule, missing } in &self.pools {
            let (name, rule) = (one_line(name), rule.as_str());
            match missing {
                None => writeln!(f, "[+] {name}: {rule}")?,
                Some(missing) => writeln!(f, "[-] {name}: {rule}: {}", one_line(missing))?,
            }
        }
        Ok(())
    }
}

/// A name with a line's end in it would be a line of somebody else's.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// An error with what caused it, as far as it does not say that itself.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let of_it = error.to_string();
        if !text.contains(&of_it) {
            text.push_str(": ");
            text.push_str(&of_it);
        }
        cause = error.source();
    }
    text
}
