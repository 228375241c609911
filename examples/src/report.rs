//! The summary: a table to read, or one JSON object.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::Serialize;

use crate::calls::Kind;
use crate::stats::Tally;

/// What came of the load over one system.
///
/// A number is `None` where the system does not show it, or where there is nothing to measure.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Calls that ended.
    pub calls: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Failed calls by the name of their status code; `WRONG_ANSWER` for an OK with the wrong message.
    pub failed_by_code: BTreeMap<&'static str, u64>,
    /// The first failure, in words.
    pub first_failure: Option<String>,
    /// Calls that ended, by kind.
    pub calls_by_kind: BTreeMap<&'static str, u64>,
    /// Calls that ended per second of the load.
    pub calls_per_second: f64,
    /// Calls sent again since a server had provably not processed them.
    pub retried: Option<u64>,
    /// GOAWAY frames that made a connection drain.
    pub goaways: Option<u64>,
    /// Connections that were opened.
    pub connections_opened: Option<u64>,
    /// How often a server was restarted during the load.
    pub server_restarts: Option<u64>,
    /// The median time of a call that succeeded, in microseconds.
    pub p50_us: Option<u64>,
    /// 99 of 100 calls that succeeded took at most this long, in microseconds.
    pub p99_us: Option<u64>,
    /// The longest call that succeeded, in microseconds.
    pub max_us: Option<u64>,
    /// How long the load ran, until its last call had ended, in seconds.
    pub seconds: f64,
}

/// All that the demo found: the pool's outcome, and those of the others beside it.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Callers at work at once.
    pub concurrency: usize,
    /// What the pool did.
    #[serde(flatten)]
    pub pool: Outcome,
    /// What one plain `tonic::transport::Channel` to the first address did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Outcome>,
    /// What `Channel::balance_list` of all addresses did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance_list: Option<Outcome>,
}

impl Outcome {
    /// What was counted, over a load that ran this long, with the numbers of `kinds`. The rest is to be
    /// filled in by who knows it.
    pub fn new(tally: Tally, kinds: &[Kind], ran: Duration) -> Self {
        let calls = tally.calls();
        Self {
            calls,
            failed: tally.failed(),
            calls_by_kind: kinds
                .iter()
                .map(|kind| (kind.as_str(), tally.by_kind[*kind as usize]))
                .collect(),
            calls_per_second: calls as f64 / ran.as_secs_f64(),
            retried: None,
            goaways: None,
            connections_opened: None,
            server_restarts: None,
            p50_us: tally.quantile_us(0.5),
            p99_us: tally.quantile_us(0.99),
            max_us: tally.quantile_us(1.0),
            seconds: ran.as_secs_f64(),
            failed_by_code: tally.failed_by_code,
            first_failure: tally.first_failure,
        }
    }
}

impl Summary {
    /// The summary as one JSON object on one line.
    ///
    /// # Errors
    ///
    /// Never in practice: all of it can be written as JSON.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// One column per system, one row per number.
    pub fn table(&self) -> String {
        let systems: Vec<(&str, &Outcome)> = [
            ("pool", Some(&self.pool)),
            ("Channel", self.channel.as_ref()),
            ("balance_list", self.balance_list.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, outcome)| Some((name, outcome?)))
        .collect();
        let mut table = Table { text: String::new(), columns: systems.len() };
        let outcomes = || systems.iter().map(|(_, outcome)| *outcome);

        table.row("", systems.iter().map(|(name, _)| (*name).to_owned()));
        table.row("calls", outcomes().map(|o| grouped(o.calls)));
        for kind in self.pool.calls_by_kind.keys() {
            let counts = outcomes()
                .map(|o| o.calls_by_kind.get(kind).map_or(String::new(), |n| grouped(*n)));
            table.row(&format!("  {}", kind.replace('_', " ")), counts);
        }
        table.row("failed", outcomes().map(|o| grouped(o.failed)));
        let codes: BTreeMap<_, _> = outcomes().flat_map(|o| &o.failed_by_code).collect();
        for code in codes.keys() {
            let counts = outcomes()
                .map(|o| o.failed_by_code.get(*code).map_or(String::new(), |n| grouped(*n)));
            table.row(&format!("  {code}"), counts);
        }
        table.row("calls/s", outcomes().map(|o| format!("{:.0}", o.calls_per_second)));
        table.row("latency p50", outcomes().map(|o| milliseconds(o.p50_us)));
        table.row("latency p99", outcomes().map(|o| milliseconds(o.p99_us)));
        table.row("latency max", outcomes().map(|o| milliseconds(o.max_us)));
        table.row("connections opened", outcomes().map(|o| known(o.connections_opened)));
        table.row("GOAWAYs drained", outcomes().map(|o| known(o.goaways)));
        table.row("calls sent again", outcomes().map(|o| known(o.retried)));
        if self.pool.server_restarts.is_some() {
            table.row("server restarts", outcomes().map(|o| known(o.server_restarts)));
        }
        for (name, outcome) in &systems {
            if let Some(failure) = &outcome.first_failure {
                let _ = writeln!(table.text, "first failure over {name}: {failure}");
            }
        }
        table.text
    }
}

