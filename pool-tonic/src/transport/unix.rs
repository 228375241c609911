//! Unix sockets.

use std::path::Path;

use tokio::net::UnixStream;

use super::{Attempt, Open};
use crate::error::ConnectError;

/// The socket at a path.
pub(crate) struct Unix<'a> {
    pub(crate) path: &'a Path,
}

impl Open for Unix<'_> {
    type Io = UnixStream;

    async fn open(&self, attempt: &Attempt<'_>) -> Result<UnixStream, ConnectError> {
        attempt
            .within("its socket was being connected to", UnixStream::connect(self.path))
            .await?
            .map_err(|error| ConnectError::tcp(attempt.address(), error))
    }
}
