//! The server, in a process of its own.

use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, thread};

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_stream::StreamExt as _;
use tonic::codegen::BoxStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use super::proto::echo_server::{Echo, EchoServer};
use super::proto::{Answer, Ask};

/// The handle of a server's process. Dropped, the process is killed.
#[derive(Debug)]
pub struct Server {
    process: Child,
    uri: String,
}

impl Server {
    /// Starts this program anew, as a server: with `--serve`, or `--serve=LIMIT`.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or does not say where it listens.
    pub fn start(limit: Option<u32>) -> io::Result<Self> {
        let serve = limit.map_or_else(|| "--serve".to_owned(), |limit| format!("--serve={limit}"));
        let process = Command::new(env::current_exe()?)
            .arg(serve)
            // It ends when this pipe does: so in whatever way this process ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut server = Self { process, uri: String::new() };
        let mut address = String::new();
        if let Some(output) = server.process.stdout.take() {
            BufReader::new(output).read_line(&mut address)?;
        }
        if address.is_empty() {
            return Err(io::Error::other("the server has ended before it listened"));
        }
        server.uri = format!("http://{}", address.trim_end());
        Ok(server)
    }

    /// Where it listens.
    pub fn uri(&self) -> &str {
        &self.uri
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either fails only if it has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves on loopback, on this thread, until standard input ends; says where on standard output.
///
/// # Errors
///
/// If it cannot listen.
pub fn serve(limit: Option<u32>) -> io::Result<()> {
    let (ended, end) = oneshot::channel::<()>();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        drop(ended);
    });
    super::runtime(1).block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = tonic::transport::Server::builder()
            .max_concurrent_streams(limit)
            .add_service(EchoServer::new(Service))
            .serve_with_incoming(incoming);
        tokio::select! {
            served = serving => served.map_err(io::Error::other),
            _ = end => Ok(()),
        }
    })
}

struct Service;

#[tonic::async_trait]
impl Echo for Service {
    type ServerStreamStream = BoxStream<Answer>;
    type BidiStream = BoxStream<Answer>;

    async fn unary(&self, request: Request<Ask>) -> Result<Response<Answer>, Status> {
        let Ask { payload, delay_us, .. } = request.into_inner();
        if delay_us > 0 {
            tokio::time::sleep(Duration::from_micros(delay_us.into())).await;
        }
        Ok(Response::new(Answer { payload }))
    }

    async fn server_stream(
        &self,
        request: Request<Ask>,
    ) -> Result<Response<BoxStream<Answer>>, Status> {
        let Ask { payload, answers, .. } = request.into_inner();
        let answers = (0..answers).map(move |_| Ok(Answer { payload: payload.clone() }));
        Ok(Response::new(Box::pin(tokio_stream::iter(answers))))
    }

    async fn client_stream(
        &self,
        request: Request<Streaming<Ask>>,
    ) -> Result<Response<Answer>, Status> {
        let mut asks = request.into_inner();
        let mut answer = Answer::default();
        while let Some(ask) = asks.message().await? {
            answer.payload = ask.payload;
        }
        Ok(Response::new(answer))
    }

    async fn bidi(
        &self,
        request: Request<Streaming<Ask>>,
    ) -> Result<Response<BoxStream<Answer>>, Status> {
        let answer = |ask: Ask| Answer { payload: ask.payload };
        Ok(Response::new(Box::pin(request.into_inner().map(move |ask| ask.map(answer)))))
    }
}
