//! From an address to a connection that is READY.
//!
//! READY means that the server's first SETTINGS have arrived, as in grpc-go: before that its stream
//! limit is unknown, and a load balancer that accepts with nobody behind it would look like a server.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use h2::client;
use pool_core::ResourceHandle;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use super::control::Control;
use super::fresh::Fresh;
use super::keepalive::KeepaliveConfig;
use super::priming::Priming;
use super::wire::{BATCH, wire};
use crate::address::Target;
use crate::address_book::{Dial, Live, Side};
use crate::error::ConnectError;
use crate::stats::Totals;
use crate::trace::ConnectSpan;
#[cfg(feature = "tls")]
use crate::transport::tls::Tls;
#[cfg(unix)]
use crate::transport::unix;
use crate::transport::{Attempt, Connect, Tcp, TcpOptions};

/// Stands for "no SETTINGS yet": h2 starts from this limit, and the first SETTINGS replace it, by
/// `usize::MAX` if they name none. No 32-bit limit of a peer can be equal to it by accident on 64-bit
/// targets; on others the one value 2^31 + 1 would look like a mute peer.
#[cfg(target_pointer_width = "64")]
const NO_SETTINGS_YET: usize = (1 << 40) + 1;
#[cfg(not(target_pointer_width = "64"))]
const NO_SETTINGS_YET: usize = (1 << 31) + 1;

/// Bytes of a stream that wait in h2 before the request body has to wait: what is enough for one write.
/// More gains nothing, since what is under way to the peer is in the socket's own buffer, and costs
/// much: a megabyte, as in hyper, that comes and goes at once is beyond the caches, and the allocator gives
/// it back to the system and fetches it again, page by page.
const SEND_BUFFER: usize = BATCH;

/// Streams reset by this side that are remembered, for h2's second, so that frames still on their way to them
/// are ignored. What comes for a forgotten one costs a reset by the library.
const REMEMBERED_RESETS: usize = 1024;

/// Resets by the library itself (for frames to streams that it has forgotten) until it gives the
/// connection up. h2's 1,024 over a connection's whole life is soon reached by calls that are cancelled;
/// the bound is kept, against a peer that does nothing else.
const LIBRARY_RESETS: usize = 1 << 16;

/// What small DATA frames may cost beyond their bytes, at up to 256 for each that was not read, until h2 gives
/// the connection up. Its own bound, half the connection's window, is reached by a stream of small messages
/// that is read slowly. With this one a stream's window may be full of messages of 20 bytes, and of smaller ones
/// to a half, in tens of MiB.
const SMALL_FRAMES: usize = 64 << 20;

/// What HTTP/2 is told.
#[derive(Clone, Debug)]
pub(crate) struct Http2 {
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    pub(crate) max_frame_size: u32,
    pub(crate) max_header_list_size: u32,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            // Windows that hyper's clients use: one unread stream stalls 2 MiB in, three of them the
            // connection.
            stream_window: 2 << 20,
            connection_window: 5 << 20,
            // Each frame is read with system calls of its own, into memory of its own. With HTTP/2's own 16 KiB a stream
            // is a quarter slower; with more than this, calls beside a stream are slower.
            max_frame_size: 32 << 10,
            // As in hyper's clients. h2's own, 16 MiB, is what a bad server could make every call hold.
            max_header_list_size: 16 << 10,
        }
    }
}

/// What the pool does with its connections of its own accord.
#[derive(Clone, Debug)]
pub(crate) struct Upkeep {
    pub(crate) keepalive: Option<KeepaliveConfig>,
    pub(crate) priming: Option<Arc<Priming>>,
    pub(crate) health_service: Option<Arc<str>>,
    /// A connection is replaced when this stream is opened.
    pub(crate) last_stream: u32,
}

/// What dialling needs to know.
#[derive(Clone)]
pub(crate) struct DialConfig {
    pub(crate) max_streams: usize,
    /// Of which pool the connections are.
    pub(crate) side: Side,
    pub(crate) upkeep: Upkeep,
    pub(crate) connect_timeout: Duration,
    pub(crate) tcp: TcpOptions,
    pub(crate) http2: Http2,
    /// Instead of TCP.
    pub(crate) connector: Option<Arc<dyn Connect>>,
    /// Present if an address is secure.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Arc<Tls>>,
}

impl fmt::Debug for DialConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DialConfig")
            .field("max_streams", &self.max_streams)
            .field("upkeep", &self.upkeep)
            .field("connect_timeout", &self.connect_timeout)
            .field("tcp", &self.tcp)
            .field("http2", &self.http2)
            .finish_non_exhaustive()
    }
}

/// A connection whose server has sent its settings, and that nobody drives yet.
///
/// Dropped, it is closed, which counts neither as a failure nor as a connection.
pub(crate) struct Dialled {
    dial: Dial,
    start: Start,
    generation: u64,
}

impl fmt::Debug for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialled").field("dial", &self.dial).finish_non_exhaustive()
    }
}

