//! The server, in a process of its own.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, thread};

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_stream::StreamExt as _;
use tonic::codegen::BoxStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use super::proto::echo_server::{Echo, EchoServer};
use super::proto::{Answer, Ask};
use super::{Failure, Setup};

/// How a server serves: what [`Server::start`] tells the process.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Serving {
    /// Its limit of streams on a connection.
    limit: Option<u32>,
    /// Its certificate and key, in PEM, if it serves over TLS.
    identity: Option<(String, String)>,
    /// It says how its health is.
    health: bool,
}

impl FromStr for Serving {
    type Err = serde_json::Error;

    fn from_str(told: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(told)
    }
}

/// The handle of a server's process. Dropped, the process is killed.
#[derive(Debug)]
pub struct Server {
    process: Child,
    says: BufReader<ChildStdout>,
    uri: String,
    certificate: Option<String>,
}

impl Server {
    /// Starts this program anew, as a server: with `--serve=` and a [`Serving`] in JSON.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or does not say where it listens.
    pub fn start(limit: Option<u32>, setup: Setup) -> Result<Self, Failure> {
        let mut serving = Serving { limit, health: setup == Setup::Guarded, identity: None };
        if setup == Setup::Tls {
            let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
            serving.identity = Some((own.cert.pem(), own.signing_key.serialize_pem()));
        }
        let mut process = Command::new(env::current_exe()?)
            .arg(format!("--serve={}", serde_json::to_string(&serving)?))
            // It ends when this pipe does: so in whatever way this process ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let says = process.stdout.take().ok_or_else(|| io::Error::other("it has no output"))?;
        let certificate = serving.identity.map(|(certificate, _)| certificate);
        let mut server =
            Self { process, says: BufReader::new(says), uri: String::new(), certificate };
        let scheme = if setup == Setup::Tls { "https" } else { "http" };
        server.uri = format!("{scheme}://{}", server.line()?);
        Ok(server)
    }

    /// Where it listens.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Its certificate, in PEM, if it serves over TLS.
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// How many unary calls it has got since this was asked last.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn take_calls(&mut self) -> Result<usize, Failure> {
        self.tell("calls")
    }

    /// It answers unary calls with UNAVAILABLE from now on.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn fail(&mut self) -> Result<(), Failure> {
        self.tell("fail").map(drop)
    }

    /// It answers unary calls so much later from now on.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn slow(&mut self, later: Duration) -> Result<(), Failure> {
        self.tell(&format!("slow {}", later.as_micros())).map(drop)
    }

    /// Kills it. When this returns its port is closed, and so are its connections.
    ///
    /// # Errors
    ///
    /// If it has ended already.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }

    /// Says something to it, which it answers with the calls since it was told something last.
    fn tell(&mut self, what: &str) -> Result<usize, Failure> {
        let input = self.process.stdin.as_mut().ok_or("it has no input")?;
        writeln!(input, "{what}")?;
        Ok(self.line()?.parse()?)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.says.read_line(&mut line)? == 0 {
            return Err(io::Error::other("the server has ended"));
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either fails only if it has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves on loopback, on this thread, until standard input ends; says where on standard output, and does what it
/// is told.
///
/// # Errors
///
/// If it cannot listen, or its certificate is none.
pub fn serve(serving: Serving) -> Result<(), Failure> {
    let (ended, end) = oneshot::channel::<()>();
    let service = Service::default();
    let conduct = Arc::clone(&service.0);
    super::runtime(1).block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        thread::spawn(move || {
            for told in io::stdin().lines().map_while(Result::ok) {
                println!("{}", conduct.told(&told));
            }
            drop(ended);
        });
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let mut server = tonic::transport::Server::builder().max_concurrent_streams(serving.limit);
        if let Some((certificate, key)) = serving.identity {
            let identity = Identity::from_pem(certificate, key);
            server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
        }
        let health = serving.health.then(|| tonic_health::server::health_reporter().1);
        let services = server.add_service(EchoServer::new(service)).add_optional_service(health);
        tokio::select! {
            served = services.serve_with_incoming(incoming) => served?,
            _ = end => {}
        }
        Ok(())
    })
}

/// How unary calls are answered.
#[derive(Default)]
struct Conduct {
    calls: AtomicUsize,
    fails: AtomicBool,
    /// In microseconds.
    later: AtomicU64,
}

impl Conduct {
    /// Does as [`Server::tell`] says. The calls since then.
    fn told(&self, what: &str) -> usize {
        if what == "fail" {
            self.fails.store(true, Ordering::Relaxed);
        } else if let Some(later) = what.strip_prefix("slow ") {
            let later = later.parse().expect("bug: it is told a number of microseconds");
            self.later.store(later, Ordering::Relaxed);
        }
        self.calls.swap(0, Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Service(Arc<Conduct>);

#[tonic::async_trait]
impl Echo for Service {
    type ServerStreamStream = BoxStream<Answer>;
    type BidiStream = BoxStream<Answer>;

    async fn unary(&self, request: Request<Ask>) -> Result<Response<Answer>, Status> {
        let Ask { payload, delay_us, .. } = request.into_inner();
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        if self.0.fails.load(Ordering::Relaxed) {
            return Err(Status::unavailable("it was told to fail"));
        }
        let delay_us = u64::from(delay_us) + self.0.later.load(Ordering::Relaxed);
        if delay_us > 0 {
            tokio::time::sleep(Duration::from_micros(delay_us)).await;
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
