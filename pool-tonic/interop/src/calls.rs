//! One call of each type, over whatever a generated client takes.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codegen::{Body as HttpBody, StdError};
use tonic::metadata::MetadataValue;
use tonic::{IntoStreamingRequest, Request, Status, Streaming};

use crate::echo::{CALL_ID, FAIL_FIRST, Kind, MESSAGES, RawCodec};

const MESSAGE_SIZE: usize = 100;

/// What all calls of a load have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    /// The deadline of each.
    pub(crate) timeout: Option<Duration>,
    /// How many attempts the server is asked to fail at first.
    pub(crate) fail_first: usize,
}

/// Makes call number `id`, whose type follows from that, and looks at the answer.
///
/// # Errors
///
/// What the call failed with; `DATA_LOSS`, if the answer is not what it should be.
pub(crate) async fn call<T>(channel: T, id: usize, terms: Terms) -> Result<(), Status>
where
    T: GrpcService<Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <T::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
{
    let kind = Kind::of(id);
    let path = PathAndQuery::from_static(kind.path());
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unknown(format!("not ready: {}", error.into())))?;
    match kind {
        Kind::Unary => {
            let request = header(Request::new(message(id, 0)), id, terms);
            let answer = grpc.unary(request, path, RawCodec).await?.into_inner();
            same(&answer, &message(id, 0))
        }
        Kind::ServerStream => {
            let request = header(Request::new(message(id, 0)), id, terms);
            let answers = grpc.server_streaming(request, path, RawCodec).await?.into_inner();
            expect(answers, (0..MESSAGES).map(|_| message(id, 0))).await
        }
        Kind::ClientStream => {
            // One by one, so that they are not sent as one.
            let requests = tokio_stream::iter(0..MESSAGES).then(move |n| async move {
                yield_now().await;
                message(id, n)
            });
            let request = header(requests.into_streaming_request(), id, terms);
            let answer = grpc.client_streaming(request, path, RawCodec).await?.into_inner();
            same(&answer, &(0..MESSAGES).flat_map(|n| message(id, n)).collect::<Bytes>())
        }
        Kind::Bidi => {
            let (send, receive) = mpsc::channel(1);
            let first = send.send(message(id, 0));
            first.await.map_err(|_| Status::internal("its receiver is here"))?;
            let request = header(ReceiverStream::new(receive).into_streaming_request(), id, terms);
            let mut answers = grpc.streaming(request, path, RawCodec).await?.into_inner();
            for n in 0..MESSAGES {
                let answer = answers.message().await?;
                same(&answer.unwrap_or_default(), &message(id, n))?;
                if n + 1 < MESSAGES {
                    // Fails if the call is over, which the answers say.
                    let _ = send.send(message(id, n + 1)).await;
                }
            }
            drop(send);
            expect(answers, []).await
        }
    }
}

fn header<R>(mut request: Request<R>, id: usize, terms: Terms) -> Request<R> {
    request.metadata_mut().insert(CALL_ID, MetadataValue::from(id));
    if terms.fail_first > 0 {
        request.metadata_mut().insert(FAIL_FIRST, MetadataValue::from(terms.fail_first));
    }
    if let Some(timeout) = terms.timeout {
        request.set_timeout(timeout);
    }
    request
}

/// The `n`th message of a call.
fn message(id: usize, n: usize) -> Bytes {
    let mut message = BytesMut::zeroed(MESSAGE_SIZE);
    (&mut message[..]).put_u64(id as u64);
    message[8] = u8::try_from(n).unwrap_or(u8::MAX);
    message.freeze()
}

fn same(answer: &Bytes, expected: &Bytes) -> Result<(), Status> {
    if answer == expected {
        return Ok(());
    }
    Err(Status::data_loss(format!("{} bytes that are not its answer", answer.len())))
}

/// The rest of the answers is this, and the call ends well.
async fn expect(
    mut answers: Streaming<Bytes>,
    expected: impl IntoIterator<Item = Bytes>,
) -> Result<(), Status> {
    for expected in expected {
        same(&answers.message().await?.unwrap_or_default(), &expected)?;
    }
    match answers.message().await? {
        None => Ok(()),
        Some(_) => Err(Status::data_loss("more answers than there should be")),
    }
}
