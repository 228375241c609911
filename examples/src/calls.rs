//! The calls that are made: each kind once, with its answer checked, over any transport.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pool_tonic::code_name;
use tokio::sync::mpsc;
use tokio::time;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Body as HttpBody, Bytes, StdError};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::proto::demo_client::DemoClient;
use crate::proto::{Number, Text};

/// The deadline of a call, sent to the server with it.
const DEADLINE: Duration = Duration::from_secs(10);

/// When a call is given up on here, for a transport that does not keep to the deadline itself.
const GIVEN_UP: Duration = Duration::from_secs(15);

/// Messages on each streaming call. With [`TEXT_BYTES`] each, a client's stream stays far below what a
/// pool keeps to send again.
const MESSAGES: u64 = 8;

/// Of the calls of the caller that watches, each of this number is a Watch.
const WATCH_EVERY: usize = 4;

/// The length of a text.
const TEXT_BYTES: usize = 100;

/// What a generated client runs on: a pool's channel, or one of tonic's.
///
/// The bounds of generated clients under one name.
pub trait Transport:
    GrpcService<
        Body,
        Error: Into<StdError>,
        Future: Send,
        ResponseBody: HttpBody<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<T> Transport for T where
    T: GrpcService<
            Body,
            Error: Into<StdError>,
            Future: Send,
            ResponseBody: HttpBody<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// The four kinds of gRPC calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One message, one answer.
    Unary,
    /// One message, a stream of answers.
    ServerStreaming,
    /// A stream of messages, one answer.
    ClientStreaming,
    /// A stream of messages, a stream of answers.
    Bidirectional,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Unary, Self::ServerStreaming, Self::ClientStreaming, Self::Bidirectional];

    /// The kind in lower case, as a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStreaming => "server_streaming",
            Self::ClientStreaming => "client_streaming",
            Self::Bidirectional => "bidirectional",
        }
    }
}

/// Why a call counts as failed.
#[derive(Debug)]
pub struct Failure {
    /// The status code by its name in the specification, or `WRONG_ANSWER`.
    pub code: &'static str,
    /// What was said about it.
    pub message: String,
}

impl Failure {
    fn wrong_answer(message: String) -> Self {
        Self { code: "WRONG_ANSWER", message }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self { code: code_name(status.code()), message: status.message().to_owned() }
    }
}

/// Calls that a load is made of.
pub trait Workload: Clone + Send + 'static {
    /// The kinds of calls it has.
    fn kinds(&self) -> &'static [Kind];

    /// Which kind the call number `call` of the caller number `caller` is, both from 0.
    fn kind(&self, caller: usize, call: usize) -> Kind;

    /// Makes one call of this kind, to its end.
    ///
    /// # Errors
    ///
    /// The call ended with another status than OK, too late, or with a wrong answer.
    fn call(&mut self, kind: Kind) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// All four kinds, on the demo's own servers.
#[derive(Clone, Debug)]
pub struct DemoCalls<T>(DemoClient<T>);

impl<T: Transport> DemoCalls<T> {
    /// Calls over this transport.
    pub fn new(transport: T) -> Self {
        Self(DemoClient::new(transport))
    }

    async fn echo(&mut self) -> Result<(), Failure> {
        let sent = text();
        let answer = self.0.echo(request(sent.clone())).await?.into_inner();
        expect("echo", &answer, &sent)
    }

    async fn count(&mut self) -> Result<(), Failure> {
        let asked = request(Number { value: MESSAGES });
        let mut numbers = self.0.count(asked).await?.into_inner();
        for value in 1..=MESSAGES {
            expect("number", &numbers.message().await?, &Some(Number { value }))?;
        }
        expect("end of the numbers", &numbers.message().await?, &None)
    }

    async fn sum(&mut self) -> Result<(), Failure> {
        let numbers = tokio_stream::iter((1..=MESSAGES).map(|value| Number { value }));
        let answer = self.0.sum(request(numbers)).await?.into_inner();
        expect("sum", &answer, &Number { value: MESSAGES * (MESSAGES + 1) / 2 })
    }

    /// Sends the next message only when the last one is answered: both directions stay open.
    async fn chat(&mut self) -> Result<(), Failure> {
        let (say, said) = mpsc::channel(1);
        let mut sent = text();
        // There is room for one message, and the stream that it goes to lives on.
        let _ = say.send(sent.clone()).await;
        let mut answers = self.0.chat(request(ReceiverStream::new(said))).await?.into_inner();
        for left in (0..MESSAGES).rev() {
            expect("answer", &answers.message().await?, &Some(sent))?;
            if left == 0 {
                break;
            }
            sent = text();
            // A stream that has ended shows in its next answer.
            let _ = say.send(sent.clone()).await;
        }
        drop(say);
        expect("end of the chat", &answers.message().await?, &None)
    }
}

