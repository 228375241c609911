//! What each adapter goes through: load, connections that the server ends, and an outage.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use pool_core::compat::chain;
use pool_core::{Counters, EndReason, Error, GetOptions, Manager, Pool, PoolBuilder, Snapshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Outcome;
use crate::server::Server;

const CONNECTIONS: usize = 4;
const TASKS: usize = 64;
const TIMES: usize = 100;

type Resource<A> = <<A as Adapter>::Manager as Manager>::Resource;

/// A manager of somebody else's, on this pool, and what its connections can be used for.
pub(crate) trait Adapter: 'static {
    type Manager: Manager;
    const NAME: &'static str;

    fn builder(port: u16) -> Outcome<PoolBuilder<Self::Manager>>;

    /// A piece of work, with an answer that is looked at. Fails when the connection is lost.
    fn work(connection: &mut Resource<Self>, n: i64) -> impl Future<Output = Outcome<()>> + Send;

    /// The server's number for the connection.
    fn peer(connection: &mut Resource<Self>) -> impl Future<Output = Outcome<i64>> + Send;

    /// Has the server end the connection of this number, over one beside the pool.
    fn kill(port: u16, peer: i64) -> impl Future<Output = Outcome<()>> + Send;

    /// Whether the server is there.
    fn answers(port: u16) -> impl Future<Output = Outcome<()>> + Send;
}

/// Has an adapter go through all of it. The server is stopped before and after.
pub(crate) async fn exercise<A: Adapter>(server: &mut Server) -> Outcome<Report> {
    println!("--- {}", A::NAME);
    let port = server.port();
    server.start(A::answers).await?;
    let pool = A::builder(port)?.max_size(CONNECTIONS).build()?;

    let started = Instant::now();
    load::<A>(&pool, None).await?;
    let per_second = (TASKS * TIMES) as f64 / started.elapsed().as_secs_f64();
    let counters = look_after(&pool, 0);
    assert_eq!(counters.gets_ok, (TASKS * TIMES) as u64, "one each");
    assert!(counters.waits > 0, "there are more tasks than connections");

    // One that nobody holds: it is found out before it is lent, and nobody notices.
    let killed = A::peer(&mut *pool.get().await?).await?;
    A::kill(port, killed).await?;
    load::<A>(&pool, None).await?;
    assert!(!all_peers::<A>(&pool).await?.contains(&killed), "it is not lent again");
    let counters = look_after(&pool, 1);
    assert!(counters.ended.get(EndReason::CheckFailed) > 0);

    // One that is at work, in the middle of the load: its holder notices, and nobody else.
    load::<A>(&pool, Some(port)).await?;
    all_peers::<A>(&pool).await?;
    look_after(&pool, 2);

    // All of them, and the server is not there: a get says why it got nothing.
    server.stop()?;
    let options = GetOptions::new().timeout(Duration::from_secs(2));
    match pool.get_with(options).await {
        Err(Error::Timeout(timeout)) => {
            let Some(cause) = &timeout.last_error else { panic!("no cause: {timeout}") };
            println!("server stopped: {}", chain(&**cause));
        }
        Err(error) => panic!("a get that is no timeout: {error}"),
        Ok(_lease) => panic!("a lease of a server that is not there"),
    }
    assert_eq!(pool.status().idle, 0, "none of them is any good");
    server.start(A::answers).await?;
    load::<A>(&pool, None).await?;
    all_peers::<A>(&pool).await?;
    let counters = look_after(&pool, 2 + CONNECTIONS as u64);
    drop(pool);
    server.stop()?;
    Ok(Report { name: A::NAME, counters, per_second })
}

/// Looks at a pool that nobody uses, and of whose connections the server has ended this many.
fn look_after<M: Manager>(pool: &Pool<M>, killed: u64) -> Counters {
    let Snapshot { status, counters, .. } = pool.snapshot();
    assert_eq!((status.idle, status.in_use, status.waiting), (CONNECTIONS, 0, 0));
    let ended = counters.ended.total();
    assert_eq!(counters.created, CONNECTIONS as u64 + ended, "each was replaced, once");
    // Seldom more: a machine that stalls for half a second has a check of Redis time out.
    assert!((killed..=killed + 2).contains(&ended), "{ended} ended for {killed}");
    counters
}

/// 64 tasks use the pool 100 times each. With a port, one of them has the server there end its
/// connection half-way; else none may fail.
async fn load<A: Adapter>(pool: &Pool<A::Manager>, kill_at: Option<u16>) -> Outcome<()> {
    let done = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (pool, done) = (pool.clone(), Arc::clone(&done));
        tasks.spawn(async move {
            for time in 0..TIMES {
                let n = i64::try_from(task * TIMES + time)?;
                let half_way = done.fetch_add(1, SeqCst) == TASKS * TIMES / 2;
                if let Some(port) = kill_at.filter(|_port| half_way) {
                    let mut lease = pool.get().await?;
                    A::kill(port, A::peer(&mut lease).await?).await?;
                    let Err(lost) = A::work(&mut lease, n).await else {
                        panic!("work over a connection that was ended")
                    };
                    println!("connection ended by the server: {}", chain(&*lost));
                }
                A::work(&mut *pool.get().await?, n).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}

/// The server's numbers for the connections, all of which are there and lent for it.
async fn all_peers<A: Adapter>(pool: &Pool<A::Manager>) -> Outcome<HashSet<i64>> {
    let (mut leases, mut peers) = (Vec::new(), HashSet::new());
    for _ in 0..CONNECTIONS {
        let mut lease = pool.get().await?;
        peers.insert(A::peer(&mut lease).await?);
        leases.push(lease);
    }
    assert_eq!(peers.len(), CONNECTIONS, "each has its own");
    Ok(peers)
}

/// What came of it.
pub(crate) struct Report {
    name: &'static str,
    counters: Counters,
    /// Gets with their work, before anything happened to the connections.
    per_second: f64,
}

impl Report {
    pub(crate) const HEAD: &'static str =
        "adapter              gets   waits  gets/s  created  failed  ended";
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, counters, per_second } = self;
        let Counters { gets_ok, waits, created, create_failed, .. } = counters;
        write!(f, "{name:17}  {gets_ok:6}  {waits:6}  {per_second:6.0}")?;
        write!(f, "  {created:7}  {create_failed:6}")?;
        let ended = counters.ended.iter().filter(|(_reason, number)| *number > 0);
        for (reason, number) in ended {
            write!(f, "  {}: {number}", reason.as_str())?;
        }
        Ok(())
    }
}
