//! The operations of a scenario, one a line.

use std::time::Duration;

use pool_core::test_util::Hook;
use pool_core::{GetOptions, Pause, Priority};

use super::text;

/// An operation. Names are the test's for its gets and their leases; a resource is called by the order in
/// which the pool began to create it, from 0.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `get a`, `get a b c`, `get a timeout 2s priority high`: starts gets, in this order.
    Get {
        names: Vec<String>,
        options: Options,
    },
    /// `get_many a 3`, `get_many a 3 timeout 2s`
    GetMany {
        name: String,
        count: usize,
        options: Options,
    },
    /// `warm_up a 10s`
    WarmUp {
        name: String,
        timeout: Duration,
    },
    /// `drain a 10s`
    Drain {
        name: String,
        timeout: Duration,
    },
    /// `closed a`: waits for the pool to be closed. `lease_closed a of b`: the holder of a lease does.
    Closed(String),
    LeaseClosed {
        name: String,
        of: String,
    },
    /// `try_get a`
    TryGet(String),
    /// `freeze a`: its task does not run until `thaw a`.
    Freeze(String),
    /// `thaw a`
    Thaw(String),
    /// `poll a`: whether it was woken or not, frozen or not.
    Poll(String),
    /// `drop a b`: gives leases back, drops what was detached. `drop pool`: the last handle.
    Drop(Vec<String>),
    /// `discard a`
    Discard(String),
    /// `detach a`
    Detach(String),
    /// `replace a by b`: the lease gets what was detached as b, and b what the lease had.
    Replace {
        name: String,
        by: String,
    },
    /// `panic a`: its holder does.
    Panic(String),
    /// `cancel a b`: drops gets that wait.
    Cancel(Vec<String>),
    /// `mark a broken`, `mark a dirty`
    Mark {
        name: String,
        broken: bool,
    },
    /// `advance 10s`
    Advance(Duration),
    /// `handle 0 broken hung up`, `handle 0 drain GOAWAY`, `handle 0 set_places 3`
    Handle {
        resource: usize,
        report: Report,
    },
    /// `resize 3`
    Resize(usize),
    /// `limits max_size=3 min_idle=1`
    Limits(Vec<(String, String)>),
    /// `retain 0 2`: all others go. `retain none`
    Retain(Vec<usize>),
    /// `reset`
    Reset,
    /// `pause queue`, `pause fail`
    Pause(Pause),
    /// `resume`
    Resume,
    /// `close`
    Close,
    /// `script create fail, slow 1s`
    Script {
        hook: Hook,
        steps: Vec<String>,
    },
    /// `always create never`
    Always {
        hook: Hook,
        step: String,
    },
    /// `heal`: forgets every script.
    Heal,
    /// `open g`
    Open(String),
    /// `expect ...`
    Expect(Expect),
}

/// What one get asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub timeout: Option<Duration>,
    pub no_wait: bool,
    pub check_timeout: Option<Duration>,
    pub recycle_timeout: Option<Duration>,
    pub priority: Priority,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    Broken(String),
    Drain(String),
    SetPlaces(usize),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// `expect served a b`; `expect served a with 1`: with that resource.
    Served { names: Vec<String>, with: Option<usize> },
    /// `expect waiting a b`
    Waiting(Vec<String>),
    /// `expect nothing a`: of a `try_get`.
    Nothing(String),
    /// `expect failed a timeout`, `expect failed a timeout: scripted failure of create`
    Failed { name: String, failure: String, cause: Option<String> },
    /// `expect panicked a`
    Panicked(String),
    /// `expect done a`; of a drain, `expect done a complete=true leases=0 resources=0`
    Done { name: String, report: String },
    /// `expect retained kept=1 removed=2`: by the last `retain`.
    Retained(String),
    /// `expect holders 1 0`: those that have held their resources for longest, the longest first.
    Holders(Vec<usize>),
    /// `expect took a 2s`: to the millisecond.
    Took { name: String, time: Duration },
    /// `expect dirty a`, `expect clean a`
    Dirty { name: String, dirty: bool },
    /// `expect status idle=1 size=2`
    Status(Vec<(String, String)>),
    /// `expect counters gets_ok=1 ended.idle=2`
    Counters(Vec<(String, String)>),
    /// `expect manager live=1 attempts<30`: the manager's own books.
    Manager(Vec<(String, String)>),
    /// `expect error none`, `expect error scripted failure of create`: of the last creation.
    Error(Option<String>),
}

