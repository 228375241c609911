//! Pods behind names of a DNS server, on loopback: each has an address of its own, and all have one port.
//! Needs Linux, where all of 127.0.0.0/8 is loopback without being set up.

#![cfg(feature = "hickory")]
#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use common::{ask, client, soon, tasks, until};
use pool_tonic::resolve::{Dns, DnsConfig, ResolveError};
use pool_tonic::{ChannelPool, ChannelPoolBuilder};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::dns::{DnsServer, Said};
use pool_tonic_testing::proto::Do;
use tokio::time::Instant;

const NAME: &str = "orders.prod";
const SERVICE: &str = "_grpc._tcp.orders.prod";
const OFTEN: Duration = Duration::from_millis(50);
const SECOND: Duration = Duration::from_secs(1);

/// 127.0.0.N.
fn ip(pod: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, pod).into()
}

/// Servers of one port.
struct Pods(Vec<EchoServer>);

impl Pods {
    /// 127.0.0.2 up to this one.
    async fn start(last: u8) -> Self {
        let first = EchoServer::start_with((ip(2), 0).into(), |server| server).await.unwrap();
        let port = first.addr().port();
        let mut pods = vec![first];
        for pod in 3..=last {
            let addr = (ip(pod), port).into();
            pods.push(EchoServer::start_with(addr, |server| server).await.unwrap());
        }
        Self(pods)
    }

    fn port(&self) -> u16 {
        self.0[0].addr().port()
    }
}

fn pool_of(dns: &DnsServer, port: u16) -> ChannelPoolBuilder {
    let config = DnsConfig::servers([dns.addr()]);
    ChannelPool::builder(format!("http://{NAME}:{port}")).resolver(Dns::hickory_with(config))
}

fn often(pool: ChannelPoolBuilder) -> ChannelPool {
    pool.resolve_interval(OFTEN).resolve_min_gap(OFTEN).build().unwrap()
}

fn services_of(dns: &DnsServer) -> ChannelPool {
    let config = DnsConfig::servers([dns.addr()]);
    let resolver = Dns::srv_with(SERVICE, config);
    often(ChannelPool::builder(format!("http://{NAME}")).resolver(resolver))
}

fn used(pool: &ChannelPool) -> BTreeSet<String> {
    pool.addresses().into_iter().map(|status| status.address).collect()
}

fn addresses<I: IntoIterator<Item = u8>>(pods: I, port: u16) -> BTreeSet<String> {
    pods.into_iter().map(|pod| format!("127.0.0.{pod}:{port}")).collect()
}

async fn call(pool: &ChannelPool) -> Result<(), tonic::Status> {
    soon(client(pool).unary(ask(Do::Echo))).await.map(drop)
}

#[tokio::test]
async fn pods_are_added_and_removed_and_all_replaced_and_no_call_fails() {
    let dns = DnsServer::start().await.unwrap();
    let pods = Pods::start(20).await;
    let pool = often(pool_of(&dns, pods.port()).max_connections(20));
    let sets: [&[u8]; 6] = [&[2, 3], &[2, 3, 4], &[3, 4], &[5, 6, 7, 8], &[9], &[10, 15, 20]];
    dns.set(NAME, Said::ips(1, sets[0].iter().map(|pod| ip(*pod))));
    call(&pool).await.unwrap();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                loop {
                    call(&pool).await.unwrap();
                }
            })
        })
        .collect();
    for set in sets {
        dns.set(NAME, Said::ips(0, set.iter().map(|pod| ip(*pod))));
        until(|| used(&pool) == addresses(set.iter().copied(), pods.port())).await;
        let calls = pool.counters().calls_ended.total();
        until(|| pool.counters().calls_ended.total() > calls + 50).await;
        until(|| {
            let connections = pool.connection_list();
            connections.iter().all(|it| used(&pool).contains(&it.address))
        })
        .await;
        assert!(callers.iter().all(|caller| !caller.is_finished()), "{set:?}");
    }
    callers.iter().for_each(tokio::task::JoinHandle::abort);
    let ended = pool.counters().calls_ended;
    assert_eq!(ended.get(tonic::Code::Ok), ended.total() - ended.get(tonic::Code::Cancelled));
}

