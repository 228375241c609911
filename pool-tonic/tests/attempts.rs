//! Attempts of calls, as those are told who count them.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::acts::{Act, play};
use common::{all_slots_free, ask, client, dead_uri, soon};
use h2::Reason;
use pool_tonic::{AttemptObserver, ChannelPool, MethodName, ObserveAttempts, Retries, RetryPolicy};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::{Ask, Do};
use tokio_test::{assert_pending, task};
use tonic::{Code, Request};

/// What it was told, in order.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<Said>>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    Started,
    Ended(Code),
    Retried { configured: u32, transparent: u32 },
}

impl Told {
    fn say(&self, said: Said) {
        self.0.lock().unwrap().push(said);
    }

    fn said(&self) -> Vec<Said> {
        self.0.lock().unwrap().clone()
    }
}

impl AttemptObserver for Told {
    fn started(&self) {
        self.say(Said::Started);
    }

    fn ended(&self, code: Code, _: Duration) {
        self.say(Said::Ended(code));
    }

    fn retried(&self, retries: Retries) {
        let Retries { configured, transparent, .. } = retries;
        self.say(Said::Retried { configured, transparent });
    }
}

fn observed(r#do: Do) -> (Request<Ask>, Arc<Told>) {
    let told = Arc::<Told>::default();
    let mut request = Request::new(ask(r#do));
    request.extensions_mut().insert(ObserveAttempts::new(told.clone()));
    (request, told)
}

#[tokio::test]
async fn each_attempt_has_its_end_and_the_call_its_retries_by_their_kind() {
    let peer = Peer::listen().await.unwrap();
    let (uri, brief) = (peer.uri(), Duration::from_millis(1));
    let acts = [Act::Reset(Reason::REFUSED_STREAM), Act::Fail(Code::Aborted), Act::Answer];
    let _calls = play(peer, &acts);
    let policy = RetryPolicy::new(3, [Code::Aborted]).initial_backoff(brief).max_backoff(brief);
    let pool = ChannelPool::builder(uri).retry_policy(MethodName::all(), policy).build().unwrap();
    let (request, told) = observed(Do::Echo);
    soon(client(&pool).unary(request)).await.unwrap();
    let expected = [
        Said::Started,
        Said::Ended(Code::Unavailable),
        Said::Started,
        Said::Ended(Code::Aborted),
        Said::Started,
        Said::Retried { configured: 1, transparent: 1 },
        Said::Ended(Code::Ok),
    ];
    assert_eq!(told.said(), expected);
}

#[tokio::test]
async fn a_call_that_is_sent_once_has_no_retries_and_one_that_is_not_no_attempt() {
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).build().unwrap();
    let (request, told) = observed(Do::Fail);
    soon(client(&pool).unary(request)).await.unwrap_err();
    assert_eq!(told.said(), [Said::Started, Said::Ended(Code::InvalidArgument)]);
    let (uri, _socket) = dead_uri();
    let nowhere = ChannelPool::builder(uri).build().unwrap();
    let (request, told) = observed(Do::Echo);
    soon(client(&nowhere).unary(request)).await.unwrap_err();
    assert_eq!(told.said(), []);
}

#[tokio::test]
async fn an_attempt_whose_call_or_answer_is_dropped_was_cancelled_and_one_may_take_too_long() {
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).build().unwrap();
    let (request, told) = observed(Do::Hang);
    let answer = soon(client(&pool).server_stream(request)).await.unwrap();
    assert_eq!(told.said(), [Said::Started]);
    drop(answer);
    assert_eq!(told.said(), [Said::Started, Said::Ended(Code::Cancelled)]);
    let (request, told) = observed(Do::Hang);
    let mut client = client(&pool);
    let mut call = task::spawn(client.unary(request));
    assert_pending!(call.poll());
    drop(call);
    assert_eq!(told.said(), [Said::Started, Said::Ended(Code::Cancelled)]);
    let (mut request, told) = observed(Do::Hang);
    request.set_timeout(Duration::from_millis(20));
    soon(client.unary(request)).await.unwrap_err();
    assert_eq!(told.said(), [Said::Started, Said::Ended(Code::DeadlineExceeded)]);
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn an_observer_that_panics_harms_no_call() {
    struct Broken;

    impl AttemptObserver for Broken {
        fn started(&self) {
            panic!("started");
        }

        fn ended(&self, _: Code, _: Duration) {
            panic!("ended");
        }

        fn retried(&self, _: Retries) {
            panic!("retried");
        }
    }

    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).build().unwrap();
    let mut request = Request::new(ask(Do::Echo));
    request.extensions_mut().insert(ObserveAttempts::new(Arc::new(Broken)));
    soon(client(&pool).unary(request)).await.unwrap();
    all_slots_free(&pool).await;
}