struct Table {
    text: String,
    columns: usize,
}

impl Table {
    fn row(&mut self, name: &str, cells: impl Iterator<Item = String>) {
        let mut line = format!("{name:<20}");
        for cell in cells.take(self.columns) {
            let _ = write!(line, "{cell:>16}");
        }
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.table())
    }
}

/// `-` where the system does not show the number.
fn known(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), grouped)
}

fn milliseconds(micros: Option<u64>) -> String {
    micros.map_or_else(|| "-".to_owned(), |us| format!("{:.2} ms", us as f64 / 1000.0))
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::Failure;
    use crate::stats::Stats;

    fn outcome(failed: u64) -> Outcome {
        let stats = Stats::new();
        for _ in 0..1200 {
            stats.record(Kind::Unary, Duration::from_micros(1500), Ok(()));
        }
        for _ in 0..failed {
            let failure = Failure { code: "UNAVAILABLE", message: "gone away".to_owned() };
            stats.record(Kind::Bidirectional, Duration::from_secs(1), Err(failure));
        }
        Outcome::new(stats.tally(), &Kind::ALL, Duration::from_secs(2))
    }

    fn summary() -> Summary {
        let pool = Outcome {
            retried: Some(7),
            goaways: Some(3),
            connections_opened: Some(12),
            ..outcome(0)
        };
        Summary { concurrency: 64, pool, channel: Some(outcome(5)), balance_list: None }
    }

    #[test]
    fn json_has_the_pool_at_the_top_and_the_others_by_name() {
        let json: serde_json::Value = serde_json::from_str(&summary().json().unwrap()).unwrap();
        assert_eq!(json["calls"], 1200);
        assert_eq!(json["failed"], 0);
        assert_eq!(json["failed_by_code"], serde_json::json!({}));
        assert_eq!(json["retried"], 7);
        assert_eq!(json["goaways"], 3);
        assert_eq!(json["connections_opened"], 12);
        assert_eq!(json["p50_us"], json["p99_us"]);
        assert_eq!(json["calls_per_second"], 600.0);
        assert_eq!(json["channel"]["failed_by_code"], serde_json::json!({"UNAVAILABLE": 5}));
        assert_eq!(json["channel"]["retried"], serde_json::Value::Null);
        assert!(json.get("balance_list").is_none());
    }

    #[test]
    fn the_table_has_a_column_for_each_system() {
        let table = summary().table();
        let row =
            |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert_eq!(row("calls "), format!("{:<20}{:>16}{:>16}", "calls", "1,200", "1,205"));
        assert_eq!(row("  UNAVAILABLE"), format!("{:<20}{:>16}{:>16}", "  UNAVAILABLE", "", "5"));
        assert_eq!(
            row("calls sent again"),
            format!("{:<20}{:>16}{:>16}", "calls sent again", "7", "-")
        );
        assert!(
            table.contains("first failure over Channel: UNAVAILABLE (bidirectional): gone away")
        );
        assert!(!table.contains("server restarts"));
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
