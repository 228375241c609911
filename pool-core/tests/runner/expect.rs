//! What a scenario expects, and what there is.

use std::fmt::Write as _;

use super::get::GetState;
use super::op::Expect;
use super::run::Run;
use super::{numbers, text};
use crate::harness::{Side, millis};

impl<K: Side> Run<K> {
    pub fn compare_events(&mut self, expected: &str, ignore: &[String]) -> Result<(), String> {
        let expected = expected.lines().map(|line| line.split('#').next().unwrap_or_default());
        let expected: Vec<_> = expected.map(str::trim).filter(|line| !line.is_empty()).collect();
        let told = self.told(ignore);
        if told == expected {
            return Ok(());
        }
        let mut problem = "the events are others:".to_owned();
        for at in 0..told.len().max(expected.len()) {
            let (told, expected) = (told.get(at).map(String::as_str), expected.get(at).copied());
            if told == expected {
                let _ = write!(problem, "\n    {}", told.unwrap_or_default());
                continue;
            }
            let _ = expected.map(|line| write!(problem, "\n  - {line}"));
            let _ = told.map(|line| write!(problem, "\n  + {line}"));
        }
        Err(problem)
    }

    pub fn expect(&mut self, expect: &Expect) -> Result<(), String> {
        match expect {
            Expect::Served { names, with } => {
                self.hear();
                for name in names {
                    let id = match &self.get(name)?.state {
                        GetState::Served(lease) => lease.id(),
                        GetState::ServedMany(_, ids) if with.is_none() => ids[0],
                        other => return Err(format!("{name}: {}", other.describe())),
                    };
                    let resource = self.ids.iter().position(|known| *known == id);
                    if with.is_some() && resource != *with {
                        return Err(format!("{name} was served with {resource:?}"));
                    }
                }
                Ok(())
            }
            Expect::Waiting(names) => {
                for name in names {
                    let state = &self.get(name)?.state;
                    if !matches!(state, GetState::Waiting(..)) {
                        return Err(format!("{name}: {}", state.describe()));
                    }
                }
                Ok(())
            }
            Expect::Nothing(name) => self.expect_state(name, "it found nothing"),
            Expect::Panicked(name) => self.expect_state(name, "it panicked"),
            Expect::Failed { name, failure, cause } => {
                let seen = match &self.get(name)?.state {
                    GetState::Failed(error) => text::failure(error),
                    other => return Err(format!("{name}: {}", other.describe())),
                };
                let is_as_expected = seen.0 == *failure && (cause.is_none() || seen.1 == *cause);
                if is_as_expected { Ok(()) } else { Err(format!("{name} failed: {seen:?}")) }
            }
            Expect::Done { name, report } => {
                self.expect_state(name, &format!("it is done: {report}"))
            }
            Expect::Retained(expected) if self.retained == *expected => Ok(()),
            Expect::Retained(_) => Err(format!("it was {}", self.retained)),
            Expect::Holders(expected) => {
                self.hear();
                let holders = self.pool()?.longest_holders(usize::MAX);
                let known = |id| self.ids.iter().position(|known| *known == id);
                let seen: Option<Vec<_>> = holders.iter().map(|holder| known(holder.id)).collect();
                if seen.as_ref() == Some(expected) { Ok(()) } else { Err(format!("{seen:?}")) }
            }
            Expect::Took { name, time } => {
                let get = self.get(name)?;
                let took = get.ended - get.started;
                // Timers are rounded up to the next millisecond, and some stand on others.
                let is_as_expected = took >= *time && took < *time + millis(3);
                if is_as_expected { Ok(()) } else { Err(format!("{name} took {took:?}")) }
            }
            Expect::Dirty { name, dirty } => match &self.get(name)?.state {
                GetState::Served(lease) if lease.is_dirty() == *dirty => Ok(()),
                GetState::Served(_) => Err(format!("{name} is otherwise")),
                other => Err(format!("{name} has no lease: {}", other.describe())),
            },
            Expect::Status(fields) => {
                let status = self.pool()?.status();
                compare(fields, |name| numbers::status(&status, name))
            }
            Expect::Counters(fields) => {
                let counters = self.pool()?.counters();
                compare(fields, |name| numbers::counters(&counters, name))
            }
            Expect::Manager(fields) => {
                let counts = self.manager.counts();
                compare(fields, |name| numbers::counts(&counts, name))
            }
            Expect::Error(expected) => {
                let error = self.pool()?.last_error().map(|error| {
                    let source = std::error::Error::source(&*error).map(ToString::to_string);
                    source.unwrap_or_else(|| error.to_string())
                });
                if error == *expected { Ok(()) } else { Err(format!("it is {error:?}")) }
            }
        }
    }

    fn expect_state(&mut self, name: &str, expected: &str) -> Result<(), String> {
        let state = self.get(name)?.state.describe();
        if state == expected { Ok(()) } else { Err(format!("{name}: {state}")) }
    }
}

fn compare(
    fields: &[(String, String)],
    number: impl Fn(&str) -> Option<String>,
) -> Result<(), String> {
    let mut problems = Vec::new();
    for (name, expected) in fields {
        let seen = number(name).ok_or_else(|| format!("there is no number `{name}`"))?;
        let is_as_expected = match expected.strip_prefix('<') {
            Some(limit) => below(&seen, limit)?,
            None => seen == *expected,
        };
        if !is_as_expected {
            problems.push(format!("{name} is {seen}, not {expected}"));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join(", ")) }
}

fn below(seen: &str, limit: &str) -> Result<bool, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is no number"));
    Ok(number(seen)? < number(limit)?)
}
