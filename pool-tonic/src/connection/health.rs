//! Is the server behind a connection healthy? `grpc.health.v1.Health/Watch` on the connection itself
//! (gRFC A17), as grpc-go's client does it.
//!
//! `UNIMPLEMENTED`, which a proxy's HTTP 404 is as well, means that the server does not say, and counts as healthy for
//! good. A stream that ends otherwise is begun anew, with gRPC's back-off from begin to begin, which starts over when
//! the server has said something: so one that lasted for a while is begun anew at once.
//!
//! Meanwhile what the server said last holds, where gRFC A17 has a failed stream be `TRANSIENT_FAILURE`. That
//! a stream ended says nothing about the server, which takes it down for reasons of its own (the age of a
//! stream, a proxy's timeout, a health service that is restarted), and a pool whose connections all stop
//! taking calls for a round trip fails calls that nothing was wrong with. A server that has gone is found
//! out by its connection: by the end of it, or by keepalive. Only the first stream of a new connection has to
//! say that the server serves, since nothing is known before.
//!
//! The stream takes one of those that the server allows. Where it allows fewer than two, calls have it, and
//! the server counts as healthy until it allows more and has been asked.
//!
//! The two messages are written and read here: a string, and a number. They are as fixed as the protocol.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::SendRequest;
use http::HeaderMap;
use http::uri::PathAndQuery;
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Status};

use super::own_call;
use crate::address::Address;
use crate::backoff;

const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// What is known of a server's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Health {
    /// It has not answered yet.
    Unknown,
    Serving,
    NotServing,
    ServiceUnknown,
    /// It does not say, which counts as healthy.
    Unsupported,
}

impl Health {
    const ALL: [Self; 5] =
        [Self::Unknown, Self::Serving, Self::NotServing, Self::ServiceUnknown, Self::Unsupported];

    /// Does the server say that it takes no calls?
    pub(crate) fn refuses(self) -> bool {
        matches!(self, Self::NotServing | Self::ServiceUnknown)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "it has not said whether it serves",
            Self::Serving => "it serves",
            Self::NotServing => "it says NOT_SERVING",
            Self::ServiceUnknown => "it says SERVICE_UNKNOWN",
            Self::Unsupported => "it does not say how its health is",
        })
    }
}

/// What the stream said last.
#[derive(Debug)]
struct Said {
    health: AtomicU8,
    /// Why a stream broke before any had said anything.
    broken: OnceLock<Status>,
}

impl Said {
    fn new() -> Self {
        Self { health: AtomicU8::new(Health::Unknown as u8), broken: OnceLock::new() }
    }

    fn set(&self, health: Health) {
        self.health.store(health as u8, Ordering::Relaxed);
    }

    fn get(&self) -> Health {
        Health::ALL[usize::from(self.health.load(Ordering::Relaxed))]
    }
}

/// A watch of one server's health.
pub(super) struct HealthWatch {
    sender: SendRequest<Bytes>,
    address: Address,
    request: Vec<u8>,
    /// Present while the server is asked. It never ends but where the server does not say.
    watch: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    said: Arc<Said>,
}

impl HealthWatch {
    /// Nothing is asked before [`follow`](Self::follow).
    pub(super) fn new(sender: SendRequest<Bytes>, address: &Address, service: &str) -> Self {
        let said = Arc::new(Said::new());
        Self { sender, address: address.clone(), request: request(service), watch: None, said }
    }

    /// The server allows so many streams. Says whether it is asked from now on.
    pub(super) fn follow(&mut self, streams: usize) -> bool {
        if streams < 2 {
            self.watch = None;
            if self.said.get() != Health::Unsupported {
                self.said.set(Health::Unknown);
            }
        } else if self.watch.is_none() && self.said.get() != Health::Unsupported {
            let (sender, address) = (self.sender.clone(), self.address.clone());
            let watch = watch(sender, address, self.request.clone(), Arc::clone(&self.said));
            self.watch = Some(Box::pin(watch));
        }
        self.watch.is_some()
    }

    /// What it says first. Fails as the call that asks does.
    pub(super) async fn first(&mut self) -> Result<Health, Status> {
        poll_fn(|cx| {
            self.poll(cx);
            match (self.said.get(), self.said.broken.get()) {
                (_, Some(broken)) => Poll::Ready(Err(broken.clone())),
                (Health::Unknown, None) if self.watch.is_some() => Poll::Pending,
                (health, None) => Poll::Ready(Ok(health)),
            }
        })
        .await
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        if let Some(watch) = &mut self.watch
            && watch.as_mut().poll(cx).is_ready()
        {
            self.watch = None;
        }
    }

    /// What the server says, or said last.
    pub(super) fn said(&self) -> Health {
        self.said.get()
    }

    pub(super) fn is_asking(&self) -> bool {
        self.watch.is_some()
    }
}

async fn watch(sender: SendRequest<Bytes>, address: Address, request: Vec<u8>, said: Arc<Said>) {
    let mut failures = 0;
    loop {
        let (begun, mut heard) = (Instant::now(), false);
        let ended = one(sender.clone(), &address, &request, |health| {
            heard = true;
            said.set(health);
        })
        .await;
        let ended = ended.err().unwrap_or_else(|| Status::unknown("it ended without an answer"));
        if ended.code() == Code::Unimplemented {
            return said.set(Health::Unsupported);
        }
        // What it said before holds.
        if said.get() == Health::Unknown {
            said.broken.get_or_init(|| ended);
        }
        failures = if heard { 1 } else { failures + 1 };
        sleep_until(begun + backoff::delay(failures, fastrand::f64())).await;
    }
}

/// One stream, from its begin to its end.
async fn one(
    sender: SendRequest<Bytes>,
    address: &Address,
    request: &[u8],
    mut say: impl FnMut(Health),
) -> Result<(), Status> {
    let path = PathAndQuery::from_static(WATCH);
    let mut answers = own_call::call(sender, address, path, HeaderMap::new(), request).await?;
    while let Some(message) = answers.next().await? {
        say(parse(&message));
    }
    Ok(())
}

/// `HealthCheckRequest { string service = 1; }`
fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(service.len() + 6);
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap_or_default());
        message.extend_from_slice(service.as_bytes());
    }
    message
}

/// `HealthCheckResponse { ServingStatus status = 1; }`, whose values are all below 128. What else a later
/// version may have added to it does not matter.
fn parse(message: &[u8]) -> Health {
    match message {
        [0x08, 1, ..] => Health::Serving,
        [0x08, 3, ..] => Health::ServiceUnknown,
        _ => Health::NotServing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_are_as_protobuf_writes_them() {
        assert_eq!(request(""), b"");
        assert_eq!(request("shop"), b"\x0a\x04shop");
        let long = request(&"s".repeat(300));
        assert_eq!((&long[..3], long.len()), (&b"\x0a\xac\x02"[..], 303));
        assert_eq!(parse(b"\x08\x01"), Health::Serving);
        assert_eq!(parse(b"\x08\x02"), Health::NotServing);
        assert_eq!(parse(b"\x08\x03"), Health::ServiceUnknown);
        // The default, UNKNOWN, is not written.
        assert_eq!(parse(b""), Health::NotServing);
    }

    #[test]
    fn every_health_is_read_as_it_was_written() {
        let said = Said::new();
        for health in Health::ALL {
            said.set(health);
            assert_eq!(said.get(), health);
        }
    }
}
