//! Sockets of this process, by the kernel's tables.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Outcome;

const PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

/// How many connections of this process lead to these ports.
///
/// # Errors
///
/// If the kernel has no such tables: not Linux.
pub(crate) fn to(ports: &[u16]) -> Outcome<usize> {
    let own = own()?;
    let table = fs::read_to_string("/proc/net/tcp")?;
    Ok(connections(&table)
        .filter(|(port, inode)| ports.contains(port) && own.contains(inode))
        .count())
}

/// How many sockets this process is left with. A channel closes its own in tasks that may still run.
///
/// # Errors
///
/// If the kernel has no such tables: not Linux.
pub(crate) async fn left() -> Outcome<usize> {
    let began = Instant::now();
    loop {
        let sockets = all()?;
        if sockets == 0 || began.elapsed() > PATIENCE {
            return Ok(sockets);
        }
        sleep(LOOK).await;
    }
}

/// How many sockets this process has that are no pipes to itself: one that was reset and not closed is in no
/// table of connections any more.
///
/// # Errors
///
/// Likewise.
fn all() -> Outcome<usize> {
    let table = fs::read_to_string("/proc/net/unix")?;
    let unix: HashSet<u64> =
        table.lines().filter_map(|line| line.split_whitespace().nth(6)?.parse().ok()).collect();
    Ok(own()?.difference(&unix).count())
}

/// The numbers by which the kernel knows the sockets of this process.
fn own() -> Outcome<HashSet<u64>> {
    let mut sockets = HashSet::new();
    for file in fs::read_dir("/proc/self/fd")? {
        // It may have been closed meanwhile.
        if let Ok(target) = fs::read_link(file?.path())
            && let Some(inode) = target.to_str().and_then(|name| name.strip_prefix("socket:["))
        {
            sockets.insert(inode.trim_end_matches(']').parse()?);
        }
    }
    Ok(sockets)
}

/// The port at the other end, and the number, of each connection in `/proc/net/tcp`.
fn connections(table: &str) -> impl Iterator<Item = (u16, u64)> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (_, port) = fields.nth(2)?.rsplit_once(':')?;
        Some((u16::from_str_radix(port, 16).ok()?, fields.nth(6)?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_to_a_port_are_counted_until_they_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = || (to(&[port]).unwrap(), all().unwrap());
        let (none, before) = counts();
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (one, during) = counts();
        drop(stream);
        let (left, after) = counts();
        assert_eq!((none, one, left), (0, 1, 0));
        assert_eq!((during, after), (before + 1, before));
    }
}
