//! What servers wrote down.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::Outcome;

/// One server's ledger, over all its processes.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// How often the handler was entered, by the number of the call.
    pub(crate) begun: HashMap<usize, usize>,
    ended: HashSet<usize>,
    /// The other ends of the connections that calls came over.
    pub(crate) connections: HashSet<String>,
    /// The pings that came: over which connection, and how long after the last bytes that had gone out on it.
    pub(crate) pings: Vec<(String, Duration)>,
}

impl Ledger {
    pub(crate) fn read(path: &PathBuf) -> Outcome<Self> {
        let mut ledger = Self::default();
        // Without a call there is nothing to write down.
        let text = if path.exists() { fs::read_to_string(path)? } else { String::new() };
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["begin", id, peer] => {
                    *ledger.begun.entry(id.parse()?).or_default() += 1;
                    ledger.connections.insert(peer.to_owned());
                }
                ["ping", peer, silence] => {
                    ledger.pings.push((peer.to_owned(), Duration::from_millis(silence.parse()?)));
                }
                ["end", id] => {
                    ledger.ended.insert(id.parse()?);
                }
                _ => return Err(format!("{}: what is {line:?}?", path.display()).into()),
            }
        }
        Ok(ledger)
    }

    /// Calls that it began and did not end.
    pub(crate) fn unfinished(&self) -> usize {
        self.begun.keys().filter(|id| !self.ended.contains(id)).count()
    }
}

/// The least and the most times that any call was begun, by all servers together; of those that were.
pub(crate) fn begun(ledgers: &[Ledger]) -> Option<(usize, usize)> {
    let mut times: HashMap<usize, usize> = HashMap::new();
    for (id, begun) in ledgers.iter().flat_map(|ledger| &ledger.begun) {
        *times.entry(*id).or_default() += begun;
    }
    Some((*times.values().min()?, *times.values().max()?))
}