impl<T: Transport> Workload for DemoCalls<T> {
    fn kinds(&self) -> &'static [Kind] {
        &Kind::ALL
    }

    /// Each kind in turn; the callers start with different ones, so that all run at once.
    fn kind(&self, caller: usize, call: usize) -> Kind {
        Kind::ALL[(caller + call) % Kind::ALL.len()]
    }

    async fn call(&mut self, kind: Kind) -> Result<(), Failure> {
        bounded(async {
            match kind {
                Kind::Unary => self.echo().await,
                Kind::ServerStreaming => self.count().await,
                Kind::ClientStreaming => self.sum().await,
                Kind::Bidirectional => self.chat().await,
            }
        })
        .await
    }
}

/// `Check` and `Watch` of `grpc.health.v1`, which almost any server has.
#[derive(Clone, Debug)]
pub struct HealthCalls<T>(HealthClient<T>);

impl<T: Transport> HealthCalls<T> {
    /// Calls over this transport.
    pub fn new(transport: T) -> Self {
        Self(HealthClient::new(transport))
    }

    /// Any answer is a good one: a server that is not serving answers too.
    async fn check(&mut self) -> Result<(), Failure> {
        self.0.check(request(HealthCheckRequest::default())).await?;
        Ok(())
    }

    /// The stream has no end of its own: it is cancelled after its first message.
    async fn watch(&mut self) -> Result<(), Failure> {
        let watched = request(HealthCheckRequest::default());
        let mut states = self.0.watch(watched).await?.into_inner();
        match states.message().await? {
            Some(_) => Ok(()),
            None => Err(Failure::wrong_answer("Watch ended without a message".to_owned())),
        }
    }
}

impl<T: Transport> Workload for HealthCalls<T> {
    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Unary, Kind::ServerStreaming]
    }

    /// One caller watches, and checks a few times before it does so again. The health servicer of
    /// Python's grpcio locks up for good when one Watch begins while another one is cancelled.
    fn kind(&self, caller: usize, call: usize) -> Kind {
        if caller == 0 && call % WATCH_EVERY == WATCH_EVERY - 1 {
            Kind::ServerStreaming
        } else {
            Kind::Unary
        }
    }

    async fn call(&mut self, kind: Kind) -> Result<(), Failure> {
        bounded(async {
            match kind {
                Kind::ServerStreaming => self.watch().await,
                _ => self.check().await,
            }
        })
        .await
    }
}

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// A text that no other call sends, so that an answer cannot be someone else's.
fn text() -> Text {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Text { body: format!("{number:0>TEXT_BYTES$}") }
}

fn expect<A: PartialEq + std::fmt::Debug>(
    what: &str,
    got: &A,
    expected: &A,
) -> Result<(), Failure> {
    if got == expected {
        Ok(())
    } else {
        Err(Failure::wrong_answer(format!("{what}: got {got:?}, not {expected:?}")))
    }
}

async fn bounded(call: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    match time::timeout(GIVEN_UP, call).await {
        Ok(result) => result,
        Err(_) => Err(Failure {
            code: code_name(Code::DeadlineExceeded),
            message: format!("given up on after {GIVEN_UP:?}: its deadline was {DEADLINE:?}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use tonic::transport::{Channel, Endpoint};

    use super::*;

    fn nowhere() -> Channel {
        Endpoint::from_static("http://127.0.0.1:1").connect_lazy()
    }

    #[tokio::test]
    async fn callers_make_calls_of_every_kind_and_start_with_different_ones() {
        let calls = DemoCalls::new(nowhere());
        for caller in 0..4 {
            let mut made: Vec<_> = (0..4).map(|call| calls.kind(caller, call) as usize).collect();
            assert_eq!(made[0], caller);
            made.sort_unstable();
            assert_eq!(made, [0, 1, 2, 3]);
        }
    }

    #[tokio::test]
    async fn one_caller_watches_and_checks_between_two_watches() {
        let calls = HealthCalls::new(nowhere());
        let made: Vec<_> = (0..8).map(|call| calls.kind(0, call)).collect();
        let [check, watch] = [Kind::Unary, Kind::ServerStreaming];
        assert_eq!(made, [check, check, check, watch, check, check, check, watch]);
        assert!((1..9).all(|caller| (0..8).all(|call| calls.kind(caller, call) == check)));
    }
}
