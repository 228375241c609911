//! Unix sockets.

use std::path::Path;

use tokio::net::UnixStream;

use super::Attempt;
use crate::error::ConnectError;

/// Connects to the socket at a path.
pub(crate) async fn unix(path: &Path, attempt: &Attempt<'_>) -> Result<UnixStream, ConnectError> {
    attempt
        .within("its socket was being connected to", UnixStream::connect(path))
        .await?
        .map_err(|error| ConnectError::tcp(attempt.address(), error))
}