/// Gives the connection to a task of its own.
pub(crate) type Start = Box<dyn FnOnce(Starting<'_>) -> Connection + Send>;

/// What a connection is started with.
pub(crate) struct Starting<'a> {
    pub(super) live: Live,
    pub(super) control: Arc<Control>,
    pub(super) handle: ResourceHandle,
    pub(super) config: &'a DialConfig,
    pub(super) totals: &'a Arc<Totals>,
    pub(super) generation: u64,
}

impl Dialled {
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Is its address still one that is used?
    pub(crate) fn is_wanted(&self) -> bool {
        self.dial.is_wanted()
    }

    /// Makes it the resource that has this handle.
    pub(crate) fn start(
        self,
        config: &DialConfig,
        handle: ResourceHandle,
        totals: &Arc<Totals>,
    ) -> Connection {
        totals.connections_opened.fetch_add(1, Ordering::Relaxed);
        let Self { dial, start, generation } = self;
        let control = Arc::new(Control::default());
        let live = dial.connected(handle.id(), config.side, Arc::clone(&control));
        start(Starting { live, control, handle, config, totals, generation })
    }
}

/// Connects to the address of `dial`.
///
/// # Cancel safety
///
/// Dropped, the attempt ends and its socket is closed. It counts for nothing, since the pool gave it up.
pub(crate) async fn dial(
    mut dial: Dial,
    config: &DialConfig,
    generation: u64,
    totals: &Arc<Totals>,
) -> Result<Dialled, ConnectError> {
    let address = dial.address().clone();
    let attempt = Attempt::begin(&address, config.connect_timeout, totals);
    // A handshake is large, and is to be a part of no task for longer than it takes.
    let span = ConnectSpan::begin(dial.pool(), &address);
    match Box::pin(span.around(connect(attempt, config))).await {
        Ok(start) => {
            dial.settled();
            Ok(Dialled { dial, start, generation })
        }
        Err(error) => {
            totals.connections_failed.fetch_add(1, Ordering::Relaxed);
            dial.failed(error.clone());
            Err(error)
        }
    }
}

async fn connect(attempt: Attempt<'_>, config: &DialConfig) -> Result<Start, ConnectError> {
    if let Some(connector) = &config.connector {
        return connector.connect(attempt, config).await;
    }
    match attempt.address().target() {
        Target::Tcp { host, port, .. } => {
            let tcp = Tcp::resolve(host, *port, &config.tcp, &attempt).await?;
            tcp.first(&attempt, |io, attempt| establish(io, attempt, config)).await
        }
        #[cfg(unix)]
        Target::Unix { path } => establish(unix(path, &attempt).await?, attempt, config).await,
        #[cfg(not(unix))]
        Target::Unix { .. } => unreachable!("bug: an address that cannot be parsed here"),
    }
}

/// From a stream of bytes to HTTP/2 settings, over one kind of stream.
pub(crate) async fn establish<I>(
    io: I,
    attempt: Attempt<'_>,
    config: &DialConfig,
) -> Result<Start, ConnectError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    #[cfg(feature = "tls")]
    if attempt.address().is_secure()
        && let Some(tls) = &config.tls
    {
        let io = tls.connect(io, &attempt).await?;
        return settle(io, attempt, config).await;
    }
    settle(io, attempt, config).await
}

async fn settle<I>(io: I, attempt: Attempt<'_>, config: &DialConfig) -> Result<Start, ConnectError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let address = attempt.address();
    let phase = if address.is_secure() {
        "its HTTP/2 settings were awaited"
    } else {
        "its HTTP/2 settings were awaited (is it a gRPC server without TLS?)"
    };
    match attempt.within(phase, handshake(io, &config.http2)).await? {
        Ok(Some(mut fresh)) => {
            fresh.prepare(&attempt, &config.upkeep).await?;
            Ok(Box::new(move |starting| fresh.start(starting)))
        }
        Ok(None) => Err(ConnectError::ended(address)),
        Err(error) => Err(ConnectError::handshake(address, error)),
    }
}

/// The HTTP/2 handshake, up to the server's first SETTINGS; `None` if the connection ended before them.
async fn handshake<I>(io: I, http2: &Http2) -> Result<Option<Fresh<I>>, h2::Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (io, outbox, traffic) = wire(io);
    let (sender, mut connection) = client::Builder::new()
        .initial_max_send_streams(NO_SETTINGS_YET)
        .initial_window_size(http2.stream_window)
        .initial_connection_window_size(http2.connection_window)
        .max_frame_size(http2.max_frame_size)
        .max_header_list_size(http2.max_header_list_size)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .max_local_error_reset_streams(Some(LIBRARY_RESETS))
        .data_frame_budget(SMALL_FRAMES)
        .enable_push(false)
        .handshake(io)
        .await?;
    let settled = poll_fn(|cx| {
        let polled = outbox.poll(&mut connection, cx);
        // Looked at first: settings that arrive together with the end still count, and the driver then
        // reports the end.
        if sender.current_max_send_streams() != NO_SETTINGS_YET {
            return Poll::Ready(Ok(true));
        }
        polled.map_ok(|()| false)
    })
    .await?;
    Ok(settled.then_some(Fresh { sender, connection, outbox, traffic, health: None }))
}