#[tokio::test]
async fn the_last_set_stays_whatever_dns_says_instead_of_one() {
    let dns = DnsServer::start().await.unwrap();
    let pods = Pods::start(3).await;
    let config = DnsConfig::servers([dns.addr()]).timeout(OFTEN);
    let pool = ChannelPool::builder(format!("http://{NAME}:{}", pods.port()));
    let pool = often(pool.resolver(Dns::hickory_with(config)));
    let both = Said::ips(0, [ip(2), ip(3)]);
    for (said, words) in [
        (Said::NxDomain, "orders.prod does not exist (NXDOMAIN)"),
        (Said::ServFail, "DNS "),
        (Said::Nothing, "DNS did not answer"),
        (Said::Records(Vec::new()), "its resolver gave no endpoint"),
    ] {
        dns.set(NAME, both.clone());
        let resolutions = pool.counters().resolutions;
        soon(async {
            while pool.counters().resolutions == resolutions {
                pool.reset_backoff();
                let _ = call(&pool).await;
            }
        })
        .await;
        let error = || pool.resolver_status().unwrap().last_error;
        until(|| error().is_none()).await;
        dns.set(NAME, said.clone());
        // On a busy machine a question may be late before that.
        until(|| error().is_some_and(|error| error.to_string().contains(words))).await;
        assert_eq!(used(&pool), addresses([2, 3], pods.port()), "{said:?}");
        call(&pool).await.unwrap();
    }
    let counters = pool.counters();
    assert!(counters.resolve_failures >= 3, "{counters:?}");
    assert!(counters.resolve_empty >= 1, "{counters:?}");
}

#[tokio::test]
async fn before_the_first_set_calls_fail_with_what_dns_said() {
    let dns = DnsServer::start().await.unwrap();
    let pool = pool_of(&dns, 50051).build().unwrap();
    let status = call(&pool).await.unwrap_err();
    let words = "cannot resolve orders.prod:50051: orders.prod does not exist (NXDOMAIN)";
    assert!(status.message().contains(words), "{status}");
    let last = pool.last_error().unwrap();
    assert!(std::error::Error::source(&last).unwrap().is::<ResolveError>());
    // It is there a little later, and nobody has to do anything.
    let pods = Pods::start(2).await;
    let pool = pool_of(&dns, pods.port()).build().unwrap();
    call(&pool).await.unwrap_err();
    dns.set(NAME, Said::ips(1, [ip(2)]));
    soon(pool.wait_ready(Instant::now() + 10 * SECOND)).await.unwrap();
    call(&pool).await.unwrap();
}

#[tokio::test]
async fn a_short_ttl_is_followed() {
    let dns = DnsServer::start().await.unwrap();
    let pods = Pods::start(3).await;
    let pool = pool_of(&dns, pods.port()).resolve_min_gap(SECOND / 10).build().unwrap();
    dns.set(NAME, Said::ips(1, [ip(2)]));
    call(&pool).await.unwrap();
    let before = pool.resolver_status().unwrap().next_in;
    assert!(before <= SECOND * 12 / 10, "{before:?}");
    dns.set(NAME, Said::ips(3600, [ip(3)]));
    until(|| used(&pool) == addresses([3], pods.port())).await;
    let next_in = pool.resolver_status().unwrap().next_in;
    assert!((20 * SECOND..36 * SECOND).contains(&next_in), "{next_in:?}");
}

#[tokio::test]
async fn services_have_ports_of_their_own_and_the_first_priority_is_used() {
    let dns = DnsServer::start().await.unwrap();
    let mut pods = Vec::new();
    for _ in 0..4 {
        pods.push(EchoServer::start().await.unwrap());
    }
    let port = |at: usize| pods[at].addr().port();
    let services = Said::services(
        0,
        [
            (10, 5, port(0), "a.prod"),
            (10, 0, port(1), "b.prod"),
            (20, 5, port(2), "a.prod"),
            (30, 5, port(3), "a.prod"),
        ],
    );
    dns.set("a.prod", Said::ips(0, [ip(1)]));
    dns.set("b.prod", Said::ips(0, [ip(1)]));
    dns.set(SERVICE, services.clone());
    let pool = services_of(&dns);
    call(&pool).await.unwrap();
    let of = |ats: &[usize]| ats.iter().map(|at| format!("127.0.0.1:{}", port(*at))).collect();
    let first: BTreeSet<String> = of(&[0, 1]);
    assert_eq!(used(&pool), first);

    // A host that is gone is left out, and those of the next priority come when all are.
    dns.set("b.prod", Said::NxDomain);
    let left: BTreeSet<String> = of(&[0]);
    until(|| used(&pool) == left).await;
    let others = [(10, 5, port(0), "b.prod"), (20, 5, port(2), "a.prod"), (20, 1, port(3), ".")];
    dns.set(SERVICE, Said::services(0, others));
    let next: BTreeSet<String> = of(&[2]);
    until(|| used(&pool) == next).await;
    call(&pool).await.unwrap();

    // Where DNS fails for a host, nothing is changed.
    dns.set(SERVICE, services);
    dns.set("a.prod", Said::ServFail);
    until(|| pool.resolver_status().unwrap().last_error.is_some()).await;
    assert_eq!(used(&pool), next);
}

