//! What is answered at which path.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use mediatype::{MediaTypeList, Name, ReadParams, names};
use tower_http::compression::CompressionLayer;

use super::{CONTENT_TYPE, OPENMETRICS_CONTENT_TYPE};
use crate::registry::Registry;

/// What a probe's answer says.
const PLAIN: &str = "text/plain; charset=utf-8";

const VERSION: Name<'_> = Name::new_unchecked("version");

/// An answer is of the moment, and nothing else than what it says to be.
const OF_THE_MOMENT: [(HeaderName, HeaderValue); 2] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

pub(super) fn router(registry: &Registry) -> Router {
    let router = Router::new()
        .route("/metrics", get(metrics).with_state(registry.clone()))
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

/// In the format that is asked for; in Prometheus' own where none of both is, since any client reads text.
async fn metrics(State(registry): State<Registry>, asked: HeaderMap) -> impl IntoResponse {
    let (format, text) = if prefers_openmetrics(&asked) && registry.has_openmetrics() {
        (OPENMETRICS_CONTENT_TYPE, registry.render_openmetrics())
    } else {
        (CONTENT_TYPE, registry.render())
    };
    (OF_THE_MOMENT, [(header::CONTENT_TYPE, format), (header::VARY, "accept")], text)
}

/// Whether OpenMetrics is accepted, and not less than Prometheus' own format. What is accepted of any kind is the
/// latter, which more programs read.
fn prefers_openmetrics(asked: &HeaderMap) -> bool {
    let (mut openmetrics, mut prometheus) = (0.0_f32, 0.0_f32);
    for value in asked.get_all(header::ACCEPT) {
        let accepted = value.to_str().unwrap_or_default();
        for media_type in MediaTypeList::new(accepted).flatten() {
            let is = |name: Name<'_>, value: &str| {
                media_type.get_param(name).is_none_or(|of_it| of_it.unquoted_str() == value)
            };
            let quality = media_type.get_param(names::Q).map(|quality| quality.as_str().parse());
            let quality = quality.map_or(1.0, Result::unwrap_or_default);
            let of_any_kind = ["plain", "*"].contains(&media_type.subty.as_str());
            if media_type.subty == "openmetrics-text" && is(VERSION, "1.0.0") {
                openmetrics = openmetrics.max(quality);
            } else if of_any_kind && is(VERSION, "0.0.4") {
                prometheus = prometheus.max(quality);
            }
        }
    }
    openmetrics > 0.0 && openmetrics >= prometheus
}

/// The process lives, or it would not answer: whatever the pools' peers do. Each pool that says how it stands is asked,
/// so that a process in which one is stuck does not answer.
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
