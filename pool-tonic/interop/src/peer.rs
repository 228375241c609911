//! The peers: whose servers they are, and how each is started, stopped and started again.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::Outcome;
use crate::ledger::Ledger;
use crate::process::{PATIENCE, Process};
use crate::tls::Certificates;

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");

/// How long Envoy goes on accepting while it drains. Its least.
const ENVOY_DRAIN: Duration = Duration::from_secs(1);

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Tonic,
    Grpcio,
    GrpcJs,
    GrpcGo,
    /// As a proxy before tonic's server.
    Envoy,
}

impl Peer {
    pub(crate) const ALL: [Self; 5] =
        [Self::Tonic, Self::Grpcio, Self::GrpcJs, Self::GrpcGo, Self::Envoy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tonic => "tonic",
            Self::Grpcio => "grpcio",
            Self::GrpcJs => "grpc-js",
            Self::GrpcGo => "grpc-go",
            Self::Envoy => "envoy",
        }
    }

    pub(crate) fn is_here(self) -> bool {
        self.command().is_ok()
    }

    /// Can two processes of it listen on one port?
    pub(crate) fn shares_port(self) -> bool {
        self != Self::GrpcJs
    }

    /// Does it say how healthy it is (`grpc.health.v1`)?
    pub(crate) fn says_health(self) -> bool {
        matches!(self, Self::Tonic | Self::Grpcio | Self::GrpcGo)
    }

    /// Does it write down the pings that come?
    pub(crate) fn books_pings(self) -> bool {
        self == Self::GrpcGo
    }

    /// Does it, while it stops in good order, answer calls that it has not begun with `CANCELLED`? C-core
    /// does so with those that arrive before its client has read the GOAWAY, and with those that its
    /// handlers had not come to. That is an answer like any other, and no proof that a call was not processed.
    pub(crate) fn cancels_when_stopping(self) -> bool {
        self == Self::Grpcio
    }

    fn command(self) -> Outcome<Command> {
        Ok(match self {
            Self::Tonic => {
                let mut command = Command::new(env::current_exe()?);
                command.arg("serve");
                command
            }
            Self::Grpcio => script(python()?, "echo_server.py"),
            Self::GrpcJs => script(variable("INTEROP_NODE")?, "echo_server.js"),
            Self::GrpcGo => Command::new(variable("INTEROP_GO")?),
            Self::Envoy => Command::new(variable("INTEROP_ENVOY")?),
        })
    }
}

/// A Python that has grpcio.
pub(crate) fn python() -> Outcome<PathBuf> {
    variable("INTEROP_PYTHON")
}

/// A program in a script of ours.
pub(crate) fn script(interpreter: PathBuf, name: &str) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(Path::new(PEERS).join(name));
    command
}

fn variable(name: &str) -> Outcome<PathBuf> {
    let value = env::var_os(name).ok_or_else(|| format!("{name} is not set: run .ci/peers"))?;
    Ok(value.into())
}

/// What a server is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How long each call takes.
    pub(crate) delay: Duration,
    /// The most streams of a connection at a time.
    pub(crate) streams: Option<u32>,
    /// The age at which connections are ended.
    pub(crate) age: Option<Duration>,
    /// It has a certificate.
    pub(crate) tls: bool,
}

/// A server that runs, on a port that it keeps when it is started again.
#[derive(Debug)]
pub(crate) struct Server {
    peer: Peer,
    settings: Settings,
    /// Of its ledger, its logs and other files; without an ending.
    files: PathBuf,
    port: u16,
    process: Process,
    proxy: Option<Proxy>,
}

/// What a proxy has besides.
#[derive(Debug)]
struct Proxy {
    /// Where it is administered.
    admin: String,
    /// The server that it stands before, for as long as it is there.
    _server: Box<Server>,
}

impl Server {
    pub(crate) async fn start(peer: Peer, settings: Settings, files: PathBuf) -> Outcome<Self> {
        Self::start_on(0, peer, settings, files).await
    }

    async fn start_on(port: u16, peer: Peer, settings: Settings, files: PathBuf) -> Outcome<Self> {
        if peer == Peer::Envoy {
            return Box::pin(Self::start_envoy(port, settings, files)).await;
        }
        let mut command = peer.command()?;
        command.arg(format!("--port={port}"));
        command.arg("--ledger").arg(files.with_extension("ledger"));
        command.arg(format!("--delay-ms={}", settings.delay.as_millis()));
        if let Some(streams) = settings.streams {
            command.arg(format!("--streams={streams}"));
        }
        if let Some(age) = settings.age {
            command.arg(format!("--age-ms={}", age.as_millis()));
        }
        if settings.tls {
            let certificates = certificates(&files)?;
            command.arg("--certificate").arg(certificates.certificate());
            command.arg("--key").arg(certificates.key());
        }
        let mut process = Process::start(command, files.with_extension("log"))?;
        let port = process.hear("listening ").await?.parse()?;
        Ok(Self { peer, settings, files, port, process, proxy: None })
    }

