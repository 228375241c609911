//! A pool whose connections go through an HTTP proxy.
//!
//! ```text
//! cargo run -p pool-tonic --example http_proxy -- PROXY_HOST:PORT http://SERVER_HOST:PORT
//! ```

use std::error::Error;
use std::time::Duration;

use pool_tonic::ChannelPool;
use tokio::time::Instant;

use connector::HttpProxy;

mod connector;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(proxy), Some(server)) = (args.next(), args.next()) else {
        return Err("usage: http_proxy PROXY_HOST:PORT http://SERVER_HOST:PORT".into());
    };
    let pool = ChannelPool::builder(server).connector(HttpProxy::new(proxy)).build()?;
    pool.wait_ready(Instant::now() + Duration::from_secs(20)).await?;
    println!("{:?}", pool.addresses());
    Ok(())
}
