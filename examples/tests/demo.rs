//! The demo as a process, as a user runs it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Output, Stdio};
use std::time::Duration;

use examples::proto::demo_server::DemoServer;
use examples::service::DemoService;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

/// Far above what anything here takes: a test that fails for it hangs.
const BOUND: Duration = Duration::from_secs(60);

fn demo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn run(args: &[&str]) -> Output {
    timeout(BOUND, demo(args).output()).await.expect("the demo ends").expect("the demo starts")
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().count(), 1, "standard output has the JSON object alone: {text:?}");
    serde_json::from_str(&text).expect("standard output is JSON")
}

/// A refusal: this exit status, and one line on standard error that says all of `parts`.
fn assert_one_line(output: &Output, status: i32, parts: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert_eq!(text.lines().count(), 1, "{text:?}");
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    assert!(output.stdout.is_empty());
}

/// A demo that runs, with its standard error so far.
struct Running {
    process: Child,
    lines: Lines<BufReader<ChildStderr>>,
    said: Vec<String>,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut process = demo(args).spawn().expect("the demo starts");
        let stderr = process.stderr.take().expect("standard error is piped");
        Self { process, lines: BufReader::new(stderr).lines(), said: Vec::new() }
    }

    /// Waits for a line that begins like this, and returns the rest of it.
    async fn line(&mut self, start: &str) -> String {
        let search = async {
            while let Some(line) = self.lines.next_line().await.expect("standard error is text") {
                self.said.push(line.clone());
                if let Some(rest) = line.strip_prefix(start) {
                    return rest.to_owned();
                }
            }
            panic!("no line began with {start:?}: {:?}", self.said);
        };
        timeout(BOUND, search).await.expect("the demo speaks")
    }

    #[cfg(unix)]
    async fn interrupt(&self) {
        let id = self.process.id().expect("the demo runs").to_string();
        assert!(kill("INT", &id).await.success());
    }

    async fn end(mut self) -> Output {
        let mut rest = String::new();
        let end = async {
            while let Some(line) = self.lines.next_line().await.expect("standard error is text") {
                rest.push_str(&line);
                rest.push('\n');
            }
            self.process.wait_with_output().await.expect("the demo ends")
        };
        let output = timeout(BOUND, end).await.expect("the demo ends");
        Output { stderr: rest.into_bytes(), ..output }
    }
}

/// What a plain HTTP client gets from `url`: head and body.
async fn get(url: &str) -> (String, String) {
    let rest = url.strip_prefix("http://").expect("the endpoint is plain HTTP");
    let (address, path) = rest.split_once('/').expect("the URL has a path");
    let mut stream = TcpStream::connect(address).await.expect("the endpoint listens");
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the endpoint reads");
    let mut answer = String::new();
    timeout(BOUND, stream.read_to_string(&mut answer))
        .await
        .expect("the endpoint answers")
        .expect("the answer is text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn no_call_through_the_pool_fails_and_metrics_are_there_meanwhile() {
    let mut demo = Running::start(&["--duration", "2s", "--no-compare", "--json"]);
    let url = demo.line("metrics on ").await;
    // The first line of progress: calls have been made.
    demo.line("pool ").await;
    let (head, body) = get(&url).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.to_lowercase().contains("text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("pool=\"demo\""), "{body}");

    let output = demo.end().await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = json(&output);
    assert_eq!(summary["failed"], 0, "{summary}");
    assert_eq!(summary["failed_by_code"], serde_json::json!({}));
    for count in ["calls", "goaways", "connections_opened", "server_restarts", "p50_us", "p99_us"] {
        assert!(summary[count].as_u64().is_some_and(|n| n > 0), "{count} in {summary}");
    }
    assert!(summary["retried"].is_u64(), "{summary}");
    for kind in ["unary", "server_streaming", "client_streaming", "bidirectional"] {
        assert!(
            summary["calls_by_kind"][kind].as_u64().is_some_and(|n| n > 0),
            "{kind} in {summary}"
        );
    }
    assert!(summary.get("channel").is_none());
}

