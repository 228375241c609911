//! The managers of `deadpool-postgres` and `bb8-postgres`.

use bb8_postgres::PostgresConnectionManager;
use deadpool_postgres::{ClientWrapper, ManagerConfig, RecyclingMethod};
use pool_core::compat::{self, Bb8, Deadpool};
use pool_core::{CheckPolicy, Pool, PoolBuilder};
use tokio_postgres::{Client, Config, NoTls};

use crate::Outcome;
use crate::load::Adapter;
use crate::server::POSTGRES_USER;

const DOUBLE: &str = "SELECT $1::int8 * 2";

/// `deadpool_postgres::Manager`.
pub(crate) struct OfDeadpool;

impl Adapter for OfDeadpool {
    type Manager = Deadpool<deadpool_postgres::Manager>;
    const NAME: &'static str = "deadpool-postgres";

    fn builder(port: u16) -> Outcome<PoolBuilder<Self::Manager>> {
        // The other methods look at the client only, which may not know yet that it was cut off.
        let config = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let manager = deadpool_postgres::Manager::from_config(config_of(port), NoTls, config);
        Ok(Pool::builder(Deadpool(manager).text(compat::chain)))
    }

    async fn work(client: &mut ClientWrapper, n: i64) -> Outcome<()> {
        let double = client.prepare_cached(DOUBLE).await?;
        // In a transaction, since that takes the client itself, by `&mut`.
        let transaction = client.transaction().await?;
        let doubled: i64 = transaction.query_one(&double, &[&n]).await?.try_get(0)?;
        transaction.commit().await?;
        assert_eq!(doubled, 2 * n);
        Ok(())
    }

    async fn peer(client: &mut ClientWrapper) -> Outcome<i64> {
        pid(client).await
    }

    async fn kill(port: u16, peer: i64) -> Outcome<()> {
        kill(port, peer).await
    }

    async fn answers(port: u16) -> Outcome<()> {
        connect(port).await.map(drop)
    }
}

/// `bb8_postgres::PostgresConnectionManager`.
pub(crate) struct OfBb8;

impl Adapter for OfBb8 {
    type Manager = Bb8<PostgresConnectionManager<NoTls>>;
    const NAME: &'static str = "bb8-postgres";

    fn builder(port: u16) -> Outcome<PoolBuilder<Self::Manager>> {
        let manager = PostgresConnectionManager::new(config_of(port), NoTls);
        Ok(Pool::builder(Bb8(manager).text(compat::chain)).check(CheckPolicy::Always))
    }

    async fn work(client: &mut Client, n: i64) -> Outcome<()> {
        let doubled: i64 = client.query_one(DOUBLE, &[&n]).await?.try_get(0)?;
        assert_eq!(doubled, 2 * n);
        Ok(())
    }

    async fn peer(client: &mut Client) -> Outcome<i64> {
        pid(client).await
    }

    async fn kill(port: u16, peer: i64) -> Outcome<()> {
        kill(port, peer).await
    }

    async fn answers(port: u16) -> Outcome<()> {
        connect(port).await.map(drop)
    }
}

fn config_of(port: u16) -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user(POSTGRES_USER).dbname("postgres");
    config
}

/// A connection beside the pool.
async fn connect(port: u16) -> Outcome<Client> {
    let (client, connection) = config_of(port).connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The process that serves a connection.
async fn pid(client: &Client) -> Outcome<i64> {
    Ok(client.query_one("SELECT pg_backend_pid()::int8", &[]).await?.try_get(0)?)
}

/// Ends that process, and comes back when it is gone.
async fn kill(port: u16, pid: i64) -> Outcome<()> {
    let client = connect(port).await?;
    let kill = "SELECT pg_terminate_backend($1::int8::int4, 30000)";
    let killed: bool = client.query_one(kill, &[&pid]).await?.try_get(0)?;
    assert!(killed, "there was such a process, and it went");
    Ok(())
}
