//! A request as it may be sent more than once: its head, and its body with what was read of it.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::Extensions;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use http::uri::PathAndQuery;
use http_body::{Body as _, Frame};
use tonic::Status;
use tonic::body::Body;

use super::deadline::{self, Deadline, GRPC_TIMEOUT};
use crate::address::Address;

/// Method, path and headers. Scheme and authority are those of the address that the request goes to.
#[derive(Debug)]
pub(crate) struct Head {
    method: http::Method,
    path: Option<PathAndQuery>,
    headers: Headers,
}

/// The headers: the caller's map until it is sent, then what it takes to make another: a list costs half
/// of what a copy of the map would, and is nearly always thrown away. What every call has is not in it, so
/// that for most calls there is nothing to list.
#[derive(Debug)]
enum Headers {
    Map(HeaderMap, Plain),
    List(Vec<(HeaderName, HeaderValue)>, Plain),
}

/// The headers that are as every call has them.
#[derive(Clone, Copy, Debug, Default)]
struct Plain {
    te: bool,
    content_type: bool,
    user_agent: bool,
}

impl Plain {
    const TE: HeaderValue = HeaderValue::from_static("trailers");
    const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

    fn has(self, name: &HeaderName) -> bool {
        (self.te && *name == TE)
            || (self.content_type && *name == CONTENT_TYPE)
            || (self.user_agent && *name == USER_AGENT)
    }

    fn len(self) -> usize {
        usize::from(self.te) + usize::from(self.content_type) + usize::from(self.user_agent)
    }
}

impl Headers {
    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        match self {
            Self::Map(map, _) => {
                map.insert(name, value);
            }
            Self::List(list, _) => {
                list.retain(|(other, _)| *other != name);
                list.push((name, value));
            }
        }
    }

    fn take(&mut self, user_agent: &HeaderValue) -> HeaderMap {
        match self {
            Self::Map(map, plain) => {
                let mut list = Vec::new();
                if map.len() > plain.len() {
                    let rest = map.iter().filter(|(name, _)| !plain.has(name));
                    list.extend(rest.map(|(name, value)| (name.clone(), value.clone())));
                }
                let map = std::mem::take(map);
                *self = Self::List(list, *plain);
                map
            }
            Self::List(list, plain) => {
                let mut map = HeaderMap::with_capacity(list.len() + plain.len());
                if plain.te {
                    map.append(TE, Plain::TE);
                }
                if plain.content_type {
                    map.append(CONTENT_TYPE, Plain::CONTENT_TYPE);
                }
                if plain.user_agent {
                    map.append(USER_AGENT, user_agent.clone());
                }
                for (name, value) in list {
                    map.append(name.clone(), value.clone());
                }
                map
            }
        }
    }
}

/// A request, taken apart.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) head: Head,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) body: Body,
    pub(crate) extensions: Extensions,
}

impl Split {
    /// Takes a request apart, reads its deadline, and adds the headers that every gRPC request has.
    pub(crate) fn new(request: http::Request<Body>, user_agent: &HeaderValue) -> Self {
        let (parts, body) = request.into_parts();
        let mut headers = parts.headers;
        // One pass, since there are few headers and a look-up of each name would cost more.
        let (mut has_te, mut has_content_type, mut has_user_agent) = (false, false, false);
        let (mut plain, mut deadline) = (Plain::default(), None);
        for (name, value) in &headers {
            if *name == TE {
                plain.te = !has_te && *value == Plain::TE;
                has_te = true;
            } else if *name == CONTENT_TYPE {
                plain.content_type = !has_content_type && *value == Plain::CONTENT_TYPE;
                has_content_type = true;
            } else if *name == USER_AGENT {
                has_user_agent = true;
            } else if *name == GRPC_TIMEOUT {
                deadline = Deadline::from_header(value);
            }
        }
        if !has_te {
            plain.te = true;
            headers.insert(TE, Plain::TE);
        }
        if !has_user_agent {
            plain.user_agent = true;
            headers.insert(USER_AGENT, user_agent.clone());
        }
        let path = parts.uri.into_parts().path_and_query;
        let head = Head { method: parts.method, path, headers: Headers::Map(headers, plain) };
        Self { head, deadline, body, extensions: parts.extensions }
    }
}

impl Head {
    pub(crate) fn path(&self) -> &str {
        self.path.as_ref().map_or("/", PathAndQuery::path)
    }

    pub(crate) fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.set(name, value);
    }

    /// Tells the server what is left of the deadline.
    pub(crate) fn set_deadline(&mut self, left: Duration) {
        self.set(GRPC_TIMEOUT, deadline::format(left));
    }

    /// The head of one attempt.
    pub(crate) fn request(
        &mut self,
        address: &Address,
        user_agent: &HeaderValue,
    ) -> http::Request<()> {
        let mut request = http::Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = address.uri(self.path.clone());
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = self.headers.take(user_agent);
        request
    }
}

