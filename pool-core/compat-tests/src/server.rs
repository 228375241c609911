//! A server's process, on a port of the loopback interface.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::Outcome;

/// Slow machines need a second or two; beyond this it does not come.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The superuser of the `PostgreSQL` server, and the name of a database that is always there.
pub(crate) const POSTGRES_USER: &str = "pool";

/// A server that can be started and stopped, and comes back on the same port with the same data.
/// Dropped, it is stopped.
pub(crate) struct Server {
    port: u16,
    start: Command,
    /// How it is stopped in good order. Otherwise it is killed.
    stop: Option<Command>,
    child: Option<Child>,
    /// Its data and its log.
    dir: TempDir,
}

impl Server {
    /// A `PostgreSQL` with a database of its own, not started.
    pub(crate) fn postgres() -> Outcome<Self> {
        let bin = PathBuf::from(variable("COMPAT_POSTGRES_BIN")?);
        let (dir, port) = (tempfile::tempdir()?, free_port()?);
        let data = dir.path().join("data");

        let mut init = Command::new(bin.join("initdb"));
        init.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        init.args(["--username", POSTGRES_USER, "--pgdata"]).arg(&data);
        let made = init.output()?;
        if !made.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)).into());
        }

        let mut start = Command::new(bin.join("postgres"));
        start.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        // Its data goes with it; a socket in a folder of the system's needs rights that it may lack.
        start.args(["-c", "fsync=off", "-c", "unix_socket_directories="]);
        let mut stop = Command::new(bin.join("pg_ctl"));
        stop.args(["stop", "--wait", "--silent", "--mode=fast", "-D"]).arg(&data);
        Ok(Self { port, start, stop: Some(stop), child: None, dir })
    }

    /// A Redis that keeps nothing, not started.
    pub(crate) fn redis() -> Outcome<Self> {
        let (dir, port) = (tempfile::tempdir()?, free_port()?);
        let mut start = Command::new(variable("COMPAT_REDIS_SERVER")?);
        start.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        start.args(["--save", "", "--appendonly", "no", "--dir"]).arg(dir.path());
        Ok(Self { port, start, stop: None, child: None, dir })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts it, and comes back when it answers as `answers` asks it.
    pub(crate) async fn start(&mut self, answers: impl AsyncFn(u16) -> Outcome<()>) -> Outcome<()> {
        let log = self.dir.path().join("log");
        let out = File::create(&log)?;
        self.start.stderr(out.try_clone()?).stdout(out);
        let child = self.child.insert(self.start.spawn()?);
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let Err(error) = answers(self.port).await else { return Ok(()) };
            let ended = child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(&log)?;
                return Err(format!("the server does not come: {error}\n{log}").into());
            }
            // There is nothing in another process that one could wait for.
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops it, and comes back when it is gone.
    pub(crate) fn stop(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let stopped = match &mut self.stop {
            Some(stop) => stop.status().is_ok_and(|status| status.success()),
            None => false,
        };
        if !stopped {
            child.kill()?;
        }
        child.wait().map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("a server could not be stopped: {error}");
        }
    }
}

fn variable(name: &str) -> Outcome<OsString> {
    std::env::var_os(name).ok_or_else(|| format!("{name} is not set: run .ci/servers").into())
}

/// A port that nobody has at the moment.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
