//! What one call may ask for, and what it is told: extensions of its request and of its response.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use twox_hash::XxHash64;

/// Does this call wait for a connection, through failures to connect? An extension of a request; it goes
/// before the pool's own setting, [`wait_for_ready`](crate::ChannelPoolBuilder::wait_for_ready).
///
/// As in gRPC's `doc/wait-for-ready.md`: a call that does not (the default) fails with `UNAVAILABLE`
/// as soon as no address can be connected to, with the last error of connecting in its message. One that does waits until
/// there is a connection, until its deadline passes (`DEADLINE_EXCEEDED`), or, if it has none, for the
/// pool's wait timeout (`UNAVAILABLE`). Where a connection is already there, or being made for the
/// first time, both are the same. It says nothing about what was sent: a call whose connection is lost fails
/// either way.
///
/// # Examples
///
/// ```
/// use pool_tonic::WaitForReady;
///
/// let mut request = tonic::Request::new("message");
/// request.extensions_mut().insert(WaitForReady(true));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitForReady(pub bool);

/// This call goes on a connection of its own. An extension of a request.
///
/// For streams that are long and that are not read as fast as they come: what is not read fills
/// the window of the connection, and then nothing on it moves: a few such streams on a shared connection
/// block every other call there until they are read or dropped. A connection for a dedicated call carries that
/// call alone, and is kept for the next one. There are at most
/// [`max_dedicated_connections`](crate::ChannelPoolBuilder::max_dedicated_connections), beside those
/// that are shared; further such calls wait, under their deadlines.
///
/// # Examples
///
/// ```
/// use pool_tonic::Dedicated;
///
/// let mut request = tonic::Request::new("everything since January");
/// request.extensions_mut().insert(Dedicated);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dedicated;

/// Calls with the same key go to the same endpoint. An extension of a request.
///
/// For servers that keep something of their callers: a cache, a session. Which endpoint a key belongs to follows from the
/// names of the endpoints that are used alone (by Maglev's hashing), so it is the same one in every client that uses the same
/// ones, and after a restart. When one comes or goes, the keys of that one move, and few others. Weights do not matter, and
/// [`Balance`](crate::Balance) does not either. Clients that use different
/// [subsets](crate::ChannelPoolBuilder::subset) of many endpoints have different homes for a key, unless they are seeded alike.
///
/// Without effect on a pool of one address, and on an [`ExclusiveChannel`](crate::ExclusiveChannel).
///
/// # Examples
///
/// ```
/// use pool_tonic::Affinity;
///
/// let mut request = tonic::Request::new("message");
/// request.extensions_mut().insert(Affinity::soft("customer 42"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Affinity {
    pub(crate) hash: u64,
    pub(crate) hard: bool,
}

impl Affinity {
    /// The call goes to its key's endpoint if that has a free stream slot now, and to any other one if not: it never waits
    /// for it, nor fails for it. If it is sent again, it goes like every other call, and over another connection if it can.
    pub fn soft(key: impl AsRef<[u8]>) -> Self {
        Self::new(key.as_ref(), false)
    }

    /// The call goes to its key's endpoint and to no other, for as long as that is used. If there is no free stream slot it
    /// waits for one, in the order of arrival, as every call does; it fails with `UNAVAILABLE` as soon as that endpoint
    /// cannot be connected to, unless it [waits](WaitForReady), and waits while it is
    /// [ejected](crate::OutlierDetection). When the endpoint is used no more, it goes to the one that has the key then.
    pub fn hard(key: impl AsRef<[u8]>) -> Self {
        Self::new(key.as_ref(), true)
    }

    fn new(key: &[u8], hard: bool) -> Self {
        Self { hash: XxHash64::oneshot(0, key), hard }
    }
}

/// The address that a call was sent to. An extension of every response; a [`CallError`](crate::CallError)
/// holds it where there is none, and [`SentTo`] is told it however the call ends.
///
/// # Examples
///
/// ```
/// use pool_tonic::ServedBy;
///
/// fn log<T>(response: &tonic::Response<T>) {
///     if let Some(served_by) = response.extensions().get::<ServedBy>() {
///         println!("answered by {served_by}");
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServedBy(Arc<str>);

impl ServedBy {
    pub(crate) fn new(address: &impl fmt::Display) -> Self {
        Self(address.to_string().into())
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Is told which server a call goes to, however it ends. An extension of a request, of which the caller keeps a
/// clone.
///
/// For a status that the server itself sent: tonic makes that of the answer's headers or trailers, and what it makes
/// has neither [`ServedBy`] nor a [`CallError`](crate::CallError). (The address is not put among the status's
/// metadata, since servers that hand on the status of a call of theirs would tell it to their own callers.)
///
/// # Examples
///
/// ```
/// use pool_tonic::SentTo;
///
/// let sent_to = SentTo::default();
/// let mut request = tonic::Request::new("message");
/// request.extensions_mut().insert(sent_to.clone());
/// // The call is made, and fails.
/// match sent_to.served_by() {
///     Some(served_by) => println!("{served_by} failed it"),
///     None => println!("it was not sent"),
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct SentTo(Arc<Mutex<Option<ServedBy>>>);

impl SentTo {
    /// The address that the call was last sent to, if it was.
    pub fn served_by(&self) -> Option<ServedBy> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, served_by: &ServedBy) {
        let served_by = Some(served_by.clone());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = served_by;
    }
}
