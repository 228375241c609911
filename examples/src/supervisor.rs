//! The demo's servers seen from outside: three processes, restarted in turn on the same ports.
//!
//! Each port is held by a socket of the supervisor's that never listens, so that nobody else gets it
//! while its server is restarted: a client that dials in that moment is refused, as in life.
//!
//! No server outlives the demo. It ends when its standard input is closed, which the system does
//! for a demo that was killed; dropping [`Servers`] kills what is left.

use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpSocket;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time;

use crate::error::Problem;
use crate::server::{self, ACCEPTED, LISTENING};

/// How many servers there are.
pub const SERVERS: usize = 3;

/// Streams that a client may have open on one connection to them.
pub const STREAMS: u32 = 10;

/// When they end a connection.
pub const CONNECTION_AGE: Duration = Duration::from_secs(2);

/// The first restart comes early, so that a short demo shows it too.
const FIRST_RESTART: Duration = Duration::from_millis(400);

/// Between two restarts. An address that refused a connection is left alone by a client for 1 s (give
/// or take a fifth): with less than that, all three would be left alone at once.
const RESTART_EVERY: Duration = Duration::from_millis(1500);

/// For a server to listen after its start.
const START: Duration = Duration::from_secs(10);

/// For a server to end after it was told to. It gives its calls half of that.
const STOP: Duration = Duration::from_secs(10);

/// The running servers.
#[derive(Debug)]
pub struct Servers {
    executable: PathBuf,
    running: Vec<Server>,
    accepted: Arc<AtomicU64>,
    restarts: u64,
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    process: Child,
    /// Holds the port; never listens.
    _port: TcpSocket,
}

impl Servers {
    /// Starts them, each on a free port of the loopback interface; returns once all listen.
    ///
    /// # Errors
    ///
    /// A server could not be started.
    pub async fn start() -> Result<Self, Problem> {
        let executable = env::current_exe()
            .map_err(|error| Problem::because("cannot find the demo's own executable", &error))?;
        let mut this =
            Self { executable, running: Vec::new(), accepted: Arc::default(), restarts: 0 };
        for _ in 0..SERVERS {
            let (port, address) = reserve_port()
                .map_err(|error| Problem::because("no free port for a server", &error))?;
            let process = this.start_one(address).await?;
            this.running.push(Server { address, process, _port: port });
        }
        Ok(this)
    }

    /// Where they listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.running.iter().map(|server| server.address).collect()
    }

    /// Connections that they have accepted so far, all together.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How often one of them was restarted.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Restarts one after the other, gracefully, until `stopped` turns true. Then all of them listen.
    ///
    /// # Errors
    ///
    /// A server did not end, or could not be started again.
    pub async fn restart_in_turn(
        &mut self,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), Problem> {
        let mut pause = FIRST_RESTART;
        for turn in (0..SERVERS).cycle() {
            tokio::select! {
                // An error means that nobody is left to stop the load: it is over.
                _ = stopped.wait_for(|stopped| *stopped) => break,
                () = time::sleep(pause) => {}
            }
            stop(&mut self.running[turn].process).await?;
            self.running[turn].process = self.start_one(self.running[turn].address).await?;
            self.restarts += 1;
            pause = RESTART_EVERY;
        }
        Ok(())
    }

    /// Ends all of them, gracefully.
    ///
    /// # Errors
    ///
    /// A server did not end; it was killed.
    pub async fn stop(mut self) -> Result<(), Problem> {
        for server in &mut self.running {
            // All at once: dropping it closes it.
            server.process.stdin.take();
        }
        for server in &mut self.running {
            stop(&mut server.process).await?;
        }
        Ok(())
    }

    async fn start_one(&self, address: SocketAddr) -> Result<Child, Problem> {
        let mut command = Command::new(&self.executable);
        command
            .args(["serve", "--listen", &address.to_string()])
            .args(["--streams", &STREAMS.to_string()])
            .args(["--connection-age", &format!("{}ms", CONNECTION_AGE.as_millis())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        // An interrupt from the terminal is for the demo alone, which ends its servers in its own time.
        #[cfg(unix)]
        command.process_group(0);
        let mut process =
            command.spawn().map_err(|error| Problem::because("cannot start a server", &error))?;
        let stdout = process.stdout.take().ok_or_else(|| Problem::new("a server has no output"))?;
        let mut lines = BufReader::new(stdout).lines();
        match time::timeout(START, lines.next_line()).await {
            Ok(Ok(Some(line))) if line == LISTENING => {}
            // What went wrong is on standard error, in the server's own words.
            _ => {
                return Err(Problem::new(format!(
                    "the server for {address} did not listen within {START:?}"
                )));
            }
        }
        tokio::spawn(count(lines, Arc::clone(&self.accepted)));
        Ok(process)
    }
}

/// Tells a server to end, by the end of its input, and waits for it.
async fn stop(process: &mut Child) -> Result<(), Problem> {
    process.stdin.take();
    match time::timeout(STOP, process.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(Problem::new(format!("a server ended with {status}"))),
        Ok(Err(error)) => Err(Problem::because("cannot wait for a server", &error)),
        Err(_) => Err(Problem::new(format!("a server did not end within {STOP:?}"))),
    }
}

/// Counts the connections of one server, until it ends.
async fn count(mut lines: Lines<BufReader<ChildStdout>>, accepted: Arc<AtomicU64>) {
    while let Ok(Some(line)) = lines.next_line().await {
        if line == ACCEPTED {
            accepted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn reserve_port() -> std::io::Result<(TcpSocket, SocketAddr)> {
    let port = server::bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let address = port.local_addr()?;
    Ok((port, address))
}
