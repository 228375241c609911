//! The pool before real gRPC servers, beside one `tonic::transport::Channel` and Python's grpcio client.
//!
//! Starts servers on the loopback interface and puts each client through the cases of `cases.rs`: load,
//! a stream limit, connections that end by age, restarts, `SIGKILL`, `SIGSTOP`, TLS, retries,
//! health, keepalive. Prints a table, and fails if the pool did not keep what it promises, or left a socket open when
//! it was closed. Of the other clients nothing is asked.
//!
//! `.ci/peers` runs it, and says where the peers are; those that it does not name are left out:
//!
//! - `INTEROP_PYTHON`: a Python that has grpcio, as server and as client;
//! - `INTEROP_NODE`: a Node.js that finds `@grpc/grpc-js` (`NODE_PATH`);
//! - `INTEROP_GO`: `peers/echo_server.go`, compiled;
//! - `INTEROP_ENVOY`: Envoy, as a proxy before tonic's server.
//!
//! tonic's server is this program. `interop CASE..` runs the cases of these names only, `--peer` and
//! `--client` narrow further. Cases that take long and load little are run beside the others.
//!
//! # What a server has to do
//!
//! It serves `interop.Echo`, whose messages are bytes: `Unary` answers what it was sent, `ServerStream`
//! three times, `ClientStream` all of it in one, `Bidi` each at once. A call says its number in the header
//! `call-id`. When a server's handler is entered, it appends `begin NUMBER PEER` to its ledger, and
//! `end NUMBER` before it answers; a file, since a server that was killed answers no questions. Whether a
//! call was processed twice is judged by that. It listens on 127.0.0.1, on a port that it can share with
//! another process where it is able to, and prints `listening PORT`; with TLS, if it is given a
//! certificate. It stops in good order when its standard input ends, which it also does when this program is
//! gone.
//!
//! A call that has the header `fail-first` fails that many times with `UNAVAILABLE`, by the server's own
//! count. A server that has `grpc.health.v1` says `SERVING` of its service, and what else a line of its
//! standard input says, whereupon it prints `health` and the line. One that can writes the pings that come
//! into its ledger: `ping PEER MILLIS`, with the time since it had sent something on that connection.

mod calls;
mod cases;
mod clients;
mod echo;
mod judge;
mod ledger;
mod load;
mod peer;
mod process;
mod run;
mod sockets;
mod table;
mod tls;
mod tonic_server;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use cases::CASES;
use clients::Client;
use peer::Peer;
use run::Run;

/// What is printed of what went wrong. Where one call fails, thousands may.
const MOST_FAULTS: usize = 40;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Parser)]
#[command(about = "pool-tonic before real gRPC servers, beside other clients")]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    serve: Option<Serve>,
    /// Peers to run against; all that are there by default.
    #[arg(long)]
    peer: Vec<String>,
    /// Clients to run; all that are there by default.
    #[arg(long)]
    client: Vec<String>,
    /// Cases to run; all by default.
    cases: Vec<String>,
}

#[derive(Subcommand)]
enum Serve {
    /// Is tonic's server.
    Serve(tonic_server::Options),
}

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(Serve::Serve(options)) = arguments.serve {
        tonic_server::serve(options).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let wanted =
        |list: &[String], name: &str| list.is_empty() || list.iter().any(|one| one == name);
    let mut chosen = Vec::new();
    for peer in Peer::ALL.into_iter().filter(|peer| peer.is_here()) {
        for case in &CASES {
            for client in Client::ALL.into_iter().filter(|client| client.is_here()) {
                if !case.suits(peer, client)
                    || !wanted(&arguments.peer, peer.name())
                    || !wanted(&arguments.cases, case.name)
                    || !wanted(&arguments.client, client.name())
                {
                    continue;
                }
                chosen.push((case, peer, client));
            }
        }
    }
    let (beside, others): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|(case, ..)| case.beside);
    // All at once.
    let beside: Vec<_> = beside
        .into_iter()
        .map(|(case, peer, client)| tokio::spawn(run::run(case, peer, client)))
        .collect();
    let mut rows = Vec::new();
    for (case, peer, client) in others {
        let run = run::run(case, peer, client).await?;
        println!("{}", table::line(&run));
        rows.push(run);
    }
    for run in beside {
        let run = run.await??;
        println!("{}", table::line(&run));
        rows.push(run);
    }
    rows.sort_by_key(|run: &Run| run.peer);
    let pools = rows.iter().filter(|run| run.client == Client::Pool);
    let mut faults: Vec<_> = pools.flat_map(judge::faults).collect();
    println!("\n{}", table::markdown(&rows));
    let sockets = sockets::left().await?;
    println!("\nsockets left: {sockets}");
    if sockets > 0 {
        faults.push(format!("{sockets} sockets are open though all clients are gone"));
    }
    if rows.is_empty() {
        return Err("no such case, peer and client".into());
    }
    for fault in faults.iter().take(MOST_FAULTS) {
        eprintln!("FAULT: {fault}");
    }
    if faults.len() > MOST_FAULTS {
        eprintln!("and {} more", faults.len() - MOST_FAULTS);
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
