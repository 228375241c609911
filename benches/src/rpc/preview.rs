//! The preview of the `grpc` crate, without the code that its generator would write: that takes a `protoc`.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes};
use grpc::client::{
    CallOptions, Channel, ChannelOptions, Invoke as _, RecvStream as _, ResponseStreamItem,
    SendOptions, SendStream as _,
};
use grpc::core::{RecvMessage, RequestHeaders, SendMessage};
use grpc::credentials::LocalChannelCredentials;
use prost::Message as _;
use tokio::time::Instant;

use super::proto::{Answer, Ask};
use super::{Call, Caller, Failure, Scenario, Server, System};

/// One `grpc::client::Channel`, which has one connection to a server. It leaves Nagle's algorithm on, and has no
/// setting for that: where few calls run, each waits some 40 ms for the acknowledgement of what was sent before.
#[derive(Clone)]
pub struct Grpc(Channel);

impl System for Grpc {
    const NAME: &'static str = "grpc";

    async fn connect(server: &Server, _: &Scenario) -> Result<Self, Failure> {
        let target = format!("dns:///{}", server.uri().trim_start_matches("http://"));
        let credentials = LocalChannelCredentials::new_arc();
        Ok(Self(Channel::new(target, credentials, ChannelOptions::default())))
    }
}

impl Caller for Grpc {
    async fn call(&mut self, call: &Call, read: &AtomicUsize) -> Result<(), Failure> {
        let headers = RequestHeaders::new().with_method_name(call.kind.path());
        let mut options = CallOptions::new();
        if let Some(timeout) = call.timeout {
            options.set_deadline((Instant::now() + timeout).into());
        }
        let (mut sender, mut receiver) = self.0.invoke(headers, options).await;
        let send = async {
            let asks = call.asks();
            let message = Asked(call.ask());
            for ask in 1..=asks {
                let options = SendOptions::new().with_final_msg(ask == asks);
                // Why, the answer says.
                if sender.send(&message, options).await.is_err() {
                    break;
                }
            }
        };
        let receive = async {
            let mut answered = Answered { bytes: 0, read };
            loop {
                match receiver.recv(&mut answered).await {
                    ResponseStreamItem::Headers(_) | ResponseStreamItem::Message => {}
                    ResponseStreamItem::StreamClosed => return Err("no trailers".to_owned()),
                    ResponseStreamItem::Trailers(trailers) => {
                        let ended = trailers.into_status().map_err(|error| format!("{error:?}"));
                        return ended.map(|()| answered.bytes);
                    }
                }
            }
        };
        let ((), bytes) = tokio::join!(send, receive);
        call.expect(bytes?)
    }
}

struct Asked(Ask);

impl SendMessage for Asked {
    fn encode(&self) -> Result<Box<dyn Buf + Send + Sync>, String> {
        Ok(Box::new(Bytes::from(self.0.encode_to_vec())))
    }
}

struct Answered<'a> {
    bytes: usize,
    read: &'a AtomicUsize,
}

impl RecvMessage for Answered<'_> {
    fn decode(&mut self, data: &mut dyn Buf) -> Result<(), String> {
        let answer = Answer::decode(data).map_err(|error| error.to_string())?;
        self.bytes += answer.payload.len();
        self.read.fetch_add(answer.payload.len(), Ordering::Relaxed);
        Ok(())
    }
}