impl Op {
    pub fn parse(line: &str) -> Result<Self, String> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        let words: Vec<&str> = rest.split_whitespace().collect();
        match (verb, &words[..]) {
            ("get", [_, ..]) => {
                let (names, options) = Options::split(&words)?;
                Ok(Self::Get { names: owned(names), options })
            }
            ("get_many", [name, count, ..]) => {
                let (_, options) = Options::split(&words)?;
                Ok(Self::GetMany { name: (*name).to_owned(), count: number(count)?, options })
            }
            ("warm_up", [name, timeout]) => {
                Ok(Self::WarmUp { name: (*name).to_owned(), timeout: text::duration(timeout)? })
            }
            ("drain", [name, timeout]) => {
                Ok(Self::Drain { name: (*name).to_owned(), timeout: text::duration(timeout)? })
            }
            ("closed", [name]) => Ok(Self::Closed((*name).to_owned())),
            ("lease_closed", [name, "of", of]) => {
                Ok(Self::LeaseClosed { name: (*name).to_owned(), of: (*of).to_owned() })
            }
            ("try_get", [name]) => Ok(Self::TryGet((*name).to_owned())),
            ("freeze", [name]) => Ok(Self::Freeze((*name).to_owned())),
            ("thaw", [name]) => Ok(Self::Thaw((*name).to_owned())),
            ("poll", [name]) => Ok(Self::Poll((*name).to_owned())),
            ("drop", [_, ..]) => Ok(Self::Drop(owned(&words))),
            ("discard", [name]) => Ok(Self::Discard((*name).to_owned())),
            ("detach", [name]) => Ok(Self::Detach((*name).to_owned())),
            ("replace", [name, "by", by]) => {
                Ok(Self::Replace { name: (*name).to_owned(), by: (*by).to_owned() })
            }
            ("panic", [name]) => Ok(Self::Panic((*name).to_owned())),
            ("cancel", [_, ..]) => Ok(Self::Cancel(owned(&words))),
            ("mark", [name, "broken"]) => Ok(Self::Mark { name: (*name).to_owned(), broken: true }),
            ("mark", [name, "dirty"]) => Ok(Self::Mark { name: (*name).to_owned(), broken: false }),
            ("advance", [time]) => Ok(Self::Advance(text::duration(time)?)),
            ("handle", [resource, report, said @ ..]) => {
                let report = match (*report, said) {
                    ("broken", [_, ..]) => Report::Broken(said.join(" ")),
                    ("drain", [_, ..]) => Report::Drain(said.join(" ")),
                    ("set_places", [places]) => Report::SetPlaces(number(places)?),
                    _ => return Err("a handle can be broken, drain, set_places".to_owned()),
                };
                Ok(Self::Handle { resource: number(resource)?, report })
            }
            ("resize", [size]) => Ok(Self::Resize(number(size)?)),
            ("limits", [_, ..]) => fields(&words).map(Self::Limits),
            ("retain", ["none"]) => Ok(Self::Retain(Vec::new())),
            ("retain", [_, ..]) => {
                words.iter().map(|word| number(word)).collect::<Result<_, _>>().map(Self::Retain)
            }
            ("reset", []) => Ok(Self::Reset),
            ("pause", ["queue"]) => Ok(Self::Pause(Pause::Queue)),
            ("pause", ["fail"]) => Ok(Self::Pause(Pause::Fail)),
            ("resume", []) => Ok(Self::Resume),
            ("close", []) => Ok(Self::Close),
            ("script", [hook, _, ..]) => {
                let steps = rest[hook.len()..].split(',').map(|step| step.trim().to_owned());
                Ok(Self::Script { hook: text::hook(hook)?, steps: steps.collect() })
            }
            ("always", [hook, _, ..]) => {
                let step = rest[hook.len()..].trim().to_owned();
                Ok(Self::Always { hook: text::hook(hook)?, step })
            }
            ("heal", []) => Ok(Self::Heal),
            ("open", [gate]) => Ok(Self::Open((*gate).to_owned())),
            ("expect", _) => Expect::parse(rest).map(Self::Expect),
            _ => Err("no such operation".to_owned()),
        }
    }
}