    /// The limits are the proxy's, the delay is the server's.
    async fn start_envoy(port: u16, settings: Settings, files: PathBuf) -> Outcome<Self> {
        let plain = Settings { streams: None, age: None, tls: false, ..settings };
        let server = Self::start_on(0, Peer::Tonic, plain, files.clone()).await?;
        // Its own default, which is to say no limit.
        let streams = settings.streams.unwrap_or(1024);
        let age = settings.age.map_or("null".to_owned(), |age| format!("{}s", age.as_secs_f64()));
        let config = fs::read_to_string(Path::new(PEERS).join("envoy.yaml"))?
            .replace("@PORT@", &port.to_string())
            .replace("@STREAMS@", &streams.to_string())
            .replace("@AGE@", &age)
            .replace("@TLS@", &envoy_tls(settings, &files)?)
            .replace("@SERVER@", &server.port.to_string());
        let admin = files.with_extension("admin");
        let _ = fs::remove_file(&admin);
        let mut command = Peer::Envoy.command()?;
        command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]);
        command.args(["--drain-time-s", &ENVOY_DRAIN.as_secs().to_string()]);
        command.args(["--drain-strategy", "immediate", "--config-yaml", &config]);
        command.arg("--admin-address-path").arg(&admin);
        let mut process = Process::start(command, files.with_extension("envoy.log"))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(admin) = fs::read_to_string(&admin)
                && let Ok(listeners) = ask(&admin, "GET", "/listeners").await
                && let Some(address) =
                    listeners.lines().find_map(|line| line.strip_prefix("echo::"))
                && let Some((_, port)) = address.rsplit_once(':')
            {
                let port = port.trim().parse()?;
                let proxy = Some(Proxy { admin, _server: Box::new(server) });
                return Ok(Self { peer: Peer::Envoy, settings, files, port, process, proxy });
            }
            if process.is_gone()? || Instant::now() > deadline {
                return Err(process.complaint("Envoy does not come").into());
            }
            // There is nothing in another process that one could wait for.
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where another process with a part in this may write its log.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.files.with_extension(format!("{name}.log"))
    }

    pub(crate) fn ledger(&self) -> Outcome<Ledger> {
        Ledger::read(&self.files.with_extension("ledger"))
    }

    /// Stops it in good order: GOAWAY, and what runs finishes. Returns when it is gone.
    pub(crate) async fn stop(&mut self) -> Outcome<()> {
        let Some(proxy) = &self.proxy else {
            self.process.ask_to_stop();
            return self.process.gone().await;
        };
        ask(&proxy.admin, "POST", "/drain_listeners?graceful").await?;
        // Then it has closed its listener; what is left of its connections has had its GOAWAY, and
        // time to end.
        sleep(ENVOY_DRAIN + Duration::from_millis(500)).await;
        self.process.signal(Signal::TERM)?;
        self.process.gone().await
    }

    /// From here on its service is said to be in this state: `SERVING`, `NOT_SERVING`.
    pub(crate) async fn says(&mut self, state: &str) -> Outcome<()> {
        self.process.tell(state, "health").await
    }

    /// Starts another one on the same port, with the same ledger.
    pub(crate) async fn successor(&self) -> Outcome<Self> {
        Self::start_on(self.port, self.peer, self.settings, self.files.clone()).await
    }

    pub(crate) async fn kill(&mut self) -> Outcome<()> {
        self.process.kill().await
    }

    pub(crate) fn freeze(&self) -> Outcome<()> {
        self.process.signal(Signal::STOP)
    }

    pub(crate) fn thaw(&self) -> Outcome<()> {
        self.process.signal(Signal::CONT)
    }
}

/// Those of a server with these files.
fn certificates(files: &Path) -> Outcome<Certificates> {
    Ok(Certificates::of(files.parent().ok_or("files are in a folder")?))
}

/// In YAML.
fn envoy_tls(settings: Settings, files: &Path) -> Outcome<String> {
    if !settings.tls {
        return Ok("null".to_owned());
    }
    let certificates = certificates(files)?;
    let (certificate, key) = (certificates.certificate(), certificates.key());
    let (certificate, key) = (certificate.display(), key.display());
    Ok(format!(
        "{{ name: envoy.transport_sockets.tls, typed_config: {{ \
           \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, \
           common_tls_context: {{ alpn_protocols: [h2], tls_certificates: [{{ \
           certificate_chain: {{ filename: \"{certificate}\" }}, \
           private_key: {{ filename: \"{key}\" }} }}] }} }} }}"
    ))
}

/// Asks Envoy's administration for something.
async fn ask(admin: &str, method: &str, path: &str) -> Outcome<String> {
    let mut stream = TcpStream::connect(admin.trim()).await?;
    let head = "Host: admin\r\nContent-Length: 0\r\nConnection: close";
    stream.write_all(format!("{method} {path} HTTP/1.1\r\n{head}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
        _ => Err(format!("{path}: {answer}").into()),
    }
}
