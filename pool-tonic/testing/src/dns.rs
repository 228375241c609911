//! A DNS server on loopback, over UDP and TCP, that says what a test tells it to and counts who asks.
//!
//! Messages are put together by hand (RFC 1035, section 4), so that a test does not judge a library by itself.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const CLASS_IN: u16 = 1;

/// A response, authoritative, recursion desired and available.
const RESPONSE: u16 = 0x8580;
const TRUNCATED: u16 = 0x0200;
const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;

/// Where UDP ends for those who do not say how much they take, and for this server.
const UDP_LIMIT: usize = 512;
const HEADER: usize = 12;

/// What is said of a name. One of which nothing is said does not exist.
#[derive(Clone, Debug)]
pub enum Said {
    /// These; of types that none of them has, it has no records.
    Records(Vec<Record>),
    /// It does not exist.
    NxDomain,
    /// The server fails.
    ServFail,
    /// Nothing: the question is lost.
    Nothing,
}

/// One record.
#[derive(Clone, Debug)]
pub struct Record {
    /// In seconds.
    pub ttl: u32,
    /// Its type and data.
    pub data: Data,
}

/// The data of a record.
#[derive(Clone, Debug)]
pub enum Data {
    /// A or AAAA.
    Ip(IpAddr),
    /// SRV (RFC 2782).
    Srv {
        /// The lowest comes first.
        priority: u16,
        /// Among those of one priority.
        weight: u16,
        /// Where the service listens.
        port: u16,
        /// A name.
        target: String,
    },
}

impl Data {
    fn kind(&self) -> u16 {
        match self {
            Self::Ip(IpAddr::V4(_)) => A,
            Self::Ip(IpAddr::V6(_)) => AAAA,
            Self::Srv { .. } => SRV,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Ip(IpAddr::V4(ip)) => ip.octets().to_vec(),
            Self::Ip(IpAddr::V6(ip)) => ip.octets().to_vec(),
            Self::Srv { priority, weight, port, target } => {
                let mut bytes = [*priority, *weight, *port].map(u16::to_be_bytes).concat();
                bytes.extend(labels(target));
                bytes
            }
        }
    }
}

impl Said {
    /// These addresses, for so many seconds.
    pub fn ips<I: Into<IpAddr>>(ttl: u32, ips: impl IntoIterator<Item = I>) -> Self {
        let record = |ip: I| Record { ttl, data: Data::Ip(ip.into()) };
        Self::Records(ips.into_iter().map(record).collect())
    }

    /// These services: priority, weight, port, target.
    pub fn services<'a>(
        ttl: u32,
        services: impl IntoIterator<Item = (u16, u16, u16, &'a str)>,
    ) -> Self {
        let record = |(priority, weight, port, target): (_, _, _, &str)| {
            let data = Data::Srv { priority, weight, port, target: target.to_owned() };
            Record { ttl, data }
        };
        Self::Records(services.into_iter().map(record).collect())
    }
}

#[derive(Debug, Default)]
struct Zone {
    said: HashMap<String, Said>,
    /// Questions, by name, and how many of them over TCP.
    asked: HashMap<String, (usize, usize)>,
    /// The addresses of services are told along with them.
    glue: bool,
    /// Questions for AAAA fail.
    only_v4: bool,
}

/// See the module. Dropped, it is gone.
#[derive(Debug)]
pub struct DnsServer {
    addr: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    tasks: [JoinHandle<()>; 2],
}

