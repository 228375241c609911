//! tonic's server, in a process of its own: this program, started with `serve`.

use std::convert::Infallible;
use std::fs::{self, File};
use std::future::{pending, ready};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use clap::Args;
use futures_util::stream::{try_unfold, unfold};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use tower_service::Service;

use crate::Outcome;
use crate::echo::{CALL_ID, Kind, MESSAGES, RawCodec, SERVICE};

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
    let echo = Echo { ledger: Arc::new(ledger), delay: Duration::from_millis(options.delay_ms) };
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
    // It stops when there is nothing more to accept. By a signal it would keep its listener, and leave
    // those that connect then without an answer, until the last call is over.
    server.add_service(echo).serve_with_incoming_shutdown(accept(listener), pending()).await?;
    Ok(())
}

/// Connections until standard input ends, and with it the listener.
fn accept(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    let stop = Box::pin(async { tokio::io::stdin().read_to_end(&mut Vec::new()).await });
    unfold((listener, stop), |(listener, mut stop)| async move {
        let accepted = tokio::select! {
            _ = &mut stop => return None,
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
