//! What the API server knows.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// How a watch is told that its version is forgotten. The real server does either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gone {
    /// By the status of the answer.
    #[default]
    Status,
    /// By an event within the watch, whose answer has the status 200.
    Event,
}

/// A part of a watch's body, or what cuts it off.
pub(super) type Part = io::Result<Bytes>;

/// Whose slices a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) namespace: String,
    /// `kubernetes.io/service-name=NAME`, as a real client asks; everything else selects nothing.
    pub(super) service: Option<String>,
}

impl Selection {
    fn has(&self, slice: &Value) -> bool {
        let metadata = &slice["metadata"];
        let service = metadata["labels"]["kubernetes.io/service-name"].as_str();
        metadata["namespace"] == *self.namespace && service == self.service.as_deref()
    }
}

/// A watch that runs.
#[derive(Debug)]
struct Watch {
    selection: Selection,
    parts: mpsc::UnboundedSender<Part>,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    version: u64,
    /// Changes up to this version are forgotten.
    forgotten: u64,
    /// By namespace and name.
    slices: BTreeMap<(String, String), Value>,
    /// Type, version and object of each change.
    history: Vec<(&'static str, u64, Value)>,
    watches: Vec<Watch>,
}

impl Store {
    pub(super) fn apply(&mut self, mut slice: Value) {
        self.version += 1;
        slice["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let old = self.slices.insert(key(&slice), slice.clone());
        self.changed(if old.is_some() { "MODIFIED" } else { "ADDED" }, slice);
    }

    /// Says whether there was one.
    pub(super) fn delete(&mut self, namespace: &str, name: &str) -> bool {
        let Some(mut slice) = self.slices.remove(&(namespace.to_owned(), name.to_owned())) else {
            return false;
        };
        self.version += 1;
        slice["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.changed("DELETED", slice);
        true
    }

    fn changed(&mut self, kind: &'static str, slice: Value) {
        let line = line(kind, &slice);
        self.watches.retain(|watch| {
            !watch.selection.has(&slice) || watch.parts.send(Ok(line.clone())).is_ok()
        });
        self.history.push((kind, self.version, slice));
    }

    /// Changes elsewhere in the cluster: the version grows, and no slice shows it.
    pub(super) fn pass(&mut self) {
        self.version += 1;
    }

    pub(super) fn bookmark(&mut self) {
        let object = json!({
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": { "resourceVersion": self.version.to_string(), "creationTimestamp": null },
            "endpoints": null,
            "ports": null,
        });
        self.tell(&line("BOOKMARK", &object));
    }

    /// Forgets all changes so far.
    pub(super) fn forget(&mut self) {
        self.forgotten = self.version;
        self.history.clear();
    }

    /// Writes into all watches.
    pub(super) fn tell(&mut self, line: &Bytes) {
        self.watches.retain(|watch| watch.parts.send(Ok(line.clone())).is_ok());
    }

    /// Ends all watches: as the server does when their time is over, or in the middle of what it sends.
    pub(super) fn end_watches(&mut self, cut: bool) {
        for watch in self.watches.drain(..) {
            if cut {
                let half = line("BOOKMARK", &json!({})).split_to(10);
                // Fails only for a client that is gone, too.
                let _ = watch.parts.send(Ok(half));
                let _ = watch.parts.send(Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
    }

    pub(super) fn watches(&mut self) -> usize {
        self.watches.retain(|watch| !watch.parts.is_closed());
        self.watches.len()
    }

    /// One page, with at most `limit` slices; `None` if the `token` of the page before is forgotten.
    pub(super) fn list(&self, of: &Selection, limit: usize, token: Option<&str>) -> Option<Value> {
        let (version, after) = match token.and_then(|token| token.split_once('/')) {
            Some((version, after)) => (version.parse().ok()?, after),
            None => (self.version, ""),
        };
        if version < self.forgotten {
            return None;
        }
        let mut rest = self.slices.iter().filter(|((_, name), _)| &**name > after);
        let selected = rest.by_ref().filter(|(_, slice)| of.has(slice));
        let page: Vec<_> = selected.take(limit).collect();
        let more = rest.any(|(_, slice)| of.has(slice));
        let token = page.last().filter(|_| more).map(|((_, name), _)| format!("{version}/{name}"));
        let items: Vec<_> = page.into_iter().map(|(_, slice)| slice).collect();
        Some(json!({
            "kind": "EndpointSliceList",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": { "resourceVersion": version.to_string(), "continue": token.unwrap_or_default() },
            "items": items,
        }))
    }

    /// The body of a watch from a version on; `None` if that is forgotten.
    pub(super) fn watch(
        &mut self,
        selection: Selection,
        version: u64,
    ) -> Option<mpsc::UnboundedReceiver<Part>> {
        if version < self.forgotten {
            return None;
        }
        let (parts, body) = mpsc::unbounded_channel();
        for (kind, at, slice) in &self.history {
            if *at > version && selection.has(slice) {
                // The receiver is here.
                let _ = parts.send(Ok(line(kind, slice)));
            }
        }
        self.watches.push(Watch { selection, parts });
        Some(body)
    }
}

fn key(slice: &Value) -> (String, String) {
    let of = |field: &str| {
        slice["metadata"][field].as_str().expect("a slice has a namespace and a name").to_owned()
    };
    (of("namespace"), of("name"))
}

/// An event, as one line of a watch.
pub(super) fn line(kind: &str, object: &Value) -> Bytes {
    let mut line = json!({ "type": kind, "object": object }).to_string();
    line.push('\n');
    line.into()
}