impl DnsServer {
    /// Starts one on a port of the system's choice.
    ///
    /// # Errors
    ///
    /// If it cannot listen.
    pub async fn start() -> io::Result<Self> {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind(("127.0.0.1", 0)).await?;
            match UdpSocket::bind(tcp.local_addr()?).await {
                Ok(udp) => break (tcp, udp),
                // Over UDP the port is somebody else's.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        };
        let addr = tcp.local_addr()?;
        let zone = Arc::<Mutex<Zone>>::default();
        let tasks = [
            tokio::spawn(serve_udp(udp, Arc::clone(&zone))),
            tokio::spawn(serve_tcp(tcp, Arc::clone(&zone))),
        ];
        Ok(Self { addr, zone, tasks })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        lock(&self.zone)
    }

    /// Says this of a name from now on.
    pub fn set(&self, name: &str, said: Said) {
        self.zone().said.insert(name.to_owned(), said);
    }

    /// Tells the addresses of services along with them.
    pub fn set_glue(&self) {
        self.zone().glue = true;
    }

    /// Fails questions for IPv6 addresses, or does not.
    pub fn set_only_v4(&self, only_v4: bool) {
        self.zone().only_v4 = only_v4;
    }

    /// How often it was asked for a name, by whatever type and way.
    pub fn asked(&self, name: &str) -> usize {
        self.zone().asked.get(name).map_or(0, |(all, _)| *all)
    }

    /// How often over TCP.
    pub fn asked_over_tcp(&self, name: &str) -> usize {
        self.zone().asked.get(name).map_or(0, |(_, tcp)| *tcp)
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = vec![0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = answer(&buffer[..length], &zone, false) {
            // Who asks may be gone.
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Mutex<Zone>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let zone = Arc::clone(&zone);
        tokio::spawn(async move {
            // It ends when the client does.
            let _ = serve_stream(stream, &zone).await;
        });
    }
}

async fn serve_stream(mut stream: TcpStream, zone: &Mutex<Zone>) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut question = vec![0; length.into()];
        stream.read_exact(&mut question).await?;
        if let Some(answer) = answer(&question, zone, true) {
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            stream.write_u16(length).await?;
            stream.write_all(&answer).await?;
        }
    }
}

/// The answer to a question, if it is one and there is one.
fn answer(question: &[u8], zone: &Mutex<Zone>, tcp: bool) -> Option<Vec<u8>> {
    let id = question.get(..2)?;
    let (name, after) = name_at(question, HEADER)?;
    let kind = u16::from_be_bytes(question.get(after..after + 2)?.try_into().ok()?);
    let asked = question.get(HEADER..after + 4)?;

    let mut zone = lock(zone);
    let (all, over_tcp) = zone.asked.entry(name.clone()).or_default();
    *all += 1;
    *over_tcp += usize::from(tcp);
    let (code, records) = match zone.said.get(&name) {
        Some(Said::Nothing) => return None,
        _ if zone.only_v4 && kind == AAAA => (SERVFAIL, Vec::new()),
        Some(Said::ServFail) => (SERVFAIL, Vec::new()),
        Some(Said::NxDomain) | None => (NXDOMAIN, Vec::new()),
        Some(Said::Records(records)) => {
            (0, records.iter().filter(|record| record.data.kind() == kind).collect())
        }
    };
    let mut glue = Vec::new();
    for record in &records {
        if let (true, Data::Srv { target, .. }) = (zone.glue, &record.data)
            && let Some(Said::Records(records)) = zone.said.get(target)
        {
            glue.extend(records.iter().map(|record| (target.as_str(), record)));
        }
    }
    let answers = records.iter().map(|record| (name.as_str(), *record));
    let mut body = Vec::new();
    for (owner, record) in answers.chain(glue.iter().copied()) {
        put(&mut body, owner, record);
    }
    let message = |flags: u16, counts: [usize; 2], body: &[u8]| {
        let [answers, additional] = counts.map(|count| u16::try_from(count).unwrap_or(u16::MAX));
        let words = [RESPONSE | flags | code, 1, answers, 0, additional];
        [id, &words.map(u16::to_be_bytes).concat(), asked, body].concat()
    };
    let whole = message(0, [records.len(), glue.len()], &body);
    if !tcp && whole.len() > UDP_LIMIT {
        return Some(message(TRUNCATED, [0, 0], &[]));
    }
    Some(whole)
}

fn put(body: &mut Vec<u8>, owner: &str, record: &Record) {
    let data = record.data.bytes();
    body.extend(labels(owner));
    body.extend([record.data.kind(), CLASS_IN].map(u16::to_be_bytes).concat());
    body.extend(record.ttl.to_be_bytes());
    body.extend(u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
    body.extend(data);
}

/// A name as its labels, without compression.
fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("a label is short"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The name at this place of a message, and what place comes after it.
fn name_at(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = std::str::from_utf8(message.get(at..at + length)?).ok()?;
        labels.push(label.to_ascii_lowercase());
        at += length;
    }
}
