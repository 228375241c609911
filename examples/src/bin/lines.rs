//! A pool of one's own resource: a [`Manager`] written by hand, for a client of a line-based protocol
//! over TCP, in an exclusive [`Pool`].
//!
//! The server is in here too, on loopback: it answers each line, and hangs up when told `quit`.
//! `cargo run -p examples --bin lines` shows, one after the other, that callers share a few
//! connections, that a connection is clean for its next holder, and that one that broke is replaced.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pool_core::{CheckPolicy, CreateContext, Manager, Metadata, Pool};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// More callers than connections, so that they wait for each other; a multiple of them.
const CALLERS: usize = 12;
const CONNECTIONS: usize = 3;

/// What the pool has to know: how a client is made, checked and brought back to a clean state.
struct Lines {
    server: SocketAddr,
}

impl Manager for Lines {
    type Resource = LineClient;
    type Error = io::Error;

    async fn create(&self, _cx: &CreateContext) -> io::Result<LineClient> {
        LineClient::connect(self.server).await
    }

    /// The pool asks this of one that was idle for a while, before it lends it.
    async fn check(&self, client: &mut LineClient, _meta: &Metadata) -> io::Result<()> {
        match client.ask("ping").await?.as_str() {
            "ping" => Ok(()),
            other => Err(io::Error::other(format!("answered {other:?} to a ping"))),
        }
    }

    /// Its next holder is to find it as if it were new: without the name that the last one took.
    async fn recycle(&self, client: &mut LineClient, _meta: &Metadata) -> io::Result<()> {
        client.ask("name").await.map(drop)
    }

    /// The client knows when an answer is missing; the pool asks when it comes back.
    fn is_broken(&self, client: &mut LineClient) -> bool {
        client.broken
    }
}

/// A client of the protocol: one line there, one line back. `name X` puts `X: ` before all answers
/// from then on.
struct LineClient {
    stream: BufStream<TcpStream>,
    /// An answer is missing or was cut off: what comes next would be the answer to something else.
    broken: bool,
}

impl LineClient {
    async fn connect(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        Ok(Self { stream: BufStream::new(stream), broken: false })
    }

    /// Sends a line and returns the answer.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, the client is broken: the answer may come yet.
    async fn ask(&mut self, line: &str) -> io::Result<String> {
        self.broken = true;
        self.stream.write_all(format!("{line}\n").as_bytes()).await?;
        self.stream.flush().await?;
        let mut answer = String::new();
        self.stream.read_line(&mut answer).await?;
        if !answer.ends_with('\n') {
            let text = format!("the server hung up instead of answering {line:?}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        self.broken = false;
        Ok(answer.trim_end().to_owned())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let server = listener.local_addr()?;
    tokio::spawn(serve(listener));

    let pool = Pool::builder(Lines { server })
        .max_size(CONNECTIONS)
        .check(CheckPolicy::IfIdleFor(Duration::from_secs(1)))
        .wait_timeout(Duration::from_secs(5))
        .build()?;

    // So that the callers are at work together, as many as there may be connections.
    let together = Arc::new(Barrier::new(CONNECTIONS));
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let (pool, together) = (pool.clone(), Arc::clone(&together));
        callers.spawn(async move {
            let mut client = pool.get().await?;
            together.wait().await;
            client.ask(&format!("name caller {number}")).await?;
            let answer = client.ask("hello").await?;
            Ok::<_, Box<dyn Error + Send + Sync>>((number, answer))
        });
    }
    while let Some(answered) = callers.join_next().await {
        let (number, answer) = answered?.map_err(|error| error.to_string())?;
        assert_eq!(answer, format!("caller {number}: hello"), "another caller's name");
    }
    println!("{CALLERS} callers took turns on {} connections", pool.counters().created);

    let mut client = pool.get().await?;
    println!("its next holder finds a connection without a name: {:?}", client.ask("hello").await?);

    let error = client.ask("quit").await.err().ok_or("the server answered to quit")?;
    println!("a connection breaks: {error}");
    drop(client);
    println!("the pool let go of it, and keeps the other {}", pool.status().idle);

    let mut client = pool.get().await?;
    println!("the next caller gets an answer: {:?}", client.ask("hello again").await?);
    drop(client);

    pool.close();
    println!("closed: {}", pool.get().await.err().ok_or("a closed pool lent a connection")?);
    Ok(())
}

/// Answers each line, until the listener fails.
async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        // A connection that fails is the client's to notice.
        tokio::spawn(async move { answer(BufStream::new(stream)).await.ok() });
    }
}

async fn answer(mut stream: BufStream<TcpStream>) -> io::Result<()> {
    let mut name = String::new();
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let text = line.trim_end();
        if text == "quit" {
            break;
        }
        if let Some(given) = text.strip_prefix("name") {
            name = given.trim_start().to_owned();
        }
        let prefix = if name.is_empty() { String::new() } else { format!("{name}: ") };
        stream.write_all(format!("{prefix}{text}\n").as_bytes()).await?;
        stream.flush().await?;
        line.clear();
    }
    Ok(())
}
