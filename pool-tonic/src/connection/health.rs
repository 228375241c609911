//! Is the server behind a connection healthy? `grpc.health.v1.Health/Watch` on the connection itself
//! (gRFC A17), as grpc-go's client does it.
//!
//! `UNIMPLEMENTED` means that the server does not say, and counts as healthy for good. A stream that ends
//! otherwise is begun anew: at once if it had said something, after gRPC's back-off if not; meanwhile the
//! server counts as unhealthy.
//!
//! The two messages are written and read here: a string, and a number. They are as fixed as the protocol.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::SendRequest;
use http::HeaderMap;
use http::uri::PathAndQuery;
use tokio::time::sleep;
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
    /// The stream broke.
    Broken,
    /// It does not say, which counts as healthy.
    Unsupported,
}

impl Health {
    const ALL: [Self; 6] = [
        Self::Unknown,
        Self::Serving,
        Self::NotServing,
        Self::ServiceUnknown,
        Self::Broken,
        Self::Unsupported,
    ];

    fn serves(self) -> bool {
        matches!(self, Self::Serving | Self::Unsupported)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "it has not said whether it serves",
            Self::Serving => "it serves",
            Self::NotServing => "it says NOT_SERVING",
            Self::ServiceUnknown => "it says SERVICE_UNKNOWN",
            Self::Broken => "the call that asks for its health failed",
            Self::Unsupported => "it does not say how its health is",
        })
    }
}

/// What the stream said last.
#[derive(Debug)]
struct Said(AtomicU8);

impl Said {
    fn set(&self, health: Health) {
        self.0.store(health as u8, Ordering::Relaxed);
    }

    fn get(&self) -> Health {
        Health::ALL[usize::from(self.0.load(Ordering::Relaxed))]
    }
}

/// A watch of one server's health: a future that never ends but where the server does not say.
pub(super) struct HealthWatch {
    watch: Pin<Box<dyn Future<Output = ()> + Send>>,
    said: Arc<Said>,
}

impl HealthWatch {
    pub(super) fn start(sender: SendRequest<Bytes>, address: &Address, service: &str) -> Self {
        let said = Arc::new(Said(AtomicU8::new(Health::Unknown as u8)));
        let watch = watch(sender, address.clone(), request(service), Arc::clone(&said));
        Self { watch: Box::pin(watch), said }
    }

    /// What it says first.
    pub(super) async fn first(&mut self) -> Result<Health, Status> {
        poll_fn(|cx| {
            let polled = self.poll(cx);
            match self.said.get() {
                Health::Unknown if polled.is_pending() => Poll::Pending,
                health => Poll::Ready(Ok(health)),
            }
        })
        .await
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.watch.as_mut().poll(cx)
    }

    pub(super) fn serves(&self) -> bool {
        self.said.get().serves()
    }
}

async fn watch(sender: SendRequest<Bytes>, address: Address, request: Vec<u8>, said: Arc<Said>) {
    let mut failures = 0;
    loop {
        let mut heard = false;
        let ended = one(sender.clone(), &address, &request, |health| {
            heard = true;
            said.set(health);
        })
        .await;
        if ended.is_err_and(|status| status.code() == Code::Unimplemented) {
            return said.set(Health::Unsupported);
        }
        said.set(Health::Broken);
        if heard {
            failures = 0;
        } else {
            failures += 1;
            sleep(backoff::delay(failures, fastrand::f64())).await;
        }
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
        let said = Said(AtomicU8::new(0));
        for health in Health::ALL {
            said.set(health);
            assert_eq!(said.get(), health);
        }
    }
}
