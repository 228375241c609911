//! What a call holds of a connection.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use h2::{Reason, SendStream};
use pool_core::{ResourceId, SharedLease};
use tonic::Code;

use super::pump::PumpHandle;
use crate::address_book::Side;
use crate::attempts::Attempt;
use crate::connection::{Connection, Uploading};
use crate::exclusive::{Exclusive, Turn};
use crate::manager::ConnectionManager;

/// Which connections a call may go on.
pub(crate) enum Source {
    /// Those that all calls share.
    Shared,
    /// Those that carry one call at a time.
    Dedicated,
    /// One that its holder has for itself.
    Exclusive(Arc<Exclusive>),
}

impl Source {
    /// Of those that have a pool.
    pub(super) fn side(&self) -> Option<Side> {
        match self {
            Self::Shared => Some(Side::Shared),
            Self::Dedicated => Some(Side::Dedicated),
            Self::Exclusive(_) => None,
        }
    }
}

/// A reserved stream slot, whose connection knows of it.
pub(crate) struct Lease {
    reserved: Reserved,
    finished: AtomicBool,
    /// Of a call whose attempts are observed.
    attempt: Option<Box<Attempt>>,
}

enum Reserved {
    Pooled(SharedLease<'static, ConnectionManager>),
    Exclusive(Turn),
}

impl Lease {
    pub(super) fn pooled(lease: SharedLease<'static, ConnectionManager>) -> Self {
        Self::of(Reserved::Pooled(lease))
    }

    pub(super) fn exclusive(turn: Turn) -> Self {
        Self::of(Reserved::Exclusive(turn))
    }

    fn of(reserved: Reserved) -> Self {
        let lease = Self { reserved, finished: AtomicBool::new(false), attempt: None };
        lease.call_begins();
        lease
    }

    /// It has the call now, whose attempts are observed.
    pub(super) fn observe(&mut self, attempt: Attempt) {
        self.attempt = Some(Box::new(attempt));
    }

    /// The attempt has ended like this, which counts for the connection's endpoint.
    pub(super) fn attempt_ended(&self, code: Code) {
        Connection::attempt_ended(self, code);
        self.attempt_void(code);
    }

    /// The attempt has ended like this, which says nothing of the connection's endpoint.
    pub(super) fn attempt_void(&self, code: Code) {
        if let Some(attempt) = &self.attempt {
            attempt.end(code);
        }
    }

    /// The answer is complete.
    pub(super) fn finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }

    /// The resource that it is of; none of an exclusive one.
    pub(super) fn id(&self) -> Option<ResourceId> {
        match &self.reserved {
            Reserved::Pooled(lease) => Some(lease.id()),
            Reserved::Exclusive(_) => None,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.call_ends(self.finished.load(Ordering::Relaxed));
    }
}

impl Deref for Lease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match &self.reserved {
            Reserved::Pooled(lease) => lease,
            Reserved::Exclusive(turn) => turn.connection(),
        }
    }
}

/// A reserved stream slot; shared with the pump, if there is one.
pub(super) enum Slot {
    Own(Lease),
    Shared(Arc<Lease>),
}

impl Slot {
    pub(super) fn lease(&self) -> &Lease {
        match self {
            Self::Own(lease) => lease,
            Self::Shared(lease) => lease,
        }
    }
}

/// The sending side of a request that is with h2 as a whole, and that the flow control windows, or what h2 buffers of a
/// stream, had no room for. Dropped, it resets what was not sent.
///
/// h2 counts a stream until all of it is sent, also when its answer is complete. A server that answers early
/// may never give the window for the rest, and the next call would find the slot taken. But one that has been sent
/// must not be reset: h2 remembers that for a second, and remembers only so many. Nor one that is not answered, since it
/// may not be open: h2 would open it, send all of it, and only then the reset. That it is dropped resets it, too, and
/// discards what was not sent.
#[derive(Debug)]
pub(super) struct Upload {
    send: SendStream<Bytes>,
    is_answered: bool,
    /// Alive until h2 has sent all of it.
    unsent: Weak<()>,
    _uploading: Uploading,
}

/// The data of a request as h2 has it, whoever else keeps it to send it again.
struct Unsent {
    data: Bytes,
    _alive: Arc<()>,
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Upload {
    /// Smaller requests do not use up the windows, nor find no room in that of their stream, which is 64 KiB where a server
    /// says nothing. They are not worth what this costs where nothing else uses up that of the connection.
    const LARGE: usize = 1024;

    /// Sends the only message of a request. Fails only if the stream is over already, and then the response says
    /// why.
    pub(super) fn send(
        mut send: SendStream<Bytes>,
        data: Bytes,
        connection: &Connection,
    ) -> Option<Box<Self>> {
        if data.len() <= Self::LARGE && !connection.has_uploads() {
            let _ = send.send_data(data, true);
            return None;
        }
        send.reserve_capacity(data.len());
        if send.capacity() >= data.len() {
            let _ = send.send_data(data, true);
            return None;
        }
        let alive = Arc::new(());
        let unsent = Arc::downgrade(&alive);
        let _ = send.send_data(Bytes::from_owner(Unsent { data, _alive: alive }), true);
        Some(Box::new(Self { send, is_answered: false, unsent, _uploading: connection.upload() }))
    }
}

impl Upload {
    /// Its answer is complete, though nobody has looked at it. All that h2 tells of that is why it takes no more data: of a
    /// stream that is over, or of one whose request is complete.
    fn is_over(&mut self) -> bool {
        let refusal = self.send.send_data(Bytes::new(), true);
        refusal.is_err_and(|error| error.to_string().contains("inactive stream"))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.unsent.strong_count() > 0 && (self.is_answered || self.is_over()) {
            self.send.send_reset(Reason::CANCEL);
        }
    }
}

/// What a call holds besides its response, from the sending to the end. Dropped from first to last: the
/// request is over when the slot is free.
pub(super) struct Held {
    pub(super) pump: Option<PumpHandle>,
    pub(super) upload: Option<Box<Upload>>,
    pub(super) slot: Slot,
}

impl Held {
    /// There is an answer.
    pub(super) fn answered(&mut self) {
        if let Some(upload) = &mut self.upload {
            upload.is_answered = true;
        }
    }

    /// The answer has begun: the request will not be sent again.
    pub(super) fn commit(&mut self) {
        self.answered();
        if let Some(pump) = &mut self.pump {
            pump.commit();
        }
    }
}
