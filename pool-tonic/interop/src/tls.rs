//! Certificates for the cases with TLS, in files.

use std::fs;
use std::path::{Path, PathBuf};

use pool_tonic::{Pem, TlsConfig};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::Outcome;

/// Whose certificates the client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Those of him who signed the server's.
    Issuer,
    /// Those of somebody else.
    Stranger,
}

/// Where the certificates of a case are.
#[derive(Clone, Debug)]
pub(crate) struct Certificates(PathBuf);

impl Certificates {
    /// In this folder.
    pub(crate) fn of(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The server's own.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.0.join("certificate.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.0.join("key.pem")
    }

    fn ca(&self, trust: Trust) -> PathBuf {
        self.0.join(format!("{trust:?}.pem"))
    }

    /// Makes them, for 127.0.0.1.
    pub(crate) fn make(&self) -> Outcome<()> {
        let (_, stranger) = authority("stranger")?;
        let (issuer, certificate) = authority("issuer")?;
        fs::write(self.ca(Trust::Stranger), stranger)?;
        fs::write(self.ca(Trust::Issuer), certificate)?;
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(["127.0.0.1".to_owned()])?;
        fs::write(self.certificate(), params.signed_by(&key, &issuer)?.pem())?;
        Ok(fs::write(self.key(), key.serialize_pem())?)
    }

    /// What the pool is told.
    pub(crate) fn config(&self, trust: Trust) -> TlsConfig {
        TlsConfig::new().ca_certificate(Pem::file(self.ca(trust)))
    }
}

/// Somebody who signs certificates, and his own.
fn authority(name: &str) -> Outcome<(Issuer<'static, KeyPair>, String)> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.pem();
    Ok((Issuer::new(params, key), certificate))
}
