//! How a scenario writes things: durations, steps of a script, failures, events.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::time::Duration;

use pool_core::test_util::{Gate, Hook, ScriptedError, Step};
use pool_core::{CheckPolicy, Error, Event, ResourceId};

/// `250ms`, `1.5s`, `10m`, `2h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration: 250ms, 1.5s, 10m, 2h");
    let digits = text.find(|c: char| c != '.' && !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Ok(unit.mul_f64(number))
}

/// A duration, or `none`.
pub fn span(text: &str) -> Result<Option<Duration>, String> {
    if text == "none" { Ok(None) } else { duration(text).map(Some) }
}

/// `always`, `never`, `idle 1s`.
pub fn check_policy(text: &str) -> Result<CheckPolicy, String> {
    match text.split_once(' ') {
        None if text == "always" => Ok(CheckPolicy::Always),
        None if text == "never" => Ok(CheckPolicy::Never),
        Some(("idle", idle)) => Ok(CheckPolicy::IfIdleFor(duration(idle)?)),
        _ => Err(format!("`{text}` is no check policy: always, never, idle 1s")),
    }
}

pub fn hook(text: &str) -> Result<Hook, String> {
    let hook = Hook::ALL.into_iter().find(|hook| hook.as_str() == text);
    hook.ok_or_else(|| format!("`{text}` is no hook"))
}

/// The gates of a scenario, by name.
#[derive(Default)]
pub struct Gates(BTreeMap<String, Gate>);

impl Gates {
    pub fn of(&mut self, name: &str) -> Gate {
        self.0.entry(name.to_owned()).or_default().clone()
    }
}

/// `ok`, `fail`, `fatal`, `panic`, `never`, `slow 3s`, `wait GATE`, and several with `then` in between.
pub fn step(hook: Hook, text: &str, gates: &mut Gates) -> Result<Step, String> {
    let mut steps = text.split(" then ").map(|text| {
        let words: Vec<_> = text.split_whitespace().collect();
        match words[..] {
            ["ok"] => Ok(Step::Ok),
            ["fail"] => Ok(Step::Fail),
            ["fatal"] => Ok(Step::Fatal),
            ["panic"] => Ok(Step::Panic),
            ["never"] => Ok(Step::Never),
            ["slow", delay] => Ok(Step::Slow(duration(delay)?)),
            ["wait", gate] => Ok(Step::Wait(gates.of(gate))),
            _ => Err(format!("`{text}` is no step of a script")),
        }
    });
    let first = steps.next().unwrap_or_else(|| Err("no step".to_owned()))?;
    let step = steps.try_fold(first, |step, next| Ok::<_, String>(step.then(next?)))?;
    if !hook.can(&step) {
        return Err(format!("{} cannot do `{text}`", hook.as_str()));
    }
    Ok(step)
}

/// A failure in one word, or two: `timeout`, `queue_full 3`; and what caused it, in its own words.
pub fn failure(error: &Error<ScriptedError>) -> (String, Option<String>) {
    let text = match error {
        Error::Timeout(_) => "timeout".to_owned(),
        Error::Closed => "closed".to_owned(),
        Error::QueueFull { waiting } => format!("queue_full {waiting}"),
        Error::TooMany { asked, max_size } => format!("too_many {asked} of {max_size}"),
        Error::Paused => "paused".to_owned(),
        Error::Shed => "shed".to_owned(),
        Error::Create(_) => "create".to_owned(),
        Error::NoRuntime => "no_runtime".to_owned(),
        other => format!("{other:?}"),
    };
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(StdError::source) {
        cause = Some(deeper);
    }
    (text, cause.map(ToString::to_string))
}

/// An event in one line. Resources are called by the order in which they were first heard of.
pub fn event(event: &Event, ids: &mut Vec<ResourceId>) -> String {
    let mut name = |id: &ResourceId| {
        ids.iter().position(|known| known == id).unwrap_or_else(|| {
            ids.push(*id);
            ids.len() - 1
        })
    };
    match event {
        Event::CreateStarted { id, reason } => format!("creating {} {}", name(id), reason.as_str()),
        Event::Created { id, .. } => format!("created {}", name(id)),
        Event::CreateFailed { id, retry_in, .. } => {
            format!("failed {} retry {retry_in:?}", name(id))
        }
        Event::Reported { id, reason, text } => {
            format!("reported {} {}: {text}", name(id), reason.as_str())
        }
        Event::Ended { id, reason } => format!("ended {} {}", name(id), reason.as_str()),
        Event::Draining { id, reason } => format!("draining {} {}", name(id), reason.as_str()),
        Event::Leaked { id, held_for, .. } => {
            format!("leaked {} after {}s", name(id), held_for.as_secs())
        }
        Event::LeakReturned { id, held_for, .. } => {
            format!("leak_returned {} after {}s", name(id), held_for.as_secs())
        }
        Event::Paused => "paused".to_owned(),
        Event::Resumed => "resumed".to_owned(),
        Event::Reset { generation } => format!("reset {generation}"),
        Event::Closed => "closed".to_owned(),
        other => format!("{other:?}"),
    }
}
