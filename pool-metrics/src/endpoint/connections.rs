//! The connections that are served at a time.
//!
//! There is a limit, and whoever holds a place under it without using it makes way: the newest connection is
//! always served. So somebody who opens connections and says nothing, or sends a byte now and then, keeps no
//! scrape from being served, however many they open.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

/// Prometheus needs one, a page one each second. More of them are of nobody who means well.
pub(super) const MAX_CONNECTIONS: usize = 64;

/// Prometheus' default scrape timeout: nobody waits for longer.
const MAX_CONNECTION_TIME: Duration = Duration::from_secs(10);

/// A request is some hundred bytes long.
const MAX_HEAD_TIME: Duration = Duration::from_secs(5);
const MAX_HEAD: usize = 16 * 1024;

/// See the module.
pub(super) struct Connections {
    tasks: JoinSet<()>,
    /// The oldest first. Those that are over are taken out when the place is needed.
    served: VecDeque<Served>,
}

struct Served {
    task: AbortHandle,
    /// Its request has come, so it is being answered.
    asked: Arc<AtomicBool>,
}

impl Connections {
    pub(super) fn new() -> Self {
        Self { tasks: JoinSet::new(), served: VecDeque::new() }
    }

    /// Serves one more, instead of another one if there are as many as may be.
    pub(super) fn serve<I>(&mut self, io: I, router: Router, stopped: watch::Receiver<()>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.make_way();
        let asked = Arc::new(AtomicBool::new(false));
        let task = self.tasks.spawn(serve(io, router, stopped, Arc::clone(&asked)));
        self.served.push_back(Served { task, asked });
    }

    /// Until one has ended; never, if there is none.
    pub(super) async fn ended(&mut self) {
        // That it was aborted or panicked is of no interest here.
        let ended = poll_fn(|cx| match self.tasks.poll_join_next(cx) {
            Poll::Ready(None) => Poll::Pending,
            other => other,
        });
        let _ = ended.await;
    }

    /// Lets all come to their end.
    pub(super) async fn finish(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    fn make_way(&mut self) {
        if self.served.len() < MAX_CONNECTIONS {
            return;
        }
        self.served.retain(|served| !served.task.is_finished());
        if self.served.len() < MAX_CONNECTIONS {
            return;
        }
        // One that is being answered may be a scrape; but if all are, the oldest does not read its answer.
        let silent = self.served.iter().position(|served| !served.asked.load(Ordering::Relaxed));
        if let Some(served) = self.served.remove(silent.unwrap_or(0)) {
            served.task.abort();
        }
    }
}

/// Answers one request, in ten seconds at most.
async fn serve<I>(io: I, router: Router, mut stopped: watch::Receiver<()>, asked: Arc<AtomicBool>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = Marking { asked, service: TowerToHyperService::new(router) };
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(MAX_HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    // Neither its time running out nor what went wrong on it is of interest to anyone but the peer.
    let _ = timeout(MAX_CONNECTION_TIME, async {
        tokio::select! {
            served = connection.as_mut() => served,
            _ = stopped.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    })
    .await;
}

/// The service, which notes that it has been asked.
struct Marking {
    asked: Arc<AtomicBool>,
    service: TowerToHyperService<Router>,
}

impl Service<Request<Incoming>> for Marking {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.asked.store(true, Ordering::Relaxed);
        self.service.call(request)
    }
}
