//! One connection of a proxy.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Cut, Flow, Mode, Shared, Traffic};

const CHUNK: usize = 16 * 1024;

/// What a connection has been told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orders {
    pub(super) mode: Mode,
    pub(super) cut: Option<Cut>,
}

/// One connection of a [`Proxy`](super::Proxy). When the connection has ended, orders are of no effect.
#[derive(Clone, Debug)]
pub struct Link {
    orders: Arc<watch::Sender<Orders>>,
}

impl Link {
    pub(super) fn new(orders: watch::Sender<Orders>) -> Self {
        Self { orders: Arc::new(orders) }
    }

    /// From now on the connection is treated so.
    pub fn set(&self, mode: Mode) {
        self.orders.send_modify(|orders| orders.mode = mode);
    }

    /// Cuts the connection.
    pub fn cut(&self, cut: Cut) {
        self.orders.send_modify(|orders| orders.cut = Some(cut));
    }
}

/// Counts the connection as open while it is here.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.traffic.send_modify(|traffic| traffic.open -= 1);
    }
}

/// Carries a connection to its end.
pub(super) async fn run(
    mut client: TcpStream,
    shared: Arc<Shared>,
    orders: watch::Receiver<Orders>,
) {
    let open = Open(shared);
    let shared = &open.0;
    let mode = orders.borrow().mode;
    let mut server = match mode {
        Mode::BLACK_HOLE => None,
        // If it is not there, the client's connection is closed.
        _ => match TcpStream::connect(shared.server).await {
            Ok(server) => Some(server),
            Err(_) => return,
        },
    };
    let mut cutting = orders.clone();
    let cut = tokio::select! {
        // The proxy holds the sender for as long as this runs.
        Ok(orders) = cutting.wait_for(|orders| orders.cut.is_some()) => orders.cut,
        () = carry(&mut client, server.as_mut(), shared, orders) => None,
    };
    match cut {
        None => {}
        // They fail only if that side is gone already.
        Some(Cut::Rst) => {
            let _ = client.set_zero_linger();
            let _ = server.map(|server| server.set_zero_linger());
        }
        Some(Cut::Fin) => {
            let server = async {
                match &mut server {
                    Some(server) => end(server).await,
                    None => Ok(()),
                }
            };
            let _ = tokio::join!(end(&mut client), server);
        }
    }
}

/// Carries both directions until both have ended or one has failed.
async fn carry(
    client: &mut TcpStream,
    server: Option<&mut TcpStream>,
    shared: &Shared,
    orders: watch::Receiver<Orders>,
) {
    let (from_client, to_client) = client.split();
    let up = Direction {
        shared,
        orders: orders.clone(),
        flow: |mode| mode.up,
        count: |traffic, bytes| traffic.up += bytes,
        ends: true,
    };
    let Some(server) = server else {
        // An error is an end like another one.
        let _ = up.run(from_client, None).await;
        return;
    };
    let (from_server, to_server) = server.split();
    let down = Direction {
        shared,
        orders,
        flow: |mode| mode.down,
        count: |traffic, bytes| traffic.down += bytes,
        ends: false,
    };
    let _ = tokio::try_join!(
        up.run(from_client, Some(to_server)),
        down.run(from_server, Some(to_client)),
    );
}

/// One direction of a connection.
struct Direction<'a> {
    shared: &'a Shared,
    orders: watch::Receiver<Orders>,
    flow: fn(&Mode) -> Flow,
    count: fn(&mut Traffic, usize),
    /// The end of this direction ends the connection, even if it is swallowed.
    ends: bool,
}

impl Direction<'_> {
    /// Carries until the end is read, and passes that on. Without `to` it only swallows.
    async fn run(
        mut self,
        mut from: ReadHalf<'_>,
        mut to: Option<WriteHalf<'_>>,
    ) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let flow = (self.flow)(&self.orders.borrow_and_update().mode);
            let read = tokio::select! {
                // An error would mean that the proxy is gone, and this with it.
                Ok(()) = self.orders.changed() => continue,
                read = from.read(&mut chunk), if flow != Flow::Stall => read?,
            };
            self.shared.traffic.send_modify(|traffic| (self.count)(traffic, read));
            match flow {
                Flow::Swallow => to = None,
                Flow::Delay(time) => sleep(time).await,
                Flow::Pass | Flow::Stall => {}
            }
            match &mut to {
                Some(to) if read == 0 => to.shutdown().await?,
                Some(to) => to.write_all(&chunk[..read]).await?,
                // The client is gone, so there is nobody left to be kept in the dark.
                None if read == 0 && self.ends => return Err(io::ErrorKind::BrokenPipe.into()),
                None => {}
            }
            if read == 0 {
                return Ok(());
            }
        }
    }
}

/// Ends one side, and waits until it has ended too.
async fn end(side: &mut TcpStream) -> io::Result<()> {
    side.shutdown().await?;
    let mut chunk = vec![0; CHUNK];
    while side.read(&mut chunk).await? > 0 {}
    Ok(())
}