#[tokio::test]
async fn the_addresses_of_services_are_not_asked_for_if_they_come_along() {
    let dns = DnsServer::start().await.unwrap();
    let server = EchoServer::start().await.unwrap();
    dns.set_glue();
    dns.set("a.prod", Said::ips(0, [ip(1)]));
    dns.set(SERVICE, Said::services(0, [(1, 1, server.addr().port(), "a.prod")]));
    let pool = services_of(&dns);
    call(&pool).await.unwrap();
    assert_eq!((dns.asked("a.prod"), server.books().now().calls), (0, 1));
}

#[tokio::test]
async fn many_services_of_many_hosts_are_all_found() {
    let dns = DnsServer::start().await.unwrap();
    let hosts: Vec<_> = (1..=100).map(|host| format!("pod-{host}.orders.prod")).collect();
    for (host, last) in hosts.iter().zip(1..) {
        dns.set(host, Said::ips(0, [ip(last)]));
    }
    let services = hosts.iter().map(|host| (1, 1, 50051, host.as_str()));
    dns.set(SERVICE, Said::services(60, services));
    let pool = services_of(&dns);
    let _ = call(&pool).await;
    assert_eq!(used(&pool), addresses(1..=100, 50051));
    assert!(dns.asked_over_tcp(SERVICE) >= 1, "it is too large for UDP");
}

#[tokio::test]
async fn an_answer_that_is_too_large_for_udp_is_whole_and_what_is_twice_in_it_is_one() {
    let dns = DnsServer::start().await.unwrap();
    let pods = (2..=120).chain(2..=50);
    dns.set(NAME, Said::ips(60, pods.map(ip)));
    let pool = pool_of(&dns, 50051).max_endpoints(200).build().unwrap();
    let _ = call(&pool).await;
    assert_eq!(used(&pool), addresses(2..=120, 50051));
    assert!(dns.asked_over_tcp(NAME) >= 1);
}

#[tokio::test]
async fn both_kinds_of_addresses_are_used_and_none_is_lost_with_one_answer() {
    let dns = DnsServer::start().await.unwrap();
    let both = [ip(2), "::1".parse().unwrap()];
    dns.set(NAME, Said::ips(0, both));
    let pool = often(pool_of(&dns, 50051));
    let _ = call(&pool).await;
    let expected: BTreeSet<_> = ["127.0.0.2:50051", "[::1]:50051"].map(str::to_owned).into();
    assert_eq!(used(&pool), expected);
    dns.set_only_v4(true);
    until(|| pool.resolver_status().unwrap().last_error.is_some()).await;
    assert_eq!(used(&pool), expected);
    // A server that never had any may fail the question for them.
    let pool = often(pool_of(&dns, 50051));
    let _ = call(&pool).await;
    assert_eq!(used(&pool), addresses([2], 50051));
    assert!(pool.resolver_status().unwrap().last_error.is_none());
}

#[tokio::test]
async fn a_pod_that_goes_has_dns_asked_again_at_once() {
    let dns = DnsServer::start().await.unwrap();
    let mut pods = Pods::start(3).await;
    // Valid for an hour, and the interval is half a minute.
    dns.set(NAME, Said::ips(3600, [ip(2)]));
    let pool = pool_of(&dns, pods.port()).resolve_min_gap(SECOND / 5).build().unwrap();
    call(&pool).await.unwrap();
    dns.set(NAME, Said::ips(3600, [ip(3)]));
    soon(pods.0.remove(0).stop()).await;
    until(|| used(&pool) == addresses([3], pods.port())).await;
    soon(pool.wait_ready(Instant::now() + 10 * SECOND)).await.unwrap();
    call(&pool).await.unwrap();
    assert_eq!(pods.0[0].books().now().calls, 1);
}

#[tokio::test]
async fn nothing_is_left_when_the_pool_is_closed() {
    let dns = DnsServer::start().await.unwrap();
    let before = tasks();
    dns.set(NAME, Said::ips(0, [ip(2)]));
    let pool = often(pool_of(&dns, 50051));
    let _ = call(&pool).await;
    until(|| pool.counters().resolutions > 3).await;
    soon(pool.close(SECOND)).await;
    until(|| tasks() == before).await;
    // And while a question is open.
    dns.set(NAME, Said::Nothing);
    let asked = dns.asked(NAME);
    let pool = often(pool_of(&dns, 50051));
    let open = tokio::spawn({
        let pool = pool.clone();
        async move { call(&pool).await }
    });
    until(|| dns.asked(NAME) > asked).await;
    soon(pool.close(SECOND)).await;
    soon(open).await.unwrap().unwrap_err();
    until(|| tasks() == before).await;
}
