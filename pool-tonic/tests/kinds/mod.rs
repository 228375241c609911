//! The four kinds of calls, for tests that go through all of them.

// Each test binary uses its part of it.
#![allow(dead_code, unreachable_pub)]

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pool_tonic::{ChannelPool, PooledChannel};
use pool_tonic_testing::proto::echo_client::EchoClient;
use pool_tonic_testing::proto::{Answer, Ask, Do};
use tokio::task::JoinHandle;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Status, Streaming};

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Unary,
    ServerStream,
    ClientStream,
    Bidi,
}

pub const KINDS: [Kind; 4] = [Kind::Unary, Kind::ServerStream, Kind::ClientStream, Kind::Bidi];
pub const STREAMED: [Kind; 2] = [Kind::ClientStream, Kind::Bidi];

/// Messages of a streaming request.
pub struct Asks(Pin<Box<dyn Stream<Item = Ask> + Send>>);

impl Asks {
    pub fn new(stream: impl Stream<Item = Ask> + Send + 'static) -> Self {
        Self(Box::pin(stream))
    }
}

impl Stream for Asks {
    type Item = Ask;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Ask>> {
        self.0.as_mut().poll_next(cx)
    }
}

/// No message more: the request ends.
pub fn no_more() -> Asks {
    Asks::new(tokio_stream::empty())
}

/// No message more, and the request stays open.
pub fn open() -> Asks {
    Asks::new(tokio_stream::pending())
}

/// What a server is asked, by a text that tells the call from others.
pub fn ask(r#do: Do, text: impl Into<String>) -> Ask {
    Ask { text: text.into(), r#do: r#do.into(), answers: 3 }
}

/// A call that has been answered, or whose answer has begun.
#[derive(Debug)]
pub enum Begun {
    Whole(Answer),
    Stream(Streaming<Answer>),
}

impl Begun {
    /// The next answer.
    pub async fn next(&mut self) -> Result<Option<Answer>, Status> {
        match self {
            Self::Whole(answer) => Ok(Some(answer.clone())),
            Self::Stream(answers) => answers.message().await,
        }
    }

    /// All further answers.
    pub async fn rest(self) -> Result<Vec<Answer>, Status> {
        match self {
            Self::Whole(answer) => Ok(vec![answer]),
            Self::Stream(mut answers) => {
                let mut all = Vec::new();
                while let Some(answer) = answers.message().await? {
                    all.push(answer);
                }
                Ok(all)
            }
        }
    }
}

impl Kind {
    /// Makes a call, up to the beginning of its answer. What comes after the first message is for streaming
    /// requests only.
    pub async fn begin(
        self,
        channel: PooledChannel,
        first: Ask,
        more: Asks,
        timeout: Option<Duration>,
    ) -> Result<Begun, Status> {
        let mut client = EchoClient::new(channel);
        let mut request = Request::new(first.clone());
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        let asks = Asks::new(tokio_stream::once(first).chain(more));
        Ok(match self {
            Self::Unary => Begun::Whole(client.unary(request).await?.into_inner()),
            Self::ServerStream => Begun::Stream(client.server_stream(request).await?.into_inner()),
            Self::ClientStream => {
                Begun::Whole(client.client_stream(request.map(|_| asks)).await?.into_inner())
            }
            Self::Bidi => Begun::Stream(client.bidi(request.map(|_| asks)).await?.into_inner()),
        })
    }

    /// Makes a call of one message, to its end.
    pub async fn call(self, channel: PooledChannel, ask: Ask) -> Result<Vec<Answer>, Status> {
        self.begin(channel, ask, no_more(), None).await?.rest().await
    }

    /// The same, in a task.
    pub fn spawn(self, pool: &ChannelPool, ask: Ask) -> JoinHandle<Result<Vec<Answer>, Status>> {
        tokio::spawn(self.call(pool.channel(), ask))
    }
}
