use std::task::Waker;

use super::*;

/// A body of the given polls: data, "not yet", and then the end.
struct Script(VecDeque<Option<&'static str>>);

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.0.pop_front() {
            Some(Some("error")) => Poll::Ready(Some(Err(Status::internal("no encoding")))),
            Some(Some(data)) => {
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data.as_bytes())))))
            }
            Some(None) => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

fn looked_at(script: &[Option<&'static str>], limit: usize) -> Result<Payload, Status> {
    let body = Body::new(Script(script.iter().copied().collect()));
    let mut payload = Payload::Unread(body);
    payload.look(limit).map(|()| payload)
}

/// Everything that a stream hands out; `None` where it is not ready.
fn drain(payload: &mut Payload) -> Vec<Option<Bytes>> {
    let Payload::Stream(stream) = payload else {
        panic!("not a stream: {payload:?}");
    };
    let mut cx = Context::from_waker(Waker::noop());
    let mut pieces = Vec::new();
    loop {
        match stream.poll_next(&mut cx).unwrap() {
            Poll::Ready(Piece::Data(data)) => pieces.push(Some(data)),
            Poll::Ready(Piece::End(_)) => return pieces,
            Poll::Pending => pieces.push(None),
        }
    }
}

fn chunks(texts: &[&'static str]) -> Vec<Option<Bytes>> {
    let bytes = |text: &&'static str| Some(Bytes::from_static(text.as_bytes()));
    texts.iter().map(bytes).collect()
}

#[test]
fn one_chunk_and_its_end_are_whole_whatever_their_size() {
    assert!(matches!(looked_at(&[], 0), Ok(Payload::Whole(None))));
    let Ok(Payload::Whole(Some(data))) = looked_at(&[Some("message")], 0) else {
        panic!("not whole");
    };
    assert_eq!(data, "message");
}

#[test]
fn what_comes_in_time_is_a_stream_that_loses_nothing() {
    for script in [
        &[None, Some("a"), Some("b")][..],
        &[Some("a"), None, Some("b")],
        &[Some("a"), Some("b"), None],
        &[Some("a"), Some(""), Some("b")],
    ] {
        let mut payload = looked_at(script, 100).unwrap();
        let mut pieces = drain(&mut payload);
        pieces.retain(Option::is_some);
        assert_eq!(pieces, chunks(&["a", "b"]), "{script:?}");
    }
}

#[test]
fn a_stream_within_the_limit_is_sent_again_from_its_beginning() {
    let mut payload = looked_at(&[Some("one"), None, Some("two")], 6).unwrap();
    drain(&mut payload);
    assert!(payload.rewind());
    assert_eq!(drain(&mut payload), chunks(&["one", "two"]));
}

#[test]
fn a_stream_beyond_the_limit_is_not_and_keeps_nothing_that_was_sent() {
    let mut payload = looked_at(&[Some("one"), None, Some("two"), Some("three")], 5).unwrap();
    assert_eq!(drain(&mut payload), chunks(&["one", "two", "three"]));
    assert!(!payload.rewind());
    let Payload::Stream(stream) = &payload else { unreachable!() };
    assert!(stream.kept.is_empty());
}

#[test]
fn forgetting_loses_only_what_was_handed_out() {
    let mut payload = looked_at(&[Some("one"), Some("two"), Some("three")], 100).unwrap();
    let Payload::Stream(stream) = &mut payload else { unreachable!() };
    let mut cx = Context::from_waker(Waker::noop());
    assert!(
        matches!(stream.poll_next(&mut cx), Ok(Poll::Ready(Piece::Data(data))) if data == "one")
    );
    stream.forget();
    assert_eq!(drain(&mut payload), chunks(&["two", "three"]));
    assert!(!payload.rewind());
}

#[test]
fn the_bodys_own_error_comes_out() {
    assert_eq!(looked_at(&[Some("error")], 9).unwrap_err().message(), "no encoding");
}

const OURS: HeaderValue = HeaderValue::from_static("pool-tonic/1");

fn split(request: http::request::Builder) -> (Head, Option<Deadline>) {
    let Split { head, deadline, .. } = Split::new(request.body(Body::empty()).unwrap(), &OURS);
    (head, deadline)
}

#[test]
fn a_head_gets_what_every_request_has_and_keeps_what_the_caller_set() {
    let address = Address::parse("http://orders:1").unwrap();
    let request = http::Request::post("http://elsewhere/shop.Orders/Get").header("x", "y");
    let (mut head, deadline) = split(request);
    assert!(deadline.is_none());
    let sent = head.request(&address, &OURS);
    assert_eq!(sent.uri(), "http://orders:1/shop.Orders/Get");
    assert_eq!(sent.method(), http::Method::POST);
    assert_eq!(sent.headers()["te"], "trailers");
    assert_eq!(sent.headers()["user-agent"], "pool-tonic/1");
    assert_eq!(sent.headers()["x"], "y");

    let (mut head, _) = split(http::Request::post("/").header(USER_AGENT, "shop/2"));
    assert_eq!(head.request(&address, &OURS).headers()["user-agent"], "shop/2");
}

#[test]
fn a_head_is_the_same_each_time_it_is_sent_but_for_what_is_left() {
    let address = Address::parse("http://orders:1").unwrap();
    let request = http::Request::post("/").header("x", "1").header("x", "2");
    let (mut head, deadline) = split(request.header(GRPC_TIMEOUT, "1S"));
    assert_eq!(deadline.unwrap().timeout(), Duration::from_secs(1));
    let first = head.request(&address, &OURS);
    assert_eq!(first.headers().get_all("x").iter().count(), 2);
    assert_eq!(head.request(&address, &OURS).headers(), first.headers());
    head.set_deadline(Duration::from_millis(50));
    let third = head.request(&address, &OURS);
    assert_eq!(third.headers()[GRPC_TIMEOUT], "50000000n");
    assert_eq!(third.headers().len(), first.headers().len());

    let (mut head, _) = split(http::Request::post("/").header(GRPC_TIMEOUT, "1S"));
    head.set_deadline(Duration::from_millis(50));
    assert_eq!(head.request(&address, &OURS).headers()[GRPC_TIMEOUT], "50000000n");
}

#[test]
fn what_is_not_as_every_call_has_it_is_sent_again_as_the_caller_set_it() {
    let address = Address::parse("http://orders:1").unwrap();
    for headers in [
        &[][..],
        &[("content-type", "application/grpc")],
        &[("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "pool-tonic/1")],
        &[("content-type", "application/grpc+proto"), ("te", "trailers"), ("user-agent", "shop/2")],
        &[("te", "gzip"), ("te", "trailers"), ("x", "y")],
        &[("te", "trailers"), ("te", "trailers"), ("user-agent", "a"), ("user-agent", "b")],
        &[("content-type", "application/grpc"), ("content-type", "application/grpc")],
    ] {
        let request = headers
            .iter()
            .fold(http::Request::post("/"), |request, (name, value)| request.header(*name, *value));
        let (mut head, _) = split(request);
        let first = head.request(&address, &OURS);
        for (name, _) in headers {
            let count = headers.iter().filter(|(other, _)| other == name).count();
            assert_eq!(first.headers().get_all(*name).iter().count(), count, "{headers:?}");
        }
        assert_eq!(head.request(&address, &OURS).headers(), first.headers(), "{headers:?}");
        assert_eq!(head.request(&address, &OURS).headers(), first.headers(), "{headers:?}");
    }
}
