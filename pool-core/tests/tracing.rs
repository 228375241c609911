//! The events of a pool as `tracing` events.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};

use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{Pool, ResourceLease};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps each event as a line: level and fields.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "pool_core"
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[test]
fn what_a_pool_does_is_traced_without_an_observer() {
    let lines = Lines::default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    tracing::subscriber::with_default(lines.clone(), || {
        runtime.unwrap().block_on(async {
            let manager = ScriptedManager::new();
            manager.script(Hook::Create, [Step::Fail]);
            let pool = Pool::builder(manager).build().unwrap();
            ResourceLease::discard(pool.get().await.unwrap());
            pool.close();
        });
    });
    let lines = lines.0.lock().unwrap();
    let has = |level: &str, text: &str| {
        lines.iter().any(|line| line.starts_with(level) && line.contains(text))
    };
    assert!(lines.iter().all(|line| line.contains("ScriptedManager")), "{lines:#?}");
    assert!(has("WARN", "creation failed"), "{lines:#?}");
    assert!(has("DEBUG", "message=created"), "{lines:#?}");
    assert!(has("DEBUG", "reason=\"discarded\""), "{lines:#?}");
    assert!(has("DEBUG", "message=closed"), "{lines:#?}");
}
