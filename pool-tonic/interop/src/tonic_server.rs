//! tonic's server, in a process of its own: this program, started with `serve`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::{self, File};
use std::future::{pending, ready};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use clap::Args;
use futures_util::stream::{try_unfold, unfold};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};
use tower_service::Service;

use crate::Outcome;
use crate::echo::{CALL_ID, FAIL_FIRST, Kind, MESSAGES, RawCodec, SERVICE};

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[arg(long, default_value_t = 0)]
    port: u16,
    #[arg(long)]
    ledger: PathBuf,
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    #[arg(long)]
    streams: Option<u32>,
    #[arg(long)]
    age_ms: Option<u64>,
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    #[arg(long)]
    key: Option<PathBuf>,
}

/// More calls than any case gives up at a time.
const PENDING_RESETS: usize = 1000;

/// Serves until standard input ends and the calls that run have finished.
pub(crate) async fn serve(options: Options) -> Outcome<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    // A successor can listen before this one has stopped.
    socket.set_reuseport(true)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], options.port)))?;
    let listener = socket.listen(1024)?;
    println!("listening {}", listener.local_addr()?.port());

    let ledger = File::options().append(true).create(true).open(&options.ledger)?;
    let (ledger, delay) = (Arc::new(ledger), Duration::from_millis(options.delay_ms));
    let echo = Echo { ledger, delay, attempts: Arc::default() };
    // h2's own 20 ends a connection on which that many calls were given up before the server ran again,
    // and with it the calls that wait there: what it does in the case `freeze`.
    let mut server = Server::builder()
        .max_concurrent_streams(options.streams)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS));
    if let Some(age) = options.age_ms {
        server = server.max_connection_age(Duration::from_millis(age));
    }
    if let (Some(certificate), Some(key)) = (options.certificate, options.key) {
        let identity = Identity::from_pem(fs::read(certificate)?, fs::read(key)?);
        server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
    }
    let (reporter, health) = health_reporter();
    reporter.set_service_status(SERVICE, ServingStatus::Serving).await;
    // It stops when there is nothing more to accept. By a signal it would keep its listener, and leave
    // those that connect then without an answer, until the last call is over.
    server
        .add_service(health)
        .add_service(echo)
        .serve_with_incoming_shutdown(accept(listener, obey(reporter)), pending())
        .await?;
    Ok(())
}

/// Is as healthy as standard input says, until it ends.
async fn obey(reporter: HealthReporter) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let serves = line == "SERVING";
        let state = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status(SERVICE, state).await;
        println!("health {line}");
    }
}

/// Connections until it is to stop, and with it the listener.
fn accept(
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send,
) -> impl Stream<Item = io::Result<TcpStream>> {
    unfold((listener, Box::pin(stop)), |(listener, mut stop)| async move {
        let accepted = tokio::select! {
            () = &mut stop => return None,
            accepted = listener.accept() => accepted,
        };
        let stream = accepted.and_then(|(stream, _)| stream.set_nodelay(true).map(|()| stream));
        Some((stream, (listener, stop)))
    })
}

#[derive(Clone, Debug)]
struct Echo {
    ledger: Arc<File>,
    delay: Duration,
    /// How often the calls were begun that ask to fail at first.
    attempts: Arc<Mutex<HashMap<String, usize>>>,
}

impl NamedService for Echo {
    const NAME: &'static str = SERVICE;
}

type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;
type Answers = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Some(kind) = Kind::from_path(request.uri().path()) else {
            let status = Status::unimplemented(request.uri().path()).into_http();
            return Box::pin(ready(Ok(status)));
        };
        let method = Method { echo: self.clone(), kind };
        // On the wire, all types are streams both ways.
        Box::pin(
            async move { Ok(tonic::server::Grpc::new(RawCodec).streaming(method, request).await) },
        )
    }
}

struct Method {
    echo: Echo,
    kind: Kind,
}

impl Service<Request<Streaming<Bytes>>> for Method {
    type Response = Response<Answers>;
    type Error = Status;
    type Future = BoxFuture<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (echo, kind) = (self.echo.clone(), self.kind);
        Box::pin(async move { echo.answer(kind, request).await.map(Response::new) })
    }
}

impl Echo {
    fn note(&self, line: &str) -> Result<(), Status> {
        // One write, so that lines of several processes do not mix.
        (&*self.ledger).write_all(line.as_bytes()).map_err(|error| Status::from_error(error.into()))
    }

    /// The number of this attempt of a call, from 1.
    fn attempt(&self, id: &str) -> usize {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.entry(id.to_owned()).or_default();
        *attempt += 1;
        *attempt
    }

    async fn answer(
        self,
        kind: Kind,
        request: Request<Streaming<Bytes>>,
    ) -> Result<Answers, Status> {
        let id = request.metadata().get(CALL_ID).and_then(|id| id.to_str().ok());
        let id = id.ok_or_else(|| Status::invalid_argument("no call-id"))?.to_owned();
        let peer = request.remote_addr().ok_or_else(|| Status::internal("no remote address"))?;
        self.note(&format!("begin {id} {peer}\n"))?;
        if !self.delay.is_zero() {
            sleep(self.delay).await;
        }
        let first = request.metadata().get(FAIL_FIRST).and_then(|first| first.to_str().ok());
        if let Some(first) = first.and_then(|first| first.parse().ok())
            && self.attempt(&id) <= first
        {
            return Err(Status::unavailable("asked to fail"));
        }
        let mut requests = request.into_inner();
        if kind == Kind::Bidi {
            let state = (self, id, requests);
            return Ok(Box::pin(try_unfold(state, |(echo, id, mut requests)| async move {
                if let Some(message) = requests.message().await? {
                    return Ok(Some((message, (echo, id, requests))));
                }
                echo.note(&format!("end {id}\n"))?;
                Ok(None)
            })));
        }
        let mut whole = BytesMut::new();
        while let Some(message) = requests.message().await? {
            whole.extend_from_slice(&message);
        }
        self.note(&format!("end {id}\n"))?;
        let times = if kind == Kind::ServerStream { MESSAGES } else { 1 };
        Ok(Box::pin(tokio_stream::iter(vec![Ok(whole.freeze()); times])))
    }
}
