//! The programs of the manifests, as processes: in each mode the client finds its servers, and all end as they should.
//! Needs Linux, where all of 127.0.0.0/8 is loopback without being set up.

#![cfg(all(unix, feature = "kubernetes"))]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use pool_tonic_testing::kubernetes::{Api, ApiServer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::time::Instant;

const SERVER: &str = env!("CARGO_BIN_EXE_kubernetes_server");
const CLIENT: &str = env!("CARGO_BIN_EXE_kubernetes_client");

/// Far above what anything here takes.
const BOUND: Duration = Duration::from_secs(60);

/// A program that has said where it listens. Killed when dropped.
struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
    /// What it complains of. No pipe, which would be full at some time.
    errors: File,
    address: String,
}

impl Program {
    fn start(program: &str, variables: &[(&str, &str)]) -> Self {
        let errors = tempfile::tempfile().expect("there is a folder for it");
        let mut child = Command::new(program)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone().expect("there may be a handle more"))
            .spawn()
            .expect("it starts");
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("it can be read");
        let address = line.strip_prefix("listening on ").map(|rest| rest.trim_end().to_owned());
        let address = address.unwrap_or_else(|| panic!("{program} said {line:?}"));
        Self { child, output, errors, address }
    }

    /// Tells it to end, and waits until it has. Returns what it has said on its outputs.
    fn end(mut self) -> (String, String) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("it runs");
        let (mut said, mut complained) = (String::new(), String::new());
        self.output.read_to_string(&mut said).expect("it can be read");
        let status = self.child.wait().expect("it can be waited for");
        self.errors.rewind().expect("it is a file");
        self.errors.read_to_string(&mut complained).expect("it can be read");
        assert!(status.success(), "{status}: {complained}");
        (said, complained)
    }

    /// Status and body of a page.
    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(BOUND)).expect("it is no zero");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
            .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        status.zip(body).unwrap_or_else(|| panic!("no answer: {answer:?}"))
    }

    /// Asks until its pool has a connection.
    fn until_ready(&self) {
        self.until_answer("/readyz", |status, _| status == 200);
    }

    /// Asks until its pool has applied so many sets of endpoints.
    fn until_sets(&self, sets: u32) {
        let line =
            format!("grpc_pool_resolutions_total{{pool=\"orders\",result=\"set\"}} {sets}\n");
        self.until_answer("/metrics", |_, page| page.contains(&line));
    }

    fn until_answer(&self, path: &str, is_it: impl Fn(u16, &str) -> bool) {
        let began = Instant::now();
        loop {
            let (status, page) = self.get(path);
            if is_it(status, &page) {
                return;
            }
            assert!(began.elapsed() < BOUND, "{path} is {status}: {page}");
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn server(number: u8) -> Program {
    Program::start(SERVER, &[("LISTEN", &format!("127.0.0.{number}:0"))])
}

fn client(variables: &[(&str, &str)]) -> Program {
    let own = [("LISTEN", "127.0.0.1:0"), ("PAUSE", "5ms")];
    Program::start(CLIENT, &[&own, variables].concat())
}

/// Shows a pod in a slice of its own.
fn show(api: &Api, pod: &Program, is_ready: bool) {
    let (host, port) = pod.address.rsplit_once(':').expect("it is an address");
    let port: u16 = port.parse().expect("it is a port");
    api.apply(json!({
        "metadata": {
            "name": format!("orders-{port}"),
            "namespace": "prod",
            "labels": { "kubernetes.io/service-name": "orders" },
        },
        "addressType": "IPv4",
        "endpoints": [{
            "addresses": [host],
            "conditions": { "ready": is_ready, "serving": true, "terminating": !is_ready },
        }],
        "ports": [{ "name": "grpc", "port": port, "protocol": "TCP" }],
    }));
}

fn kubeconfig(api: &ApiServer) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("there is a folder for it");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "scripted", "cluster": { "server": api.uri() } }],
        "users": [{ "name": "nobody", "user": {} }],
        "contexts": [{
            "name": "test",
            "context": { "cluster": "scripted", "user": "nobody", "namespace": "prod" },
        }],
        "current-context": "test",
    });
    write!(file, "{config}").expect("it can be written");
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_ready_when_there_are_endpoints() {
    let api = ApiServer::start().await.expect("it can listen");
    let config = kubeconfig(&api);
    let path = config.path().to_str().expect("its name is text");
    let shop = client(&[("MODE", "endpoint-slices"), ("KUBECONFIG", path)]);
    assert_eq!(shop.get("/livez").0, 200);
    assert_eq!(shop.get("/readyz").0, 503, "there are no pods");
    let pod = server(2);
    show(&api, &pod, true);
    shop.until_ready();
    shop.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_as_one_pod_comes_and_another_ends() {
    let api = ApiServer::start().await.expect("it can listen");
    let config = kubeconfig(&api);
    let path = config.path().to_str().expect("its name is text");
    let (first, second) = (server(2), server(3));
    show(&api, &first, true);
    let shop = client(&[("MODE", "endpoint-slices"), ("KUBECONFIG", path)]);
    shop.until_ready();
    show(&api, &second, true);
    shop.until_sets(2);
    show(&api, &first, false);
    shop.until_sets(3);
    let (said, _) = first.end();
    assert_eq!(said, "ended\n");
    shop.until_ready();

    let (said, complained) = shop.end();
    assert!(said.starts_with("closed: "), "{said}");
    assert_eq!(complained, "", "no call fails");
}

#[test]
fn without_a_resolver_and_with_dns_the_client_finds_its_server() {
    let server = server(1);
    let port = server.address.rsplit_once(':').expect("it is an address").1;
    for (mode, host) in [("cluster-ip", "127.0.0.1"), ("dns", "localhost")] {
        let target = format!("http://{host}:{port}");
        let shop = client(&[("MODE", mode), ("TARGET", &target)]);
        shop.until_ready();
        let (_, complained) = shop.end();
        assert_eq!(complained, "", "{mode}: no call fails");
    }
    server.end();
}

#[test]
fn what_cannot_be_read_is_said() {
    let said = |variables: &[(&str, &str)]| {
        let output = Command::new(CLIENT).envs(variables.iter().copied()).output();
        let output = output.expect("it starts");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(said(&[("MODE", "xds")]).contains("not dns, endpoint-slices or cluster-ip"));
    assert!(said(&[("PAUSE", "soon")]).contains("PAUSE is \\\"soon\\\""));
}
