//! The system's root certificates: trusted where that is said, and where nothing is. What they are, the system says by
//! a variable, so that each look at them takes a process of its own.

#![cfg(all(feature = "tls-native-roots", any(feature = "tls-ring", feature = "tls-aws-lc")))]
#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/tls.rs"]
mod tls;

use std::env;
use std::path::Path;
use std::process::Stdio;

use common::{ask, client, soon};
use pool_tonic::{ChannelPool, TlsConfig};
use pool_tonic_testing::proto::Do;
use tls::{Ca, TlsServer, server_config};
use tokio::process::Command;

const HOST: &str = "127.0.0.1";

/// Names the server, in a process that has its own roots.
const SERVER: &str = "NATIVE_ROOTS_SERVER";

/// Where the system's certificates are.
const ROOTS: &str = "SSL_CERT_FILE";

#[tokio::test]
async fn the_systems_roots_are_trusted_as_they_are_and_by_default() {
    if let Ok(uri) = env::var(SERVER) {
        return report(&uri).await;
    }
    let (ours, theirs) = (Ca::new(), Ca::new());
    let server = TlsServer::start(server_config(&ours.issue(HOST), None, &["h2"])).await;
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    let said = async |contents: &str| {
        std::fs::write(&roots, contents).unwrap();
        said(&server.uri(), &roots).await
    };
    let trusted = said(&ours.pem()).await;
    for way in ["named: ", "by default: "] {
        assert!(trusted.contains(&format!("{way}answered")), "{trusted}");
    }
    let stranger = said(&theirs.pem()).await;
    assert_eq!(stranger.matches("UnknownIssuer").count(), 2, "{stranger}");
    let none = said("").await;
    assert_eq!(none.matches("refused: ").count(), 2, "{none}");
}

/// What a process says that has these roots.
async fn said(uri: &str, roots: &Path) -> String {
    let output = Command::new(env::current_exe().unwrap())
        .args([
            "the_systems_roots_are_trusted_as_they_are_and_by_default",
            "--exact",
            "--nocapture",
        ])
        .env(SERVER, uri)
        .env(ROOTS, roots)
        .env_remove("SSL_CERT_DIR")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = soon(output).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.into_owned()
}

async fn report(uri: &str) {
    for (way, tls) in
        [("named", TlsConfig::new().with_native_roots()), ("by default", TlsConfig::new())]
    {
        let pool = match ChannelPool::builder(uri).tls_config(tls).build() {
            Ok(pool) => pool,
            Err(error) => {
                println!("{way}: refused: {error}");
                continue;
            }
        };
        match soon(client(&pool).unary(ask(Do::Echo))).await {
            Ok(_) => println!("{way}: answered"),
            Err(status) => println!("{way}: {}", status.message()),
        }
    }
}
