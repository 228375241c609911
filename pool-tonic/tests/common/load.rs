//! Steady load of all four kinds of calls.

// Each test binary uses its part of it.
#![allow(dead_code, unreachable_pub)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pool_tonic::ChannelPool;
use pool_tonic_testing::proto::Do;
use tokio::task::JoinSet;
use tonic::Status;

use crate::common::{soon, until};
use crate::kinds::{KINDS, ask};

/// Calls without a pause from several callers, each call by a name of its own.
pub struct Load {
    callers: JoinSet<Vec<(String, Result<(), Status>)>>,
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
}

impl Load {
    pub const CALLERS: usize = 16;

    pub fn start(pool: &ChannelPool) -> Self {
        let (ends, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut callers = JoinSet::new();
        for caller in 0..Self::CALLERS {
            let (pool, ends, answered) = (pool.clone(), Arc::clone(&ends), Arc::clone(&answered));
            callers.spawn(async move {
                let mut calls = Vec::new();
                while !ends.load(Ordering::Relaxed) {
                    let name = format!("{caller}-{}", calls.len());
                    let kind = KINDS[(caller + calls.len()) % KINDS.len()];
                    let result = kind.call(pool.channel(), ask(Do::Echo, name.clone())).await;
                    answered.fetch_add(usize::from(result.is_ok()), Ordering::Relaxed);
                    calls.push((name, result.map(drop)));
                }
                calls
            });
        }
        Self { callers, ends, answered }
    }

    /// Waits for so many answers more.
    pub async fn more(&self, calls: usize) {
        let enough = self.answered.load(Ordering::Relaxed) + calls;
        until(|| self.answered.load(Ordering::Relaxed) >= enough).await;
    }

    pub async fn end(self) -> Vec<(String, Result<(), Status>)> {
        self.ends.store(true, Ordering::Relaxed);
        soon(self.callers.join_all()).await.into_iter().flatten().collect()
    }
}

/// How often servers have seen a call.
pub fn seen(servers: &[HashMap<String, usize>], name: &str) -> usize {
    servers.iter().filter_map(|seen| seen.get(name)).sum()
}
