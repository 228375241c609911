//! A process with pools for Prometheus to scrape: healthy ones, and after the word `faults` on its standard input one
//! for each trouble that an alert is for. It says where it serves, and ends with its standard input.
//!
//! `.ci/prometheus` runs it, `check.py` says which alert is to come of which pool.

mod generic;
mod grpc;

use std::error::Error;

use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let endpoint = pool_metrics::serve("127.0.0.1:0").await?;
    let _healthy = (generic::healthy()?, grpc::healthy().await?);
    println!("{}", endpoint.local_addr());
    let mut lines = BufReader::new(stdin()).lines();
    let mut faults = Vec::new();
    while let Some(line) = lines.next_line().await? {
        if line.trim() == "faults" && faults.is_empty() {
            faults.extend(generic::faults()?);
            faults.extend(grpc::faults().await?);
            println!("faults");
        }
    }
    endpoint.shutdown().await;
    Ok(())
}
