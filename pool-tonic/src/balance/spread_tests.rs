use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use pool_tonic_testing::EchoServer;
use pool_tonic_testing::proto::echo_client::EchoClient;
use pool_tonic_testing::proto::{Ask, Do};

use super::*;
use crate::address_book::Side;
use crate::connectivity::ConnectivityState;
use crate::error::ConnectError;
use crate::options::ServedBy;
use crate::pool::ChannelPool;

const ONE: NonZero<u32> = NonZero::<u32>::MIN;

fn site(n: u64) -> Site {
    let address = Arc::new(Address::parse(&format!("http://a:{n}")).unwrap());
    Site { address, weight: ONE, nearness: Nearness::Elsewhere }
}

fn sites(ports: impl IntoIterator<Item = u64>) -> Vec<Site> {
    ports.into_iter().map(site).collect()
}

/// A book of nothing, and what uses at most so many.
fn spread(bound: usize) -> (Arc<AddressBook>, Spread) {
    let book = AddressBook::new(None);
    let spread = Spread::new(Arc::clone(&book), bound, 7);
    (book, spread)
}

fn set(spread: &Spread, ports: impl IntoIterator<Item = u64>) -> Vec<Change> {
    let mut brought = Vec::new();
    spread.set(sites(ports), |mut changes| brought.append(&mut changes));
    brought
}

fn addresses(book: &AddressBook) -> Vec<String> {
    book.snapshot().into_iter().map(|status| status.address).collect()
}

#[test]
fn the_first_set_is_listed_and_used() {
    let (book, spread) = spread(10);
    let uses = [Change::Used(2), Change::Use(0, ONE), Change::Use(1, ONE)];
    let brought = set(&spread, [1, 2]);
    assert_eq!(brought[0], uses[0]);
    assert!(uses[1..].iter().all(|change| brought.contains(change)), "{brought:?}");
    assert_eq!(addresses(&book).len(), 2);
}

#[test]
fn the_same_set_changes_nothing() {
    let (_, spread) = spread(10);
    set(&spread, [1, 2]);
    assert_eq!(set(&spread, [2, 1]), []);
}

#[test]
fn what_is_new_comes_before_what_is_gone_goes() {
    let (book, spread) = spread(10);
    set(&spread, [1]);
    let brought = set(&spread, [2]);
    assert_eq!(brought, [Change::Used(1), Change::Use(1, ONE), Change::Retire(0)]);
    assert_eq!(addresses(&book), ["a:2"]);
    // Back again, it is another one for the pools.
    let brought = set(&spread, [1]);
    assert_eq!(brought, [Change::Used(1), Change::Use(2, ONE), Change::Retire(1)]);
}

#[test]
fn another_weight_is_told_and_no_more() {
    let (_, spread) = spread(10);
    set(&spread, [1]);
    let three = NonZero::new(3).unwrap();
    let mut brought = Vec::new();
    let heavier = Site { weight: three, ..site(1) };
    spread.set(vec![heavier], |mut changes| brought.append(&mut changes));
    assert_eq!(brought, [Change::Use(0, three)]);
}

#[test]
fn changes_decided_while_others_are_brought_come_after_them() {
    let (_, spread) = spread(10);
    let mut brought = Vec::new();
    spread.set(sites([1]), |mut changes| {
        if brought.is_empty() {
            assert_eq!(set(&spread, [2]), [], "left to the one who brings already");
        }
        brought.append(&mut changes);
    });
    let last = [Change::Used(1), Change::Use(1, ONE), Change::Retire(0)];
    assert_eq!(brought, [&[Change::Used(1), Change::Use(0, ONE)][..], &last].concat());
}

#[tokio::test(start_paused = true)]
async fn others_are_used_while_the_chosen_fail_and_not_when_they_are_back() {
    let (book, spread) = spread(2);
    let chosen = spread.set(sites(0..10), |_| {});
    assert_eq!((chosen.of, chosen.taken), (10, 2));
    assert_eq!(spread.look_again(|_| {}), None);
    for key in 0..2 {
        book.dial_in(key).unwrap().failed(ConnectError::abandoned("a"));
    }
    let chosen = spread.look_again(|_| {}).unwrap();
    assert_eq!((chosen.taken, chosen.added, chosen.removed), (4, 2, 0));
    assert!(!book.is_down(Side::Shared), "there is something to hope for");
    tokio::time::advance(Duration::from_secs(2)).await;
    drop(book.dial_in(0).unwrap().counted(Side::Shared));
    let chosen = spread.look_again(|_| {}).unwrap();
    assert_eq!((chosen.taken, chosen.removed), (2, 2));
}

