//! The address of a server, parsed once from what the user wrote.

use std::fmt;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use crate::error::ConfigError;

/// Port of a URI that names none (RFC 9110, section 4.2.1).
const DEFAULT_HTTP_PORT: u16 = 80;

/// One server: where to connect to, and what requests to it carry as `:scheme` and `:authority`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    scheme: Scheme,
    authority: Authority,
    host: String,
    port: u16,
}

impl Address {
    /// Parses `http://host[:port]`.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let bad = |reason: String| ConfigError::Uri { uri: text.to_owned(), reason };
        let uri: Uri =
            text.parse().map_err(|error: http::uri::InvalidUri| bad(error.to_string()))?;
        let parts = uri.into_parts();
        let scheme = parts
            .scheme
            .ok_or_else(|| bad("it has no scheme: write http://HOST:PORT".to_owned()))?;
        if scheme == Scheme::HTTPS {
            return Err(ConfigError::TlsUnsupported { uri: text.to_owned() });
        }
        if scheme != Scheme::HTTP {
            return Err(bad(format!("its scheme is {scheme}, and only http is known")));
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
            (None, _) => DEFAULT_HTTP_PORT,
        };
        Ok(Self { scheme, authority, host, port })
    }

    /// Host and port, to be resolved and connected to.
    pub(crate) fn target(&self) -> (&str, u16) {
        (&self.host, self.port)
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
        write!(f, "{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_taken_from_the_uri() {
        let address = Address::parse("http://orders:50051").unwrap();
        assert_eq!(address.target(), ("orders", 50051));
        assert_eq!(address.to_string(), "orders:50051");
        assert_eq!(Address::parse("http://orders/").unwrap().target(), ("orders", 80));
        assert_eq!(Address::parse("http://[::1]:7").unwrap().target(), ("::1", 7));
        assert_eq!(Address::parse("http://[::1]").unwrap().target(), ("::1", 80));
    }

    #[test]
    fn the_request_uri_has_scheme_authority_and_path() {
        let address = Address::parse("http://orders:50051").unwrap();
        let path = PathAndQuery::from_static("/shop.Orders/Get");
        assert_eq!(address.uri(Some(path)).to_string(), "http://orders:50051/shop.Orders/Get");
        assert_eq!(address.uri(None).to_string(), "http://orders:50051/");
    }

    #[test]
    fn what_is_no_server_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("orders:50051", "no scheme"),
            ("orders", "no scheme"),
            ("ftp://orders", "only http"),
            ("http://orders:50051/path", "the path /path"),
            ("http://me@orders", "user information"),
            ("http://orders:99999", "port"),
            ("http://orders:", "port"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
        let error = Address::parse("https://orders").unwrap_err();
        assert!(matches!(error, ConfigError::TlsUnsupported { .. }), "{error}");
    }
}
