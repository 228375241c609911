//! TCP: the addresses that a name resolves to, until one can be connected to, and the socket's options.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout_at};

use super::Attempt;
use crate::error::ConnectError;

/// How long an address is waited for alone, before the next one is tried beside it.
const UNTIL_NEXT: Duration = Duration::from_millis(250);

/// An attempt at one address.
type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + 'a>>;

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

    /// Connects to the one of these that can be connected to first. Each is given some time before the next one is tried
    /// beside it: "Happy Eyeballs", RFC 8305 section 5, gRFC A61. Leaves those of which nothing is known.
    async fn any(
        &self,
        addrs: &mut Vec<SocketAddr>,
        attempt: &Attempt<'_>,
    ) -> Result<TcpStream, ConnectError> {
        let all = addrs.clone();
        let mut next = all.iter().copied();
        let (mut running, mut failures) = (Vec::new(), Vec::new());
        // A timer of no time takes some.
        let mut is_due = true;
        let mut pause = pin!(sleep(UNTIL_NEXT));
        let first = poll_fn(|cx| {
            loop {
                let mut index = 0;
                while let Some((addr, connecting)) = running.get_mut(index) {
                    let connecting: &mut Connecting<'_> = connecting;
                    match connecting.as_mut().poll(cx) {
                        Poll::Ready(Ok(stream)) => return Poll::Ready(Some((*addr, stream))),
                        Poll::Ready(Err(error)) => {
                            failures.push((*addr, error));
                            drop(running.swap_remove(index));
                            is_due = true;
                        }
                        Poll::Pending => index += 1,
                    }
                }
                if next.len() == 0 {
                    return if running.is_empty() { Poll::Ready(None) } else { Poll::Pending };
                }
                if !is_due {
                    ready!(pause.as_mut().poll(cx));
                }
                // Where there is little time, each has a part of it.
                let time = UNTIL_NEXT.min(attempt.share(next.len()));
                if let Some(addr) = next.next() {
                    running.push((addr, Box::pin(self.connect(addr))));
                    pause.as_mut().reset(Instant::now() + time);
                    is_due = false;
                }
            }
        });
        match timeout_at(attempt.deadline, first).await {
            Ok(Some((connected, stream))) => {
                let has_failed =
                    |addr: &SocketAddr| failures.iter().any(|(failed, _)| failed == addr);
                addrs.retain(|addr| *addr != connected && !has_failed(addr));
                return Ok(stream);
            }
            Ok(None) => {}
            Err(_) if failures.is_empty() && running.len() == 1 => {
                return Err(attempt.timed_out("the TCP connection was being made"));
            }
            Err(_) => {
                let timed_out = |(addr, _)| (addr, io::ErrorKind::TimedOut.into());
                failures.extend(running.into_iter().map(timed_out));
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

/// The addresses of a host that have not been connected to.
pub(crate) struct Tcp<'a> {
    left: Vec<SocketAddr>,
    options: &'a TcpOptions,
}

impl<'a> Tcp<'a> {
    pub(crate) async fn resolve(
        host: &str,
        port: u16,
        options: &'a TcpOptions,
        attempt: &Attempt<'_>,
    ) -> Result<Self, ConnectError> {
        let address = attempt.address();
        let found = attempt
            .within("its name was being resolved", lookup_host((host, port)))
            .await?
            .map_err(|error| ConnectError::resolve(address, error))?;
        let found: Vec<_> = found.filter(|addr| options.suits(addr)).collect();
        if found.is_empty() {
            let text = match options.local_address {
                Some(local) => format!("no address of the kind of local_address, {local}"),
                None => "no address".to_owned(),
            };
            let error = io::Error::new(io::ErrorKind::NotFound, text);
            return Err(ConnectError::resolve(address, error));
        }
        Ok(Self { left: by_turns(&found), options })
    }

    /// What becomes of the first of them that is what it should be. What takes a connection may be no such server, and at
    /// another address one may be: while others are left none has more than a [part](Attempt::part) of the time.
    ///
    /// # Errors
    ///
    /// That of the first one that could be connected to, or that credentials cannot be had, which no address changes.
    pub(crate) async fn first<'b, T, F>(
        mut self,
        attempt: &Attempt<'b>,
        establish: impl Fn(TcpStream, Attempt<'b>) -> F,
    ) -> Result<T, ConnectError>
    where
        F: Future<Output = Result<T, ConnectError>>,
    {
        let mut failed = None;
        loop {
            let stream = match self.options.any(&mut self.left, attempt).await {
                Ok(stream) => stream,
                Err(error) => return Err(failed.unwrap_or(error)),
            };
            let first = match establish(stream, attempt.part(self.left.len())).await {
                Ok(established) => return Ok(established),
                #[cfg(feature = "tls")]
                Err(error) if error.is_of_credentials() => return Err(error),
                Err(error) => failed.unwrap_or(error),
            };
            if self.left.is_empty() {
                return Err(first);
            }
            failed = Some(first);
        }
    }
}

/// The families by turns, beginning with that of the first address: RFC 8305 section 4.
fn by_turns(addrs: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_like_first = |addr: &SocketAddr| addr.is_ipv4() == addrs[0].is_ipv4();
    let (mut these, mut those): (VecDeque<_>, VecDeque<_>) =
        addrs.iter().copied().partition(is_like_first);
    let mut turns = Vec::with_capacity(addrs.len());
    while turns.len() < addrs.len() {
        turns.extend(these.pop_front());
        turns.extend(those.pop_front());
    }
    turns
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
        let mut addrs = vec![dead, there];
        let any = options.any(&mut addrs, &attempt);
        let connected = timeout(Duration::from_secs(20), any).await;
        assert_eq!(connected.unwrap().unwrap().peer_addr().unwrap(), there);

        let both = options.any(&mut vec![dead, dead], &attempt).await;
        let error = both.unwrap_err().to_string();
        let expected = format!("cannot connect to orders:1: {dead}: ");
        assert!(error.starts_with(&expected) && error.contains("; "), "{error}");
    }

    /// A listener that is not asked for what has come takes no more when its queue is full: it is silent, then.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_address_that_is_silent_does_not_hold_up_the_next_one() {
        let silent = TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = silent.listen(1).unwrap();
        let full = silent.local_addr().unwrap();
        let _queue =
            [TcpStream::connect(full).await.unwrap(), TcpStream::connect(full).await.unwrap()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        let address = Address::parse("http://orders:1").unwrap();
        let totals = crate::stats::Totals::default();
        let attempt = Attempt::begin(&address, Duration::from_secs(600), &totals);
        let (addrs, options) = (vec![full, full, there], options());
        let mut left = addrs.clone();
        let connected = timeout(Duration::from_secs(60), options.any(&mut left, &attempt)).await;
        assert_eq!(connected.unwrap().unwrap().peer_addr().unwrap(), there);
        assert_eq!(left, [full, full]);

        // Nor where there is less time than it is usually given.
        let attempt = Attempt::begin(&address, Duration::from_millis(200), &totals);
        let connected = options.any(&mut addrs.clone(), &attempt).await;
        assert_eq!(connected.unwrap().peer_addr().unwrap(), there);

        let one = options.any(&mut vec![full], &attempt).await.unwrap_err().to_string();
        assert!(one.contains("while the TCP connection was being made"), "{one}");
        let attempt = Attempt::begin(&address, Duration::from_millis(200), &totals);
        let two = options.any(&mut vec![full, full], &attempt).await.unwrap_err().to_string();
        assert_eq!(two.matches("timed out").count(), 2, "{two}");
    }

    #[tokio::test]
    async fn an_address_where_something_else_is_does_not_hide_the_next_one() {
        let listeners = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let [other, there] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let address = Address::parse("http://orders:1").unwrap();
        let totals = crate::stats::Totals::default();
        let attempt = Attempt::begin(&address, Duration::from_secs(20), &totals);
        let options = options();
        let address = &address;
        let is_it = |stream: TcpStream, _: Attempt<'_>| async move {
            let addr = stream.peer_addr().unwrap();
            if addr == there { Ok(addr) } else { Err(ConnectError::ended(address)) }
        };
        let tcp = |left: &[SocketAddr]| Tcp { left: left.to_vec(), options: &options };
        assert_eq!(tcp(&[other, there]).first(&attempt, is_it).await.unwrap(), there);
        // What it was matters, and not that nobody listens elsewhere.
        let dead = TcpSocket::new_v4().unwrap();
        dead.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let dead = dead.local_addr().unwrap();
        let ended = ConnectError::ended(address).to_string();
        for left in [vec![other, dead], vec![dead, other], vec![other]] {
            let error = tcp(&left).first(&attempt, is_it).await.unwrap_err();
            assert_eq!(error.to_string(), ended);
        }
    }

    #[tokio::test]
    async fn addresses_that_have_failed_take_no_time_of_the_others() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        let dead = TcpSocket::new_v4().unwrap();
        dead.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let dead = dead.local_addr().unwrap();
        let address = Address::parse("http://orders:1").unwrap();
        let totals = crate::stats::Totals::default();
        let options = options();
        let seconds = Duration::from_secs;
        let has = |_: TcpStream, part: Attempt<'_>| std::future::ready(Ok(part.timeout));
        let mut many = vec![there];
        many.extend((1..8).map(|port| SocketAddr::from(([127, 0, 0, 1], port))));
        // What the first that can be connected to has of the whole.
        for (left, whole, most) in [
            (vec![dead, there], 20, 20),
            (vec![there, dead], 20, 10),
            (many.clone(), 20, 5),
            (many, 80, 10),
        ] {
            let attempt = Attempt::begin(&address, seconds(whole), &totals);
            let part = Tcp { left, options: &options }.first(&attempt, has).await.unwrap();
            assert!(seconds(most - 1) < part && part <= seconds(most), "{part:?} of {whole}");
        }
    }

    #[cfg(feature = "tls")]
    #[tokio::test]
    async fn no_other_address_is_tried_when_there_are_no_credentials() {
        let listeners = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let left = listeners.each_ref().map(|listener| listener.local_addr().unwrap()).to_vec();
        let address = Address::parse("http://orders:1").unwrap();
        let totals = crate::stats::Totals::default();
        let attempt = Attempt::begin(&address, Duration::from_secs(20), &totals);
        let options = options();
        let tried = std::cell::Cell::new(0);
        let unreadable = |_: TcpStream, _: Attempt<'_>| {
            tried.set(tried.get() + 1);
            let error = ConnectError::credentials(&address, "no key");
            std::future::ready(Err::<(), _>(error))
        };
        let tcp = Tcp { left, options: &options };
        let error = tcp.first(&attempt, unreadable).await.unwrap_err().to_string();
        assert_eq!((tried.get(), error.ends_with("no key")), (1, true), "{error}");
    }

    #[test]
    fn families_take_turns_and_the_first_one_begins() {
        let addrs = |hosts: &[&str]| -> Vec<SocketAddr> {
            hosts.iter().map(|host| (host.parse::<IpAddr>().unwrap(), 1).into()).collect()
        };
        for (found, turns) in [
            (vec!["::1", "::2", "::3", "127.0.0.1"], vec!["::1", "127.0.0.1", "::2", "::3"]),
            (vec!["127.0.0.1", "127.0.0.2", "::1"], vec!["127.0.0.1", "::1", "127.0.0.2"]),
            (vec!["127.0.0.1", "127.0.0.2"], vec!["127.0.0.1", "127.0.0.2"]),
            (vec![], vec![]),
        ] {
            assert_eq!(by_turns(&addrs(&found)), addrs(&turns));
        }
    }
}
