//! The cases.

use std::time::Duration;

use pool_tonic::{ChannelPoolBuilder, ConfigError};

use crate::calls::Terms;
use crate::clients::Client;
use crate::echo::SERVICE;
use crate::peer::{Peer, Settings};
use crate::tls::Trust;

/// One case.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) servers: usize,
    pub(crate) callers: usize,
    pub(crate) settings: Settings,
    pub(crate) terms: Terms,
    /// Over TLS.
    pub(crate) trust: Option<Trust>,
    /// What the pool is told besides.
    pub(crate) pool: fn(ChannelPoolBuilder) -> Result<ChannelPoolBuilder, ConfigError>,
    /// Whose case it is.
    pub(crate) clients: &'static [Client],
    /// How calls end where nothing happens to them.
    pub(crate) end: End,
    /// How often a server begins each call.
    pub(crate) attempts: usize,
    /// Calls wait through failures to connect, where the client can do so.
    pub(crate) wait_for_ready: bool,
    pub(crate) event: Event,
    /// It takes long and loads little, and is run beside the others.
    pub(crate) beside: bool,
}

/// How calls end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With their answers.
    Answered,
    /// No server has begun them; with this code, and a message that has this in it.
    NotBegun(&'static str, &'static str),
    /// Likewise, and a server has begun them.
    Failed(&'static str, &'static str),
}

/// What happens while the load runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Nothing,
    /// A successor listens on the same port before the server stops in good order.
    Takeover,
    /// The server stops in good order and comes back on its port, as it would without another one.
    Restart,
    /// Of two servers, one after the other stops in good order and comes back on its port.
    Rolling,
    /// Of two servers, one is killed.
    Kill,
    /// The server does not run for a while.
    Freeze,
    /// Of two servers, one does not run until keepalive has found out.
    Silence,
    /// The load rests until the server finds pings too many, is there at that moment, and rests again until
    /// the next ping.
    Pings,
    /// Of two servers, one says for a while that it does not serve.
    NotServing,
}

/// The least that keepalive takes.
pub(crate) const ASKED_AFTER: Duration = millis(10_000);

/// How long a server has for an answer.
pub(crate) const ANSWERED_IN: Duration = millis(1000);

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const TERMS: Terms = Terms { timeout: None, fail_first: 0 };

const USUAL: Case = Case {
    name: "load",
    servers: 1,
    callers: 32,
    settings: Settings { delay: millis(5), streams: None, age: None, tls: false },
    terms: TERMS,
    trust: None,
    pool: Ok,
    clients: &Client::ALL,
    end: End::Answered,
    attempts: 1,
    wait_for_ready: false,
    event: Event::Nothing,
    beside: false,
};

pub(crate) const CASES: [Case; 15] = [
    Case { settings: Settings { delay: Duration::ZERO, ..USUAL.settings }, ..USUAL },
    // More callers than there are streams, so that calls wait.
    Case {
        name: "limit",
        callers: 60,
        settings: Settings { streams: Some(10), ..USUAL.settings },
        pool: |pool| Ok(pool.max_connections(4)),
        ..USUAL
    },
    Case { name: "age", settings: Settings { age: Some(millis(300)), ..USUAL.settings }, ..USUAL },
    Case { name: "takeover", event: Event::Takeover, ..USUAL },
    Case { name: "restart", wait_for_ready: true, event: Event::Restart, ..USUAL },
    Case { name: "rolling", servers: 2, event: Event::Rolling, ..USUAL },
    // Slow calls, so that many are in flight.
    Case {
        name: "kill",
        servers: 2,
        settings: Settings { delay: millis(20), ..USUAL.settings },
        event: Event::Kill,
        ..USUAL
    },
    Case {
        name: "freeze",
        terms: Terms { timeout: Some(millis(400)), ..TERMS },
        event: Event::Freeze,
        ..USUAL
    },
    TLS,
    Case {
        name: "wrong-ca",
        trust: Some(Trust::Stranger),
        end: End::NotBegun("UNAVAILABLE", "UnknownIssuer"),
        ..TLS
    },
    // Servers fail the first two attempts of each call.
    Case { pool: |pool| pool.service_config_json(RETRIES), attempts: 3, ..RETRY },
    Case { name: "no-retry", end: End::Failed("UNAVAILABLE", "asked to fail"), ..RETRY },
    Case {
        name: "health",
        servers: 2,
        callers: 16,
        pool: |pool| Ok(pool.health_check(SERVICE)),
        clients: &[Client::Pool],
        event: Event::NotServing,
        ..USUAL
    },
    Case {
        name: "keepalive",
        servers: 2,
        callers: 16,
        settings: Settings { delay: millis(20), ..USUAL.settings },
        pool: |pool| Ok(pool.keepalive_time(ASKED_AFTER).keepalive_timeout(ANSWERED_IN)),
        clients: &[Client::Pool],
        event: Event::Silence,
        beside: true,
        ..USUAL
    },
    Case {
        name: "pings",
        // Both of its connections stay while nobody calls.
        pool: |pool| {
            let pool = pool.keepalive_time(ASKED_AFTER).keepalive_without_calls(true);
            Ok(pool.shrink_delay(10 * ASKED_AFTER))
        },
        clients: &[Client::Pool],
        event: Event::Pings,
        beside: true,
        ..USUAL
    },
];

const RETRY: Case = Case {
    name: "retry",
    settings: Settings { delay: Duration::ZERO, ..USUAL.settings },
    terms: Terms { fail_first: 2, ..TERMS },
    clients: &[Client::Pool],
    ..USUAL
};

const RETRIES: &str = r#"{
    "methodConfig": [{
        "name": [{ "service": "interop.Echo" }],
        "retryPolicy": {
            "maxAttempts": 4,
            "initialBackoff": "0.01s",
            "maxBackoff": "0.1s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"]
        }
    }]
}"#;

const TLS: Case = Case {
    name: "tls",
    settings: Settings { tls: true, ..USUAL.settings },
    trust: Some(Trust::Issuer),
    clients: &[Client::Pool],
    ..USUAL
};

impl Case {
    pub(crate) fn suits(&self, peer: Peer, client: Client) -> bool {
        self.clients.contains(&client)
            && match self.event {
                Event::Takeover => peer.shares_port(),
                Event::NotServing => peer.says_health(),
                Event::Pings => peer.books_pings(),
                _ => true,
            }
    }
}
