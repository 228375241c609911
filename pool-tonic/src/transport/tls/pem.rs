//! Certificates and keys in PEM, in memory or in files.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls;

/// Certificates or a private key in PEM: their bytes, or a file that is read again for each connection.
///
/// Its `Debug` form does not show the bytes.
///
/// # Examples
///
/// ```
/// use pool_tonic::Pem;
///
/// let key = Pem::file("/etc/orders/tls.key");
/// let roots = Pem::bytes("-----BEGIN CERTIFICATE-----\n...");
/// ```
#[derive(Clone)]
pub struct Pem(Source);

#[derive(Clone)]
enum Source {
    Bytes(Bytes),
    File(Arc<PathBuf>),
}

impl Pem {
    /// PEM in memory.
    pub fn bytes(pem: impl AsRef<[u8]>) -> Self {
        Self(Source::Bytes(Bytes::copy_from_slice(pem.as_ref())))
    }

    /// A file in PEM. It is read when a connection is made, and need not exist before.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(Arc::new(path.into())))
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self.0, Source::File(_))
    }

    /// Blocks on the file, if it is one.
    pub(super) fn read(&self) -> Result<Bytes, TlsError> {
        match &self.0 {
            Source::Bytes(pem) => Ok(pem.clone()),
            Source::File(path) => match std::fs::read(path.as_path()) {
                Ok(pem) => Ok(pem.into()),
                Err(source) => Err(TlsError::File { path: path.as_path().into(), source }),
            },
        }
    }

    pub(super) fn certificates(
        &self,
        what: &'static str,
        pem: &[u8],
    ) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match found {
            Ok(found) if found.is_empty() => Err(self.bad(what, PemError::NoItemsFound)),
            found => found.map_err(|error| self.bad(what, error)),
        }
    }

    pub(super) fn key(
        &self,
        what: &'static str,
        pem: &[u8],
    ) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(pem).map_err(|error| self.bad(what, error))
    }

    /// The key is not the one of the certificate that this is.
    pub(super) fn misfit(&self, key: &Self) -> TlsError {
        TlsError::Misfit { key: key.to_string(), certificate: self.to_string() }
    }

    pub(super) fn bad(
        &self,
        what: &'static str,
        source: impl StdError + Send + Sync + 'static,
    ) -> TlsError {
        TlsError::Bad { what, from: self.to_string(), source: Box::new(source) }
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Bytes(_) => f.write_str("PEM in memory"),
            Source::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({self})")
    }
}

/// What is wrong with certificates and keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{from} cannot be used as {what}: {source}")]
    Bad { what: &'static str, from: String, source: Box<dyn StdError + Send + Sync> },
    #[error(
        "{key} cannot be used as key of the client certificate of {certificate}: it is that of another one (was only one of them replaced?)"
    )]
    Misfit { key: String, certificate: String },
    #[cfg(feature = "tls-native-roots")]
    #[error("the system has no root certificates{}", reasons(.0))]
    NoNativeRoots(Vec<rustls_native_certs::Error>),
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    #[error("the files were not read: {0}")]
    Task(#[from] tokio::task::JoinError),
}

#[cfg(feature = "tls-native-roots")]
fn reasons(errors: &[rustls_native_certs::Error]) -> String {
    errors.iter().fold(String::new(), |text, error| format!("{text}: {error}"))
}
