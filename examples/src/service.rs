//! The demo's service: one method of each kind of call.

use std::pin::Pin;
use std::time::Duration;

use tokio::time;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::proto::demo_server::Demo;
use crate::proto::{Number, Text};

/// What a call takes besides its transport, as a look into a database would. It makes the number of
/// streams matter: ten of them carry at most five thousand calls a second.
const WORK: Duration = Duration::from_millis(2);

/// The longest answer to `Count`: what a client asks for has a limit.
const MAX_COUNT: u64 = 10_000;

/// Implements `demo.v1.Demo`.
#[derive(Clone, Copy, Debug, Default)]
pub struct DemoService;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Demo for DemoService {
    async fn echo(&self, request: Request<Text>) -> Result<Response<Text>, Status> {
        time::sleep(WORK).await;
        Ok(Response::new(request.into_inner()))
    }

    type CountStream = Answers<Number>;

    async fn count(&self, request: Request<Number>) -> Result<Response<Self::CountStream>, Status> {
        let last = request.into_inner().value;
        if last > MAX_COUNT {
            return Err(Status::invalid_argument(format!(
                "counts to {MAX_COUNT} at most, not to {last}"
            )));
        }
        time::sleep(WORK).await;
        let numbers = tokio_stream::iter((1..=last).map(|value| Ok(Number { value })));
        Ok(Response::new(Box::pin(numbers)))
    }

    async fn sum(&self, request: Request<Streaming<Number>>) -> Result<Response<Number>, Status> {
        let mut numbers = request.into_inner();
        let mut sum = 0u64;
        while let Some(number) = numbers.message().await? {
            sum = sum.wrapping_add(number.value);
        }
        time::sleep(WORK).await;
        Ok(Response::new(Number { value: sum }))
    }

    type ChatStream = Answers<Text>;

    async fn chat(
        &self,
        request: Request<Streaming<Text>>,
    ) -> Result<Response<Self::ChatStream>, Status> {
        time::sleep(WORK).await;
        Ok(Response::new(Box::pin(request.into_inner())))
    }
}
