//! TCP: every address that a name resolves to, one after the other, and the socket's options.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout_at;

use super::{Attempt, Open};
use crate::error::ConnectError;

/// What a socket is told.
#[derive(Clone, Debug)]
pub(crate) struct TcpOptions {
    pub(crate) nodelay: bool,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) keepalive_interval: Option<Duration>,
    pub(crate) keepalive_retries: Option<u32>,
    pub(crate) user_timeout: Option<Duration>,
    pub(crate) local_address: Option<IpAddr>,
}

impl TcpOptions {
    fn apply(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(self.nodelay)?;
        let socket = SockRef::from(stream);
        if let Some(time) = self.keepalive {
            socket.set_tcp_keepalive(&self.keepalive(time))?;
        }
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "fuchsia"))]
        if let Some(timeout) = self.user_timeout {
            socket.set_tcp_user_timeout(Some(timeout))?;
        }
        Ok(())
    }

    fn keepalive(&self, time: Duration) -> TcpKeepalive {
        let keepalive = TcpKeepalive::new().with_time(time);
        #[cfg(any(
            target_os = "android",
            target_os = "freebsd",
            target_os = "ios",
            target_os = "linux",
            target_os = "macos",
            target_os = "netbsd",
            target_os = "windows",
        ))]
        let keepalive = {
            let mut keepalive = keepalive;
            if let Some(interval) = self.keepalive_interval {
                keepalive = keepalive.with_interval(interval);
            }
            if let Some(retries) = self.keepalive_retries {
                keepalive = keepalive.with_retries(retries);
            }
            keepalive
        };
        keepalive
    }

    fn suits(&self, addr: &SocketAddr) -> bool {
        self.local_address.is_none_or(|local| local.is_ipv4() == addr.is_ipv4())
    }

    /// Connects to the first of these that can be connected to. Each has the same share of the time that
    /// is left, so that one that does not answer leaves some for those behind it.
    async fn any(
        &self,
        addrs: &[SocketAddr],
        attempt: &Attempt<'_>,
    ) -> Result<TcpStream, ConnectError> {
        let mut failures = Vec::new();
        for (index, addr) in addrs.iter().enumerate() {
            let left = addrs.len() - index;
            match timeout_at(attempt.share(left), self.connect(*addr)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failures.push((*addr, error)),
                Err(_) if left == 1 && failures.is_empty() => {
                    return Err(attempt.timed_out("the TCP connection was being made"));
                }
                Err(_) => failures.push((*addr, io::ErrorKind::TimedOut.into())),
            }
        }
        Err(ConnectError::tcp(attempt.address(), failure(failures)))
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(local) = self.local_address {
            socket.bind((local, 0).into())?;
        }
        let stream = socket.connect(addr).await?;
        self.apply(&stream)?;
        Ok(stream)
    }
}

/// A host and a port.
pub(crate) struct Tcp<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) options: &'a TcpOptions,
}

impl Tcp<'_> {
    async fn resolve(&self, attempt: &Attempt<'_>) -> Result<Vec<SocketAddr>, ConnectError> {
        let address = attempt.address();
        let found = attempt
            .within("its name was being resolved", lookup_host((self.host, self.port)))
            .await?
            .map_err(|error| ConnectError::resolve(address, error))?;
        let found: Vec<_> = found.filter(|addr| self.options.suits(addr)).collect();
        if found.is_empty() {
            let text = match self.options.local_address {
                Some(local) => format!("no address of the kind of local_address, {local}"),
                None => "no address".to_owned(),
            };
            let error = io::Error::new(io::ErrorKind::NotFound, text);
            return Err(ConnectError::resolve(address, error));
        }
        Ok(found)
    }
}

impl Open for Tcp<'_> {
    type Io = TcpStream;

    async fn open(&self, attempt: &Attempt<'_>) -> Result<TcpStream, ConnectError> {
        let addrs = self.resolve(attempt).await?;
        self.options.any(&addrs, attempt).await
    }
}

/// One error of all: the only one, or a text that names each address.
fn failure(mut failures: Vec<(SocketAddr, io::Error)>) -> io::Error {
    match failures.pop() {
        Some((_, only)) if failures.is_empty() => only,
        Some((addr, last)) => {
            let kind = last.kind();
            failures.push((addr, last));
            let all: Vec<_> =
                failures.iter().map(|(addr, error)| format!("{addr}: {error}")).collect();
            io::Error::new(kind, all.join("; "))
        }
        None => io::ErrorKind::NotFound.into(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::time::{Duration, timeout};

    use super::*;
    use crate::address::Address;

    fn options() -> TcpOptions {
        TcpOptions {
            nodelay: true,
            keepalive: None,
            keepalive_interval: None,
            keepalive_retries: None,
            user_timeout: None,
            local_address: None,
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_socket_has_the_options() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let seconds = Duration::from_secs;
        let set = TcpOptions {
            nodelay: true,
            keepalive: Some(seconds(60)),
            keepalive_interval: Some(seconds(7)),
            keepalive_retries: Some(3),
            user_timeout: Some(seconds(20)),
            local_address: None,
        };
        let stream = set.connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), seconds(60));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), seconds(7));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(seconds(20)));

        let unset = TcpOptions { nodelay: false, ..options() };
        let stream = unset.connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(!stream.nodelay().unwrap());
        assert!(!socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        let dead = TcpSocket::new_v4().unwrap();
        dead.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let dead = dead.local_addr().unwrap();
        let address = Address::parse("http://orders:1").unwrap();
        let totals = crate::stats::Totals::default();
        let attempt = Attempt::begin(&address, Duration::from_secs(20), &totals);
        let options = options();
        let addrs = [dead, there];
        let connected = timeout(Duration::from_secs(20), options.any(&addrs, &attempt)).await;
        assert_eq!(connected.unwrap().unwrap().peer_addr().unwrap(), there);

        let error = options.any(&[dead, dead], &attempt).await.unwrap_err().to_string();
        let expected = format!("cannot connect to orders:1: {dead}: ");
        assert!(error.starts_with(&expected) && error.contains("; "), "{error}");
    }
}
