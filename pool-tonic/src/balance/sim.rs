//! A simulation: a thousand clients, each with a book and a choice of its own, and two hundred servers, on the paused
//! clock. Dialling takes no time, and there are no calls: it is about who is connected to whom, and when.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, advance};

use super::select::Nearness;
use super::spread::{Change, Site, Spread};
use crate::address::Address;
use crate::address_book::{AddressBook, Key, Live, Side};
use crate::error::ConnectError;

const CLIENTS: u64 = 1000;
const SERVERS: usize = 200;
const SUBSET: usize = 20;
const STEP: Duration = Duration::from_millis(500);
const STEPS_A_SECOND: usize = 2;

type Server = u32;

fn site(server: Server) -> Site {
    let address = Address::parse(&format!("http://server:{server}")).unwrap();
    Site { address: Arc::new(address), weight: NonZero::<u32>::MIN, nearness: Nearness::Elsewhere }
}

fn server_at(address: &Address) -> Server {
    address.name().rsplit(':').next().and_then(|port| port.parse().ok()).unwrap()
}

/// One connection to each endpoint that is used.
struct Client {
    book: Arc<AddressBook>,
    spread: Spread,
    connections: HashMap<Key, Option<(Server, Live)>>,
}

impl Client {
    fn new(seed: u64) -> Self {
        let book = AddressBook::new("".into(), None);
        let spread = Spread::new(Arc::clone(&book), SUBSET, seed);
        Self { book, spread, connections: HashMap::new() }
    }

    fn bring(connections: &mut HashMap<Key, Option<(Server, Live)>>, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Use(key, _) => _ = connections.entry(key).or_default(),
                Change::Retire(key) => _ = connections.remove(&key),
            }
        }
    }

    fn set(&mut self, sites: &[Site]) {
        let connections = &mut self.connections;
        self.spread.set(sites.to_vec(), |changes| Self::bring(connections, changes));
    }

    /// Dials what is missing and due. Says to whom a connection was made.
    fn step(&mut self, is_up: impl Fn(Server) -> bool) -> Vec<Server> {
        let (mut made, mut tried) = (Vec::new(), false);
        for (key, connection) in &mut self.connections {
            if connection.as_ref().is_some_and(|(server, _)| !is_up(*server)) {
                *connection = None;
            }
            if connection.is_none()
                && let Ok(mut dial) = self.book.dial_in(*key, Side::Shared)
            {
                tried = true;
                let server = server_at(dial.address());
                if is_up(server) {
                    made.push(server);
                    *connection = Some((server, dial.counted(Side::Shared)));
                } else {
                    dial.failed(ConnectError::abandoned("down"));
                }
            }
        }
        if tried {
            let connections = &mut self.connections;
            self.spread.look_again(|changes| Self::bring(connections, changes));
        }
        made
    }
}

struct World {
    clients: Vec<Client>,
    servers: Vec<Server>,
    next: Server,
}

impl World {
    fn new() -> Self {
        let servers = (0..).take(SERVERS).collect();
        let clients = (0..CLIENTS).map(Client::new).collect();
        let next = u32::try_from(SERVERS).unwrap();
        let mut world = Self { clients, servers, next };
        world.tell();
        world
    }

    /// All clients get the set as it is.
    fn tell(&mut self) {
        let sites: Vec<_> = self.servers.iter().map(|server| site(*server)).collect();
        for client in &mut self.clients {
            client.set(&sites);
        }
    }

    fn replace(&mut self, index: usize) {
        self.servers[index] = self.next;
        self.next += 1;
        self.tell();
    }

    /// How many connections are made to each server in this step.
    async fn step(&mut self, is_up: impl Fn(Server) -> bool) -> HashMap<Server, usize> {
        let mut made = HashMap::new();
        for client in &mut self.clients {
            for server in client.step(&is_up) {
                *made.entry(server).or_default() += 1;
            }
        }
        advance(STEP).await;
        made
    }

    /// The connections of each server.
    fn connections(&self) -> Vec<usize> {
        let mut counts: HashMap<Server, usize> =
            self.servers.iter().map(|server| (*server, 0)).collect();
        let connections = self.clients.iter().flat_map(|client| client.connections.values());
        for (server, _) in connections.flatten() {
            *counts.entry(*server).or_default() += 1;
        }
        assert_eq!(counts.len(), SERVERS, "nobody is connected to one that is gone");
        counts.into_values().collect()
    }
}

/// The most connections of a server, for each that it would have if all had as many.
#[allow(clippy::cast_precision_loss)] // They are few.
fn skew(connections: &[usize]) -> f64 {
    let most = connections.iter().max().copied().unwrap_or_default();
    most as f64 * connections.len() as f64 / connections.iter().sum::<usize>() as f64
}

#[tokio::test(start_paused = true)]
async fn every_server_has_its_share_of_clients_also_while_servers_are_replaced() {
    let mut world = World::new();
    world.step(|_| true).await;
    let all = usize::try_from(CLIENTS).unwrap() * SUBSET;
    assert_eq!(world.connections().iter().sum::<usize>(), all);
    assert!(skew(&world.connections()) < 1.5, "{}", skew(&world.connections()));
    for replaced in 0..5 {
        world.replace(replaced * 7 % SERVERS);
        let made: usize = world.step(|_| true).await.into_values().sum();
        // One place of each subset that the old one was in, and one of each that the new one is in: a tenth each.
        assert!((100..300).contains(&made), "{made}");
    }
    assert_eq!(world.connections().iter().sum::<usize>(), all);
    assert!(skew(&world.connections()) < 1.5, "{}", skew(&world.connections()));
}

#[tokio::test(start_paused = true)]
async fn after_a_partition_has_healed_clients_come_back_one_by_one() {
    let mut world = World::new();
    world.step(|_| true).await;
    let before = world.connections();
    // A tenth of the servers cannot be reached for half a minute.
    let cut = |server: Server| usize::try_from(server).unwrap() >= SERVERS / 10;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        let made = world.step(cut).await;
        assert!(made.keys().all(|server| cut(*server)));
    }
    let (mut seconds, mut worst) = (Vec::new(), 0);
    for _ in 0..40 {
        let mut second = HashMap::<Server, usize>::new();
        for _ in 0..STEPS_A_SECOND {
            for (server, made) in world.step(|_| true).await {
                *second.entry(server).or_default() += made;
            }
        }
        worst = worst.max(second.values().max().copied().unwrap_or_default());
        seconds.push(second.values().sum::<usize>());
    }
    // Each of these servers has a hundred clients, whose back-off is between 10 and 17 seconds by then.
    assert!(worst <= 40, "{worst} clients came to one server in a second: {seconds:?}");
    let sorted = |mut counts: Vec<usize>| {
        counts.sort_unstable();
        counts
    };
    assert_eq!(sorted(world.connections()), sorted(before), "all are back");
}
