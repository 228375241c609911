//! The page that shows live what the pools do, and the JSON that it asks for.
//!
//! The page is one file to a browser: it needs nothing from elsewhere, and is allowed nothing from elsewhere. It
//! keeps its history itself, so it costs the process a look at each pool in a second, and only while somebody
//! looks.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::registry::Registry;
use crate::view::millis;

/// What the browser gets, in one piece.
const PAGE: &str = concat!(
    include_str!("page/head.html"),
    "<style>",
    include_str!("page/style.css"),
    "</style>",
    include_str!("page/body.html"),
    "<script>\"use strict\";{\n",
    include_str!("page/text.js"),
    include_str!("page/history.js"),
    include_str!("page/verdict.js"),
    include_str!("page/chart.js"),
    include_str!("page/card.js"),
    include_str!("page/main.js"),
    "}</script></body></html>\n",
);

/// Of its one script and its one style, by their hashes; the numbers from where it came; and nothing else.
const POLICY: &str = "default-src 'none'; connect-src 'self'; img-src data:; \
    script-src 'sha256-6Ezu/xfApWXfHDOkGDJpaIJMQJMmhIWS+KolF6KX0Mw='; style-src 'sha256-+PwCd4GKHyHSfOqn3zNb+FQ/6KlbbyTeBnptgjHlJBc='; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// When this process was first asked.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Told from the process before it, which in a container has the same id.
static NUMBER: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());

pub(crate) fn response() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // The next version of the program has another page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, PAGE)
}

/// What all pools do now.
pub(crate) fn json(registry: &Registry) -> String {
    let mut ready = true;
    let pools = registry.views().into_iter().map(|(name, number, view, report)| {
        let mut pool = Map::new();
        pool.insert("name".to_owned(), json!(&*name));
        pool.insert("number".to_owned(), json!(number));
        pool.extend(view.0);
        if let Some(report) = report {
            ready &= report.missing.is_none();
            let readiness = json!({ "rule": report.rule.as_str(), "missing": report.missing });
            pool.insert("readiness".to_owned(), readiness);
        }
        Value::Object(pool)
    });
    let pools: Vec<_> = pools.collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis);
    let uptime = millis(BEGAN.elapsed());
    let (process, number) = (std::process::id(), *NUMBER);
    let process = format!("{process}-{number:x}");
    json!({ "now": now, "uptime_ms": uptime, "process": process, "ready": ready, "pools": pools })
        .to_string()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    /// What the policy has to say of the one element of that name.
    fn source(element: &str) -> String {
        let open = format!("<{element}>");
        let close = format!("</{element}>");
        let (_, rest) = PAGE.split_once(&open).expect("there is one");
        let (text, rest) = rest.split_once(&close).expect("it ends");
        assert!(!rest.contains(&open), "there are two of {element}");
        format!("{element}-src 'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)))
    }

    #[test]
    fn the_policy_allows_the_script_and_the_style_of_the_page() {
        for element in ["script", "style"] {
            let source = source(element);
            assert!(POLICY.contains(&source), "the page has changed: now it is {source}");
        }
    }

    #[test]
    fn the_page_names_nothing_that_is_elsewhere() {
        for elsewhere in ["src=", "@import", "url(", "//cdn", "https://", "innerHTML", "eval("] {
            assert!(!PAGE.contains(elsewhere), "{elsewhere}");
        }
    }
}
