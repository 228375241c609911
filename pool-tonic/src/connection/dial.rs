//! From an address to a connection that is READY.
//!
//! READY means that the server's first SETTINGS have arrived, as in grpc-go: before that its stream
//! limit is unknown, and a load balancer that accepts with nobody behind it would look like a server.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use bytes::Bytes;
use h2::client;
use pool_core::ResourceHandle;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Connection;
use super::driver::Driver;
use super::places::Places;
use crate::address_book::Dial;
use crate::config::Transport;
use crate::error::ConnectError;
use crate::options::ServedBy;
use crate::stats::Totals;

/// Stands for "no SETTINGS yet": h2 starts from this limit, and the first SETTINGS replace it, by
/// `usize::MAX` if they name none. No 32-bit limit of a peer can be equal to it by accident on 64-bit
/// targets; on others the one value 2^31 + 1 would look like a mute peer.
#[cfg(target_pointer_width = "64")]
const NO_SETTINGS_YET: usize = (1 << 40) + 1;
#[cfg(not(target_pointer_width = "64"))]
const NO_SETTINGS_YET: usize = (1 << 31) + 1;

/// Windows that hyper's clients use: one unread stream stalls 2 MiB in, three of them the connection.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 5 << 20;

/// Bytes that h2 buffers per stream before the request body has to wait, as in hyper.
const SEND_BUFFER: usize = 1 << 20;

/// Streams reset by this side that are remembered, so that frames still on their way to them are
/// ignored. A burst of cancelled calls on a full connection fits.
const REMEMBERED_RESETS: usize = 1024;

/// Resets by the library itself (for frames to streams that it has forgotten) until it gives the
/// connection up. h2's 1,024 over a connection's whole life is soon reached by calls that are cancelled;
/// the bound is kept, against a peer that does nothing else.
const LIBRARY_RESETS: usize = 1 << 16;

/// What dialling needs to know.
#[derive(Clone, Debug)]
pub(crate) struct DialConfig {
    pub(crate) transport: Transport,
    pub(crate) max_streams: usize,
}

/// Connects to the address of `dial`.
///
/// # Cancel safety
///
/// Dropped, the attempt ends, its socket is closed and it counts as failed.
pub(crate) async fn dial(
    dial: Dial,
    config: &DialConfig,
    handle: ResourceHandle,
    totals: &Arc<Totals>,
) -> Result<Connection, ConnectError> {
    let deadline = Instant::now() + config.transport.connect_timeout;
    let result = connect(&dial, config, deadline).await;
    match result {
        Ok((sender, connection)) => {
            totals.connections_opened.fetch_add(1, Ordering::Relaxed);
            Ok(start(dial, config, handle, totals, sender, connection))
        }
        Err(error) => {
            totals.connections_failed.fetch_add(1, Ordering::Relaxed);
            dial.failed(error.clone());
            Err(error)
        }
    }
}

type Handshaken<I> = (client::SendRequest<Bytes>, client::Connection<I, Bytes>);

async fn connect(
    dial: &Dial,
    config: &DialConfig,
    deadline: Instant,
) -> Result<Handshaken<TcpStream>, ConnectError> {
    let address = dial.address();
    let timed_out =
        |phase| ConnectError::timed_out(address, config.transport.connect_timeout, phase);
    let io = timeout_at(deadline, TcpStream::connect(address.target()))
        .await
        .map_err(|_| timed_out("the TCP connection was being made"))?
        .map_err(|error| ConnectError::tcp(address, error))?;
    io.set_nodelay(true).map_err(|error| ConnectError::tcp(address, error))?;
    let Ok(handshaken) = timeout_at(deadline, handshake(io)).await else {
        return Err(timed_out(
            "its HTTP/2 settings were awaited (is it a gRPC server without TLS?)",
        ));
    };
    match handshaken {
        Ok(Some(handshaken)) => Ok(handshaken),
        Ok(None) => Err(ConnectError::ended(address)),
        Err(error) if error.is_io() => Err(ConnectError::tcp(address, into_io(error))),
        Err(error) => Err(ConnectError::http2(address, error)),
    }
}

fn into_io(error: h2::Error) -> std::io::Error {
    let text = error.to_string();
    error.into_io().unwrap_or_else(|| std::io::Error::other(text))
}

/// The HTTP/2 handshake, up to the server's first SETTINGS; `None` if the connection ended before them.
async fn handshake<I>(io: I) -> Result<Option<Handshaken<I>>, h2::Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (sender, mut connection) = client::Builder::new()
        .initial_max_send_streams(NO_SETTINGS_YET)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .max_local_error_reset_streams(Some(LIBRARY_RESETS))
        .enable_push(false)
        .handshake(io)
        .await?;
    let settled = poll_fn(|cx| {
        let polled = Pin::new(&mut connection).poll(cx);
        // Looked at first: settings that arrive together with the end still count, and the driver then
        // reports the end.
        if sender.current_max_send_streams() != NO_SETTINGS_YET {
            return Poll::Ready(Ok(true));
        }
        polled.map_ok(|()| false)
    })
    .await?;
    Ok(settled.then_some((sender, connection)))
}

/// Gives the connection to a task of its own.
fn start<I>(
    dial: Dial,
    config: &DialConfig,
    handle: ResourceHandle,
    totals: &Arc<Totals>,
    sender: client::SendRequest<Bytes>,
    connection: client::Connection<I, Bytes>,
) -> Connection
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let places = Arc::new(Places::new(handle, config.max_streams));
    let (alive, dropped) = oneshot::channel();
    let address = dial.address().clone();
    let driver = Driver::new(
        connection,
        sender.clone(),
        dropped,
        Arc::clone(&places),
        dial.connected(),
        Arc::clone(totals),
    );
    tokio::spawn(driver);
    let served_by = ServedBy::new(&address);
    Connection { sender, address, served_by, places, totals: Arc::clone(totals), _alive: alive }
}
