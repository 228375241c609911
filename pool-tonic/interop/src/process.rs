//! Processes of peers.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::Outcome;

/// Slow machines need a second or two; beyond this it does not come, or does not go.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A process of a peer. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Process {
    /// Starts one; what it says on standard error goes to a log.
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Outcome<Self> {
        let out = File::options().append(true).create(true).open(&log)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(out).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let stdout = child.stdout.take().ok_or("standard output is a pipe")?;
        Ok(Self { child, lines: BufReader::new(stdout).lines(), log })
    }

    /// The next line that it prints; `None` at the end.
    pub(crate) async fn line(&mut self) -> Outcome<Option<String>> {
        match timeout(PATIENCE, self.lines.next_line()).await {
            Ok(line) => Ok(line?),
            Err(_) => Err(self.complaint("it says nothing").into()),
        }
    }

    /// Waits until it prints `word`, perhaps with a value behind it, which is returned.
    pub(crate) async fn hear(&mut self, word: &str) -> Outcome<String> {
        let line = self.line().await?;
        let value = line.as_deref().and_then(|line| line.strip_prefix(word));
        match value {
            Some(value) => Ok(value.trim().to_owned()),
            None => Err(self.complaint(&format!("{line:?} instead of {word:?}")).into()),
        }
    }

    /// Says a line to it, and waits until it says that it has done so.
    pub(crate) async fn tell(&mut self, line: &str, answer: &str) -> Outcome<()> {
        let stdin = self.child.stdin.as_mut().ok_or("it was asked to stop")?;
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        stdin.flush().await?;
        self.hear(answer).await?;
        Ok(())
    }

    /// Ends its standard input, on which it is to stop.
    pub(crate) fn ask_to_stop(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn gone(&mut self) -> Outcome<()> {
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(ExitStatus::success) => Ok(()),
            Ok(_) => Err(self.complaint("it ended badly").into()),
            Err(_) => Err(self.complaint("it does not stop").into()),
        }
    }

    /// `SIGKILL`. Returns when it is gone, and its sockets with it.
    pub(crate) async fn kill(&mut self) -> Outcome<()> {
        Ok(self.child.kill().await?)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Outcome<()> {
        let id = self.child.id().ok_or("the process is gone")?;
        let pid = Pid::from_raw(i32::try_from(id)?).ok_or("a process has a number")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Has it ended?
    pub(crate) fn is_gone(&mut self) -> Outcome<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    pub(crate) fn complaint(&self, what: &str) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_else(|error| error.to_string());
        format!("{}: {what}\n{log}", self.log.display())
    }
}
