//! A scenario file: settings, script, steps, events.

use std::collections::BTreeMap;

use pool_core::test_util::ScriptedManager;
use pool_core::{Backoff, Builder, Kind, SharedPoolBuilder, Shedding};
use serde::Deserialize;

use super::op::Op;
use super::text::{self, Gates};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The behaviour, in a sentence.
    pub about: String,
    #[serde(default)]
    pub pool: Settings,
    #[serde(default)]
    pub manager: Script,
    pub steps: Steps,
    /// What the observer is to be told, all of it and in this order. Nothing is said if it is not there.
    pub events: Option<String>,
    /// Events that do not matter here, by their first word.
    #[serde(default)]
    pub ignore: Vec<String>,
}

/// The settings of the pool. What is not there is left to the pool, but for the jitter of the back-off.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    #[serde(default)]
    pub shared: bool,
    pub max_size: Option<usize>,
    min_size: Option<usize>,
    min_idle: Option<usize>,
    max_idle: Option<usize>,
    max_waiters: Option<usize>,
    max_creating: Option<usize>,
    places: Option<usize>,
    soft_target: Option<usize>,
    soft_max_size: Option<usize>,
    wait_timeout: Option<String>,
    create_timeout: Option<String>,
    check_timeout: Option<String>,
    recycle_timeout: Option<String>,
    destroy_timeout: Option<String>,
    shrink_delay: Option<String>,
    idle_timeout: Option<String>,
    max_lifetime: Option<String>,
    max_uses: Option<u32>,
    check: Option<String>,
    keepalive: Option<String>,
    leak_threshold: Option<String>,
    discard_on_panic: Option<bool>,
    shed: Option<SheddingSettings>,
    backoff: Option<BackoffSettings>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackoffSettings {
    initial: String,
    multiplier: f64,
    max: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SheddingSettings {
    target: String,
    interval: String,
}

/// The manager's script, to begin with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Steps for the first calls, by hook.
    #[serde(default)]
    queued: BTreeMap<String, Vec<String>>,
    /// The standing step, by hook.
    #[serde(default)]
    always: BTreeMap<String, String>,
    places: Option<usize>,
    retry_in: Option<String>,
}

/// The steps, one a line; an empty one and what is behind a `#` do not count.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Steps(pub Vec<Line>);

#[derive(Debug)]
pub struct Line {
    pub number: usize,
    pub text: String,
    pub op: Op,
}

impl TryFrom<String> for Steps {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let lines = text.lines().enumerate().filter_map(|(number, line)| {
            let (number, text) = (number + 1, line.split('#').next().unwrap_or_default().trim());
            let parsed = |op| Line { number, text: text.to_owned(), op };
            let wrong = |problem| format!("step in line {number}, `{text}`: {problem}");
            (!text.is_empty()).then(|| Op::parse(text).map(parsed).map_err(wrong))
        });
        lines.collect::<Result<_, _>>().map(Self)
    }
}

impl Scenario {
    pub fn parse(text: &str) -> Result<Self, String> {
        let scenario: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if scenario.about.trim().is_empty() {
            return Err("it says nothing about itself".to_owned());
        }
        if scenario.steps.0.is_empty() {
            return Err("it has no steps".to_owned());
        }
        Ok(scenario)
    }
}

impl Settings {
    /// What both kinds of pool know.
    pub fn apply<K: Kind<ScriptedManager>>(
        &self,
        mut builder: Builder<ScriptedManager, K>,
    ) -> Result<Builder<ScriptedManager, K>, String> {
        let sizes: [(_, fn(_, _) -> _); 6] = [
            (self.max_size, Builder::max_size),
            (self.min_size, Builder::min_size),
            (self.min_idle, Builder::min_idle),
            (self.max_idle, Builder::max_idle),
            (self.max_waiters, Builder::max_waiters),
            (self.max_creating, Builder::max_creating),
        ];
        for (size, set) in sizes {
            builder = if let Some(size) = size { set(builder, size) } else { builder };
        }
        let times: [(_, fn(_, _) -> _); 6] = [
            (&self.wait_timeout, Builder::wait_timeout),
            (&self.create_timeout, Builder::create_timeout),
            (&self.check_timeout, Builder::check_timeout),
            (&self.recycle_timeout, Builder::recycle_timeout),
            (&self.destroy_timeout, Builder::destroy_timeout),
            (&self.shrink_delay, Builder::shrink_delay),
        ];
        for (time, set) in times {
            builder =
                if let Some(time) = time { set(builder, text::duration(time)?) } else { builder };
        }
        if let Some(timeout) = &self.idle_timeout {
            builder = builder.idle_timeout(text::span(timeout)?);
        }
        if let Some(lifetime) = &self.max_lifetime {
            builder = builder.max_lifetime(text::span(lifetime)?);
        }
        if let Some(policy) = &self.check {
            builder = builder.check(text::check_policy(policy)?);
        }
        builder = builder.max_uses(self.max_uses);
        if let Some(interval) = &self.keepalive {
            builder = builder.keepalive(text::span(interval)?);
        }
        if let Some(threshold) = &self.leak_threshold {
            builder = builder.leak_threshold(text::span(threshold)?);
        }
        if let Some(discard) = self.discard_on_panic {
            builder = builder.discard_on_panic(discard);
        }
        if let Some(SheddingSettings { target, interval }) = &self.shed {
            let (target, interval) = (text::duration(target)?, text::duration(interval)?);
            builder = builder.shed(Shedding { target, interval });
        }
        let given = self.backoff.clone().unwrap_or_else(|| BackoffSettings {
            initial: "100ms".to_owned(),
            multiplier: 1.6,
            max: "5s".to_owned(),
        });
        Ok(builder.backoff(Backoff {
            initial: text::duration(&given.initial)?,
            multiplier: given.multiplier,
            jitter: 0.0,
            max: text::duration(&given.max)?,
        }))
    }

    /// What only a shared pool knows.
    pub fn apply_shared(
        &self,
        mut builder: SharedPoolBuilder<ScriptedManager>,
    ) -> SharedPoolBuilder<ScriptedManager> {
        let sizes: [(_, fn(_, _) -> _); 3] = [
            (self.places, SharedPoolBuilder::places),
            (self.soft_target, SharedPoolBuilder::soft_target),
            (self.soft_max_size, SharedPoolBuilder::soft_max_size),
        ];
        for (size, set) in sizes {
            builder = if let Some(size) = size { set(builder, size) } else { builder };
        }
        builder
    }

    pub fn is_for_shared_only(&self) -> bool {
        self.places.or(self.soft_target).or(self.soft_max_size).is_some()
    }
}

impl Script {
    pub fn hand_over(&self, manager: &ScriptedManager, gates: &mut Gates) -> Result<(), String> {
        for (hook, steps) in &self.queued {
            let hook = text::hook(hook)?;
            for step in steps {
                manager.script(hook, [text::step(hook, step, gates)?]);
            }
        }
        for (hook, step) in &self.always {
            let hook = text::hook(hook)?;
            manager.always(hook, text::step(hook, step, gates)?);
        }
        manager.set_places(self.places);
        if let Some(retry_in) = &self.retry_in {
            manager.set_retry_in(text::span(retry_in)?);
        }
        Ok(())
    }
}
