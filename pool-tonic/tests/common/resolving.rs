//! A resolver that does what a test says, and keeps books of when it was asked.

// Each test binary uses its part of it.
#![allow(dead_code, unreachable_pub)]

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pool_tonic::resolve::{Endpoint, Endpoints, Resolve, ResolveError, ResolveTarget};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// What it does when it is asked.
#[derive(Clone, Debug)]
pub enum Answer {
    Give(Endpoints),
    Fail(ResolveError),
    Panic,
    Hang,
}

/// The test's side.
#[derive(Clone, Debug)]
pub struct Script {
    answer: watch::Sender<Answer>,
    asked: Arc<Mutex<Vec<Instant>>>,
    targets: Arc<Mutex<Vec<ResolveTarget>>>,
}

/// The pool's side.
#[derive(Debug)]
pub struct Scripted(Script);

impl Script {
    pub fn new(answer: Answer) -> (Self, Scripted) {
        let answer = watch::Sender::new(answer);
        let script = Self { answer, asked: Arc::default(), targets: Arc::default() };
        (script.clone(), Scripted(script))
    }

    /// What it does from now on, also with a question that hangs.
    pub fn set(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }

    /// When it was asked, since this was taken last.
    pub fn take_asked(&self) -> Vec<Instant> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    pub fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub fn targets(&self) -> Vec<ResolveTarget> {
        self.targets.lock().unwrap().clone()
    }
}

impl Resolve for Scripted {
    async fn resolve(&mut self, target: &ResolveTarget) -> Result<Endpoints, ResolveError> {
        let Script { answer, asked, targets } = &self.0;
        asked.lock().unwrap().push(Instant::now());
        targets.lock().unwrap().push(target.clone());
        let mut answer = answer.subscribe();
        loop {
            let now = answer.borrow_and_update().clone();
            match now {
                Answer::Give(endpoints) => return Ok(endpoints),
                Answer::Fail(error) => return Err(error),
                Answer::Panic => panic!("as the script says"),
                Answer::Hang => {
                    if answer.changed().await.is_err() {
                        pending::<()>().await;
                    }
                }
            }
        }
    }
}

/// Lets the clock run on until something is so.
pub async fn comes(mut is_so: impl FnMut() -> bool) {
    let patience = Duration::from_secs(600);
    let is_so = async {
        while !is_so() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(patience, is_so).await.expect("it should have come by now");
}

/// Those of the fleet.
pub fn servers(indices: impl IntoIterator<Item = usize>) -> Endpoints {
    indices.into_iter().map(|index| Endpoint::new(format!("server-{index}"))).collect()
}

pub fn give(indices: impl IntoIterator<Item = usize>) -> Answer {
    Answer::Give(servers(indices))
}

pub fn fail(what: &str) -> Answer {
    Answer::Fail(ResolveError::new(what))
}
