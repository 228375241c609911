//! The managers of `deadpool-redis` and `bb8-redis`.

use std::time::Duration;

use bb8_redis::RedisConnectionManager;
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{AsyncConnectionConfig, Client, RedisResult, cmd};
use pool_core::compat::{self, Bb8, Deadpool};
use pool_core::{CheckPolicy, Pool, PoolBuilder};

use crate::Outcome;
use crate::load::Adapter;

/// `deadpool_redis::Manager`.
pub(crate) struct OfDeadpool;

impl Adapter for OfDeadpool {
    type Manager = Deadpool<deadpool_redis::Manager>;
    const NAME: &'static str = "deadpool-redis";

    fn builder(port: u16) -> Outcome<PoolBuilder<Self::Manager>> {
        let manager = deadpool_redis::Manager::new(url(port))?;
        Ok(Pool::builder(Deadpool(manager).text(compat::chain)))
    }

    async fn work(connection: &mut MultiplexedConnection, n: i64) -> Outcome<()> {
        set_and_get(connection, n).await
    }

    async fn peer(connection: &mut MultiplexedConnection) -> Outcome<i64> {
        Ok(id(connection).await?)
    }

    async fn kill(port: u16, peer: i64) -> Outcome<()> {
        kill(port, peer).await
    }

    async fn answers(port: u16) -> Outcome<()> {
        Ok(connect(port).await.map(drop)?)
    }
}

/// `bb8_redis::RedisConnectionManager`.
pub(crate) struct OfBb8;

impl Adapter for OfBb8 {
    type Manager = Bb8<RedisConnectionManager>;
    const NAME: &'static str = "bb8-redis";

    fn builder(port: u16) -> Outcome<PoolBuilder<Self::Manager>> {
        let manager = RedisConnectionManager::new(url(port))?;
        Ok(Pool::builder(Bb8(manager).text(compat::chain)).check(CheckPolicy::Always))
    }

    async fn work(connection: &mut MultiplexedConnection, n: i64) -> Outcome<()> {
        set_and_get(connection, n).await
    }

    async fn peer(connection: &mut MultiplexedConnection) -> Outcome<i64> {
        Ok(id(connection).await?)
    }

    async fn kill(port: u16, peer: i64) -> Outcome<()> {
        kill(port, peer).await
    }

    async fn answers(port: u16) -> Outcome<()> {
        Ok(connect(port).await.map(drop)?)
    }
}

/// The half second that a connection allows by itself is little on a machine that does other work.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

async fn set_and_get(connection: &mut MultiplexedConnection, n: i64) -> Outcome<()> {
    connection.set_response_timeout(RESPONSE_TIMEOUT);
    let key = format!("key-{n}");
    let () = cmd("SET").arg(&key).arg(2 * n).query_async(connection).await?;
    let doubled: i64 = cmd("GET").arg(&key).query_async(connection).await?;
    assert_eq!(doubled, 2 * n);
    Ok(())
}

fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// A connection beside the pool.
async fn connect(port: u16) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(RESPONSE_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    Client::open(url(port))?.get_multiplexed_async_connection_with_config(&config).await
}

/// The server's number for a connection.
async fn id(connection: &mut MultiplexedConnection) -> RedisResult<i64> {
    connection.set_response_timeout(RESPONSE_TIMEOUT);
    cmd("CLIENT").arg("ID").query_async(connection).await
}

/// Has the server hang up on it.
async fn kill(port: u16, id: i64) -> Outcome<()> {
    let mut connection = connect(port).await?;
    let killed: i64 =
        cmd("CLIENT").arg("KILL").arg("ID").arg(id).query_async(&mut connection).await?;
    assert_eq!(killed, 1, "there was such a connection");
    Ok(())
}
