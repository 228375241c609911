//! A copy of a service's slices that is kept up to date.
//!
//! ```text
//!            listed              answered
//! Unlisted ----------> Listed -------------> Watching
//!     ^                  | ^                    | |
//!     |       410        | |  ended, failed     | |
//!     +------------------+ +--------------------+ |
//!     +--------------------- 410 -----------------+
//! ```
//!
//! What is awaited may be dropped at any time: the state moves when something has come, in between nothing is taken out
//! of it.

use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until, timeout};

use super::error::{Failure, Verb};
use super::pace::Pace;
use super::slices::{Slice, Slices};
use crate::resolve::ResolveError;

/// Slices in one answer to a list, as client-go asks. A slice has up to a hundred endpoints.
const PAGE: u32 = 500;

/// How long an answer may take, which for a watch is its head.
const ANSWER: Duration = Duration::from_secs(30);

/// After how long the server ends a watch, in seconds. Less than five minutes, the bound that `kube` has for it.
const WATCH_SECONDS: u32 = 290;

/// A watch that has brought nothing for this long is dead: the server would have ended it.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 5);

type Events = BoxStream<'static, kube::Result<WatchEvent<Slice>>>;

enum State {
    /// The copy is too old to go on from, or there is none.
    Unlisted,
    /// The copy is of this version.
    Listed { version: String },
    /// The copy is of this version, and what changes is read.
    Watching { version: String, events: Events },
}

/// A list, of which only this is read.
#[derive(Clone, Debug, Deserialize)]
struct Page {
    metadata: PageMetadata,
    items: Option<Vec<Slice>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    #[serde(default)]
    resource_version: String,
    r#continue: Option<String>,
}

/// Who is asked, and for what.
struct Source {
    client: Client,
    path: String,
    selector: String,
}

/// See the module.
pub(super) struct Watch {
    source: Source,
    /// The service and its namespace, for messages.
    whose: String,
    slices: Slices,
    state: State,
    pace: Pace,
    /// It failed when there was a change to be told first.
    failure: Option<ResolveError>,
}

impl Watch {
    pub(super) fn new(client: Client, service: &str, namespace: &str) -> Self {
        let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
        let selector = format!("kubernetes.io/service-name={service}");
        Self {
            source: Source { client, path, selector },
            whose: format!("{service} in {namespace}"),
            slices: Slices::default(),
            state: State::Unlisted,
            pace: Pace::default(),
            failure: None,
        }
    }

    /// The copy, which is whole after [`next`](Self::next) has returned without an error once.
    pub(super) fn slices(&self) -> &Slices {
        &self.slices
    }

    /// Returns when the copy may be another one, or is known to be up to date. Changes that are there are taken together.
    pub(super) async fn next(&mut self) -> Result<(), ResolveError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        loop {
            match &mut self.state {
                State::Unlisted => {
                    wait(&self.pace).await;
                    match self.source.list().await {
                        Ok((slices, version)) => {
                            self.slices = slices;
                            self.state = State::Listed { version };
                            return Ok(());
                        }
                        // Reading its pages took so long that their version is gone.
                        Err(failure) if failure.is_gone() => self.gone(),
                        Err(failure) => return Err(self.failed(failure, Verb::List)),
                    }
                }
                State::Listed { version } => {
                    wait(&self.pace).await;
                    let version = version.clone();
                    match self.source.watch(&version).await {
                        Ok(events) => {
                            self.pace.watching(Instant::now());
                            self.state = State::Watching { version, events };
                            return Ok(());
                        }
                        Err(failure) if failure.is_gone() => self.gone(),
                        Err(failure) => return Err(self.failed(failure, Verb::Watch)),
                    }
                }
                State::Watching { events, .. } => {
                    let event = timeout(SILENCE, events.next()).await.unwrap_or(None);
                    let mut has_changed = self.take(event)?;
                    while let State::Watching { events, .. } = &mut self.state
                        && let Some(event) = events.next().now_or_never()
                    {
                        match self.take(event) {
                            Ok(changed) => has_changed |= changed,
                            Err(failure) if has_changed => self.failure = Some(failure),
                            Err(failure) => return Err(failure),
                        }
                    }
                    if has_changed {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Says whether the copy has changed.
    fn take(
        &mut self,
        event: Option<kube::Result<WatchEvent<Slice>>>,
    ) -> Result<bool, ResolveError> {
        let State::Watching { version, .. } = &mut self.state else {
            return Ok(false);
        };
        let mut reached = |now: String| {
            if !now.is_empty() {
                *version = now;
            }
        };
        match event {
            Some(Ok(WatchEvent::Added(slice) | WatchEvent::Modified(slice))) => {
                reached(slice.metadata.resource_version.clone());
                self.slices.apply(slice);
                self.pace.progressed();
                Ok(true)
            }
            Some(Ok(WatchEvent::Deleted(slice))) => {
                reached(slice.metadata.resource_version);
                self.slices.remove(&slice.metadata.name);
                self.pace.progressed();
                Ok(true)
            }
            Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                reached(bookmark.metadata.resource_version);
                self.pace.progressed();
                Ok(false)
            }
            Some(Ok(WatchEvent::Error(status))) => {
                let failure = Failure::Status(status);
                if failure.is_gone() {
                    self.gone();
                    return Ok(false);
                }
                self.unwatch();
                Err(self.failed(failure, Verb::Watch))
            }
            Some(Err(error)) => {
                self.unwatch();
                let failure = Failure::from(error);
                Err(self.failed(failure, Verb::Watch))
            }
            None => {
                self.unwatch();
                self.pace.ended(Instant::now(), fastrand::f64());
                Ok(false)
            }
        }
    }

    /// What is read no more is asked for again, from where it was left.
    fn unwatch(&mut self) {
        if let State::Watching { version, .. } = &mut self.state {
            self.state = State::Listed { version: std::mem::take(version) };
        }
    }

    /// The copy's version is forgotten.
    fn gone(&mut self) {
        self.state = State::Unlisted;
        self.pace.ended(Instant::now(), fastrand::f64());
    }

    fn failed(&mut self, failure: Failure, verb: Verb) -> ResolveError {
        self.pace.failed(Instant::now(), fastrand::f64());
        failure.error(verb, &self.whose)
    }
}

impl Source {
    /// All slices, and their version.
    async fn list(&self) -> Result<(Slices, String), Failure> {
        let mut params = ListParams::default().labels(&self.selector).limit(PAGE);
        let mut slices = Vec::new();
        loop {
            let request =
                Request::new(&self.path).list(&params).map_err(kube::Error::BuildRequest)?;
            let page: Page = in_time(self.client.request(request)).await?;
            slices.extend(page.items.into_iter().flatten());
            match page.metadata.r#continue.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok((slices.into_iter().collect(), page.metadata.resource_version)),
            }
        }
    }

    async fn watch(&self, version: &str) -> Result<Events, Failure> {
        // Bookmarks are on by default.
        let params = WatchParams::default().labels(&self.selector).timeout(WATCH_SECONDS);
        let request =
            Request::new(&self.path).watch(&params, version).map_err(kube::Error::BuildRequest)?;
        let events = in_time(self.client.request_events(request)).await?;
        Ok(events.boxed())
    }
}

async fn wait(pace: &Pace) {
    if let Some(until) = pace.not_before() {
        sleep_until(until).await;
    }
}

async fn in_time<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match timeout(ANSWER, answer).await {
        Ok(answer) => answer.map_err(Failure::from),
        Err(_) => Err(Failure::Late(ANSWER)),
    }
}
