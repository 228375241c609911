//! One server of the demo, in a process of its own: `demo serve`.
//!
//! It says on standard output that it listens (see [`LISTENING`]), then one line for each connection
//! that it accepts ([`ACCEPTED`]). It ends gracefully when its standard input ends: whoever started it
//! may close it, or die, and leaves no server behind either way.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use tokio::time;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use crate::cli::ServeArgs;
use crate::error::Problem;
use crate::proto::demo_server::DemoServer;
use crate::service::DemoService;

/// The line that says that connections are accepted from now on.
pub const LISTENING: &str = "listening";

/// The line that says that a connection was accepted.
pub const ACCEPTED: &str = "accepted";

/// How long calls under way may hold up the end of the server.
const DRAIN: Duration = Duration::from_secs(5);

/// Connections that the kernel holds until they are accepted.
const BACKLOG: u32 = 1024;

/// Serves until standard input ends and the calls under way have ended.
///
/// # Errors
///
/// The address cannot be listened on, or the server failed.
pub async fn serve(args: &ServeArgs) -> Result<(), Problem> {
    let listener = listen(args.listen).map_err(|error| {
        Problem::because(format_args!("a server cannot listen on {}", args.listen), &error)
    })?;
    let (closing, closed) = oneshot::channel();
    // Not tokio's standard input: a read of it that never ends would hold up the runtime's end.
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink());
        let _ = closing.send(());
    });
    say(LISTENING);

    let (draining, mut drains) = oneshot::channel();
    let server = Server::builder()
        .max_concurrent_streams(args.streams)
        // Without a grace period: with one, tonic ends the connection without telling the client.
        .max_connection_age(args.connection_age)
        .add_service(DemoServer::new(DemoService))
        .serve_with_incoming_shutdown(
            TcpListenerStream::new(listener).map(|connection| {
                let connection = connection?;
                connection.set_nodelay(true)?;
                say(ACCEPTED);
                Ok::<_, io::Error>(connection)
            }),
            async {
                // An error means that the reader is gone, which ends the server alike.
                let _ = closed.await;
                let _ = draining.send(());
            },
        );
    let late = async {
        if (&mut drains).await.is_ok() {
            time::sleep(DRAIN).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        served = server => served.map_err(|error| Problem::because("a server failed", &error)),
        () = late => Err(Problem::new(format!("a server still had calls {DRAIN:?} after it was closed"))),
    }
}

/// A socket bound to `address` in a way that another one, which never listens, may hold the same port:
/// between two servers on one port nobody else gets it.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    #[cfg(unix)]
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address)?.listen(BACKLOG)
}

/// Tells the one who started this process. One who no longer listens has closed standard input too,
/// which is what ends the server: nothing is lost by not telling.
fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
