//! The echo service.

use std::future::pending;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::TcpConnectInfo;
use tonic::{Request, Response, Status, Streaming};

use crate::books::{Books, Entered};
use crate::proto::echo_server::Echo;
use crate::proto::{Answer, Ask, Do};

#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) books: Books,
    /// True when calls that wait may answer.
    pub(crate) gate: watch::Sender<bool>,
}

impl Service {
    fn enter<T>(&self, request: &Request<T>) -> Result<Entered, Status> {
        let info = request.extensions().get::<TcpConnectInfo>();
        let peer: SocketAddr = info
            .and_then(TcpConnectInfo::remote_addr)
            .ok_or_else(|| Status::internal("no remote address"))?;
        Ok(self.books.enter(peer))
    }

    async fn act(&self, ask: &Ask) -> Result<(), Status> {
        match ask.r#do() {
            Do::Echo | Do::Early => Ok(()),
            Do::Fail => Err(Status::invalid_argument(ask.text.clone())),
            Do::Hang => pending().await,
            Do::Wait => {
                // The sender lives in self.
                let _ = self.gate.subscribe().wait_for(|open| *open).await;
                Ok(())
            }
        }
    }
}

fn echo(ask: Ask) -> Answer {
    Answer { text: ask.text, messages: 1 }
}

/// The answers of a call, which is over when they are.
pub(crate) struct Answers {
    inner: Pin<Box<dyn Stream<Item = Result<Answer, Status>> + Send>>,
    _entered: Entered,
}

impl Stream for Answers {
    type Item = Result<Answer, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inner.as_mut().poll_next(cx)
    }
}

#[tonic::async_trait]
impl Echo for Service {
    type ServerStreamStream = Answers;
    type BidiStream = Answers;

    async fn unary(&self, request: Request<Ask>) -> Result<Response<Answer>, Status> {
        let _entered = self.enter(&request)?;
        let ask = request.into_inner();
        self.books.message(&ask.text, true);
        self.act(&ask).await?;
        Ok(Response::new(echo(ask)))
    }

    async fn server_stream(&self, request: Request<Ask>) -> Result<Response<Answers>, Status> {
        let entered = self.enter(&request)?;
        let ask = request.into_inner();
        self.books.message(&ask.text, true);
        if ask.r#do() == Do::Fail {
            self.act(&ask).await?;
        }
        let (service, answers) = (self.clone(), ask.answers);
        let first = tokio_stream::once(Ok(echo(ask.clone())));
        let rest = tokio_stream::iter(1..answers).then(move |_| {
            let (service, ask) = (service.clone(), ask.clone());
            async move { service.act(&ask).await.map(|()| echo(ask)) }
        });
        Ok(Response::new(Answers { inner: Box::pin(first.chain(rest)), _entered: entered }))
    }

    async fn client_stream(
        &self,
        request: Request<Streaming<Ask>>,
    ) -> Result<Response<Answer>, Status> {
        let _entered = self.enter(&request)?;
        let mut asks = request.into_inner();
        let mut answer = Answer::default();
        while let Some(ask) = asks.message().await? {
            self.books.message(&ask.text, answer.messages == 0);
            answer.messages += 1;
            answer.text.clone_from(&ask.text);
            self.act(&ask).await?;
            if ask.r#do() == Do::Early {
                break;
            }
        }
        Ok(Response::new(answer))
    }

    async fn bidi(&self, request: Request<Streaming<Ask>>) -> Result<Response<Answers>, Status> {
        let entered = self.enter(&request)?;
        let mut asks = request.into_inner();
        let (send, receive) = mpsc::channel(1);
        let service = self.clone();
        tokio::spawn(async move {
            let answer = async {
                let mut is_first = true;
                while let Some(ask) = asks.message().await? {
                    service.books.message(&ask.text, is_first);
                    is_first = false;
                    service.act(&ask).await?;
                    let early = ask.r#do() == Do::Early;
                    if send.send(Ok(echo(ask))).await.is_err() || early {
                        break;
                    }
                }
                Ok::<(), Status>(())
            };
            tokio::select! {
                result = answer => if let Err(status) = result {
                    let _ = send.send(Err(status)).await;
                },
                () = send.closed() => {}
            }
        });
        Ok(Response::new(Answers {
            inner: Box::pin(ReceiverStream::new(receive)),
            _entered: entered,
        }))
    }
}