#[tokio::test]
async fn the_same_load_runs_over_tonics_own_channels() {
    // Over before the first restart: the connections are those that the load began with.
    let output = run(&["--duration", "300ms", "--concurrency", "8", "--json"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = json(&output);
    for system in ["channel", "balance_list"] {
        let outcome = &summary[system];
        assert!(outcome["calls"].as_u64().is_some_and(|n| n > 0), "{system} in {summary}");
        assert!(outcome["failed"].is_u64() && outcome["failed_by_code"].is_object(), "{summary}");
        assert!(outcome["connections_opened"].as_u64().is_some_and(|n| n > 0), "{summary}");
    }
}

#[tokio::test]
async fn a_summary_without_json_is_a_table_on_standard_output() {
    let output = run(&["--duration", "200ms", "--no-compare", "--concurrency", "4"]).await;
    let table = String::from_utf8_lossy(&output.stdout);
    for row in [
        "calls ",
        "  bidirectional",
        "failed ",
        "GOAWAYs drained",
        "calls sent again",
        "latency p99",
    ] {
        assert!(table.lines().any(|line| line.starts_with(row)), "{row} in {table}");
    }
}

#[tokio::test]
async fn help_explains_itself() {
    let output = run(&["--help"]).await;
    assert!(output.status.success());
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(help.contains("--max-connections") && help.contains("Exit status"), "{help}");
}

#[tokio::test]
async fn a_bad_argument_is_refused_in_one_line() {
    assert_one_line(&run(&["--duration", "soon"]).await, 2, &["--duration", "soon"]);
    assert_one_line(&run(&["--max-connections", "0"]).await, 2, &["--max-connections"]);
    assert_one_line(&run(&["--no-such-thing"]).await, 2, &["--no-such-thing"]);
}

#[tokio::test]
async fn a_metrics_port_in_use_is_refused_in_one_line() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["--metrics", &address]).await;
    assert_one_line(&output, 1, &["error: ", &address, "in use"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_in_one_line() {
    // A bound socket that does not listen: nobody else gets the port, and it refuses.
    let refusing = TcpSocket::new_v4().unwrap();
    refusing.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = refusing.local_addr().unwrap().to_string();
    let output = run(&["--connect", &format!("http://{address}")]).await;
    assert_one_line(&output, 1, &["error: ", &address, "refused"]);

    // One that listens and says nothing.
    let mute = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let output = run(&["--connect", &format!("http://{address}")]).await;
    assert_one_line(&output, 1, &["error: ", &address, "HTTP/2 settings were awaited"]);
}

#[tokio::test]
async fn a_server_without_health_checks_is_told_in_one_line() {
    let (listener, url) = listen().await;
    let server = Server::builder().add_service(DemoServer::new(DemoService));
    tokio::spawn(server.serve_with_incoming(listener));
    let output = run(&["--connect", &url]).await;
    assert_one_line(&output, 1, &["error: ", &url, "grpc.health.v1", "UNIMPLEMENTED"]);
}

#[tokio::test]
async fn a_server_that_runs_already_is_called_for_its_health() {
    let (listener, url) = listen().await;
    let (_reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(Server::builder().add_service(health).serve_with_incoming(listener));

    let output = run(&["--connect", &url, "--duration", "500ms", "--json"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = json(&output);
    assert_eq!(summary["failed"], 0, "{summary}");
    for kind in ["unary", "server_streaming"] {
        assert!(summary["calls_by_kind"][kind].as_u64().is_some_and(|n| n > 0), "{summary}");
    }
    assert!(summary["channel"]["calls"].as_u64().is_some_and(|n| n > 0), "{summary}");
    assert!(summary.get("balance_list").is_none(), "there is one address only");
}

#[tokio::test]
async fn no_server_outlives_a_demo_that_was_killed() {
    let mut demo = Running::start(&["--duration", "60s", "--no-compare"]);
    let servers = demo.line("3 servers on ").await;
    let addresses = servers.split_once(": ").expect("the line goes on").0;
    let mut connections = Vec::new();
    // The first one is the first to be restarted, which would end its connections too.
    for address in addresses.split(", ").skip(1) {
        let address: SocketAddr = address.parse().expect("an address");
        connections.push(TcpStream::connect(address).await.expect("the server listens"));
    }
    demo.process.kill().await.expect("the demo can be killed");
    for mut connection in connections {
        // What the server says meanwhile is of no interest; a reset is an end too.
        let _ =
            timeout(BOUND, connection.read_to_end(&mut Vec::new())).await.expect("the server ends");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn an_interrupt_ends_the_load_and_shows_what_there_is() {
    let mut demo = Running::start(&["--duration", "60s", "--json"]);
    demo.line("pool ").await;
    demo.interrupt().await;
    let output = demo.end().await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = json(&output);
    assert!(summary["seconds"].as_f64().is_some_and(|seconds| seconds < 30.0), "{summary}");
    assert!(summary["calls"].as_u64().is_some_and(|n| n > 0), "{summary}");
    assert!(summary.get("channel").is_none(), "the comparison is left out");
}

/// The processes that a process has started.
#[cfg(target_os = "linux")]
fn children(id: &str) -> String {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).expect("the demo runs");
    let of_thread = |thread: std::fs::DirEntry| {
        std::fs::read_to_string(thread.path().join("children")).unwrap_or_default()
    };
    threads.flatten().map(of_thread).collect()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_demo_whose_servers_were_killed_shows_what_there_is() {
    for (system, begin) in [("pool", "pool "), ("channel", "Channel ")] {
        let mut demo = Running::start(&["--duration", "2s", "--concurrency", "8", "--json"]);
        demo.line(begin).await;
        let id = demo.process.id().expect("the demo runs").to_string();
        // One that is about to restart may be gone already.
        kill("KILL", &children(&id)).await;

        let output = demo.end().await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let last = text.lines().last().unwrap_or_default();
        assert!(last.starts_with("error: a server ended with "), "{text}");
        let summary = json(&output);
        let outcome = if system == "pool" { &summary } else { &summary[system] };
        assert!(outcome["calls"].as_u64().is_some_and(|n| n > 0), "{system} in {summary}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn an_interrupt_before_the_load_ends_the_demo() {
    for settings in [false, true] {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let demo = Running::start(&["--connect", &url]);
        let (mut stream, _) = timeout(BOUND, listener.accept()).await.unwrap().unwrap();
        // The server says nothing, or it gives its settings and does not answer the first call.
        if settings {
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            timeout(BOUND, headers(&mut stream)).await.unwrap();
        }
        demo.interrupt().await;
        assert_one_line(&demo.end().await, 130, &["error: ", "interrupted"]);
    }
}

/// Reads what an HTTP/2 client sends, up to the headers of its first call.
#[cfg(unix)]
async fn headers(stream: &mut TcpStream) {
    const PREFACE: usize = 24;
    const HEADERS: u8 = 1;
    stream.read_exact(&mut [0; PREFACE]).await.expect("the client sends on");
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.expect("the client sends on");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        stream.read_exact(&mut vec![0; length]).await.expect("the client sends on");
        if head[3] == HEADERS {
            break;
        }
    }
}

async fn listen() -> (TcpListenerStream, String) {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("there is a free port");
    let address = listener.local_addr().expect("a listener has an address");
    (TcpListenerStream::new(listener), format!("http://{address}"))
}

/// Sends a signal. The shell's own `kill`, since not every system has the program.
#[cfg(unix)]
async fn kill(signal: &str, ids: &str) -> std::process::ExitStatus {
    let command = format!("kill -{signal} {ids}");
    Command::new("sh").args(["-c", &command]).status().await.expect("there is a shell")
}
