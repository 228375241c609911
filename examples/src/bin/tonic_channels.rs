//! The thinnest pool of gRPC connections: a [`Manager`] whose resources are tonic's own `Channel`s,
//! made from any `Endpoint` of yours (TLS, timeouts, interceptors stay as they are), in a
//! [`SharedPool`].
//!
//! It spreads calls over several connections and keeps them below the server's stream limit, which one
//! `Channel` does not. It does not see what happens inside of a `Channel`: the limit has to be known
//! beforehand, and a GOAWAY shows only as a failed call. The `pool-tonic` crate drives its connections
//! itself for that reason; use it unless you need something that only an `Endpoint` can do.
//!
//! `cargo run -p examples --bin tonic_channels` calls a server of its own, and ends.

use std::error::Error;
use std::net::Ipv4Addr;
use std::time::Duration;

use examples::proto::Text;
use examples::proto::demo_client::DemoClient;
use examples::proto::demo_server::DemoServer;
use examples::service::DemoService;
use pool_core::{CreateContext, Manager, SharedManager, SharedPool};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{self, Channel, Endpoint, Server};

/// Streams that the server allows on one connection, and so the places of a resource.
const STREAMS: u16 = 10;
const CONNECTIONS: usize = 4;
const CALLS: usize = 200;

/// All there is to it.
struct Channels {
    endpoint: Endpoint,
}

impl Manager for Channels {
    type Resource = Channel;
    type Error = transport::Error;

    async fn create(&self, _cx: &CreateContext) -> Result<Channel, transport::Error> {
        self.endpoint.connect().await
    }
}

impl SharedManager for Channels {}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let uri = format!("http://{}", listener.local_addr()?);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(
        Server::builder()
            .max_concurrent_streams(u32::from(STREAMS))
            .add_service(DemoServer::new(DemoService))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                // A sender that is gone means the same.
                let _ = stopped.await;
            }),
    );

    let endpoint = Endpoint::from_shared(uri)?.connect_timeout(Duration::from_secs(5));
    let pool = SharedPool::builder(Channels { endpoint })
        .places(usize::from(STREAMS))
        .max_size(CONNECTIONS)
        .build()?;

    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let pool = pool.clone();
        calls.spawn(async move {
            // The lease is the stream: it is held until the answer is there.
            let channel = pool.get().await?;
            let mut client = DemoClient::new(Channel::clone(&channel));
            let sent = Text { body: format!("call {number}") };
            let answer = client.echo(sent.clone()).await?.into_inner();
            Ok::<_, Box<dyn Error + Send + Sync>>(answer == sent)
        });
    }
    let mut answered = 0;
    while let Some(call) = calls.join_next().await {
        answered += usize::from(call??);
    }
    let connections = pool.status().size;
    println!(
        "{answered} of {CALLS} calls answered over {connections} connections, {STREAMS} at a time on each"
    );

    pool.close();
    drop(stop);
    server.await??;
    Ok(())
}
