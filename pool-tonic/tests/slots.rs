//! A slot is free once, and once only, however its call ends: for each kind of call and each ending, one
//! slot is taken, and after it there is one again, and not two.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
mod kinds;

use common::{all_slots_free, soon, until};
use kinds::{Asks, KINDS, Kind, STREAMED, ask, no_more, open};
use pool_tonic::ChannelPool;
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::proto::{Ask, Do};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

/// A server, and a pool with one slot.
struct Slot {
    server: EchoServer,
    pool: ChannelPool,
}

impl Slot {
    async fn new() -> Self {
        let server = EchoServer::start().await.unwrap();
        let pool = ChannelPool::builder(server.uri())
            .max_connections(1)
            .max_streams_per_connection(1)
            .build()
            .unwrap();
        Self { server, pool }
    }

    /// The slot is free, and it is one: a call takes it, and another one has to wait.
    async fn is_one(&self, case: &str) {
        all_slots_free(&self.pool).await;
        soon(self.server.books().until(|now| now.active == 0)).await;
        let mut held = self.begin(Kind::ServerStream, Do::Hang, no_more()).await.unwrap();
        soon(held.next()).await.unwrap().unwrap();
        let waits = Kind::Unary.spawn(&self.pool, ask(Do::Echo, case));
        until(|| self.pool.status().waiting == 1).await;
        let status = self.pool.status();
        assert_eq!((status.streams, status.capacity), (1, 1), "{case}");
        assert_eq!(self.server.books().calls_of(case), 0, "{case}");
        drop(held);
        soon(waits).await.unwrap().unwrap();
        all_slots_free(&self.pool).await;
        let opened = self.pool.counters().connections_opened;
        assert_eq!(opened, 1, "{case}: the connection is the same one");
        let books = self.server.books().now();
        assert_eq!(books.most_streams, 1, "{case}");
    }

