//! Certificates, and echo servers with TLS.

// Each test binary uses its part of it.
#![allow(dead_code, unreachable_pub)]

use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use pool_tonic::{ChannelPool, ChannelPoolBuilder, Pem, TlsConfig};
use pool_tonic_testing::{Accepted, EchoServer};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, rustls};
use tokio_stream::wrappers::ReceiverStream;

/// Somebody who signs certificates.
pub struct Ca {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Ca {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // Each has a name of its own, by which its certificates say who signed them.
        let name = format!("{:?}", key.public_key_raw().last_chunk::<8>());
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A certificate for this name, a host's or an address.
    pub fn issue(&self, name: &str) -> Issued {
        self.sign(&CertificateParams::new([name.to_owned()]).unwrap())
    }

    /// The same, out of date.
    pub fn issue_expired(&self, name: &str) -> Issued {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2001, 2, 1);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A pool that trusts this one.
    pub fn pool(&self, uri: impl Into<String>) -> ChannelPoolBuilder {
        ChannelPool::builder(uri).tls_config(self.trusted())
    }

    pub fn trusted(&self) -> TlsConfig {
        TlsConfig::new().ca_certificate(Pem::bytes(self.pem()))
    }
}

pub fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A server's side of TLS, which wants client certificates of `clients` if there is one.
pub fn server_config(issued: &Issued, clients: Option<&Ca>, alpn: &[&str]) -> Arc<ServerConfig> {
    server_config_of(issued, clients, alpn, rustls::DEFAULT_VERSIONS)
}

/// The same of some versions of TLS.
pub fn server_config_of(
    issued: &Issued,
    clients: Option<&Ca>,
    alpn: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(der(&ca.pem())).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let mut config = builder.with_single_cert(vec![der(&issued.certificate)], key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// An echo server with TLS.
pub struct TlsServer {
    pub echo: EchoServer,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    /// The certificates that clients have presented, one for each connection.
    clients: Arc<Mutex<Vec<Option<CertificateDer<'static>>>>>,
    acceptor: JoinHandle<()>,
}

impl TlsServer {
    pub async fn start(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (accepted, incoming) = mpsc::channel(16);
        let config = Arc::new(Mutex::new(config));
        let clients = Arc::<Mutex<Vec<_>>>::default();
        let (current, seen) = (Arc::clone(&config), Arc::clone(&clients));
        let acceptor = tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let tls = TlsAcceptor::from(Arc::clone(&*current.lock().unwrap()));
                let (accepted, seen) = (accepted.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    // The client says what failed.
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let presented = stream.get_ref().1.peer_certificates();
                    seen.lock().unwrap().push(presented.map(|chain| chain[0].clone().into_owned()));
                    let _ = accepted.send(Ok(Accepted::new(stream, peer))).await;
                });
            }
        });
        let echo = EchoServer::serve(addr, ReceiverStream::new(incoming), |server| server);
        Self { echo, config, clients, acceptor }
    }

    pub fn addr(&self) -> SocketAddr {
        self.echo.addr()
    }

    pub fn uri(&self) -> String {
        format!("https://{}", self.addr())
    }

    /// New connections are greeted with this.
    pub fn set(&self, config: Arc<ServerConfig>) {
        *self.config.lock().unwrap() = config;
    }

    pub fn clients(&self) -> Vec<Option<CertificateDer<'static>>> {
        self.clients.lock().unwrap().clone()
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// A server that does the TLS handshake, and then nothing.
pub async fn silent(config: Arc<ServerConfig>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _stream = TlsAcceptor::from(config).accept(stream).await.unwrap();
        pending::<()>().await;
    });
    (addr, task)
}
