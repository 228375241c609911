//! A peer that does with each call what its script says, and tells what it saw.

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use pool_tonic_testing::peer::{Peer, answer};
use tokio::sync::mpsc;
use tonic::Code;

/// What the peer does with a call, when its request is there.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Answers it with an empty message.
    Answer,
    /// Answers with this status and nothing else.
    Fail(Code),
    /// The same, with an empty frame of data that ends it.
    FailOpen(Code),
    /// The same as `Fail`, with this in `grpc-retry-pushback-ms`.
    Push(Code, &'static str),
    /// Begins an answer, and then fails.
    FailLate(Code),
    /// Answers as a proxy does, with this body, or none.
    Http(u16, &'static str),
    /// Resets its stream.
    Reset(Reason),
    /// Begins an answer, and resets its stream.
    ResetLate(Reason),
    /// Does nothing more.
    Hang,
}

/// What came of a call.
#[derive(Debug)]
pub struct Seen {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("it is text"))
    }
}

/// Calls as they were seen.
pub type Calls = mpsc::UnboundedReceiver<Seen>;

/// How many calls have been seen since this was last asked.
pub fn seen(calls: &mut Calls) -> usize {
    std::iter::from_fn(|| calls.try_recv().ok()).count()
}

/// Plays one act for each call, over as many connections as come; after the last one it answers.
pub fn play(peer: Peer, acts: &[Act]) -> Calls {
    let mut acts = Vec::from(acts).into_iter();
    let (seen, calls) = mpsc::unbounded_channel();
    let (send, mut requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let mut connection = peer.accept().await;
            let send = send.clone();
            tokio::spawn(async move {
                while let Some(Ok(request)) = connection.accept().await {
                    if send.send(request).is_err() {
                        return;
                    }
                }
            });
        }
    });
    tokio::spawn(async move {
        while let Some((request, respond)) = requests.recv().await {
            let (act, seen) = (acts.next().unwrap_or(Act::Answer), seen.clone());
            tokio::spawn(perform(request, respond, act, seen));
        }
    });
    calls
}

async fn perform(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    act: Act,
    seen: mpsc::UnboundedSender<Seen>,
) {
    let (head, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(Ok(data)) = stream.data().await {
        let _ = stream.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    // The test may be over.
    let _ = seen.send(Seen { path: head.uri.path().to_owned(), headers: head.headers, body });
    match act {
        Act::Answer => answer(respond),
        Act::Fail(code) => end(&mut respond, headers(code)),
        Act::Push(code, pushback) => {
            let mut headers = headers(code);
            headers.insert("grpc-retry-pushback-ms", HeaderValue::from_static(pushback));
            end(&mut respond, headers);
        }
        Act::FailOpen(code) => {
            let mut response = ok();
            response.headers_mut().extend(headers(code));
            let mut body = respond.send_response(response, false).expect("the stream is open");
            body.send_data(Bytes::new(), true).expect("the stream is open");
        }
        Act::FailLate(code) => {
            let mut body = respond.send_response(ok(), false).expect("the stream is open");
            body.send_trailers(headers(code)).expect("the stream is open");
        }
        Act::Http(status, text) => {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::from_u16(status).expect("it is a status");
            response.headers_mut().insert("content-type", HeaderValue::from_static("text/html"));
            let mut body =
                respond.send_response(response, text.is_empty()).expect("the stream is open");
            if !text.is_empty() {
                body.send_data(Bytes::from_static(text.as_bytes()), true).expect("it is open");
            }
        }
        Act::Reset(reason) => respond.send_reset(reason),
        Act::ResetLate(reason) => {
            let mut body = respond.send_response(ok(), false).expect("the stream is open");
            // So that the headers are on their way: a reset overtakes what waits behind it.
            tokio::task::yield_now().await;
            body.send_data(Bytes::from_static(&[0; 5]), false).expect("the stream is open");
            tokio::task::yield_now().await;
            body.send_reset(reason);
        }
        Act::Hang => std::future::pending().await,
    }
}

fn ok() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn headers(code: Code) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from(i32::from(code)));
    headers.insert("grpc-message", HeaderValue::from_static("so the script says"));
    headers
}

fn end(respond: &mut SendResponse<Bytes>, headers: HeaderMap) {
    let mut response = ok();
    response.headers_mut().extend(headers);
    respond.send_response(response, true).expect("the stream is open");
}
