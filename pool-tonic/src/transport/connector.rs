//! Connectors of the user's.

use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::pin::Pin;

use http::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use super::Attempt;
use crate::address::Target;
use crate::connection::{DialConfig, Start, establish};
use crate::error::ConnectError;

type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Start, ConnectError>> + Send + 'a>>;

/// A connector whose kind of stream is forgotten, up to the HTTP/2 connection over it.
pub(crate) trait Connect: Send + Sync {
    fn connect<'a>(&'a self, attempt: Attempt<'a>, config: &'a DialConfig) -> Connecting<'a>;
}

/// A service that connects.
pub(crate) struct Connector<C>(pub(crate) C);

impl<C> Connect for Connector<C>
where
    C: Service<Uri> + Clone + Send + Sync,
    C::Response: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    C::Error: Into<Box<dyn StdError + Send + Sync>>,
    C::Future: Send,
{
    fn connect<'a>(&'a self, attempt: Attempt<'a>, config: &'a DialConfig) -> Connecting<'a> {
        // Each attempt has a copy of its own: one that failed to become ready is not asked again.
        let mut service = self.0.clone();
        let address = attempt.address();
        let uri = match address.target() {
            Target::Tcp { uri, .. } => uri.clone(),
            // The builder refuses it together with a connector.
            Target::Unix { .. } => address.uri(None),
        };
        let open = async move {
            poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
            service.call(uri).await.map_err(Into::into)
        };
        Box::pin(async move {
            let io = attempt
                .within("the connector was connecting", open)
                .await?
                .map_err(|error| ConnectError::connector(address, error))?;
            establish(io, attempt, config).await
        })
    }
}
