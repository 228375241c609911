//! A pool as a source of health for the user's own server: feature `health`.

use std::future::Future;

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::connectivity::ConnectivityState;
use crate::pool::ChannelPool;

/// Reports how a pool is connected as the health of a service of one's own (`grpc.health.v1`, crate
/// `tonic-health`): a server that cannot do its work without those behind the pool says so, and balancers
/// and Kubernetes send calls elsewhere.
///
/// | the pool | the service |
/// |---|---|
/// | `Ready` | SERVING |
/// | `Idle` | SERVING: nobody has called lately, and the next call connects |
/// | `Connecting` | what it was before, since an idle pool passes through this with its next call; at first `NOT_SERVING` |
/// | `TransientFailure`, `Shutdown` | `NOT_SERVING`: calls fail |
///
/// The future ends when the pool is closed, by its last handle too: it holds none. Spawn it, or poll it beside
/// the server.
///
/// # Cancel safety
///
/// Dropped, the service stays what it was reported to be last.
///
/// # Examples
///
/// ```
/// use pool_tonic::{ChannelPool, health_source};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), pool_tonic::ConfigError> {
/// let pool = ChannelPool::builder("http://orders:50051").build()?;
/// let (reporter, service) = tonic_health::server::health_reporter();
/// tokio::spawn(health_source(&pool, reporter, "shop.Front"));
/// // `service` goes to `Server::builder().add_service(service)`.
/// # drop(service);
/// # Ok(()) }
/// ```
pub fn health_source<S>(
    pool: &ChannelPool,
    reporter: HealthReporter,
    service: S,
) -> impl Future<Output = ()> + Send + use<S>
where
    S: Into<String>,
{
    let (mut state, service): (_, String) = (pool.watch(), service.into());
    async move {
        let mut said = ServingStatus::NotServing;
        loop {
            let now = state.state();
            said = match now {
                ConnectivityState::Ready | ConnectivityState::Idle => ServingStatus::Serving,
                ConnectivityState::Connecting => said,
                ConnectivityState::TransientFailure | ConnectivityState::Shutdown => {
                    ServingStatus::NotServing
                }
            };
            reporter.set_service_status(&service, said).await;
            if now == ConnectivityState::Shutdown {
                return;
            }
            if state.changed().await.is_none() {
                // Nobody is left to close it.
                return reporter.set_service_status(&service, ServingStatus::NotServing).await;
            }
        }
    }
}
