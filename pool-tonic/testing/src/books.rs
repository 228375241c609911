//! What a server sees, for tests to judge by.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Is told the text of each call as it begins.
pub(crate) type OnCall = fn(&str);

/// The books of one server, shared by its calls.
#[derive(Clone, Debug)]
pub struct Books {
    now: Arc<watch::Sender<BooksNow>>,
    /// Calls by connection, at the moment.
    streams: Arc<Mutex<HashMap<SocketAddr, usize>>>,
    /// Calls begun, by the text of their first message.
    texts: Arc<Mutex<HashMap<String, usize>>>,
    on_call: OnCall,
}

/// What the books say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BooksNow {
    /// Calls that run.
    pub active: usize,
    /// Calls begun.
    pub calls: usize,
    /// Connections that a call has come over.
    pub connections: usize,
    /// The most calls at a time on one connection.
    pub most_streams: usize,
    /// Messages read from requests.
    pub messages: usize,
}

impl Books {
    pub(crate) fn new(on_call: OnCall) -> Self {
        Self {
            now: Arc::new(watch::Sender::new(BooksNow::default())),
            streams: Arc::default(),
            texts: Arc::default(),
            on_call,
        }
    }

    /// What they say now.
    pub fn now(&self) -> BooksNow {
        *self.now.borrow()
    }

    /// Waits until they say what is wanted, and returns it.
    ///
    /// # Panics
    ///
    /// Never, since the books are here.
    pub async fn until(&self, wanted: impl FnMut(&BooksNow) -> bool) -> BooksNow {
        let mut watch = self.now.subscribe();
        *watch.wait_for(wanted).await.expect("the sender lives in self")
    }

    /// How many calls began with a message of this text.
    pub fn calls_of(&self, text: &str) -> usize {
        let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.get(text).copied().unwrap_or_default()
    }

    /// A message of a call was read, its first one or a later one.
    pub(crate) fn message(&self, text: &str, is_first: bool) {
        if is_first {
            let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
            *texts.entry(text.to_owned()).or_default() += 1;
            (self.on_call)(text);
        }
        self.now.send_modify(|now| now.messages += 1);
    }

    /// A call begins on the connection from `peer`; it ends when the guard is dropped.
    pub(crate) fn enter(&self, peer: SocketAddr) -> Entered {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let first = !streams.contains_key(&peer);
        let on_connection = streams.entry(peer).or_default();
        *on_connection += 1;
        self.now.send_modify(|now| {
            now.active += 1;
            now.calls += 1;
            now.connections += usize::from(first);
            now.most_streams = now.most_streams.max(*on_connection);
        });
        Entered { books: self.clone(), peer }
    }
}

/// A call that runs.
#[derive(Debug)]
pub(crate) struct Entered {
    books: Books,
    peer: SocketAddr,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut streams = self.books.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(on_connection) = streams.get_mut(&self.peer) {
            *on_connection -= 1;
        }
        self.books.now.send_modify(|now| now.active -= 1);
    }
}