    async fn begin(&self, kind: Kind, r#do: Do, more: Asks) -> Result<kinds::Begun, Status> {
        soon(kind.begin(self.pool.channel(), ask(r#do, "held"), more, None)).await
    }

    /// Polls a call until the server has it, and drops it.
    async fn drop_unanswered(&self, kind: Kind) {
        let calls = self.server.books().now().calls;
        let call = kind.begin(self.pool.channel(), ask(Do::Hang, "dropped"), open(), None);
        tokio::select! {
            begun = call => panic!("it hangs: {begun:?}"),
            _ = self.server.books().until(|now| now.calls > calls) => {}
        }
    }
}

#[tokio::test]
async fn normal_ends() {
    let slot = Slot::new().await;
    for kind in KINDS {
        soon(kind.call(slot.pool.channel(), ask(Do::Echo, "hello"))).await.unwrap();
        slot.is_one(&format!("{kind:?}")).await;
    }
}

#[tokio::test]
async fn failures_before_and_within_the_answer() {
    let slot = Slot::new().await;
    for kind in KINDS {
        let status = soon(kind.call(slot.pool.channel(), ask(Do::Fail, "no"))).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        slot.is_one(&format!("{kind:?}")).await;
    }
}

#[tokio::test]
async fn answers_before_the_request_has_ended() {
    let slot = Slot::new().await;
    for kind in STREAMED {
        for end in [Do::Early, Do::Fail] {
            let (send, receive) = mpsc::channel::<Ask>(1);
            let begun = slot.begin(kind, end, Asks::new(ReceiverStream::new(receive))).await;
            let result = match begun {
                Ok(begun) => soon(begun.rest()).await.map(drop),
                Err(status) => Err(status),
            };
            assert_eq!(result.is_ok(), end == Do::Early, "{kind:?} {result:?}");
            soon(send.closed()).await;
            slot.is_one(&format!("{kind:?} {end:?}")).await;
        }
    }
}

#[tokio::test]
async fn futures_dropped_before_they_are_polled_and_before_the_answer() {
    let slot = Slot::new().await;
    for kind in KINDS {
        drop(kind.begin(slot.pool.channel(), ask(Do::Echo, "unpolled"), open(), None));
        assert_eq!(slot.server.books().calls_of("unpolled"), 0);
    }
    slot.is_one("unpolled").await;
    // The answers of the others begin at once.
    for kind in [Kind::Unary, Kind::ClientStream] {
        slot.drop_unanswered(kind).await;
        slot.is_one(&format!("{kind:?}")).await;
    }
}

#[tokio::test]
async fn a_future_dropped_while_it_waits_for_its_slot() {
    let slot = Slot::new().await;
    for kind in KINDS {
        let held = slot.begin(Kind::ServerStream, Do::Hang, no_more()).await.unwrap();
        let waits =
            tokio::spawn(kind.begin(slot.pool.channel(), ask(Do::Echo, "waits"), open(), None));
        until(|| slot.pool.status().waiting == 1).await;
        waits.abort();
        until(|| slot.pool.status().waiting == 0).await;
        assert_eq!(slot.pool.status().streams, 1);
        drop(held);
        slot.is_one(&format!("{kind:?}")).await;
        assert_eq!(slot.server.books().calls_of("waits"), 0);
    }
}

#[tokio::test]
async fn a_future_dropped_in_the_moment_in_which_it_gets_its_slot() {
    let slot = Slot::new().await;
    for kind in KINDS {
        let mut held = slot.begin(Kind::ServerStream, Do::Hang, no_more()).await.unwrap();
        soon(held.next()).await.unwrap().unwrap();
        let waits =
            tokio::spawn(kind.begin(slot.pool.channel(), ask(Do::Echo, "assigned"), open(), None));
        until(|| slot.pool.status().waiting == 1).await;
        // The slot is assigned here, and the task has not run when it is aborted: one thread runs all.
        drop(held);
        waits.abort();
        assert!(soon(waits).await.unwrap_err().is_cancelled());
        slot.is_one(&format!("{kind:?}")).await;
        assert_eq!(slot.server.books().calls_of("assigned"), 0);
    }
}

#[tokio::test]
async fn bodies_dropped_before_within_and_at_the_end() {
    let slot = Slot::new().await;
    for kind in [Kind::ServerStream, Kind::Bidi] {
        for answers in 0..=2 {
            let asks = Asks::new(tokio_stream::iter([ask(Do::Echo, "held")]).chain(open()));
            let mut begun = slot.begin(kind, Do::Echo, asks).await.unwrap();
            for _ in 0..answers {
                soon(begun.next()).await.unwrap().unwrap();
            }
            // Three answers and the trailers may come together, and then nothing is left to hold a slot for.
            if kind == Kind::Bidi || answers == 0 {
                assert_eq!(slot.pool.status().streams, 1);
            }
            drop(begun);
            slot.is_one(&format!("{kind:?} {answers}")).await;
        }
    }
    // All messages were read, and the trailers were not.
    let mut begun = slot.begin(Kind::ServerStream, Do::Echo, no_more()).await.unwrap();
    for _ in 0..3 {
        soon(begun.next()).await.unwrap().unwrap();
    }
    drop(begun);
    slot.is_one("trailers").await;
}

#[tokio::test]
async fn panics_of_the_request() {
    let slot = Slot::new().await;
    soon(Kind::Unary.call(slot.pool.channel(), ask(Do::Echo, "warm"))).await.unwrap();
    for kind in STREAMED {
        for later in [false, true] {
            let (send, receive) = mpsc::channel::<Ask>(1);
            let panic = tokio_stream::iter([0]).map(|n| {
                assert!(n > 0, "a panic that this test asks for");
                ask(Do::Echo, "never")
            });
            let asks = Asks::new(ReceiverStream::new(receive).chain(panic));
            let calls = slot.server.books().now().calls;
            // While there is a sender, the stream waits, and it panics in the task that sends it.
            let send = later.then_some(send);
            let begin = kind.begin(slot.pool.channel(), ask(Do::Echo, "held"), asks, None);
            let call = tokio::spawn(async move { begin.await?.rest().await });
            if later {
                soon(slot.server.books().until(|now| now.calls > calls)).await;
            }
            drop(send);
            match soon(call).await {
                Err(panicked) => assert!(panicked.is_panic() && !later, "{kind:?} {panicked}"),
                Ok(result) => {
                    let status = result.unwrap_err();
                    assert!(later, "{kind:?} {status}");
                    assert_eq!(status.code(), Code::Internal, "{status}");
                    assert!(status.message().contains("panicked"), "{status}");
                }
            }
            slot.is_one(&format!("{kind:?} {later}")).await;
        }
    }
}

#[tokio::test]
async fn panics_of_the_caller() {
    let slot = Slot::new().await;
    for kind in [Kind::ServerStream, Kind::Bidi] {
        let channel = slot.pool.channel();
        let call = tokio::spawn(async move {
            let mut begun = kind.begin(channel, ask(Do::Echo, "held"), open(), None).await.unwrap();
            begun.next().await.unwrap();
            panic!("a panic that this test asks for");
        });
        assert!(soon(call).await.unwrap_err().is_panic());
        slot.is_one(&format!("{kind:?}")).await;
    }
}
