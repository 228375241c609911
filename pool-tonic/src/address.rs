//! The address of a server, parsed once from what the user wrote.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
#[cfg(feature = "tls")]
use std::sync::Arc;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use crate::error::ConfigError;

/// Ports of URIs that name none (RFC 9110, section 4.2).
const DEFAULT_HTTP_PORT: u16 = 80;
const DEFAULT_HTTPS_PORT: u16 = 443;

/// What requests over a Unix socket carry as `:authority`, as those of other gRPC clients do.
const UNIX_AUTHORITY: &str = "localhost";

/// One server: where to connect to, and what requests to it carry as `:scheme` and `:authority`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    target: Target,
    /// With TLS.
    secure: bool,
    /// Of requests: the endpoint's own, or those of the user's `origin`.
    scheme: Scheme,
    authority: Authority,
    /// For people.
    name: String,
    /// What a certificate has to bear, if it is not the host that is connected to.
    #[cfg(feature = "tls")]
    server: Option<Arc<str>>,
}

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// `uri` is what a connector is given.
    Tcp {
        host: String,
        port: u16,
        uri: Uri,
    },
    Unix {
        path: PathBuf,
    },
}

impl Address {
    /// Parses `http://host[:port]`, `https://host[:port]`, `unix:path` or `unix:///path`.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        match text.strip_prefix("unix:") {
            Some(path) => Self::parse_unix(text, path),
            None => Self::parse_uri(text),
        }
    }

    fn parse_unix(text: &str, path: &str) -> Result<Self, ConfigError> {
        // `unix://` is followed by an authority, which is empty.
        let path = match path.strip_prefix("//") {
            Some(absolute) if absolute.starts_with('/') => absolute,
            None if !path.is_empty() => path,
            _ => {
                let reason = "it names no path: write unix:///PATH or unix:PATH".to_owned();
                return Err(ConfigError::Uri { uri: text.to_owned(), reason });
            }
        };
        if !cfg!(unix) {
            return Err(ConfigError::UnixUnsupported { uri: text.to_owned() });
        }
        Ok(Self {
            target: Target::Unix { path: Path::new(path).to_owned() },
            secure: false,
            scheme: Scheme::HTTP,
            authority: Authority::from_static(UNIX_AUTHORITY),
            name: format!("unix:{path}"),
            #[cfg(feature = "tls")]
            server: None,
        })
    }

    fn parse_uri(text: &str) -> Result<Self, ConfigError> {
        let bad = |reason: String| ConfigError::Uri { uri: text.to_owned(), reason };
        let uri: Uri =
            text.parse().map_err(|error: http::uri::InvalidUri| bad(error.to_string()))?;
        let parts = uri.clone().into_parts();
        let scheme = parts
            .scheme
            .ok_or_else(|| bad("it has no scheme: write http://HOST:PORT".to_owned()))?;
        let secure = scheme == Scheme::HTTPS;
        if !secure && scheme != Scheme::HTTP {
            return Err(bad(format!(
                "its scheme is {scheme}, and only http, https and unix are known"
            )));
        }
        let authority = parts.authority.ok_or_else(|| bad("it names no host".to_owned()))?;
        if authority.as_str().contains('@') {
            return Err(bad("it carries user information, which gRPC has no use for".to_owned()));
        }
        if let Some(path) = parts.path_and_query.as_ref().map(PathAndQuery::as_str)
            && !matches!(path, "" | "/")
        {
            return Err(bad(format!(
                "it has the path {path}, but the path of a gRPC request is its method"
            )));
        }
        // Brackets belong to the URI, not to the address that is resolved.
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(bad("it names no host".to_owned()));
        }
        let port = match (authority.port_u16(), authority.as_str().rsplit_once(':')) {
            (Some(port), _) => port,
            // A colon that no valid port follows: `host:` or `host:99999`.
            (None, Some((_, rest))) if !rest.contains(']') => {
                return Err(bad("its port is not a number from 0 to 65535".to_owned()));
            }
            (None, _) if secure => DEFAULT_HTTPS_PORT,
            (None, _) => DEFAULT_HTTP_PORT,
        };
        let name = authority.to_string();
        Ok(Self {
            target: Target::Tcp { host, port, uri },
            secure,
            scheme,
            authority,
            name,
            #[cfg(feature = "tls")]
            server: None,
        })
    }

    /// One of the servers behind this address: it is connected to there, and else the same. `None` if that is no host.
    pub(crate) fn endpoint(&self, host: &str, port: u16) -> Option<Self> {
        // One way to write each.
        let (host, name) = match host.parse() {
            Ok(IpAddr::V4(ip)) => (ip.to_string(), format!("{ip}:{port}")),
            Ok(IpAddr::V6(ip)) => (ip.to_string(), format!("[{ip}]:{port}")),
            Err(_) if host.is_empty() || host.contains([':', '@', '[', ']', '%']) => return None,
            Err(_) => (host.to_owned(), format!("{host}:{port}")),
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(if self.secure { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(name.parse().ok()?);
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
        let uri = Uri::from_parts(parts).ok()?;
        Some(Self {
            target: Target::Tcp { host, port, uri },
            secure: self.secure,
            scheme: self.scheme.clone(),
            authority: self.authority.clone(),
            name,
            #[cfg(feature = "tls")]
            server: Some(self.host().into()),
        })
    }

    /// The same with TLS. For a Unix socket, whose endpoint does not say so.
    #[cfg(feature = "tls")]
    pub(crate) fn with_tls(mut self) -> Self {
        self.secure = true;
        self.scheme = Scheme::HTTPS;
        self
    }

    /// The same for requests with another scheme and authority.
    pub(crate) fn with_origin(mut self, origin: &Self) -> Self {
        self.scheme = origin.scheme.clone();
        self.authority = origin.authority.clone();
        self
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// What it is called in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host, as a certificate names it.
    #[cfg(feature = "tls")]
    pub(crate) fn host(&self) -> &str {
        if let Some(server) = &self.server {
            return server;
        }
        match &self.target {
            Target::Tcp { host, .. } => host,
            Target::Unix { .. } => UNIX_AUTHORITY,
        }
    }

    /// The URI of a request to `path` on this server.
    pub(crate) fn uri(&self, path: Option<PathAndQuery>) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        Uri::from_parts(parts).expect("bug: scheme, authority and path are a URI")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> (String, u16) {
        match Address::parse(text).unwrap().target {
            Target::Tcp { host, port, .. } => (host, port),
            Target::Unix { path } => panic!("{text} is the socket {path:?}"),
        }
    }

    #[test]
    fn host_and_port_are_taken_from_the_uri() {
        assert_eq!(target("http://orders:50051"), ("orders".to_owned(), 50051));
        assert_eq!(target("http://orders/"), ("orders".to_owned(), 80));
        assert_eq!(target("https://orders"), ("orders".to_owned(), 443));
        assert_eq!(target("http://[::1]:7"), ("::1".to_owned(), 7));
        assert_eq!(target("http://[::1]"), ("::1".to_owned(), 80));
        assert_eq!(Address::parse("http://orders:50051").unwrap().to_string(), "orders:50051");
        assert!(Address::parse("https://orders").unwrap().is_secure());
        assert!(!Address::parse("http://orders").unwrap().is_secure());
    }

    #[cfg(unix)]
    #[test]
    fn both_forms_of_a_unix_socket_name_its_path() {
        for (text, expected) in [
            ("unix:///run/orders.sock", "/run/orders.sock"),
            ("unix:/run/orders.sock", "/run/orders.sock"),
            ("unix:orders.sock", "orders.sock"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.target, Target::Unix { path: expected.into() });
            assert_eq!(address.to_string(), format!("unix:{expected}"));
            assert_eq!(address.uri(None).to_string(), "http://localhost/");
        }
    }

    #[test]
    fn the_request_uri_has_scheme_authority_and_path() {
        let address = Address::parse("http://orders:50051").unwrap();
        let path = PathAndQuery::from_static("/shop.Orders/Get");
        assert_eq!(address.uri(Some(path)).to_string(), "http://orders:50051/shop.Orders/Get");
        assert_eq!(address.uri(None).to_string(), "http://orders:50051/");
        let origin = Address::parse("https://shop.example").unwrap();
        let address = address.with_origin(&origin);
        assert_eq!(address.uri(None).to_string(), "https://shop.example/");
        assert_eq!(address.to_string(), "orders:50051");
        assert!(!address.is_secure());
    }

    #[test]
    fn what_is_no_server_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("orders:50051", "no scheme"),
            ("orders", "no scheme"),
            ("ftp://orders", "only http, https and unix"),
            ("http://orders:50051/path", "the path /path"),
            ("http://me@orders", "user information"),
            ("http://orders:99999", "port"),
            ("http://orders:", "port"),
            ("unix:", "no path"),
            ("unix://", "no path"),
            ("unix://run/orders.sock", "no path"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }
}