impl Options {
    /// Splits what is behind a `get` into names and options.
    fn split<'a, 'w>(words: &'a [&'w str]) -> Result<(&'a [&'w str], Self), String> {
        const KEYS: [&str; 5] =
            ["timeout", "no_wait", "check_timeout", "recycle_timeout", "priority"];
        let names = words.iter().position(|word| KEYS.contains(word)).unwrap_or(words.len());
        let (names, mut rest) = words.split_at(names);
        let mut options = Self::default();
        while let [key, tail @ ..] = rest {
            rest = match (*key, tail) {
                ("no_wait", tail) => {
                    options.no_wait = true;
                    tail
                }
                ("priority", [class, tail @ ..]) => {
                    options.priority = match *class {
                        "high" => Priority::High,
                        "normal" => Priority::Normal,
                        "low" => Priority::Low,
                        other => return Err(format!("`{other}` is no priority")),
                    };
                    tail
                }
                (key, [time, tail @ ..]) => {
                    let time = Some(text::duration(time)?);
                    match key {
                        "timeout" => options.timeout = time,
                        "check_timeout" => options.check_timeout = time,
                        "recycle_timeout" => options.recycle_timeout = time,
                        other => return Err(format!("`{other}` is no option of a get")),
                    }
                    tail
                }
                (key, []) => return Err(format!("`{key}` of what?")),
            };
        }
        if names.is_empty() { Err("a get needs a name".to_owned()) } else { Ok((names, options)) }
    }

    pub fn of_get(&self) -> GetOptions {
        let mut options = GetOptions::new().priority(self.priority);
        options = self.timeout.map_or(options, |time| options.timeout(time));
        options = self.check_timeout.map_or(options, |time| options.check_timeout(time));
        options = self.recycle_timeout.map_or(options, |time| options.recycle_timeout(time));
        if self.no_wait { options.no_wait() } else { options }
    }
}

impl Expect {
    fn parse(line: &str) -> Result<Self, String> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        let words: Vec<&str> = rest.split_whitespace().collect();
        match (verb, &words[..]) {
            ("served", [name, "with", resource]) => {
                Ok(Self::Served { names: owned(&[*name]), with: Some(number(resource)?) })
            }
            ("served", [_, ..]) => Ok(Self::Served { names: owned(&words), with: None }),
            ("waiting", [_, ..]) => Ok(Self::Waiting(owned(&words))),
            ("nothing", [name]) => Ok(Self::Nothing((*name).to_owned())),
            ("failed", [name, _, ..]) => {
                let said = rest[name.len()..].trim();
                let (failure, cause) = match said.split_once(": ") {
                    Some((failure, cause)) => (failure, Some(cause.to_owned())),
                    None => (said, None),
                };
                Ok(Self::Failed { name: (*name).to_owned(), failure: failure.to_owned(), cause })
            }
            ("panicked", [name]) => Ok(Self::Panicked((*name).to_owned())),
            ("done", [name, ..]) => {
                let report = rest[name.len()..].trim().to_owned();
                Ok(Self::Done { name: (*name).to_owned(), report })
            }
            ("retained", [_, ..]) => Ok(Self::Retained(rest.to_owned())),
            ("holders", ["none"]) => Ok(Self::Holders(Vec::new())),
            ("holders", [_, ..]) => {
                words.iter().map(|word| number(word)).collect::<Result<_, _>>().map(Self::Holders)
            }
            ("took", [name, time]) => {
                Ok(Self::Took { name: (*name).to_owned(), time: text::duration(time)? })
            }
            ("dirty", [name]) => Ok(Self::Dirty { name: (*name).to_owned(), dirty: true }),
            ("clean", [name]) => Ok(Self::Dirty { name: (*name).to_owned(), dirty: false }),
            ("status", [_, ..]) => fields(&words).map(Self::Status),
            ("counters", [_, ..]) => fields(&words).map(Self::Counters),
            ("manager", [_, ..]) => fields(&words).map(Self::Manager),
            ("error", ["none"]) => Ok(Self::Error(None)),
            ("error", [_, ..]) => Ok(Self::Error(Some(rest.to_owned()))),
            _ => Err("no such expectation".to_owned()),
        }
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

/// `name=value`, `name<value`
fn fields(words: &[&str]) -> Result<Vec<(String, String)>, String> {
    let field = |word: &&str| {
        let at = word.find(['=', '<']).ok_or_else(|| format!("`{word}` is no name=value"))?;
        let (name, value) = word.split_at(at);
        Ok((name.to_owned(), value.trim_start_matches('=').to_owned()))
    };
    words.iter().map(field).collect()
}
