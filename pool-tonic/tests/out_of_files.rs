//! A process that has no file left for another connection goes on with those that it has.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;

use std::env;
use std::process::Stdio;
use std::time::Duration;

use common::{ask, client, soon, until};
use pool_tonic::{ChannelPool, ConnectivityState};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::proto::{Ask, Do};
use tokio::process::Command;
use tonic::{Code, Request};

/// Names the server, in the process that has few files.
const SERVER: &str = "FEW_FILES_SERVER";

/// Files that it may have open. Some are the runtime's and the test's.
const FILES: usize = 40;

#[tokio::test]
async fn calls_go_on_over_the_connections_that_are_there() {
    if let Ok(uri) = env::var(SERVER) {
        return with_few_files(&uri).await;
    }
    let server = EchoServer::start().await.unwrap();
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit -n {FILES} && exec \"$0\" \"$@\"")])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "calls_go_on_over_the_connections_that_are_there", "--nocapture"])
        .env(SERVER, server.uri())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = soon(output).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    assert!(said.contains("1 passed"), "{said}");
}

async fn with_few_files(uri: &str) {
    let pool = ChannelPool::builder(uri)
        .max_connections(2 * FILES)
        .max_streams_per_connection(1)
        .build()
        .unwrap();
    let begin = |deadline: Option<Duration>| {
        let mut client = client(&pool);
        let mut request = Request::new(Ask { answers: u32::MAX, ..ask(Do::Hang) });
        if let Some(deadline) = deadline {
            request.set_timeout(deadline);
        }
        tokio::spawn(async move { client.server_stream(request).await })
    };
    // Each has a connection of its own, for as long as there are files.
    let mut held = Vec::new();
    while pool.counters().connections_failed == 0 {
        held.push(begin(None));
        until(|| pool.status().streams == held.len() || pool.counters().connections_failed > 0)
            .await;
    }
    let had = pool.status().ready;
    assert!(had > FILES / 2 && had < FILES, "{had}");
    let error = pool.last_error().unwrap().to_string();
    assert!(error.contains("open files"), "{error}");
    assert_eq!(pool.state(), ConnectivityState::Ready);
    // Those that wait cost no attempt each.
    let failed = pool.counters().connections_failed;
    let waiting: Vec<_> = (0..50).map(|_| begin(Some(Duration::from_millis(300)))).collect();
    for call in waiting {
        let status = soon(call).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    }
    let attempts = pool.counters().connections_failed - failed;
    assert!(attempts <= 2, "{attempts} attempts");
    // And those that end give their connections to the next: the one that found no file, and one more.
    for ended in held.drain(..2) {
        soon(ended).await.unwrap().unwrap();
    }
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    assert!(pool.status().ready >= had);
}
