//! What answers requests.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::store::{Gone, Part, Selection, Store, line};

/// What never comes fails a test after this. More than the longest back-off of a client.
const PATIENCE: Duration = Duration::from_secs(60);

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// All slices at once.
    List,
    /// What changes, as it does.
    Watch,
}

/// A request that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What it wanted.
    pub verb: Verb,
    /// Its path.
    pub path: String,
    /// What it said behind the path.
    pub query: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct State {
    store: Store,
    gone: Gone,
    refusals: HashMap<Verb, StatusCode>,
}

/// The API of a cluster. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Api {
    state: Arc<Mutex<State>>,
    asked: watch::Sender<Vec<Asked>>,
    /// True while answers are held back.
    held: watch::Sender<bool>,
}

/// What the cluster does.
impl Api {
    /// Adds a slice, or puts it in the place of the one of its namespace and name. It gets its version here.
    ///
    /// # Panics
    ///
    /// If it has no namespace or name.
    pub fn apply(&self, slice: Value) {
        self.state().store.apply(slice);
    }

    /// Deletes a slice.
    ///
    /// # Panics
    ///
    /// If there is none of this name.
    pub fn delete(&self, namespace: &str, name: &str) {
        assert!(self.state().store.delete(namespace, name), "there is a slice {namespace}/{name}");
    }

    /// Something changes that is no slice.
    pub fn pass(&self) {
        self.state().store.pass();
    }

    /// Tells all watches how far they are.
    pub fn bookmark(&self) {
        self.state().store.bookmark();
    }

    /// Forgets what has changed so far: who watches from an older version is told 410 Gone, this way, and so is who
    /// asks for the rest of an older list.
    pub fn forget(&self, gone: Gone) {
        let mut state = self.state();
        state.store.forget();
        state.gone = gone;
    }

    /// Sends an error through all watches, which go on.
    pub fn fail_watches(&self, code: u16, reason: &str) {
        self.state().store.tell(&line("ERROR", &status(code, reason)));
    }

    /// Ends all watches in good order, as when their time is over.
    pub fn end_watches(&self) {
        self.state().store.end_watches(false);
    }

    /// Cuts all watches off within an event.
    pub fn cut_watches(&self) {
        self.state().store.end_watches(true);
    }

    /// Refuses requests with this status, until [`allow`](Self::allow).
    ///
    /// # Panics
    ///
    /// If that is no status.
    pub fn refuse(&self, verb: Verb, code: u16) {
        let code = StatusCode::from_u16(code).expect("it is a status of HTTP");
        self.state().refusals.insert(verb, code);
    }

    /// Answers such requests again.
    pub fn allow(&self, verb: Verb) {
        self.state().refusals.remove(&verb);
    }

    /// Holds all answers back, or no more.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }
}

/// What its clients did.
impl Api {
    /// All requests so far, those that were refused or held back, too.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// Those of one kind.
    pub fn asked_to(&self, verb: Verb) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.verb == verb).collect()
    }

    /// Waits until so many requests of one kind have been made in all.
    ///
    /// # Panics
    ///
    /// If that does not happen within a minute.
    pub async fn until_asked(&self, verb: Verb, times: usize) {
        let mut asked = self.asked.subscribe();
        let those = |asked: &Vec<Asked>| asked.iter().filter(|asked| asked.verb == verb).count();
        let asked = asked.wait_for(|asked| those(asked) >= times);
        let asked = timeout(PATIENCE, asked).await;
        asked.expect("it should have been asked by now").expect("the sender lives in self");
    }

    /// Watches that run.
    pub fn watches(&self) -> usize {
        self.state().store.watches()
    }
}

impl Api {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body> {
        let path = request.uri().path();
        let query = parse(request.uri().query().unwrap_or_default());
        let Some(namespace) = path
            .strip_prefix("/apis/discovery.k8s.io/v1/namespaces/")
            .and_then(|rest| rest.strip_suffix("/endpointslices"))
        else {
            return refusal(StatusCode::NOT_FOUND);
        };
        let is_watch = matches!(query.get("watch").map(String::as_str), Some("true" | "1"));
        let verb = if is_watch { Verb::Watch } else { Verb::List };
        let selector = query.get("labelSelector").map(String::as_str).unwrap_or_default();
        let service = selector.strip_prefix("kubernetes.io/service-name=").map(str::to_owned);
        let selection = Selection { namespace: namespace.to_owned(), service };
        let asked = Asked { verb, path: path.to_owned(), query: query.clone() };
        self.asked.send_modify(|all| all.push(asked));
        // The sender lives in self.
        let _ = self.held.subscribe().wait_for(|held| !held).await;

        let mut state = self.state();
        if let Some(code) = state.refusals.get(&verb) {
            return refusal(*code);
        }
        match verb {
            Verb::List => {
                let limit = query.get("limit").and_then(|limit| limit.parse().ok());
                let token = query.get("continue").map(String::as_str);
                match state.store.list(&selection, limit.unwrap_or(usize::MAX), token) {
                    Some(list) => whole(StatusCode::OK, &list),
                    None => refusal(StatusCode::GONE),
                }
            }
            Verb::Watch => {
                let version = query.get("resourceVersion").and_then(|version| version.parse().ok());
                match state.store.watch(selection, version.unwrap_or(0)) {
                    Some(parts) => streamed(parts),
                    None if state.gone == Gone::Status => refusal(StatusCode::GONE),
                    None => {
                        let (parts, body) = mpsc::unbounded_channel();
                        // The receiver is here.
                        let _ = parts.send(Ok(line("ERROR", &status(410, "Expired"))));
                        streamed(body)
                    }
                }
            }
        }
    }
}

fn parse(query: &str) -> BTreeMap<String, String> {
    let decode =
        |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decode(key), decode(value))).collect()
}

fn status(code: u16, reason: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": format!("the scripted server says {code}"),
        "reason": reason,
        "code": code,
    })
}

fn refusal(code: StatusCode) -> Response<Body> {
    let reason = code.canonical_reason().unwrap_or_default().replace(' ', "");
    whole(code, &status(code.as_u16(), &reason))
}

fn whole(code: StatusCode, json: &Value) -> Response<Body> {
    let body = Full::from(json.to_string()).map_err(|never| match never {}).boxed_unsync();
    with_type(code, body)
}

fn streamed(parts: mpsc::UnboundedReceiver<Part>) -> Response<Body> {
    let frames = UnboundedReceiverStream::new(parts).map(|part| part.map(Frame::data));
    with_type(StatusCode::OK, StreamBody::new(frames).boxed_unsync())
}

fn with_type(code: StatusCode, body: Body) -> Response<Body> {
    let response = Response::builder().status(code).header("content-type", "application/json");
    response.body(body).expect("the head is made of constants")
}