/// The body, by how far it is known.
#[derive(Debug)]
pub(crate) enum Payload {
    /// Not looked at.
    Unread(Body),
    /// All of it: at most one chunk. What unary and server-streaming calls have.
    Whole(Option<Bytes>),
    /// The rest comes in time.
    Stream(Box<RequestStream>),
    /// With a pump that did not give it back.
    Lost,
}

impl Payload {
    /// Looks at an unread body: is it whole?
    ///
    /// # Errors
    ///
    /// The body's own error. Nothing was sent then.
    pub(crate) fn look(&mut self, replay_limit: usize) -> Result<(), Status> {
        let Self::Unread(body) = self else {
            return Ok(());
        };
        // What is not there yet is asked for again, by the pump.
        let cx = &mut Context::from_waker(Waker::noop());
        let first = match read(body, cx)? {
            Poll::Ready(Piece::End(None)) => {
                *self = Self::Whole(None);
                return Ok(());
            }
            first => first,
        };
        // A chunk with the end right behind it: a call with one message.
        let second = match &first {
            Poll::Ready(Piece::Data(_)) => read(body, cx)?,
            _ => Poll::Pending,
        };
        let (first, second) = match (first, second) {
            (Poll::Ready(Piece::Data(data)), Poll::Ready(Piece::End(None))) => {
                *self = Self::Whole(Some(data));
                return Ok(());
            }
            pieces => pieces,
        };
        let mut stream = RequestStream::new(std::mem::take(body), replay_limit);
        for piece in [first, second] {
            if let Poll::Ready(piece) = piece {
                stream.store(piece);
            }
        }
        *self = Self::Stream(Box::new(stream));
        Ok(())
    }

    /// Makes it ready to be sent from its beginning; false if that is not kept.
    pub(crate) fn rewind(&mut self) -> bool {
        match self {
            Self::Unread(_) | Self::Whole(_) => true,
            Self::Stream(stream) => stream.rewind(),
            Self::Lost => false,
        }
    }
}

/// What comes next of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    /// The end, with trailers if there are any (gRPC requests have none).
    End(Option<HeaderMap>),
}

/// The next piece straight from a body.
fn read(body: &mut Body, cx: &mut Context<'_>) -> Result<Poll<Piece>, Status> {
    loop {
        let frame = match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(None) => return Ok(Poll::Ready(Piece::End(None))),
            Poll::Ready(Some(frame)) => frame?,
        };
        match frame.into_data().map_err(Frame::into_trailers) {
            Ok(data) if data.is_empty() => {}
            Ok(data) => return Ok(Poll::Ready(Piece::Data(data))),
            Err(Ok(trailers)) => return Ok(Poll::Ready(Piece::End(Some(trailers)))),
            // A kind of frame that this version of http-body does not know.
            Err(Err(_)) => {}
        }
    }
}

/// A body that comes in time, with what has been read of it so that it can be sent again.
///
/// While `complete`, `kept` is the body from its beginning, and its first `next` chunks were handed out.
/// Beyond the limit, or once an answer has come, only chunks that were not handed out yet are kept.
pub(crate) struct RequestStream {
    body: Body,
    ended: bool,
    trailers: Option<HeaderMap>,
    kept: VecDeque<Bytes>,
    next: usize,
    size: usize,
    limit: usize,
    complete: bool,
}

impl RequestStream {
    fn new(body: Body, limit: usize) -> Self {
        Self {
            body,
            ended: false,
            trailers: None,
            kept: VecDeque::new(),
            next: 0,
            size: 0,
            limit,
            complete: true,
        }
    }

    /// The next piece to send.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Result<Poll<Piece>, Status> {
        loop {
            if let Some(data) = self.take() {
                return Ok(Poll::Ready(Piece::Data(data)));
            }
            if self.ended {
                return Ok(Poll::Ready(Piece::End(self.trailers.clone())));
            }
            match read(&mut self.body, cx)? {
                Poll::Ready(piece) => self.store(piece),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        if !self.complete {
            return self.kept.pop_front();
        }
        let data = self.kept.get(self.next)?.clone();
        self.next += 1;
        Some(data)
    }

    fn store(&mut self, piece: Piece) {
        match piece {
            Piece::Data(data) => {
                self.size = self.size.saturating_add(data.len());
                self.kept.push_back(data);
                if self.size > self.limit {
                    self.forget();
                }
            }
            Piece::End(trailers) => {
                self.ended = true;
                self.trailers = trailers;
            }
        }
    }

    /// Keeps no more than it has to: it will not be sent again.
    pub(crate) fn forget(&mut self) {
        if self.complete {
            self.complete = false;
            self.kept.drain(..self.next);
            self.next = 0;
        }
    }

    fn rewind(&mut self) -> bool {
        self.next = 0;
        self.complete
    }
}

impl fmt::Debug for RequestStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestStream")
            .field("size", &self.size)
            .field("complete", &self.complete)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
