//! What the programs for Kubernetes share: settings from the environment, and the word to end.

use std::env::{self, VarError};
use std::error::Error;
use std::future::Future;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use crate::cli;

/// A setting from the environment.
///
/// # Errors
///
/// If it is there and cannot be read; it names the variable.
pub fn variable<T>(name: &str, default: &str) -> Result<T, Box<dyn Error + Send + Sync>>
where
    T: FromStr<Err: Error>,
{
    let text = match env::var(name) {
        Ok(text) => text,
        Err(VarError::NotPresent) => default.to_owned(),
        Err(error) => return Err(format!("{name}: {error}").into()),
    };
    text.parse().map_err(|error| format!("{name} is {text:?}: {error}").into())
}

/// A setting that is a time: `250ms`, `30s`, `2m`.
///
/// # Errors
///
/// As of [`variable`].
pub fn duration(name: &str, default: &str) -> Result<Duration, Box<dyn Error + Send + Sync>> {
    let text: String = variable(name, default)?;
    cli::duration(&text).map_err(|error| format!("{name} is {text:?}: {error}").into())
}

/// Ends when the process is told to end: by SIGTERM, as of Kubernetes, or by Ctrl-C. From this call on SIGTERM does not
/// end it by itself.
///
/// # Errors
///
/// If the system does not let it listen for that.
pub fn told_to_end() -> io::Result<impl Future<Output = ()> + Send + use<>> {
    #[cfg(unix)]
    let mut terminate = {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::terminate())?
    };
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = terminate.recv() => {}
            // It fails where it cannot be heard, and SIGTERM is left.
            Ok(()) = tokio::signal::ctrl_c() => {}
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
