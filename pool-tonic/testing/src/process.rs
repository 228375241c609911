//! An echo server in a process of its own, for tests to kill, to stop and to start again.
//!
//! The process is the test program once more, told by its environment to [serve](serve_if_asked). So a program
//! that uses this has one test by the name that [`start`](ServerProcess::start) is given, which begins with
//!
//! ```
//! # fn test() {
//! if pool_tonic_testing::process::serve_if_asked() {
//!     return;
//! }
//! # }
//! # test();
//! ```

use std::collections::HashMap;
use std::env;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::EchoServer;

/// Where to listen. Set for the process that is to serve, and for no other.
const LISTEN: &str = "POOL_TONIC_TESTING_LISTEN";

/// What its lines begin with; the test program prints others.
const LISTENS: &str = "listens ";
const CALL: &str = "call ";

/// The calls that a process has seen begin, by text. What it has said before it was killed counts.
type Seen = HashMap<String, usize>;

/// A process that serves. Dropped, it is killed; it also ends when the program that started it does.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    addr: SocketAddr,
    seen: Arc<watch::Sender<Seen>>,
    listening: JoinHandle<()>,
}

impl ServerProcess {
    /// Starts one on a port of the system's choice, through the test of this name (see the module).
    ///
    /// # Errors
    ///
    /// If it cannot be started, or ends without listening.
    pub async fn start(test: &str) -> io::Result<Self> {
        Self::start_on(test, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts one on a given address.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or ends without listening.
    pub async fn start_on(test: &str, addr: SocketAddr) -> io::Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args([test, "--exact", "--nocapture"])
            .env(LISTEN, addr.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut lines = BufReader::new(stdout).lines();
        let addr = loop {
            let line = lines.next_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            // The harness says something first, on the same line.
            if let Some((_, addr)) = line.split_once(LISTENS) {
                break addr.parse().map_err(io::Error::other)?;
            }
        };
        let seen = Arc::new(watch::Sender::new(Seen::new()));
        let listening = tokio::spawn(listen(lines, Arc::clone(&seen)));
        Ok(Self { child, addr, seen, listening })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URI.
    pub fn uri(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The calls that it has seen begin, by text, as far as it has been heard.
    pub fn seen(&self) -> HashMap<String, usize> {
        self.seen.borrow().clone()
    }

    /// Waits until it has seen what is wanted.
    ///
    /// # Panics
    ///
    /// Never, since the sender is here.
    pub async fn until(&self, mut wanted: impl FnMut(&HashMap<String, usize>) -> bool) {
        let mut watch = self.seen.subscribe();
        watch.wait_for(|seen| wanted(seen)).await.expect("the sender lives in self");
    }

    /// `SIGSTOP`: its sockets stay, and nobody reads them. Returns when it has stopped.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn stop(&self) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        // Its threads run on until each has seen the signal.
        waitid(WaitId::Pid(self.id()?), WaitIdOptions::STOPPED)?;
        Ok(())
    }

    /// `SIGCONT`.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn go_on(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    /// `SIGKILL`, and what it had seen until then.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub async fn kill(mut self) -> io::Result<HashMap<String, usize>> {
        self.child.kill().await?;
        (&mut self.listening).await?;
        Ok(self.seen())
    }

    fn id(&self) -> io::Result<Pid> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        id.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(self.id()?, signal)?)
    }
}

/// Notes what a process says, until it has ended.
async fn listen(mut lines: Lines<BufReader<ChildStdout>>, seen: Arc<watch::Sender<Seen>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(text) = line.strip_prefix(CALL) {
            seen.send_modify(|seen| *seen.entry(text.to_owned()).or_default() += 1);
        }
    }
}

/// Serves, if this process was started to; it then returns true when it has no parent any more.
///
/// # Panics
///
/// If it cannot serve.
pub fn serve_if_asked() -> bool {
    let Ok(listen) = env::var(LISTEN) else {
        return false;
    };
    let addr: SocketAddr = listen.parse().expect("the parent says where to listen");
    let runtime = tokio::runtime::Runtime::new().expect("there may be a runtime");
    runtime.block_on(async {
        // Straight to the pipe: said before the call is answered, whatever happens to the process then.
        let on_call = |text: &str| say(CALL, text);
        let server = EchoServer::start_told(addr, |server| server, on_call).await;
        let server = server.expect("the address is free");
        say(LISTENS, &server.addr().to_string());
        // It never says anything: the end means that the parent has gone.
        let _ = tokio::io::stdin().read_u8().await;
    });
    // A read of standard input that goes on would keep the runtime.
    runtime.shutdown_background();
    true
}

fn say(what: &str, text: &str) {
    // It fails when the parent has gone, and then nobody is left to know.
    let _ = writeln!(io::stdout().lock(), "{what}{text}");
}
