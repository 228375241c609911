//! Stream ids end. Here, since no test opens two billion streams: the last one is set by hand.

use std::future::ready;
use std::io;
use std::time::Duration;

use pool_tonic_testing::proto::echo_client::EchoClient;
use pool_tonic_testing::proto::{Ask, Do};
use pool_tonic_testing::raw::{Heard, Raw};
use tokio::sync::mpsc;
use tower::service_fn;

use crate::ChannelPool;

#[tokio::test(start_paused = true)]
async fn a_connection_is_replaced_before_its_stream_ids_end_and_no_call_fails() {
    let (send, mut arrivals) = mpsc::unbounded_channel();
    let connector = service_fn(move |_: http::Uri| {
        let (near, far) = tokio::io::duplex(1 << 20);
        ready(send.send(far).map(|()| near).map_err(io::Error::other))
    });
    let pool = ChannelPool::builder("http://memory")
        .connector(connector)
        .max_connections(1)
        .last_stream(9)
        .build()
        .unwrap();
    let server = tokio::spawn(async move {
        let mut highest = Vec::new();
        while let Some(stream) = arrivals.recv().await {
            let mut peer = Raw::greet(stream, 100).await.unwrap();
            let mut last = 0;
            loop {
                match peer.hear().await {
                    Heard::End(stream) => {
                        last = stream;
                        peer.answer(stream).await.unwrap();
                    }
                    Heard::Closed => break,
                    _ => {}
                }
            }
            highest.push(last);
        }
        highest
    });
    let mut client = EchoClient::new(pool.channel());
    for _ in 0..100 {
        let ask = Ask { text: String::new(), r#do: Do::Echo.into(), answers: 0 };
        client.unary(ask).await.unwrap();
        // As after a GOAWAY: one that lived for less than that would be followed by a back-off.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    drop((client, pool));
    let highest = server.await.unwrap();
    assert!(highest.len() >= 20, "{highest:?}");
    assert!(highest.iter().all(|&last| last <= 11), "{highest:?}");
}
