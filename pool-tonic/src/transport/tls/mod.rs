//! TLS through rustls.
//!
//! - `config.rs`: what the user sets
//! - `pem.rs`: certificates and keys, in memory or in files
//! - `client.rs`: from those to rustls's configuration
//! - this file: the handshake

mod client;
mod config;
mod pem;

use std::io;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, Error as RustlsError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsConnector, rustls};

use self::client::Client;
#[cfg(feature = "kubernetes")]
pub(crate) use self::client::ensure_default_provider;
pub use self::config::TlsConfig;
pub use self::pem::Pem;
pub(crate) use self::pem::TlsError;
use super::Attempt;
use crate::address::Address;
use crate::error::{ConfigError, ConnectError};
use crate::handshakes::TlsOutcome;

/// The protocol that gRPC needs, as ALPN names it (RFC 9113, section 3.2).
const H2: &[u8] = b"h2";

/// How a pool does TLS.
#[derive(Debug)]
pub(crate) struct Tls {
    client: Client,
    /// Instead of the address's host.
    name: Option<ServerName<'static>>,
}

impl Tls {
    /// Checks what can be checked before the first connection.
    pub(crate) fn new(config: &TlsConfig) -> Result<Self, ConfigError> {
        let name = config.domain_name.as_deref().map(server_name).transpose()?;
        Ok(Self { client: Client::new(config)?, name })
    }

    /// Can the certificate of this address be checked?
    pub(crate) fn check(&self, address: &Address) -> Result<(), ConfigError> {
        self.server_name(address).map(drop)
    }

    fn server_name(&self, address: &Address) -> Result<ServerName<'static>, ConfigError> {
        self.name.clone().map_or_else(|| server_name(address.host()), Ok)
    }

    /// The handshake, as the client.
    pub(crate) async fn connect<I>(
        &self,
        io: I,
        attempt: &Attempt<'_>,
    ) -> Result<TlsStream<I>, ConnectError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let address = attempt.address();
        let config = attempt
            .within("its certificates were being read", self.client.config())
            .await?
            .map_err(|error| ConnectError::credentials(address, error))?;
        // The builder has checked it.
        let name = self
            .server_name(address)
            .map_err(|error| ConnectError::tls(address, io::Error::other(error)))?;
        let count = |outcome| attempt.totals.tls_handshakes.count(outcome);
        let stream = attempt
            .within("the TLS handshake was under way", TlsConnector::from(config).connect(name, io))
            .await
            .inspect_err(|_| count(TlsOutcome::Timeout))?;
        let (outcome, agreed) = match stream {
            Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(H2) => {
                (TlsOutcome::Ok, Ok(stream))
            }
            Ok(_) => (TlsOutcome::Alpn, Err(ConnectError::alpn(address, None))),
            Err(error) => match failure(&error) {
                TlsOutcome::Alpn => {
                    (TlsOutcome::Alpn, Err(ConnectError::alpn(address, Some(error))))
                }
                outcome => (outcome, Err(ConnectError::tls(address, error))),
            },
        };
        count(outcome);
        agreed
    }
}

/// Which of the outcomes that is.
fn failure(error: &io::Error) -> TlsOutcome {
    match rustls_error(error) {
        None => TlsOutcome::Io,
        Some(RustlsError::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            TlsOutcome::Alpn
        }
        Some(RustlsError::AlertReceived(_)) => TlsOutcome::Alert,
        Some(
            RustlsError::InvalidCertificate(_)
            | RustlsError::InvalidCertRevocationList(_)
            | RustlsError::NoCertificatesPresented,
        ) => TlsOutcome::Certificate,
        Some(_) => TlsOutcome::Protocol,
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, ConfigError> {
    ServerName::try_from(host.to_owned())
        .map_err(|error| ConfigError::ServerName { name: host.to_owned(), source: error.into() })
}

/// What rustls says inside an I/O error.
fn rustls_error(error: &io::Error) -> Option<&RustlsError> {
    error.get_ref()?.downcast_ref()
}

/// Did TLS itself fail, and not what is below it?
pub(crate) fn is_tls(error: &io::Error) -> bool {
    rustls_error(error).is_some()
}

/// Does the other side seem not to speak TLS at all?
pub(crate) fn is_no_tls(error: &io::Error) -> bool {
    match rustls_error(error) {
        Some(error) => matches!(error, RustlsError::InvalidMessage(_)),
        None => matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
        ),
    }
}
