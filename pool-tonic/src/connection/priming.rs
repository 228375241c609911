//! The priming call: what a new connection is asked before it is lent.

use bytes::Bytes;
use h2::client::SendRequest;
use http::uri::PathAndQuery;
use tonic::{Request, Status};

use super::own_call;
use crate::address::Address;

/// A unary call that is made on every new connection.
#[derive(Clone, Debug)]
pub(crate) struct Priming {
    pub(crate) path: PathAndQuery,
    pub(crate) metadata: http::HeaderMap,
    pub(crate) message: Bytes,
}

impl Priming {
    pub(crate) fn new(path: PathAndQuery, request: Request<Bytes>) -> Self {
        let (metadata, _, message) = request.into_parts();
        Self { path, metadata: metadata.into_headers(), message }
    }

    /// Makes the call.
    ///
    /// # Errors
    ///
    /// Any status but OK.
    pub(super) async fn call(
        &self,
        sender: SendRequest<Bytes>,
        address: &Address,
    ) -> Result<(), Status> {
        let (path, metadata) = (self.path.clone(), self.metadata.clone());
        let mut answers = own_call::call(sender, address, path, metadata, &self.message).await?;
        while answers.next().await?.is_some() {}
        Ok(())
    }
}
