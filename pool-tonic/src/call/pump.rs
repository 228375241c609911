//! Sends the body of a streaming request, in a task of its own, since a caller may send for long without
//! looking at the answer.
//!
//! The task ends when the body is sent, when the stream is over (answered, reset, connection lost), when
//! the body fails, or when the response side stops it. It then hands the body back, so that a request
//! that was not processed can be sent again.
//!
//! The slot of the call is held by both sides, and is free when both are done: a response that is
//! complete ends the request too, by stopping the pump. h2 gets no more
//! than the windows have room for, so what it has when the pump ends is sent without anybody's leave.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Status;

use super::request::{Piece, RequestStream};
use super::slot::Lease;
use crate::connection::Uploading;

/// What both sides see.
#[derive(Debug, Default)]
struct Link {
    /// The answer has begun: the request will not be sent again.
    committed: AtomicBool,
    /// The error of the body, which ended the call. Set before the stream is reset.
    failure: OnceLock<Status>,
}

/// The response side's hold on a pump. Dropped, it stops the pump and cancels the request.
#[derive(Debug)]
pub(super) struct PumpHandle {
    stop: Option<oneshot::Sender<Reason>>,
    task: Option<JoinHandle<Box<RequestStream>>>,
    link: Arc<Link>,
}

impl PumpHandle {
    pub(super) fn start(
        runtime: &Handle,
        stream: Box<RequestStream>,
        send: SendStream<Bytes>,
        slot: Arc<Lease>,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let link = Arc::new(Link::default());
        let task = runtime.spawn(Pump {
            send: Some(send),
            stream: Some(stream),
            waiting: None,
            stopped,
            link: Arc::clone(&link),
            _uploading: slot.upload(),
            _slot: slot,
        });
        Self { stop: Some(stop), task: Some(task), link }
    }

    /// The answer has begun: nothing needs to be kept for another attempt.
    pub(super) fn commit(&mut self) {
        self.link.committed.store(true, Ordering::Relaxed);
        self.task = None;
    }

    /// The answer is complete: the rest of the request is of no use.
    pub(super) fn finish(mut self) {
        if let Some(stop) = self.stop.take() {
            // An error means that the pump has ended already.
            let _ = stop.send(Reason::NO_ERROR);
        }
    }

    /// The error of the body, if that is what ended the call.
    pub(super) fn failure(&self) -> Option<Status> {
        self.link.failure.get().cloned()
    }

    /// Stops the pump and takes the body back, unless it has failed meanwhile; `None` if it was given away.
    pub(super) async fn take_back(mut self) -> Result<Option<Box<RequestStream>>, Status> {
        drop(self.stop.take());
        let Some(task) = self.task.take() else { return Ok(None) };
        let stream = task.await.ok();
        self.failure().map_or(Ok(stream), Err)
    }
}

struct Pump {
    /// Present until the end is sent.
    send: Option<SendStream<Bytes>>,
    /// Present until the pump ends.
    stream: Option<Box<RequestStream>>,
    /// Read from the body, and waiting for room in the flow control window.
    waiting: Option<Bytes>,
    stopped: oneshot::Receiver<Reason>,
    link: Arc<Link>,
    _uploading: Uploading,
    _slot: Arc<Lease>,
}

impl Pump {
    /// Sends until there is nothing more to do (ready) or nothing can be done (pending).
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(stream), Some(send)) = (&mut self.stream, &mut self.send) else {
            return Poll::Ready(());
        };
        if let Poll::Ready(reason) = Pin::new(&mut self.stopped).poll(cx) {
            send.send_reset(reason.unwrap_or(Reason::CANCEL));
            return Poll::Ready(());
        }
        if self.link.committed.load(Ordering::Relaxed) {
            stream.forget();
        }
        loop {
            if let Some(mut data) = self.waiting.take() {
                // Capacity is asked for with data in hand only: reserved by streams that have nothing to
                // send, the connection's window would be used up by them.
                send.reserve_capacity(data.len());
                let room = send.capacity();
                if room == 0 {
                    match send.poll_capacity(cx) {
                        Poll::Ready(Some(Ok(_))) => {}
                        // The stream is over: the response side learns why.
                        Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                        Poll::Pending => {
                            self.waiting = Some(data);
                            return Poll::Pending;
                        }
                    }
                    self.waiting = Some(data);
                    continue;
                }
                let rest = data.split_off(room.min(data.len()));
                if send.send_data(data, false).is_err() {
                    return Poll::Ready(());
                }
                if !rest.is_empty() {
                    self.waiting = Some(rest);
                    continue;
                }
            }
            let piece = match stream.poll_next(cx) {
                Ok(Poll::Ready(piece)) => piece,
                Ok(Poll::Pending) => {
                    // A stream that is over must not wait for its caller's next message.
                    ready!(send.poll_reset(cx)).ok();
                    return Poll::Ready(());
                }
                Err(status) => {
                    // Only the pump sets it.
                    let _ = self.link.failure.set(status);
                    send.send_reset(Reason::CANCEL);
                    return Poll::Ready(());
                }
            };
            let trailers = match piece {
                Piece::Data(data) => {
                    self.waiting = Some(data);
                    continue;
                }
                Piece::End(trailers) => trailers,
            };
            // An error means that the stream is over.
            let _ = match trailers {
                None => send.send_data(Bytes::new(), true),
                Some(trailers) => send.send_trailers(trailers),
            };
            self.send = None;
            return Poll::Ready(());
        }
    }
}

impl Future for Pump {
    type Output = Box<RequestStream>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        ready!(this.poll_send(cx));
        let stream = this.stream.take().expect("bug: a pump ends once");
        Poll::Ready(stream)
    }
}

/// The body panicked, or the runtime ends: the rest of the request will not come, and the call must not
/// wait for an answer to it.
impl Drop for Pump {
    fn drop(&mut self) {
        if self.stream.is_some() {
            let status =
                Status::internal("the task that sends the request has panicked or was ended");
            // The body's own error, if there is one, says more.
            let _ = self.link.failure.set(status);
        }
        // Before the slot is free.
        if let Some(send) = &mut self.send {
            send.send_reset(Reason::CANCEL);
        }
    }
}
