//! A server for Kubernetes: the service of the demo, health for a gRPC probe, and an end in good order.
//!
//! | variable | | default |
//! |---|---|---|
//! | `LISTEN` | where to serve | `0.0.0.0:50051` |
//! | `DRAIN` | how long calls under way may take when it is told to end | `30s` |
//!
//! On SIGTERM it says that it serves no more, sends GOAWAY, and ends when the calls under way have. The manifests in
//! `examples/kubernetes` run it.

use std::error::Error;
use std::time::Duration;

use examples::environment::{duration, told_to_end, variable};
use examples::proto::demo_server::DemoServer;
use examples::service::DemoService;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic_health::ServingStatus;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let address: String = variable("LISTEN", "0.0.0.0:50051")?;
    let drain: Duration = duration("DRAIN", "30s")?;
    let end = told_to_end()?;

    let listener = TcpListener::bind(&address).await?;
    println!("listening on {}", listener.local_addr()?);
    let incoming = TcpListenerStream::new(listener).map(|stream| {
        let stream = stream?;
        stream.set_nodelay(true)?;
        Ok::<_, std::io::Error>(stream)
    });
    let (reporter, health) = tonic_health::server::health_reporter();
    let (ending, ended) = oneshot::channel();
    let serving = Server::builder()
        .add_service(health)
        .add_service(DemoServer::new(DemoService))
        .serve_with_incoming_shutdown(incoming, async move {
            end.await;
            reporter.set_service_status("", ServingStatus::NotServing).await;
            // Nobody listens if it has failed.
            let _ = ending.send(());
        });
    let late = async {
        if ended.await.is_err() {
            std::future::pending::<()>().await;
        }
        sleep(drain).await;
    };
    tokio::select! {
        served = serving => served?,
        () = late => return Err(format!("there were still calls after {drain:?}").into()),
    }
    println!("ended");
    Ok(())
}
