//! What is answered at which path.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tower_http::compression::CompressionLayer;

use super::CONTENT_TYPE;
use crate::registry::Registry;

/// What a probe's answer says.
const PLAIN: &str = "text/plain; charset=utf-8";

/// An answer is of the moment, and nothing else than what it says to be.
const OF_THE_MOMENT: [(HeaderName, HeaderValue); 2] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

pub(super) fn router(registry: &Registry) -> Router {
    let router = Router::new()
        .route("/metrics", asking(registry, metrics))
        .route("/healthz", asking(registry, healthz))
        .route("/readyz", asking(registry, readyz));
    #[cfg(feature = "page")]
    let router = router
        .route("/", get(async || crate::page::response()))
        .route("/pools", asking(registry, pools));
    // Of these answers the large ones are ten times as short.
    router.layer(CompressionLayer::new())
}

fn asking<R: IntoResponse + 'static>(
    registry: &Registry,
    answer: fn(&Registry) -> R,
) -> axum::routing::MethodRouter {
    let registry = registry.clone();
    get(move || {
        let answer = (OF_THE_MOMENT, answer(&registry)).into_response();
        async move { answer }
    })
}

fn metrics(registry: &Registry) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], registry.render())
}

/// The process lives, or it would not answer: whatever the pools' peers do. Each pool is asked, so that a process in
/// which one is stuck does not answer.
fn healthz(registry: &Registry) -> impl IntoResponse + use<> {
    let pools = registry.readiness().pools().len();
    ([(header::CONTENT_TYPE, PLAIN)], format!("alive\n{pools} pools have answered\n"))
}

fn readyz(registry: &Registry) -> impl IntoResponse + use<> {
    let report = registry.readiness();
    let status = if report.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, PLAIN)], report.to_string())
}

#[cfg(feature = "page")]
fn pools(registry: &Registry) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, "application/json")], crate::page::json(registry))
}
