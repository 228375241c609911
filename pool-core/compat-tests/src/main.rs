//! The managers of other pools' crates, on this pool, before real servers.
//!
//! Starts a `PostgreSQL` and a Redis on the loopback interface, has the managers of
//! `deadpool-postgres`, `bb8-postgres`, `deadpool-redis` and `bb8-redis` work on them, and ends them.
//! What does not go as it should is a panic or an error; what was done is printed.
//!
//! `.ci/servers` runs it, and says where the servers' programs are:
//!
//! - `COMPAT_POSTGRES_BIN`: the folder with `initdb`, `postgres` and `pg_ctl`;
//! - `COMPAT_REDIS_SERVER`: the program `redis-server`.
//!
//! `PostgreSQL` does not run as root, so this must not, either.

mod load;
mod postgres;
mod redis;
mod server;

use std::error::Error;

use load::{Report, exercise};
use server::Server;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut server = Server::postgres()?;
    let mut reports = vec![exercise::<postgres::OfDeadpool>(&mut server).await?];
    reports.push(exercise::<postgres::OfBb8>(&mut server).await?);

    let mut server = Server::redis()?;
    reports.push(exercise::<redis::OfDeadpool>(&mut server).await?);
    reports.push(exercise::<redis::OfBb8>(&mut server).await?);

    println!("{}", Report::HEAD);
    for report in reports {
        println!("{report}");
    }
    Ok(())
}
