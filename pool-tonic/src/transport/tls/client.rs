//! rustls's configuration of a client, made once, or anew when the files that it comes from have changed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::rustls;

use super::{H2, Pem, TlsConfig, TlsError};
use crate::error::ConfigError;

/// Where the configuration comes from.
#[derive(Debug)]
pub(super) enum Client {
    Fixed(Arc<ClientConfig>),
    Files(Arc<Files>),
}

/// What to read for a connection, and what came of it the last time.
pub(super) struct Files {
    parts: Parts,
    last: Mutex<Option<(Contents, Arc<ClientConfig>)>>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.fmt(f)
    }
}

#[derive(Debug)]
struct Parts {
    /// Those that are not in `ca_certificates`.
    roots: RootCertStore,
    ca_certificates: Vec<Pem>,
    identity: Option<(Pem, Pem)>,
    provider: Arc<CryptoProvider>,
}

/// What all the PEMs held.
#[derive(PartialEq, Eq)]
struct Contents {
    ca_certificates: Vec<Bytes>,
    identity: Option<(Bytes, Bytes)>,
}

impl Client {
    pub(super) fn new(config: &TlsConfig) -> Result<Self, ConfigError> {
        if let Some(whole) = &config.whole {
            return Ok(Self::Fixed(for_h2(Arc::clone(whole))));
        }
        let parts = Parts {
            provider: provider(config.provider.as_ref())?,
            roots: roots(config)?,
            ca_certificates: config.ca_certificates.clone(),
            identity: config.identity.clone(),
        };
        if parts.pems().any(Pem::is_file) {
            return Ok(Self::Files(Arc::new(Files { parts, last: Mutex::new(None) })));
        }
        let fixed = parts.read().and_then(|contents| parts.build(&contents));
        fixed
            .map(|config| Self::Fixed(Arc::new(config)))
            .map_err(|error| ConfigError::Tls { source: error.into() })
    }

    /// The configuration for one connection.
    pub(super) async fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        match self {
            Self::Fixed(config) => Ok(Arc::clone(config)),
            Self::Files(files) => {
                let files = Arc::clone(files);
                tokio::task::spawn_blocking(move || files.config()).await?
            }
        }
    }
}

impl Files {
    /// Files are replaced one after the other, and may not fit each other, or be there by half, at the
    /// moment when they are read. What is wrong then is wrong no more a little later, nearly always; if it is,
    /// the attempt to connect fails, and the next one reads them again.
    fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        self.read().or_else(|_| self.read())
    }

    /// The one of last time while the files are the same, so that sessions are resumed.
    fn read(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let contents = self.parts.read()?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, config)) = &*last
            && *before == contents
        {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.parts.build(&contents)?);
        *last = Some((contents, Arc::clone(&config)));
        Ok(config)
    }
}

impl Parts {
    fn pems(&self) -> impl Iterator<Item = &Pem> {
        let identity = self.identity.iter().flat_map(|(certificates, key)| [certificates, key]);
        self.ca_certificates.iter().chain(identity)
    }

    fn read(&self) -> Result<Contents, TlsError> {
        let ca_certificates =
            self.ca_certificates.iter().map(Pem::read).collect::<Result<_, _>>()?;
        let identity = match &self.identity {
            Some((certificates, key)) => Some((certificates.read()?, key.read()?)),
            None => None,
        };
        Ok(Contents { ca_certificates, identity })
    }

    fn build(&self, contents: &Contents) -> Result<ClientConfig, TlsError> {
        let mut roots = self.roots.clone();
        for (pem, bytes) in self.ca_certificates.iter().zip(&contents.ca_certificates) {
            const WHAT: &str = "root certificate";
            for certificate in pem.certificates(WHAT, bytes)? {
                roots.add(certificate).map_err(|error| pem.bad(WHAT, error))?;
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match self.identity.as_ref().zip(contents.identity.as_ref()) {
            None => builder.with_no_client_auth(),
            Some(((certificates, key), (certificate_bytes, key_bytes))) => {
                let chain = certificates.certificates("client certificate", certificate_bytes)?;
                let private = key.key("client key", key_bytes)?;
                builder.with_client_auth_cert(chain, private).map_err(|error| match error {
                    rustls::Error::InconsistentKeys(_) => certificates.misfit(key),
                    error => key.bad("key of the client certificate", error),
                })?
            }
        };
        config.alpn_protocols = vec![H2.to_vec()];
        Ok(config)
    }
}

fn for_h2(config: Arc<ClientConfig>) -> Arc<ClientConfig> {
    if config.alpn_protocols == [H2] {
        return config;
    }
    let mut config = Arc::unwrap_or_clone(config);
    config.alpn_protocols = vec![H2.to_vec()];
    Arc::new(config)
}

/// The roots beside those in PEM.
fn roots(config: &TlsConfig) -> Result<RootCertStore, ConfigError> {
    let roots = RootCertStore::empty();
    #[cfg(any(feature = "tls-native-roots", feature = "tls-webpki-roots"))]
    let mut roots = roots;
    let by_default = config.ca_certificates.is_empty();
    #[cfg(feature = "tls-webpki-roots")]
    let by_default = by_default && !config.webpki_roots;
    #[cfg(feature = "tls-native-roots")]
    let by_default = {
        if config.native_roots || by_default {
            add_native(&mut roots)?;
        }
        false
    };
    #[cfg(feature = "tls-webpki-roots")]
    let by_default = {
        if config.webpki_roots || by_default {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        false
    };
    if by_default { Err(ConfigError::NoRoots) } else { Ok(roots) }
}

#[cfg(feature = "tls-native-roots")]
fn add_native(roots: &mut RootCertStore) -> Result<(), ConfigError> {
    let found = rustls_native_certs::load_native_certs();
    // Some systems have a few that rustls does not take.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let error = TlsError::NoNativeRoots(found.errors);
        return Err(ConfigError::Tls { source: error.into() });
    }
    Ok(())
}

fn provider(chosen: Option<&Arc<CryptoProvider>>) -> Result<Arc<CryptoProvider>, ConfigError> {
    chosen
        .cloned()
        .or_else(|| CryptoProvider::get_default().cloned())
        .or_else(built_in)
        .ok_or(ConfigError::NoCryptoProvider)
}

/// Sees to it that there is a default for the process, for what panics without one.
#[cfg(feature = "kubernetes")]
pub(crate) fn ensure_default_provider() -> Result<(), ConfigError> {
    let provider = provider(None)?;
    if CryptoProvider::get_default().is_none() {
        // Fails if there is one by now.
        let _ = CryptoProvider::clone(&provider).install_default();
    }
    Ok(())
}

#[cfg(feature = "tls-aws-lc")]
#[allow(clippy::unnecessary_wraps, reason = "there is none without the features")]
fn built_in() -> Option<Arc<CryptoProvider>> {
    Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

#[cfg(all(feature = "tls-ring", not(feature = "tls-aws-lc")))]
#[allow(clippy::unnecessary_wraps, reason = "there is none without the features")]
fn built_in() -> Option<Arc<CryptoProvider>> {
    Some(Arc::new(rustls::crypto::ring::default_provider()))
}

#[cfg(not(any(feature = "tls-aws-lc", feature = "tls-ring")))]
fn built_in() -> Option<Arc<CryptoProvider>> {
    None
}