#[tokio::test]
async fn what_is_not_used_any_more_finishes_its_calls_and_gets_no_new_ones() {
    let (old, new) = (EchoServer::start().await.unwrap(), EchoServer::start().await.unwrap());
    let servers = [old.uri(), new.uri()];
    let pool = ChannelPool::endpoints(servers).max_endpoints(1).build().unwrap();
    let spread = pool.connections().manager().spread().unwrap();
    let set = |server: &EchoServer| spread.set(vec![site_of(server)], drop);
    let call = |r#do: Do| {
        let ask = Ask { text: "hello".to_owned(), r#do: r#do.into(), answers: 1 };
        let mut client = EchoClient::new(pool.channel());
        async move {
            let answer = client.unary(ask).await.unwrap();
            answer.extensions().get::<ServedBy>().unwrap().address().to_owned()
        }
    };
    set(&old);
    let long = tokio::spawn(call(Do::Wait));
    while pool.status().streams == 0 {
        tokio::task::yield_now().await;
    }
    set(&new);
    assert_eq!(pool.state(), ConnectivityState::Idle, "the old one takes no calls");
    for _ in 0..20 {
        assert_eq!(call(Do::Echo).await, new.addr().to_string());
    }
    assert_eq!(pool.status().draining, 1);
    old.open_gate();
    assert_eq!(long.await.unwrap(), old.addr().to_string());
    while pool.connection_list().len() > 1 {
        tokio::task::yield_now().await;
    }
}

fn site_of(server: &EchoServer) -> Site {
    let address = Arc::new(Address::parse(&server.uri()).unwrap());
    Site { address, weight: ONE, nearness: Nearness::Zone }
}

/// Replaces five servers one after the other under load. `told_first`: the set changes before the old server
/// stops.
async fn replace_all(told_first: bool) {
    let mut servers = Vec::new();
    for _ in 0..5 {
        servers.push(EchoServer::start().await.unwrap());
    }
    let uris = servers.iter().map(EchoServer::uri).chain(["http://127.0.0.1:1".to_owned()]);
    let pool = ChannelPool::endpoints(uris).max_endpoints(5).build().unwrap();
    let spread = pool.connections().manager().spread().unwrap();
    spread.set(servers.iter().map(site_of).collect(), drop);
    let (ends, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let mut client = EchoClient::new(pool.channel());
        let (ends, answered) = (Arc::clone(&ends), Arc::clone(&answered));
        callers.spawn(async move {
            while !ends.load(Ordering::SeqCst) {
                let ask = Ask { text: "hello".to_owned(), r#do: Do::Echo.into(), answers: 3 };
                client.unary(ask.clone()).await?;
                let mut answers = client.server_stream(ask).await?.into_inner();
                while answers.message().await?.is_some() {}
                answered.fetch_add(2, Ordering::SeqCst);
            }
            Ok::<_, tonic::Status>(())
        });
    }
    let more = async |calls: usize| {
        let enough = answered.load(Ordering::SeqCst) + calls;
        while answered.load(Ordering::SeqCst) < enough {
            tokio::task::yield_now().await;
        }
    };
    more(200).await;
    for _ in 0..5 {
        let new = EchoServer::start().await.unwrap();
        let old = servers.remove(0);
        servers.push(new);
        let sites = servers.iter().map(site_of).collect();
        if told_first {
            spread.set(sites, drop);
            old.stop().await;
        } else {
            old.stop().await;
            more(100).await;
            spread.set(sites, drop);
        }
        more(200).await;
    }
    ends.store(true, Ordering::SeqCst);
    for caller in callers.join_all().await {
        caller.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_every_server_under_load_fails_no_call() {
    let both = async {
        replace_all(true).await;
        replace_all(false).await;
    };
    tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
}
